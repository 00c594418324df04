"""`plait recipe`: a dish, the recipes of a cookbook most like it, and an answer that is held to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from plait.data.columns import KEPT
from plait.data.pairs import Pairs
from plait.data.read import columns_in, read_with
from plait.data.unreadable import Tally
from plait.errors import ConfigError, DataError, did_you_mean, option
from plait.features.encode import Features, encode
from plait.features.store import FeatureStore
from plait.inference.engine import Engine
from plait.progress import say
from plait.recipes.chat import ChatModel
from plait.recipes.grounding import Checked, Recipe, check, messages
from plait.recipes.ingredients import f1, ingredients_of, iou
from plait.retrieval.space import Space, require_query

LEAST = 20  # pairs that a threshold is fitted by


@dataclass(frozen=True)
class Columns:
    """Further columns of a cookbook, by the user's names: of ingredients, and others that answers are made of."""

    ingredients: str | None = None
    keep: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Those to be read."""
        own = (self.ingredients,) if self.ingredients is not None else ()
        return tuple(dict.fromkeys((*own, *self.keep)))


@dataclass(frozen=True)
class Threshold:
    """The least similarity at which the best recipe is taken for a match.

    Attributes:
        least: infinite where no similarity reaches the precision. precision: asked for.
        found: precision of the pairs at or above it. taken: share of the pairs that are. pairs: how many.
    """

    least: float
    precision: float
    found: float
    taken: float
    pairs: int

    @classmethod
    def fit(cls, similarities: np.ndarray, right: np.ndarray, precision: float) -> Threshold:
        """The lowest of (M,) similarities at and above which at least that share of (M,) bool is right."""
        order = np.argsort(-similarities, kind="stable")
        ranked, hits = similarities[order], right[order].cumsum()
        shares = hits / np.arange(1, len(order) + 1)
        last = np.append(ranked[1:] < ranked[:-1], True)  # equal similarities stand or fall together
        fine = np.flatnonzero((shares >= precision) & last)
        if not len(fine):
            return cls(float("inf"), precision, 0.0, 0.0, len(order))
        at = int(fine[-1])
        return cls(float(ranked[at]), precision, float(shares[at]), (at + 1) / len(order), len(order))


@dataclass(frozen=True)
class Answer:
    """What a dish was found to be.

    Attributes:
        label: the class of the dish, and confidence 0..1. matches: recipes with their similarity, best first.
        threshold: None where none could be fitted. fits: whether the best match reaches it.
        written: what a chat model wrote of the matches, checked; None without one, and where nothing fits.
    """

    label: str
    confidence: float
    matches: list[tuple[Recipe, float]]
    threshold: Threshold | None
    written: Checked | None = None

    @property
    def fits(self) -> bool:
        return self.threshold is None or (bool(self.matches) and self.matches[0][1] >= self.threshold.least)


@dataclass
class Cookbook:
    """Recipes, placed in the space of a run so that dishes find them.

    Args:
        engine: of a run, which tells the class of a dish. space: the run's own, or a joint space.
        data: anything `plait.read` takes: a title (text) of each recipe, pictures and classes (labels) where there are.
        columns: further columns.

    Raises:
        DataError: no rows, or no such column.
    """

    engine: Engine
    space: Space
    data: Any
    columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        self.pairs = self._read(self.data)
        if not len(self.pairs):
            raise DataError(f"{self.pairs.source}: the cookbook is empty; give one with recipes")
        for name in self.columns.all:
            if f"{KEPT}{name}" not in self.pairs.table.column_names:
                raise DataError(f"{self.pairs.source}: no column '{name}'.{did_you_mean(name, self.pairs.columns)}")
        features = self._features(self.pairs)
        self.space.fit(features)
        self.vectors = self.space.rows(features)
        if not np.linalg.norm(self.vectors, axis=1).any():
            reads = " or ".join(self.space.modalities)
            raise DataError(
                f"{self.pairs.source}: no recipe has anything to be found by ({reads}); give a cookbook that has"
            )

    def _read(self, data: Any) -> Pairs:
        """Rows with whatever they have of image, text and label: recipes often have no picture."""
        engine = self.space.engine
        known = tuple(engine.columns.items())
        columns = replace(columns_in(engine.config), known=known, kept=self.columns.all)
        return read_with(data, engine.config, columns, ("image", "text", "label"))

    def _features(self, pairs: Pairs) -> dict[str, Features]:
        engine = self.space.engine
        tally = Tally(engine.config.data.strict)
        return encode(engine.encoders, pairs, engine.config.image, FeatureStore(engine.config.store), tally)

    @cached_property
    def known(self) -> frozenset[str]:
        """Every ingredient of the cookbook."""
        return frozenset().union(*(self.ingredients(row) for row in range(len(self.pairs))))

    def ingredients(self, row: int) -> frozenset[str]:
        """Those of a recipe, by its row."""
        name = self.columns.ingredients
        return ingredients_of(self.pairs.table[f"{KEPT}{name}"][row]) if name is not None else frozenset()

    def recipe(self, row: int) -> Recipe:
        """A row as a recipe."""
        known = {"title": self.pairs.texts[row], "dish": self.pairs.labels[row]}
        known |= {name: self.pairs.table[f"{KEPT}{name}"][row] for name in self.columns.all}
        return Recipe(self.pairs.ids[row], {k: str(v) for k, v in known.items() if v}, self.ingredients(row))

    def answer(
        self, image: Any = None, text: str | None = None, k: int = 3, threshold: Threshold | None = None,
        chat: ChatModel | None = None,
    ) -> Answer:  # fmt: skip
        """The class of a dish, the recipes most like it, and what a chat model makes of them.

        Args:
            image: a path, URL, encoded bytes or a Pillow image. text: its title; one of the two, or both.
            k: recipes, at most.

        Raises:
            DataError: neither image nor text, or an image that cannot be read. ConfigError: k below 1.
        """
        if k < 1:
            raise ConfigError(f"{option('-k', 'k')} {k}: ask for 1 recipe or more")
        require_query(self.space, image is not None, bool(text and text.strip()))
        one = Pairs.from_columns([image], [text], source="the dish")
        probabilities = self.engine.probabilities(self.engine.features(one, tally=Tally(strict=True)))[0]
        label = self.engine.labels[int(probabilities.argmax())]
        similarities = self._similarities(self._as_asked(one, [label]))[0]
        order = np.argsort(-similarities, kind="stable")[:k]
        matches = [(self.recipe(int(row)), float(similarities[row])) for row in order]
        found = Answer(label, float(probabilities.max()), matches, threshold)
        if chat is None or not found.fits:
            return found
        recipes = [recipe for recipe, _ in matches]
        said = chat.answer(messages(_question(label, text), recipes))
        return Answer(label, found.confidence, matches, threshold, check(said, recipes, self.known))

    def _as_asked(self, pairs: Pairs, labels: list[str]) -> Pairs:
        """Dishes as they are looked for: one that has a picture alone goes by the name of its class, too, where the
        cookbook has no pictures to compare it with."""
        if self.space.kind != "features" or "text" not in self.space.modalities or self.pairs.has_image.any():
            return pairs
        names = [label.replace("_", " ") for label in labels]
        texts = [text or name for text, name in zip(pairs.texts, names, strict=True)]
        return Pairs.from_columns(list(pairs.images()), texts, pairs.labels, source=pairs.source)

    def _similarities(self, pairs: Pairs) -> np.ndarray:
        """(M, N) cosines of dishes and recipes."""
        found: np.ndarray = self.space.queries(self._features(pairs)) @ self.vectors.T
        return found

    def threshold(
        self, precision: float, data: Any = None, asked: tuple[bool, bool] = (True, True)
    ) -> Threshold | None:
        """How alike the best recipe must be, so that it is of the dish's class for a share `precision` of the dishes.

        Args:
            data: labelled dishes, not of the cookbook; None: each recipe of it, looked for among the others.
            asked: whether the dishes are to have a picture, and a text, as those to be asked for do.

        Returns:
            None where there are too few labelled dishes, or the cookbook has no labels; a line says so.
        """
        if not 0 < precision <= 1:
            raise ConfigError(f"{option('--precision', 'precision')} {precision:g}: give a share above 0, at most 1")
        dishes = self.pairs if data is None else self._read(data)
        has = _has(dishes, asked)
        rows = [row for row, label in enumerate(dishes.labels) if label and has[row]]
        classes = np.array([label or "" for label in self.pairs.labels])
        if not (classes != "").any():
            say(f"no threshold: the recipes of {self.pairs.source} have no labels")
            return None
        if len(rows) < LEAST:
            say(f"no threshold: {len(rows)} dishes of {dishes.source} have a label and what is asked by, not {LEAST}")
            return None
        some = dishes.select(rows)
        images = list(some.images()) if asked[0] else [None] * len(some)
        texts = some.texts if asked[1] else [None] * len(some)
        told = Pairs.from_columns(images, texts, some.labels, source=some.source)
        similarities = self._similarities(self._as_asked(told, [str(label) for label in some.labels]))
        if data is None:
            similarities[np.arange(len(rows)), rows] = -np.inf  # no recipe finds itself
        best = similarities.argmax(1)
        right = classes[best] == np.array(some.labels)
        self._tell_ingredients(some, best)
        return Threshold.fit(similarities.max(1), right, precision)

    def _tell_ingredients(self, dishes: Pairs, best: np.ndarray) -> None:
        """Say how well the best recipe's ingredients agree with the dishes' own, where both have some."""
        name = self.columns.ingredients
        if name is None or f"{KEPT}{name}" not in dishes.table.column_names:
            return
        own = [ingredients_of(value) for value in dishes.table[f"{KEPT}{name}"]]
        known = [(self.ingredients(int(row)), wanted) for row, wanted in zip(best, own, strict=True) if wanted]
        if known:
            shares = (100 * float(np.mean([measure(*one) for one in known])) for measure in (f1, iou))
            say("ingredients of the best match, {:,} dishes: F1 {:.1f} %, IoU {:.1f} %".format(len(known), *shares))


def _has(pairs: Pairs, asked: tuple[bool, bool]) -> np.ndarray:
    """(N,) bool: rows that have what is asked by."""
    found = np.ones(len(pairs), bool)
    for wanted, has in zip(asked, (pairs.has_image, pairs.has_text), strict=True):
        found &= has if wanted else True
    return found


def _question(label: str, text: str | None) -> str:
    dish = label.replace("_", " ")
    titled = f" Its title is {text!r}." if text else ""
    return f"The dish was recognised as {dish!r}.{titled} Tell how to cook it, in at most eight sentences."
