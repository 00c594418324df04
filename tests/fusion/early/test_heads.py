"""What holds for every early head, one in a new file too."""

from __future__ import annotations

import pytest
import torch

from plait.fusion.early import EARLY, EarlyHead
from plait.fusion.modality import Shape

LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()
DIMS = {"image": 4, "text": 6}


@pytest.fixture(params=EARLY)
def head(request: pytest.FixtureRequest) -> EarlyHead:
    shape = Shape.of(DIMS, 3, hidden=8, dropout=0.0, towers={"image": (7, 5), "text": (5,)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = EARLY[request.param](shape)
    made.prepare(drawn(50, 1), {s: torch.ones(50, dtype=torch.bool) for s in DIMS}, LOG_PRIOR)
    return made.eval()


def drawn(rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {s: 3 + 2 * torch.randn(rows, d, generator=g) for s, d in DIMS.items()}


def test_nothing_there_is_the_prior(head: EarlyHead) -> None:
    out = head(drawn(3), {s: torch.tensor([True, False, s == "text"]) for s in DIMS})
    assert torch.equal(out[1], LOG_PRIOR)
    assert not torch.equal(out[2], LOG_PRIOR)
