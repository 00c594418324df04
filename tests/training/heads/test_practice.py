from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plait.training.heads.practice import Practice

Rows = dict[str, Tensor]


def drawn(rows: int, present: float = 1.0) -> tuple[Rows, Rows]:
    g = torch.Generator().manual_seed(0)
    features = {s: torch.randn(rows, d, generator=g) for s, d in (("image", 4), ("text", 6))}
    return features, {s: torch.rand(rows, generator=g) < present for s in features}


def applied(practice: Practice, features: Rows, present: Rows) -> tuple[Rows, Rows]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return practice.apply(features, present)


def test_no_practice_changes_nothing_and_draws_nothing() -> None:
    features, present = drawn(50, 0.7)
    before = torch.random.get_rng_state()
    changed, seen = Practice().apply(features, present)
    assert torch.equal(torch.random.get_rng_state(), before)
    for s in features:
        assert torch.equal(changed[s], features[s])
        assert torch.equal(seen[s], present[s])


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5])
def test_at_most_one_modality_is_hidden(share: float) -> None:
    features, present = drawn(20_000, 0.7)
    changed, seen = applied(Practice(hide=share), features, present)
    assert all(torch.equal(changed[s], features[s]) for s in features)
    assert torch.equal(seen["image"] | seen["text"], present["image"] | present["text"])
    both = present["image"] & present["text"]
    for s in present:
        assert not (seen[s] & ~present[s]).any()
        assert torch.equal(seen[s][~both], present[s][~both])  # the only modality of a row is never hidden
        assert (~seen[s][both]).float().mean().item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("hide", [0.0, 0.4])
def test_swapped_rows_come_from_the_batch(hide: float) -> None:
    features, present = drawn(2000)
    present["image"][:400] = False
    swapped, _ = applied(Practice(hide, {"image": 0.3}), features, present)
    assert torch.equal(swapped["text"], features["text"])
    assert set(map(tuple, swapped["image"].tolist())) <= set(map(tuple, features["image"].tolist()))
    moved = (swapped["image"] != features["image"]).any(1).float().mean().item()
    assert moved == pytest.approx(0.3 * 0.8 * 0.8, abs=0.03)  # missing images are neither given nor taken
    assert torch.equal(swapped["image"][:400], features["image"][:400])


def test_the_same_draws_in_the_same_order() -> None:
    """First one number a row for hiding, then for each swapped modality an order and one number a row."""
    features, present = drawn(40, 0.8)
    changed, seen = applied(Practice(0.3, {"text": 0.5, "image": 0.2}), features, present)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        draw = torch.rand(40)
        orders = {s: (torch.randperm(40), torch.rand(40)) for s in ("text", "image")}
    for i in range(40):
        image, text = present["image"][i].item(), present["text"][i].item()
        assert seen["image"][i].item() == (image and not (draw[i] < 0.3 and text))
        assert seen["text"][i].item() == (text and not (draw[i] > 0.7 and image))
        for s, share in (("text", 0.5), ("image", 0.2)):
            other = orders[s][0][i]
            taken = orders[s][1][i] < share and present[s][i] and present[s][other]
            assert torch.equal(changed[s][i], features[s][other if taken else i])


def test_the_rows_given_stay_as_they_were() -> None:
    features, present = drawn(300, 0.9)
    kept = [{s: x.clone() for s, x in rows.items()} for rows in (features, present)]
    changed, seen = applied(Practice(0.4, {"image": 0.5, "text": 0.5}), features, present)
    assert not torch.equal(changed["image"], features["image"])
    assert not torch.equal(seen["image"], present["image"])
    for rows, before in zip((features, present), kept, strict=True):
        assert all(torch.equal(rows[s], before[s]) for s in before)
