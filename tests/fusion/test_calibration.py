from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from plait.fusion.calibration import RANGE, Calibrated, fit_temperature


def answers(scale: float, rows: int = 500, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits `scale` times too large for targets drawn from them."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, 5, generator=g)
    return scale * logits, torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_temperature_is_the_minimum(scale: float) -> None:
    logits, targets = answers(scale)
    reference = minimize_scalar(
        lambda t: F.cross_entropy(logits.double() / t, targets).item(),
        bounds=RANGE,
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(reference, rel=1e-4)
    assert found == pytest.approx(scale, rel=0.2)


def test_temperature_stays_in_its_range() -> None:
    targets = torch.tensor([0, 1, 2])
    right = torch.eye(3)
    assert fit_temperature(right, targets) == pytest.approx(RANGE[0], rel=1e-5)
    assert fit_temperature(-right, targets) == pytest.approx(RANGE[1], rel=1e-5)


def test_no_rows_leave_logits_alone() -> None:
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 1.0


class _Echo(nn.Module):
    def forward(self, features: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return features["image"]


def test_calibrated_divides_and_never_changes_the_answer() -> None:
    logits, targets = answers(7.0)
    head = Calibrated(_Echo())
    features, present = {"image": logits}, {"image": torch.ones(len(targets), dtype=torch.bool)}
    assert torch.equal(head(features, present), logits)
    head.fit(logits, targets)
    torch.testing.assert_close(head(features, present), logits / fit_temperature(logits, targets))
    assert torch.equal(head(features, present).argmax(1), logits.argmax(1))
    assert F.cross_entropy(head(features, present), targets) < F.cross_entropy(logits, targets) - 1
    assert head.state_dict()["temperature"].shape == ()
