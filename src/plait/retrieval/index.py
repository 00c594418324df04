"""`Index`: rows in a folder, found by picture, by words, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.checks import require_rows
from plait.data.pairs import Pairs
from plait.data.unreadable import Tally
from plait.errors import ConfigError, DataError, RunError, option
from plait.features.encode import Features, encode
from plait.features.store import FeatureStore
from plait.files import blamed_on, require_free
from plait.inference.engine import FeaturesOf
from plait.progress import say
from plait.retrieval import rows as kept_rows
from plait.retrieval.folder import ROWS, building, read_centre, read_facts, require_same, write_facts
from plait.retrieval.space import Space, open_space, require_query
from plait.retrieval.table import EXACT_BELOW, SAMPLE, RowTable, Search, measured, require_kind
from plait.retrieval.where import Column, sql

CHUNK = 16_384  # rows written at one time
IDS = 500  # named in one filter


class Index:
    """Rows and their vectors in a folder; `build` makes one, `open` opens it.

    Attributes:
        folder: where it is. space: what places queries among the rows. search: how it looks.
        columns: what `find` shows and ``where`` may ask for.
    """

    def __init__(self, folder: Path, space: Space, columns: dict[str, Column], search: Search) -> None:
        self.folder, self.space, self.columns, self.search = folder, space, columns, search
        self.table = RowTable(folder / ROWS)

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def build(
        cls, model: Space | str | Path, data: Any, out: str | Path, *,
        keep: Sequence[str] = (), kind: str = "auto", overwrite: bool = False,
    ) -> Index:  # fmt: skip
        """Index rows; the folder appears whole or not at all, and what was encoded is in the feature store.

        Args:
            model: a run, a joint space of `plait tune joint`, or one that is open.
            data: anything `plait.read` takes.
            out: folder for the index.
            keep: further columns of the data, to be shown and asked for.
            kind: ``exact`` looks at every row; ``ivf_flat`` and others of `KINDS` do not; ``auto`` is the first below
                100,000 rows and the second from there on.

        Raises:
            RunError: the model cannot be opened, or the folder is not free. DataError: as `plait.read`; no rows; no
                such column. ConfigError: no such kind.
        """
        require_kind(kind)
        folder = Path(out)
        require_free(folder, overwrite)
        space = model if isinstance(model, Space) else open_space(model)
        pairs = space.engine.read(data, labelled=True, kept=keep)
        require_rows(pairs)
        columns = kept_rows.columns_of(pairs, keep)
        features = _features(space, pairs)
        space.fit(features)
        with blamed_on(folder), building(folder) as part:
            index = cls(part, space, columns, Search())
            index._write(pairs, space.rows(features))
            if kind == "auto":
                kind = "exact" if len(index) < EXACT_BELOW else "ivf_flat"
            if kind != "exact":
                partitions = index.table.index(kind)
                index.search = measured(index.table, _sample(space, features), kind, partitions)
            write_facts(part, space, columns, index.search)
        return cls(folder, space, columns, index.search)

    @classmethod
    def open(cls, folder: str | Path, model: Space | str | Path | None = None, device: str = "auto") -> Index:
        """Open an index with the model that it was built with.

        Args:
            model: the run or joint space, where it has moved since; or one that is open.

        Raises:
            RunError: no index, one of another version, damaged, or of another model.
        """
        folder = Path(folder)
        facts = read_facts(folder)
        if not isinstance(model, Space):
            where = Path(facts["space"]["folder"] if model is None else model)
            if model is None and not where.is_dir():
                moved = option("--run RUN", "model")
                raise RunError(f"index '{folder}' was built with '{where}', which is not there; say where: {moved}")
            model = open_space(where, device)
        require_same(folder, facts["space"], model)
        columns = {name: Column(**one) for name, one in facts["columns"].items()}
        index = cls(folder, model, columns, Search(**facts["search"]))
        if index.table.dim != model.dim:
            raise RunError(f"index '{folder}' is damaged (vectors of {index.table.dim} numbers); build it again")
        if model.kind == "features":
            model.centre = read_centre(folder)
        return index

    def find(
        self, image: Any = None, text: str | None = None, k: int = 10, where: str | None = None
    ) -> list[dict[str, Any]]:
        """The rows most like a picture, a text, or both, best first.

        Args:
            image: a path, URL, encoded bytes or a Pillow image.
            k: how many; all where there are fewer.
            where: comparisons of columns, such as ``label = soup and price < 5``, that rows must hold.

        Returns:
            Of each row ``id``, ``score`` (the cosine, at most 1), and what it has of label, text, image and kept
            columns.

        Raises:
            DataError: neither image nor text, an image that cannot be read, a filter that is none or leaves nothing.
            ConfigError: k below 1.
        """
        require_query(self.space, image is not None, bool(text and text.strip()))
        pairs = Pairs.from_columns([image], [text], source="the query")
        pairs = pairs.as_cleaned() if self.space.engine.config.text.clean else pairs
        found = encode(self.space.engine.encoders, pairs, self.space.engine.config.image, None, Tally(strict=True))
        return self.nearest(found, k, where)

    def nearest(self, features: FeaturesOf, k: int = 10, where: str | None = None) -> list[dict[str, Any]]:
        """As `find`, of the features of one query."""
        if k < 1:
            raise ConfigError(f"{option('-k', 'k')} {k}: ask for 1 row or more")
        condition = sql(where, self.columns) if where is not None else None
        if condition is not None and not self.table.count(condition):
            raise DataError(
                f"{option('--where', 'where')} '{where}' leaves none of the {len(self):,} rows; ask for less"
            )
        query = self.space.queries(features)[0]
        names = [column.name for column in self.columns.values()]
        found, cosines = self.table.nearest(query, min(k, max(1, len(self))), names, self.search, condition)
        scores = cosines * float(np.linalg.norm(query))
        return [kept_rows.shown(row, float(score), self.columns) for row, score in zip(found, scores, strict=True)]

    def add(self, data: Any) -> int:
        """Add rows, without building the index again; gives their number.

        Raises:
            DataError: as `build`, and for an id that the index has.
        """
        keep = [name for name in self.columns if name not in kept_rows.OWN]
        pairs = self.space.engine.read(data, labelled=True, kept=keep)
        require_rows(pairs)
        there = set(self.table.values("id"))
        if twice := next((one for one in pairs.ids if one in there), None):
            raise DataError(f"{pairs.source}: the index has a row of id '{twice}'; delete it first, or give another id")
        kept_rows.columns_of(pairs, keep)
        before = len(self)
        with blamed_on(self.folder):
            self._write(pairs, self.space.rows(_features(self.space, pairs)))
            if self.search.kind != "exact":
                self.table.follow()
        return len(self) - before

    def delete(self, ids: Sequence[str]) -> int:
        """Take rows out by their ids, without building the index again; gives their number.

        Raises:
            DataError: the index has no row of an id; none is then taken out.
        """
        wanted = list(dict.fromkeys(map(str, ids)))
        there = set(self.table.values("id"))
        if missing := [one for one in wanted if one not in there]:
            raise DataError(f"the index has no row of id '{missing[0]}' ({len(missing):,} such ids); give ids it has")
        with blamed_on(self.folder):
            for start in range(0, len(wanted), IDS):
                names = ", ".join("'" + one.replace("'", "''") + "'" for one in wanted[start : start + IDS])
                self.table.delete(f"id IN ({names})")
        return len(wanted)

    def _write(self, pairs: Pairs, vectors: np.ndarray) -> None:
        """Append rows that have something to be found by."""
        some = np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0)
        if len(some) < len(pairs):
            say(f"{pairs.source}: {len(pairs) - len(some):,} rows have nothing to be found by and are left out")
        if not len(some):
            reads = " or ".join(self.space.modalities)
            raise DataError(f"{pairs.source}: no row has anything to be found by ({reads}); give rows that have")
        tables = []
        for start in range(0, len(some), CHUNK):
            part = some[start : start + CHUNK]
            tables.append(kept_rows.as_table(pairs.select(part), vectors[part], self.columns))
        import pyarrow as pa

        self.table.write(pa.concat_tables(tables))


def _features(space: Space, pairs: Pairs) -> dict[str, Features]:
    config = space.engine.config
    return encode(space.engine.encoders, pairs, config.image, FeatureStore(config.store), Tally(config.data.strict))


def _sample(space: Space, features: FeaturesOf) -> dict[str, np.ndarray]:
    """(S, dim) queries of each form, made of rows."""
    found = {}
    forms = {s: (s,) for s in space.modalities} | ({"both": space.modalities} if len(space.modalities) > 1 else {})
    for form, given in forms.items():
        some = np.flatnonzero(np.all([features[s].present for s in given], axis=0))
        if not len(some):
            continue
        some = np.random.default_rng(0).choice(some, min(SAMPLE, len(some)), replace=False)
        parts = {s: Features(one.vectors[some], one.present[some]) for s, one in features.items()}
        found[form] = space.queries({s: one if s in given else one.hidden() for s, one in parts.items()})
    return found
