"""Models of every kind, filled as if fitted, which tests of whole models share."""

from __future__ import annotations

import torch
from torch import Tensor

from plait.fusion.late import KINDS
from plait.fusion.modality import ExpertSpec, Part, Shape
from plait.fusion.model import Model
from plait.fusion.spec import HeadSpec, build_model

# The text has dense columns 0-3 of one encoder; 4-6 and scores 7-10 of a second; 11-12 and scores 13-16 of a third.
TEXT = (Part("net", 4), Part("words", 3, 4), Part("letters", 2, 4))
DIMS = {"image": 5, "text": 17}
PARTS = {"image": (Part("image", 5),), "text": TEXT}
ONE = {"image": (ExpertSpec((0,)),), "text": (ExpertSpec((0, 1, 2)),)}
POOLED = {"image": (ExpertSpec((0,)),), "text": (ExpertSpec((0,)), ExpertSpec((), (1,)), ExpertSpec((), (2,)))}
TOWERS = {"image": (6,), "text": (8, 6)}
LINEAR = Shape(PARTS, 4, hidden=8)
MLP = Shape(PARTS, 4, kind="mlp", hidden=8, dropout=0.25)
TALL = Shape(PARTS, 4, towers=TOWERS, tower_dropout=0.15)


def only(shape: Shape, modality: str) -> Shape:
    return Shape({modality: shape.parts[modality]}, shape.classes, shape.kind, shape.hidden, shape.dropout)


SPECS = [
    HeadSpec("image", only(LINEAR, "image"), {"image": ONE["image"]}),
    HeadSpec("text", only(MLP, "text"), {"text": ONE["text"]}),
    HeadSpec("text", only(LINEAR, "text"), {"text": POOLED["text"]}),
    *(HeadSpec("late", LINEAR, POOLED, kind) for kind in KINDS),
    HeadSpec("late", MLP, ONE),
    HeadSpec("early", LINEAR, POOLED),
    HeadSpec("early", TALL, POOLED, early="towers"),
    HeadSpec("early", TALL, POOLED, early="huse"),
]
NAMES = [
    f"{s.model}-{s.late}-{s.early}-{s.shape.kind}-{sum(len(experts) for experts in s.experts.values())}" for s in SPECS
]
BOTH = [spec for spec in SPECS if spec.model in ("late", "early")]
NAMES_OF_BOTH = [name for name, spec in zip(NAMES, SPECS, strict=True) if spec in BOTH]


def filled(spec: HeadSpec, mean: bool = False) -> Model:
    """A model whose every weight and number is as if fitted; `mean`: its experts are joined by the arithmetic mean."""
    head, g = build_model(spec), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in head.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=g) + 0.1)
            if mean and name.startswith("heads.") and name.endswith("exponents"):
                value.zero_()
    return head.eval()


def rows(n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features, and rows with both modalities, one or neither."""
    g = torch.Generator().manual_seed(n)
    features = {s: torch.randn(n, dim, generator=g) for s, dim in DIMS.items()}
    return features, {s: torch.rand(n, generator=g) < 0.6 for s in features}
