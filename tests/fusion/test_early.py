from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.early import EarlyHead
from plait.fusion.strand import Shape

LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()
Rows = dict[str, Tensor]


def made(dropout: float = 0.0, strand_dropout: float = 0.0) -> EarlyHead:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = EarlyHead(Shape({"image": 4, "text": 6}, 3, hidden=8, dropout=dropout, strand_dropout=strand_dropout))
        for vector in head.missing.values():
            torch.nn.init.normal_(vector)
    head.prepare(*drawn(50, 1), LOG_PRIOR)
    return head.eval()


def drawn(rows: int, seed: int = 0) -> tuple[Rows, Rows]:
    g = torch.Generator().manual_seed(seed)
    features = {s: 3 + torch.randn(rows, d, generator=g) for s, d in (("image", 4), ("text", 6))}
    return features, {s: torch.ones(rows, dtype=torch.bool) for s in features}


def test_formula() -> None:
    head, (features, present) = made(), drawn(5)
    present["text"] = torch.tensor([1, 1, 0, 1, 0]).bool()
    parts = []
    for s in ("image", "text"):
        linear, norm = head.project[s][0], head.project[s][1]  # type: ignore[index]
        training, _ = drawn(50, 1)
        std, mean = torch.std_mean(training[s], 0)
        projected = F.gelu(norm(linear((features[s] - mean) / std)))
        parts.append(torch.where(present[s][:, None], projected, head.missing[s]))
    expected = head.mix[3](F.gelu(head.mix[0](torch.cat(parts, 1))))
    torch.testing.assert_close(head(features, present), expected)


@pytest.mark.parametrize("strand", ["image", "text"])
def test_features_of_a_missing_strand_are_ignored(strand: str) -> None:
    head, (features, present) = made(), drawn(6)
    present[strand] = torch.tensor([1, 0, 1, 0, 1, 0]).bool()
    before = head(features, present)
    changed = features | {strand: features[strand] + torch.randn(6, 1, generator=torch.Generator().manual_seed(5))}
    after = head(changed, present)
    assert torch.equal(after[1::2], before[1::2])
    assert (after[0::2] != before[0::2]).any(1).all()


def test_nothing_there_is_the_prior() -> None:
    head, (features, present) = made(), drawn(3)
    present = {s: torch.tensor([True, False, s == "text"]) for s in present}
    out = head(features, present)
    assert torch.equal(out[1], LOG_PRIOR)
    assert not torch.equal(out[2], LOG_PRIOR)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5])
def test_strand_dropout_hides_at_most_one(share: float) -> None:
    head, n = made(strand_dropout=share), 20_000
    g = torch.Generator().manual_seed(0)
    present = {s: torch.rand(n, generator=g) < 0.7 for s in ("image", "text")}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        seen = head._hide(present)
    some = present["image"] | present["text"]
    assert torch.equal(seen["image"] | seen["text"], some)
    both = present["image"] & present["text"]
    for s in present:
        assert not (seen[s] & ~present[s]).any()
        assert torch.equal(seen[s][~both], present[s][~both])  # the only strand of a row is never hidden
        assert (~seen[s][both]).float().mean().item() == pytest.approx(share, abs=0.02)


def test_strand_dropout_in_training_only() -> None:
    head, (features, present) = made(strand_dropout=0.4), drawn(2000)
    whole = head(features, present)
    assert torch.equal(head(features, present), whole)
    blind = [head(features, present | {s: torch.zeros(2000, dtype=torch.bool)}) for s in ("image", "text")]
    torch.manual_seed(0)
    head.train()
    out = head(features, present)
    kinds = torch.stack([torch.isclose(out, x, atol=1e-6).all(1) for x in (whole, *blind)])
    assert (kinds.sum(0) == 1).all()  # every row is answered from both strands or from exactly one
    assert kinds.sum(1).tolist() == pytest.approx([400, 800, 800], abs=80)  # 0.2, 0.4 and 0.4 of the rows


def test_swap_in_training_only() -> None:
    head, (features, present) = made(), drawn(4000)
    head.swap = {"image": 0.3}
    whole = head(features, present)
    head.swap = {}
    assert torch.equal(head(features, present), whole)
    assert torch.equal(head.train()(features, present), whole)
    head.swap = {"image": 0.3}
    changed = (head(features, present) != whole).any(1).float().mean().item()
    assert changed == pytest.approx(0.3, abs=0.03)


def test_swapped_rows_come_from_the_batch() -> None:
    torch.manual_seed(0)
    head, (features, present) = made(), drawn(2000)
    present["image"][:400] = False
    kept = {s: x.clone() for s, x in features.items()}
    head.swap = {"image": 0.3}
    swapped = head._swapped(features, present)
    assert torch.equal(swapped["text"], features["text"])
    assert set(map(tuple, swapped["image"].tolist())) <= set(map(tuple, features["image"].tolist()))
    moved = (swapped["image"] != features["image"]).any(1).float().mean().item()
    assert moved == pytest.approx(0.3 * 0.8 * 0.8, abs=0.03)  # missing images are neither given nor taken
    assert torch.equal(swapped["image"][:400], features["image"][:400])
    assert all(torch.equal(features[s], kept[s]) for s in kept)  # the caller's rows stay as they were
