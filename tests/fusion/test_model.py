"""What a whole model answers by the modalities that a row has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from whole import BOTH, LINEAR, NAMES_OF_BOTH, POOLED, SPECS, filled, rows

from plait.fusion.calibration import Calibration
from plait.fusion.late import LateFusion, Opinions
from plait.fusion.model import Model
from plait.fusion.spec import HeadSpec

models = pytest.mark.parametrize("spec", BOTH, ids=NAMES_OF_BOTH)
mean_or_weighted = pytest.mark.parametrize("mean", [False, True], ids=["weighted", "mean"])


def whole(n: int = 12) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rows that take turns: both modalities, the image, the text, neither."""
    number = torch.arange(n) % 4
    return rows(n)[0], {"image": number < 2, "text": number % 2 == 0}


def alone(model: Model, modality: str) -> Model:
    """The model of one modality with the head that a model of both has."""
    shape = model.heads[modality]
    found = Model({modality: shape}, None, LINEAR)  # type: ignore[dict-item]
    found.log_prior = model.log_prior
    return found.eval()


@models
@mean_or_weighted
def test_a_row_with_one_modality_is_answered_by_that_modalities_own_head_exactly(spec: HeadSpec, mean: bool) -> None:
    model, (features, present) = filled(spec, mean), whole()
    found = model(features, present)
    for modality, first in (("image", 1), ("text", 2)):
        expected = alone(model, modality)({modality: features[modality]}, {modality: present[modality]})
        assert torch.equal(found[first::4], expected[first::4])
        assert expected[first::4].unique(dim=0).shape[0] == 3


@pytest.mark.parametrize("spec", SPECS)
def test_a_row_with_nothing_is_answered_by_the_prior_exactly(spec: HeadSpec) -> None:
    model, (features, present) = filled(spec), whole()
    model.temperature = torch.tensor(3.0)
    nothing = {modality: torch.zeros_like(there) for modality, there in present.items()}
    assert torch.equal(model(features, nothing), model.log_prior.expand(12, 4))


@models
@mean_or_weighted
def test_a_row_with_both_is_answered_by_the_fusion_with_its_own_calibration(spec: HeadSpec, mean: bool) -> None:
    model, (features, present) = filled(spec, mean), whole()
    assert model.fusion is not None
    if isinstance(model.fusion, LateFusion):
        experts = {s: head.opinions(features) for s, head in model.heads.items()}  # type: ignore[operator]
        logits = model.fusion(Opinions({s: model.heads[s].pool(x) for s, x in experts.items()}, experts))  # type: ignore[operator]
    else:
        text = features["text"][:, [0, 1, 2, 3, 4, 5, 6, 11, 12]]  # scores are for linear heads
        logits = model.fusion({"image": features["image"], "text": text}, present)
    for values in ((0.3, 0.0, 0.0), (2.0, 0.7, 0.1)):
        model.temperature, model.slope, model.noise = (torch.tensor(value) for value in values)
        found = model(features, present)
        torch.testing.assert_close(found[::4], Calibration(*values)(logits, model.log_prior)[::4])
    model.temperature = torch.tensor(5.0)
    others = torch.arange(12) % 4 != 0
    assert torch.equal(model(features, present)[others], found[others])


@pytest.mark.parametrize("spec", SPECS)
def test_answers_are_log_probabilities(spec: HeadSpec) -> None:
    model, (features, present) = filled(spec), whole()
    model.log_prior = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    for head in model.heads.values():
        head.log_prior = model.log_prior
    torch.testing.assert_close(model(features, present).exp().sum(1), torch.ones(12))


@models
@mean_or_weighted
@pytest.mark.parametrize("junk", [1e6, float("nan")])
def test_features_of_a_missing_modality_change_nothing(spec: HeadSpec, mean: bool, junk: float) -> None:
    model, (features, present) = filled(spec, mean), whole()
    spoilt = {s: torch.where(present[s][:, None], x, junk) for s, x in features.items()}
    found = model(features, present)
    assert torch.equal(model(spoilt, present), found)
    assert found.isfinite().all()


@models
def test_an_answer_does_not_depend_on_the_other_rows(spec: HeadSpec) -> None:
    model, (features, present) = filled(spec), whole()
    found = model(features, present)
    for row in range(4):
        one = ({s: x[row : row + 1] for s, x in part.items()} for part in (features, present))
        torch.testing.assert_close(model(*one)[0], found[row])


def test_a_model_of_one_modality_ignores_the_other() -> None:
    model, (features, present) = filled(HeadSpec("text", LINEAR, POOLED)), whole()
    found = model(features, present)
    other = {"image": features["image"] + 1, "text": features["text"]}
    assert torch.equal(model(other, present | {"image": ~present["image"]}), found)
