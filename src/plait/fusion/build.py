"""Heads by name, from a description that fits into a run's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from plait.fusion.calibration import Calibrated
from plait.fusion.early import EarlyHead
from plait.fusion.huse import HuseHead
from plait.fusion.late import KINDS, LateFusion, LateHead
from plait.fusion.strand import STRANDS, Shape, StrandHead
from plait.fusion.towers import TowersHead

MODELS = ("image", "text", "late", "early")
Early = EarlyHead | TowersHead | HuseHead
EARLY: dict[str, type[Early]] = {"mlp": EarlyHead, "towers": TowersHead, "huse": HuseHead}


def strands_of(model: str) -> tuple[str, ...]:
    """The strands a model reads: one for ``image`` and ``text``, both for ``late`` and ``early``."""
    return (model,) if model in STRANDS else STRANDS


@dataclass(frozen=True)
class HeadSpec:
    """What it takes to build a head again: its model name, its shape and its kinds of late and early fusion."""

    model: str
    shape: Shape
    late: str = "product"
    early: str = "mlp"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a run's JSON."""
        shape = {
            **asdict(self.shape),
            "dims": dict(self.shape.dims),
            "towers": {s: list(widths) for s, widths in self.shape.towers.items()},
        }
        return {"model": self.model, "late": self.late, "early": self.early, "shape": shape}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadSpec:
        """The reverse of `as_json`; raises KeyError, TypeError, AttributeError or ValueError on anything else.

        Older JSON, which names no kind of early fusion and no towers, is of the first kind.
        """
        if values["model"] not in MODELS:
            raise ValueError(f"no model '{values['model']}'")
        if values["late"] not in KINDS:
            raise ValueError(f"no late fusion '{values['late']}'")
        early = values.get("early", "mlp")
        if early not in EARLY:
            raise ValueError(f"no early fusion '{early}'")
        shape = {**values["shape"]}
        shape.pop("strand_dropout", None)  # once a part of the shape, now of training only
        shape["towers"] = {s: tuple(widths) for s, widths in shape.get("towers", {}).items()}
        return cls(values["model"], Shape(**shape), values["late"], early)


def early_head(kind: str, shape: Shape) -> Early:
    """An untrained head of early fusion: ``mlp``, ``towers`` or ``huse``; the latter two need ``shape.towers``."""
    return EARLY[kind](shape)


def build(spec: HeadSpec) -> Calibrated:
    """An untrained head of that description, wrapped for temperature calibration."""
    if spec.model in STRANDS:
        return Calibrated(StrandHead(spec.model, spec.shape))
    if spec.model == "early":
        return Calibrated(early_head(spec.early, spec.shape))
    heads: dict[str, nn.Module] = {strand: StrandHead(strand, spec.shape) for strand in STRANDS}
    return Calibrated(LateHead(heads, LateFusion(spec.late, spec.shape.classes)))
