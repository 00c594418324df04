"""A cookbook at work: with the threshold that fits a question, and a chat model where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from plait.pipeline.recipe import Answer, Cookbook, Threshold
from plait.recipes.chat import ChatModel


@dataclass
class Kitchen:
    """Answers dishes from a cookbook.

    Attributes:
        precision, val: as of `Cookbook.threshold`. k: recipes an answer shows and is written from.
        chat: writes the answer; None: the best match itself.
    """

    cookbook: Cookbook
    precision: float = 0.8
    val: Any = None
    k: int = 3
    chat: ChatModel | None = None
    _thresholds: dict[tuple[bool, bool], Threshold | None] = field(default_factory=dict)

    def answer(self, image: Any = None, text: str | None = None) -> Answer:
        """As `Cookbook.answer`; the threshold is fitted once for what is asked by: a picture, a title, or both."""
        asked = (image is not None, bool(text and text.strip()))
        if any(asked) and asked not in self._thresholds:
            self._thresholds[asked] = self.cookbook.threshold(self.precision, self.val, asked)
        return self.cookbook.answer(image, text, self.k, self._thresholds.get(asked), self.chat)

    def picture(self, id: str) -> bytes | None:
        """The picture of a recipe, where it has one that can be read."""
        (ref,) = self.cookbook.pairs.images([self._rows[id]])
        try:
            return ref.load() if ref is not None else None
        except OSError:
            return None

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.cookbook.pairs.ids)}
