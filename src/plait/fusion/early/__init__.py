"""Early heads, one file each: ``head.early=NAME`` is the class `Head` of ``NAME.py`` here."""

from __future__ import annotations

from importlib import import_module

from plait.config import EARLY_HEADS
from plait.fusion.early.base import EarlyHead

__all__ = ["EARLY", "EarlyHead"]

EARLY: dict[str, type[EarlyHead]] = {name: import_module(f"{__name__}.{name}").Head for name in EARLY_HEADS}
