"""Heads by name, from a description that fits into a run's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from plait.fusion.calibration import Calibrated
from plait.fusion.early import EarlyHead
from plait.fusion.late import KINDS, LateFusion, LateHead
from plait.fusion.strand import STRANDS, Shape, StrandHead

MODELS = ("image", "text", "late", "early")


def strands_of(model: str) -> tuple[str, ...]:
    """The strands a model reads: one for ``image`` and ``text``, both for ``late`` and ``early``."""
    return (model,) if model in STRANDS else STRANDS


@dataclass(frozen=True)
class HeadSpec:
    """What it takes to build a head again: its model name, its shape and its kind of late fusion."""

    model: str
    shape: Shape
    late: str = "product"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a run's JSON."""
        return {"model": self.model, "late": self.late, "shape": {**asdict(self.shape), "dims": dict(self.shape.dims)}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadSpec:
        """The reverse of `as_json`; raises KeyError, TypeError or ValueError on anything else."""
        if values["model"] not in MODELS:
            raise ValueError(f"no model '{values['model']}'")
        if values["late"] not in KINDS:
            raise ValueError(f"no late fusion '{values['late']}'")
        return cls(values["model"], Shape(**values["shape"]), values["late"])


def build(spec: HeadSpec) -> Calibrated:
    """An untrained head of that description, wrapped for temperature calibration."""
    if spec.model in STRANDS:
        return Calibrated(StrandHead(spec.model, spec.shape))
    if spec.model == "early":
        return Calibrated(EarlyHead(spec.shape))
    heads: dict[str, nn.Module] = {strand: StrandHead(strand, spec.shape) for strand in STRANDS}
    return Calibrated(LateHead(heads, LateFusion(spec.late, spec.shape.classes)))
