from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.early.mlp import Head as MlpHead
from plait.fusion.modality import Shape

LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()
Rows = dict[str, Tensor]


def made() -> MlpHead:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = MlpHead(Shape.of({"image": 4, "text": 6}, 3, hidden=8, dropout=0.0))
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


@pytest.mark.parametrize("modality", ["image", "text"])
def test_features_of_a_missing_modality_are_ignored(modality: str) -> None:
    head, (features, present) = made(), drawn(6)
    present[modality] = torch.tensor([1, 0, 1, 0, 1, 0]).bool()
    before = head(features, present)
    changed = features | {modality: features[modality] + torch.randn(6, 1, generator=torch.Generator().manual_seed(5))}
    after = head(changed, present)
    assert torch.equal(after[1::2], before[1::2])
    assert (after[0::2] != before[0::2]).any(1).all()


def test_training_hides_nothing_by_itself() -> None:
    """What is hidden in training is for `Practice` to say."""
    head, (features, present) = made(), drawn(500)
    whole = head(features, present)
    assert torch.equal(head.train()(features, present), whole)
