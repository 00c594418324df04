"""Images on their way into training."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from plait.config import Stage
from plait.data.pairs import Pairs
from plait.training.encoders.images import Draws, Images, Rows, batches, stack
from plait.training.seeds import seeded
from toys import picture

SETTINGS = {
    "input_size": (3, 32, 32), "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3,
    "crop_pct": 1.0, "crop_mode": "center",
}  # fmt: skip
STAGE = Stage(size=24, epochs=1, randaugment=9)


def noise(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(n: int) -> Rows:
    pairs = Pairs.from_columns([noise(i) for i in range(n)], labels=["a"] * n)
    return Rows(pairs, torch.zeros(n, dtype=torch.int64))


def test_a_draw_decides_the_augmentation() -> None:
    images = Images(rows(2), SETTINGS, STAGE)
    first, again, other = images[0, 5][1], images[0, 5][1], images[0, 6][1]
    assert first is not None
    assert first.shape == (3, 24, 24)
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


def striped() -> Rows:
    """One picture twice as wide as high, white at its left and right edge and black between."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :8] = pixels[:, -8:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Rows(Pairs.from_columns([buffer.getvalue()], labels=["a"]), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(("mode", "whole"), [("squash", True), ("center", False)])
def test_what_is_squashed_later_is_cropped_about_its_own_shape(mode: str, whole: bool) -> None:
    images = Images(striped(), {**SETTINGS, "crop_mode": mode}, Stage(size=24, epochs=1, crop=1.0))
    drawn = np.stack([images.pixels(0, draw) for draw in range(20)])
    middle, edges = drawn[..., 10:14], drawn[..., [0, -1]]
    assert middle.max() < 60
    assert bool(edges.min() > 180) is whole
    assert bool(edges.max() > 180) is whole  # else never: a crop of a shape near 1 leaves them out


def test_crops_of_square_pictures_are_timms_own() -> None:
    squash, center = (Images(rows(1), {**SETTINGS, "crop_mode": mode}, STAGE) for mode in ("squash", "center"))
    for draw in range(5):
        np.testing.assert_array_equal(squash.pixels(0, draw), center.pixels(0, draw))


def test_augmenting_leaves_the_random_state_alone() -> None:
    images = Images(rows(1), SETTINGS, STAGE)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    images[0, 5]
    assert torch.equal(torch.rand(2), expected)


def test_workers_do_not_change_what_is_drawn() -> None:
    data = rows(12)
    draws = Draws(np.arange(12), data.targets, seed=4)

    def pixels(workers: int) -> list[torch.Tensor]:
        loader = batches(Images(data, SETTINGS, STAGE), draws, 5, workers, stack, training=False)
        return [one for batch, _ in loader for one in batch]

    assert all(torch.equal(a, b) for a, b in zip(pixels(0), pixels(2), strict=True))


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As on a machine with a GPU that CUDA may not be asked for: in a forked worker it raises."""

    def touched(*_: object) -> None:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")

    for name in names:
        monkeypatch.setattr(torch.cuda, name, touched)


def test_workers_do_not_initialise_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(6)
    loader = batches(Images(data, SETTINGS, STAGE), Draws(np.arange(6), data.targets, 1), 3, 1, stack, training=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    forbid(monkeypatch, "get_rng_state")
    with pytest.raises(RuntimeError, match="forked"), seeded(1):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # of the loader that starts the worker
    assert [len(kept) for _, kept in loader] == [3, 3]  # by a worker, which inherits what is patched here


def test_augmenting_does_not_seed_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without workers dropout would be drawn from the seed of the last image."""
    images = Images(rows(1), SETTINGS, STAGE)
    forbid(monkeypatch, "manual_seed_all")
    assert images[0, 5][1] is not None


def test_every_row_once_in_an_order_of_its_seed() -> None:
    targets = torch.zeros(50, dtype=torch.int64)
    one, same, other = (list(Draws(np.arange(50), targets, seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert sorted(row for row, _ in one) == list(range(50))
    assert len({draw for _, draw in one}) == 50


def test_balanced_draws_every_class_equally_often() -> None:
    targets = torch.tensor([0] * 900 + [1] * 100)
    drawn = [int(targets[row]) for row, _ in Draws(np.arange(1000), targets, 0, balanced=True)]
    assert len(drawn) == 1000
    assert 430 < sum(drawn) < 570  # 500 expected, standard deviation 16


def test_unreadable_and_missing_images_are_left_out_of_a_batch() -> None:
    pairs = Pairs.from_columns([picture(1), b"no image", None, picture(2)], labels=["a"] * 4)
    images = Images(Rows(pairs, torch.zeros(4, dtype=torch.int64)), SETTINGS)
    pixels, kept = stack([images[i] for i in range(4)])
    assert kept.tolist() == [0, 3]
    assert pixels.shape == (2, 3, 32, 32)
    assert stack([images[1]])[0].shape == (0,)


def test_a_large_jpeg_is_decoded_at_a_reduced_scale() -> None:
    from plait.data.images import open_image

    buffer = io.BytesIO()
    Image.new("RGB", (1600, 1200), (200, 30, 90)).save(buffer, "JPEG")
    small = open_image(buffer.getvalue(), 64)
    assert small.size == (200, 150)  # an eighth, the least that libjpeg offers
    assert np.abs(np.asarray(small, int) - (200, 30, 90)).max() <= 3


def test_strong_augmentation_reads_every_image() -> None:
    """At magnitude 15 timm's posterize would ask Pillow for 0 bits, or fewer."""
    images = Images(rows(1), SETTINGS, Stage(size=24, epochs=1, randaugment=15))
    assert all(images[0, draw][1] is not None for draw in range(300))
