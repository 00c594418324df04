"""Several image encoders side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plait.config import Config, ImageConfig, configure
from plait.data.pairs import Pairs
from plait.encoders.base import ImageEncoder
from plait.encoders.image import TimmEncoder, kept_image_encoder, load_image_encoder
from plait.encoders.joined import JoinedImageEncoder
from plait.encoders.pair import EncoderPair
from plait.encoders.remembered import Remembered
from plait.errors import ConfigError, EncoderError
from plait.features.encode import decode, encode_images
from plait.features.store import FeatureStore
from plait.inference.engine import Item
from plait.pipeline.classifier import Classifier
from plait.pipeline.compare import compare
from plait.pipeline.prepare import Preparation
from plait.runs.open import load
from toys import make_image_folder, make_light_image_folder

Config_ = Callable[..., Config]
Encode = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Names of a network of 48 px and one of 32 px."""
    folder = tmp_path_factory.mktemp("two")
    return "+".join(f"local-dir:{make_image_folder(folder / str(side), side, side)}" for side in (48, 32))


@pytest.fixture(scope="module")
def members(two: str) -> list[TimmEncoder]:
    return [load_image_encoder(one) for one in ImageConfig(model=two, precision="32").members]


def noise(rows: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, 3, side, side), np.uint8)


def test_each_sees_the_picture_at_its_own_side(members: list[TimmEncoder]) -> None:
    joined = JoinedImageEncoder(members)
    assert (joined.size, joined.dim, joined.parameters) == (48, 192, sum(one.parameters for one in members))
    pixels = noise(3)
    assert members[1].settings["interpolation"] == "bilinear"
    smaller = [Image.fromarray(one.transpose(1, 2, 0)).resize((32, 32), Image.Resampling.BILINEAR) for one in pixels]
    beside = members[1].encode(np.stack([np.asarray(one).transpose(2, 0, 1) for one in smaller]))
    np.testing.assert_array_equal(joined.encode(pixels), np.concatenate([members[0].encode(pixels), beside], axis=1))


def test_order_and_members_are_in_the_fingerprint(members: list[TimmEncoder]) -> None:
    prints = {JoinedImageEncoder(some).fingerprint for some in (members, members[::-1], members[:1] * 2)}
    assert len(prints | {one.fingerprint for one in members}) == 5


def test_saved_and_loaded(members: list[TimmEncoder], tmp_path: Path) -> None:
    parts = EncoderPair(JoinedImageEncoder(members)).save(tmp_path)
    loaded = EncoderPair.load(tmp_path, json.loads(json.dumps(parts)))
    assert loaded.image is not None
    assert [one.name for one in loaded.images] == [one.name for one in members]
    assert loaded.image.fingerprint == JoinedImageEncoder(members).fingerprint
    np.testing.assert_array_equal(loaded.image.encode(noise(2)), JoinedImageEncoder(members).encode(noise(2)))


def test_a_joined_encoder_holds_no_other(members: list[TimmEncoder], tmp_path: Path) -> None:
    part = EncoderPair(JoinedImageEncoder(members)).save(tmp_path)["image"]
    with pytest.raises(EncoderError, match="unknown kind of encoder 'joined'"):
        EncoderPair.load(tmp_path, {"image": {**part, "members": [part, part]}})


def test_known_ones_stay_closed(two: str, tmp_path: Path) -> None:
    configs = ImageConfig(model=two, precision="32").members
    first = kept_image_encoder(configs, "cpu", tmp_path)
    again = kept_image_encoder(configs, "cpu", tmp_path)
    assert isinstance(again, JoinedImageEncoder)
    assert all(isinstance(one, Remembered) for one in again.members)
    assert (again.fingerprint, again.dim, again.is_open) == (first.fingerprint, 192, False)
    assert again.opened().is_open
    assert again.is_open


def test_members_must_look_at_the_same_part_of_a_picture(two: str) -> None:
    first, second = ImageConfig(model=two).members
    other = second.model_copy(update={"crop_mode": "squash"})
    joined = kept_image_encoder([first, other], "cpu", None)
    with pytest.raises(EncoderError) as told:
        _ = joined.size
    assert str(told.value) == (
        f"image.model '{two}': '{first.model}' takes pictures by crop_mode center, '{other.model}' by squash; "
        "choose one for both: image.crop_mode=center"
    )


def test_only_the_first_is_trained(two: str) -> None:
    first, second = ImageConfig(model=f"{two} ", tune=True, pretrained=False, size=64).members
    assert f"{first.model}+{second.model}" == two
    assert [(one.tune, one.pretrained, one.size) for one in (first, second)] == [(True, False, 64), (False, True, 64)]


def test_small_pictures_are_not_enlarged_far_for_any(toy_config: Config_, drawn: Pairs) -> None:
    config = toy_config("image.model=test_resnet+test_resnet", "image.pretrained=false")
    assert [one.size for one in Preparation(drawn, config, ("image",)).images] == [96, 96]  # pictures of 32 px


@pytest.fixture(scope="module")
def fitted(toy_config: Config_, two: str, drawn: Pairs) -> Classifier:
    return Classifier(toy_config("model=late", f"image.model={two}", "text.model=tfidf")).fit(drawn)


def test_a_run_answers_the_same_when_loaded(fitted: Classifier, drawn: Pairs, tmp_path: Path) -> None:
    expected = fitted.predict_proba(drawn)
    fitted.save(tmp_path / "run")
    engine = load(tmp_path / "run", device="cpu")
    np.testing.assert_allclose(engine.predict_proba(drawn), expected, atol=1e-6)
    content = next(iter(drawn.images([0])))
    assert content is not None
    alone = engine.answer([Item(content.bytes, drawn.texts[0])])
    np.testing.assert_allclose(alone[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("eight_bits", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_is_exported(toy_config: Config_, drawn: Pairs, tmp_path: Path, eight_bits: bool) -> None:
    pytest.importorskip("onnxscript")
    from plait.export.write import export

    two = "+".join(f"local-dir:{make_light_image_folder(tmp_path / str(side), side, side)}" for side in (48, 32))
    fitted = Classifier(toy_config("model=late", f"image.model={two}", "text.model=tfidf")).fit(drawn)
    export(fitted.engine_, tmp_path / "out", *((drawn, 100.0) if eight_bits else ()))
    engine = load(tmp_path / "out")
    assert [one.dim for one in engine.encoders.images] == [96, 96]
    np.testing.assert_allclose(
        engine.predict_proba(drawn), fitted.predict_proba(drawn), atol=0.3 if eight_bits else 1e-4
    )
    graphs = [(tmp_path / "out" / "image" / str(i) / "model.onnx").read_bytes() for i in range(2)]
    assert all((b"QuantizeLinear" in graph) is eight_bits for graph in graphs)


def test_a_comparison_counts_both(toy_config: Config_, two: str, drawn: Pairs, tmp_path: Path) -> None:
    config = toy_config(f"image.model={two}", "text.model=tfidf", f"store={tmp_path / 'store'}")
    found = compare(drawn, config=config)
    networks = [load_image_encoder(one) for one in config.image.members]
    cost = found.models["image"].cost
    assert cost is not None
    assert cost.parameters >= sum(one.parameters for one in networks)


def test_the_tuned_one_beside_the_one_as_it_came(toy_config: Config_, two: str, drawn: Pairs, tmp_path: Path) -> None:
    same = "+".join([two.partition("+")[0]] * 2)
    config = toy_config(f"image.model={same}", "image.tune=true", "image.train.epochs=1", f"store={tmp_path / 'store'}")
    prepared = Preparation(drawn, config, ("image",))
    tuned, plain = prepared.make_encoders().images
    (as_it_came, _) = (load_image_encoder(one) for one in config.image.members)
    assert plain.fingerprint == as_it_came.fingerprint != tuned.fingerprint
    assert sorted(prepared.sketches(prepared.make_encoders())) == ["", "image/0"]
    assert [part.dense for part in prepared.task().parts["image"]] == [96, 96]


def test_joint_training_wants_one(toy_config: Config_, two: str, drawn: Pairs) -> None:
    with pytest.raises(
        ConfigError, match=r"joint.image=all needs one image encoder to tune, not '.*'; set joint.image=f"
    ):
        Classifier(toy_config("model=early", f"image.model={two}", "joint.image=all", "joint.epochs=1")).fit(drawn)


def test_what_one_cannot_read_none_can(members: list[TimmEncoder], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0].transpose(1, 2, 0)).save(buffer, "PNG")
    pairs = Pairs.from_columns([buffer.getvalue(), b"no picture", None], ["a", "b", "c"])
    joined, store = JoinedImageEncoder(members), FeatureStore(tmp_path)
    found = encode_images(joined, pairs, store, workers=0)
    assert found.present.tolist() == [True, False, False]
    (ref, *_) = pairs.images([0])
    assert ref is not None
    pixels, _ = decode(joined, ref)
    assert pixels is not None
    np.testing.assert_allclose(found.vectors[0], joined.encode(pixels[None])[0], rtol=1e-5, atol=1e-5)
    assert encode_images(joined, pairs, FeatureStore(tmp_path)).encoded == 0


def watched(members: list[TimmEncoder], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sides in pixels of the networks that are asked for features of more than one picture, as they are asked."""
    asked: list[str] = []
    for one in members:

        def encode(
            pixels: np.ndarray, one: TimmEncoder = one, real: Callable[..., np.ndarray] = one.encode
        ) -> np.ndarray:
            asked.extend([str(one.size)] if len(pixels) > 1 else [])
            return real(pixels)

        monkeypatch.setattr(one, "encode", encode)
    return asked


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> list[TimmEncoder]:
    """Two networks that look at the same pixels, and one of smaller ones."""
    folder = tmp_path_factory.mktemp("alike")
    names = [f"local-dir:{make_image_folder(folder / str(i), i, side)}" for i, side in enumerate((48, 48, 32))]
    return [load_image_encoder(ImageConfig(model=one, precision="32")) for one in names]


def test_what_a_network_has_seen_it_sees_no_more(
    alike: list[TimmEncoder], drawn: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, small = alike
    kinds = ([first, second, small], [second, first], [small, second], [second, second])
    wanted = [encode_images(JoinedImageEncoder(some), drawn, workers=0).vectors for some in kinds]
    asked, store = watched(alike, monkeypatch), FeatureStore(tmp_path)

    def see(encoder: ImageEncoder, pairs: Pairs = drawn) -> tuple[set[str], int, np.ndarray]:
        asked.clear()
        found = encode_images(encoder, pairs, store, workers=0)
        return set(asked), found.encoded, found.vectors

    few = drawn.select(range(20))
    new = [len({value for value in rows.image_hashes[0] if value is not None}) for rows in (few, drawn)]
    assert see(first, few)[:2] == ({"48"}, new[0])
    networks, encoded, found = see(JoinedImageEncoder(kinds[0]))
    assert (networks, encoded) == ({"48", "32"}, new[1])
    np.testing.assert_allclose(found, wanted[0], atol=1e-5)
    for some, vectors in ((kinds[1], wanted[1]), (kinds[3], wanted[3])):
        networks, encoded, found = see(JoinedImageEncoder(some))
        assert (networks, encoded) == (set(), 0)
        np.testing.assert_allclose(found, vectors, atol=1e-5)
    assert see(second)[1] == 0
    # Of the same picture it has other pixels beside a larger one than by itself.
    assert see(small)[:2] == ({"32"}, new[1])
    np.testing.assert_allclose(see(JoinedImageEncoder(kinds[2]))[2], wanted[2], atol=1e-5)


def test_costs_of_networks_measured_one_by_one_add_up(
    alike: list[TimmEncoder], drawn: Pairs, store: FeatureStore
) -> None:
    first, second, _ = alike
    both = JoinedImageEncoder([first, second])
    encode_images(first, drawn, store, workers=0)
    assert store.costs.of(both) is None
    encode_images(both, drawn, store, workers=0)
    one, other, found = (store.costs.of(encoder) for encoder in (first, second, both))
    assert one is not None
    assert other is not None
    assert found == one + other


def test_a_closed_one_knows_which_pixels_it_takes(two: str, drawn: Pairs, tmp_path: Path) -> None:
    configs, store = ImageConfig(model=two, precision="32").members, FeatureStore(tmp_path)
    opened = encode_images(kept_image_encoder(configs, "cpu", tmp_path), drawn, store, workers=0)
    closed = kept_image_encoder(configs, "cpu", tmp_path)
    found = encode_images(closed, drawn, store)
    assert not any(one.is_open for one in closed.members)  # type: ignore[attr-defined]
    assert found.encoded == 0
    np.testing.assert_array_equal(found.vectors, opened.vectors)


def test_names_of_the_configuration() -> None:
    assert configure(overrides=["image.model=lite0 + lite2"]).image.names == ["lite0", "lite2"]
