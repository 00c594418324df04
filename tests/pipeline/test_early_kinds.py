"""Early fusion of every kind, as it is fitted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.early import EARLY
from plait.fusion.early.huse import Head as HuseHead
from plait.fusion.inputs import HeadInputs, logits
from plait.fusion.spec import build_model
from plait.training.heads.descent import Copies, train
from plait.training.heads.early import Trained
from plait.training.heads.fitter import Fitter
from plait.training.heads.logistic import Answers
from plait.training.heads.practice import Practice
from plait.training.heads.task import Task
from telling import SEEN, accuracy, config, generator, modalities, points, said, small

TOWERS = ("head.towers.image=[16]", "head.towers.text=[32,16]", "head.huse.image=[32,16]", "head.huse.text=[16]")
NOTES = {"mlp": "concatenation MLP", "towers": "towers", "huse": "HUSE"}


def complementary(rows: int, g: torch.Generator) -> tuple[HeadInputs, Tensor]:
    """Six classes: the image tells which third, the text which half."""
    targets = torch.arange(rows) % 6
    return modalities(said(targets // 2, 0.95, 3, g), said(targets % 2, 0.95, 2, g)), targets


@pytest.mark.parametrize("kind", EARLY)
def test_early_fusion_of_every_kind_joins_what_the_modalities_tell(kind: str) -> None:
    g = generator(0)
    (train_rows, targets), (val_rows, val_targets), (rows, answers) = (complementary(n, g) for n in (900, 300, 1200))
    task = Task(train_rows, targets, torch.arange(900) // 6 % 3, val_rows, val_targets, 6)
    fitter = Fitter(task, config(f"head.early={kind}", "train.epochs=12", "train.batch=64", *TOWERS))
    fitted = {model: fitter.fit(model) for model in ("image", "text", "early")}
    found = {model: accuracy(logits(one.head, rows), answers) for model, one in fitted.items()}
    assert found["image"] < 0.55  # a half of 95 % at best
    assert found["text"] < 0.4  # a third
    assert found["early"] > 0.8  # 0.95 ** 2 at best
    early = fitted["early"]
    assert early.note == NOTES[kind]
    assert early.spec.early == kind
    assert type(early.head.fusion) is EARLY[kind]
    again = build_model(type(early.spec).from_json(early.spec.as_json()))
    again.load_state_dict(early.head.state_dict())
    assert torch.equal(logits(again, rows), logits(early.head, rows))


@pytest.mark.parametrize("kind", ["towers", pytest.param("huse", marks=pytest.mark.slow)])
def test_other_early_fusion_does_not_trust_an_encoder_that_saw_the_rows(kind: str) -> None:
    text, chosen = points("text", SEEN), (f"head.early={kind}", "train.epochs=15", "train.batch=64", *TOWERS)
    assert points("early", SEEN, *chosen) >= text - 3
    assert points("early", SEEN, *chosen) > points("early", frozenset(), *chosen) + 5


def test_class_names_reach_huse() -> None:
    chosen = config(
        "head.early=huse",
        "head.huse.graph=0.5",
        "head.huse.gap=0.25",
        "head.huse.margin=0.6",
        "train.epochs=2",
        *TOWERS,
    )
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    named, plain = (Fitter(replace(small(), class_vectors=v), chosen).new_early() for v in (vectors, None))
    assert isinstance(named, HuseHead)
    assert isinstance(plain, HuseHead)
    assert torch.equal(plain.class_distance, 1 - torch.eye(5))
    half = 1 - 0.5**0.5
    torch.testing.assert_close(named.class_distance[0], torch.tensor([0, 0, 1, 2, half]))
    assert (named.graph, named.gap, named.margin) == (0.5, 0.25, 0.6)
    assert torch.equal(named.classifier.weight, plain.classifier.weight)
    fitted = Fitter(replace(small(), class_vectors=vectors), chosen).fit("early")
    assert torch.equal(fitted.head.fusion.class_distance, named.class_distance)  # type: ignore[arg-type]


def test_huse_pulls_classes_of_like_names_together() -> None:
    """Classes 0 and 1 have one name; 0 and 2 have nothing in common."""
    vectors, apart = torch.eye(5), {}
    vectors[1] = vectors[0]
    g, targets, val = generator(0), torch.arange(300) % 5, torch.arange(200) % 5
    rows = [modalities(*(said(y, 1.0, 5, g) for _ in range(2))) for y in (targets, val)]
    task = Task(rows[0], targets, torch.arange(300) // 5 % 3, rows[1], val, 5)
    for graph in (0, 2):
        chosen = config("head.early=huse", f"head.huse.graph={graph}", "train.epochs=40", "train.patience=40", *TOWERS)
        fitter = Fitter(replace(task, class_vectors=vectors), chosen)
        head = fitter.new_early()
        assert isinstance(head, HuseHead)
        train(
            Copies([head]),
            (task.train, fitter.rows.answers),
            (task.val, fitter.rows.weighed(task.val_targets)),
            chosen.train,
        )
        with torch.inference_mode():
            text = head.embed(task.val.features, task.val.present)["text"]
        means = torch.stack([text[task.val_targets == k].mean(0) for k in range(3)])
        cosine = F.normalize(means, dim=1) @ F.normalize(means, dim=1).T
        apart[graph] = (1 - cosine[0, 1].item(), 1 - cosine[0, 2].item())
    assert apart[2][0] < apart[0][0] / 2
    assert apart[2][1] > 0.7  # the margin: beyond it the graph leaves classes alone


@pytest.mark.parametrize("kind", EARLY)
def test_new_early_and_finish_early_are_what_fitting_does(kind: str) -> None:
    """Rows are hidden in the training of every kind; nothing else is done to the head."""
    task, chosen = (
        small(rows=2100),
        config("train.epochs=2", f"head.early={kind}", "head.modality_dropout=0.3", *TOWERS),
    )
    fitter = Fitter(task, chosen)
    val = (task.val, Answers(task.val_targets, 5, torch.ones(100)))
    data = (task.train, fitter.rows.answers)
    head, plain = fitter.new_early(), fitter.new_early()
    fitted = train(Copies([head], Practice(0.3)), data, val, chosen.train)
    train(Copies([plain]), data, val, chosen.train)
    assert not torch.equal(logits(head, task.val), logits(plain, task.val))
    model = fitter.finish_early(Trained(head, fitted.curve, 1.5), "by hand")
    whole = Fitter(task, chosen).fit("early")
    assert torch.equal(logits(model.head, task.val), logits(whole.head, task.val))
    assert (model.curve, model.spec, model.val_loss) == (whole.curve, whole.spec, whole.val_loss)
    assert (model.seconds, model.note) == (1.5, "by hand")


@pytest.mark.parametrize("model", ["image", "text"])
def test_heads_of_one_modality_have_no_practice(model: str) -> None:
    task = small()
    answers = [
        logits(Fitter(task, config("train.epochs=2", f"head.modality_dropout={share}")).fit(model).head, task.val)
        for share in (0.0, 0.5)
    ]
    assert torch.equal(*answers)
