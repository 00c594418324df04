"""No trust in what has seen the answers, and nothing learnt from labels without meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.late import KINDS, LateFusion
from plait.fusion.model import Model
from plait.training.heads.fitter import Fitter
from plait.training.heads.late import candidates
from plait.training.heads.task import Task
from telling import SEEN, accuracy, config, generator, modalities, over_separated, points, said, small


def late_of(model: Model) -> LateFusion:
    assert isinstance(model.fusion, LateFusion)
    return model.fusion


# An encoder that has seen the training rows


def test_early_fusion_does_not_trust_an_encoder_that_saw_the_rows() -> None:
    text = points("text", SEEN)
    assert text == pytest.approx(80, abs=2)
    quick = ("train.epochs=15", "train.batch=64")
    assert points("early", SEEN, *quick) >= text - 2
    assert points("early", frozenset(), *quick) < text - 10  # what the protection is for


@pytest.mark.parametrize("kind", ["auto", "weighted", "stacking"])
def test_late_fusion_does_not_trust_an_encoder_that_saw_the_rows(kind: str) -> None:
    text = points("text", SEEN)
    # Stacking has 210 parameters here, fitted to 400 validation rows: it pays for that, and `auto` leaves it out.
    assert points("late", SEEN, f"head.late={kind}") >= text - (4 if kind == "stacking" else 2)
    if kind != "auto":
        assert points("late", frozenset(), f"head.late={kind}") < text - 10


def test_an_honest_encoder_needs_no_swaps() -> None:
    task = small()
    honest = Fitter(replace(task, seen=SEEN), config())
    assert honest.modality("image").excess(honest.rows) < 0.15
    assert Fitter(task, config("train.epochs=1")).fit("early").note == "concatenation MLP"
    wronged, _, _ = over_separated(SEEN)
    fitter = Fitter(wronged, config("train.epochs=5"))
    assert fitter.modality("image").excess(fitter.rows) == pytest.approx(0.6, abs=0.06)
    assert fitter.fit("early").note.endswith("% of image features swapped in training")


@pytest.mark.parametrize("kind", ["weighted", "stacking"])
def test_nothing_is_fitted_to_validation_rows_that_an_encoder_has_seen(kind: str) -> None:
    task = replace(small(), seen=SEEN, val_seen=True)
    fusion = late_of(Fitter(task, config(f"head.late={kind}")).fit("late").head)
    assert fusion.exponents.tolist() == [1.0, 1.0]
    assert not any(parameter.any() for parameter in fusion.parameters())
    fitted = late_of(Fitter(replace(task, val_seen=False), config(f"head.late={kind}")).fit("late").head)
    changed = fitted.exponents != 1 if kind == "weighted" else torch.stack([p.any() for p in fitted.parameters()])
    assert changed.all()


def test_auto_chooses_among_kinds_without_parameters_where_validation_rows_are_seen() -> None:
    for val_seen, kinds in ((True, {"mean", "product"}), (False, set(KINDS) - {"stacking"})):
        task = replace(small(), seen=SEEN, val_seen=val_seen)
        assert set(candidates(val_seen)) == kinds
        fitted = Fitter(task, config()).fit("late")
        assert fitted.note == f"{fitted.spec.late}, chosen on validation rows"
        assert fitted.spec.late in kinds


def test_auto_is_the_kind_with_the_least_cross_validated_loss() -> None:
    task = small()
    losses = {kind: Fitter(task, config(f"head.late={kind}")).fit("late").val_loss for kind in KINDS[:3]}
    chosen = Fitter(task, config()).fit("late")
    assert chosen.spec.late == min(losses, key=losses.__getitem__)
    assert chosen.val_loss == min(losses.values())


# Labels that mean nothing


def permuted(seen: frozenset[str]) -> tuple[Task, HeadInputs, Tensor]:
    """Five classes drawn without a look at the features, but for those of an encoder that was trained on the labels."""
    g, classes = generator(7), 5
    train_y, val_y, test_y = (torch.randint(0, classes, (n,), generator=g) for n in (400, 200, 2000))

    def rows(y: Tensor, memorised: bool = False) -> HeadInputs:
        image = said(y, 1.0, classes, g) if memorised else torch.randn(len(y), 16, generator=g)
        return modalities(image, torch.randn(len(y), 16, generator=g))

    task = Task(rows(train_y, bool(seen)), train_y, torch.arange(400) % 3, rows(val_y), val_y, classes, seen)
    return task, rows(test_y), test_y


PERMUTED = [
    ("image", ()), ("text", ()), ("text", ("head.kind=mlp",)), ("early", ()),
    *(("late", (f"head.late={kind}",)) for kind in (*KINDS, "auto")),
]  # fmt: skip


@pytest.mark.parametrize("seen", [frozenset(), SEEN], ids=["", "seen"])
@pytest.mark.parametrize(("model", "chosen"), PERMUTED, ids=lambda value: str(value))
def test_labels_without_meaning_are_answered_by_chance(
    model: str, chosen: tuple[str, ...], seen: frozenset[str]
) -> None:
    """New rows by chance, and neither they nor the validation loss tell of more."""
    task, rows, targets = permuted(seen)
    fitted = Fitter(task, config("train.epochs=8", "train.batch=64", *chosen)).fit(model)
    found = logits(fitted.head, rows)
    assert accuracy(found, targets) == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / 2000) ** 0.5)
    entropy = float(torch.tensor(5.0).log())
    assert fitted.val_loss > entropy - 0.02
    # As sure as chance allows; stacking and what leans on a seen encoder is not quite.
    assert F.cross_entropy(found, targets).item() < entropy + (0.25 if seen or "stacking" in str(chosen) else 0.1)
