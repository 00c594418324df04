"""Models by name, from a description that fits into a run's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from plait.errors import RunError
from plait.fusion.early import EARLY, EarlyHead
from plait.fusion.late import KINDS, LateFusion
from plait.fusion.modality import MODALITIES, ExpertSpec, ModalityHead, Part, Shape
from plait.fusion.model import Model

MODELS = ("image", "text", "late", "early")
Experts = Mapping[str, tuple[ExpertSpec, ...]]


def modalities_of(model: str) -> tuple[str, ...]:
    """The modalities a model reads: one for ``image`` and ``text``, both for ``late`` and ``early``."""
    return (model,) if model in MODALITIES else MODALITIES


@dataclass(frozen=True)
class HeadSpec:
    """What it takes to build a model again: its name, shape, experts, and kinds of late and early fusion."""

    model: str
    shape: Shape
    experts: Experts = field(default_factory=dict)
    late: str = "product"
    early: str = "mlp"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a run's JSON."""
        values = {**asdict(self), "shape": {**asdict(self.shape)}}
        for name in ("parts", "towers"):
            values["shape"][name] = {s: list(found) for s, found in values["shape"][name].items()}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadSpec:
        """The reverse of `as_json`; raises KeyError, TypeError, AttributeError or ValueError on anything else.

        Raises:
            RunError: it is of a version of plait whose models had no experts.
        """
        if values["model"] not in MODELS:
            raise ValueError(f"no model '{values['model']}'")
        if "experts" not in values:
            raise RunError("its head is of an older plait, which answered without experts; fit it anew")
        if values["late"] not in KINDS:
            raise ValueError(f"no late fusion '{values['late']}'")
        if values["early"] not in EARLY:
            raise ValueError(f"no early fusion '{values['early']}'")
        shape = {**values["shape"]}
        shape["parts"] = {s: tuple(Part(**part) for part in parts) for s, parts in shape["parts"].items()}
        shape["towers"] = {s: tuple(widths) for s, widths in shape["towers"].items()}
        experts = {
            s: tuple(ExpertSpec(tuple(one["dense"]), tuple(one["scores"])) for one in specs)
            for s, specs in values["experts"].items()
        }
        return cls(values["model"], Shape(**shape), experts, values["late"], values["early"])


def early_head(kind: str, shape: Shape) -> EarlyHead:
    """An untrained head of early fusion: ``mlp``, ``towers`` or ``huse``; the latter two need ``shape.towers``."""
    return EARLY[kind](shape)


def build_model(spec: HeadSpec) -> Model:
    """An untrained model of that description."""
    shape = spec.shape
    heads = {s: ModalityHead(s, spec.experts[s], shape) for s in modalities_of(spec.model)}
    fusion: nn.Module | None = None
    if spec.model == "late":
        fusion = LateFusion(spec.late, shape.classes, sum(len(spec.experts[s]) for s in MODALITIES))
    elif spec.model == "early":
        fusion = early_head(spec.early, shape)
    return Model(heads, fusion, shape)
