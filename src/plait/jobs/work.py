"""What every worker of a job does with a range of rows, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.pairs import Pairs
from plait.data.unreadable import Tally
from plait.errors import PlaitError, RunError
from plait.features.encode import Features
from plait.inference.engine import Engine
from plait.inference.predictions import rows as answer_rows
from plait.inference.reading import reading
from plait.jobs.folder import JobFolder, Range
from plait.runs.open import load

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FAILED = 16  # rows; where more bring a worker down, it is not the rows
MACHINE_TEXT, PROBLEM = "machine_text", "problem"


@dataclass(frozen=True)
class Work:
    """A job's work, as it is sent to other machines.

    Attributes:
        run: folder of a run. data: its rows, anything `plait.read` takes by name.
        what: ``predict`` writes answers; ``encode`` features.
        out: folder or URL of the ranges; None (``encode`` alone): features go to the feature store and nowhere else.
        overrides: keys of the configuration that may be set for new data. strict: an unreadable image is an error.
        explain: also write how much each modality moved the answer.
    """

    run: str
    data: str
    what: str
    out: str | None
    overrides: tuple[str, ...] = ()
    strict: bool = False
    explain: bool = False


@dataclass(frozen=True)
class Done:
    """What became of a range.

    Attributes:
        problems: rows that could not be read, or not be answered, as words.
    """

    part: Range
    problems: list[str] = field(default_factory=list)


class Worker:
    """A run and the rows of a job, opened once for many ranges."""

    def __init__(self, work: Work):
        self.work = work
        self.engine = reading(load(work.run), list(work.overrides), work.strict)
        self.failed = 0

    @cached_property
    def pairs(self) -> Pairs:
        """All the rows. Raises DataError as `plait.read` does."""
        return self.engine.read(self.work.data)

    def do(self, part: Range) -> Done:
        """Answer or encode one range and write it.

        Raises:
            PlaitError: a setting, a folder or a store is at fault, or strictness; RunError: rows after rows fail.
        """
        tables, problems = self._careful(self.pairs.select(range(part.start, part.stop)))
        if self.work.out is not None:
            import pyarrow as pa

            JobFolder(self.work.out).write(part, self.engine.fingerprint, pa.concat_tables(tables))
        return Done(part, problems)

    def _careful(self, pairs: Pairs) -> tuple[list[pa.Table], list[str]]:
        """The answers of some rows. A row that brings the encoders down is found by halving, and reported."""
        try:
            return self._answered(pairs)
        except PlaitError:
            raise
        except Exception as error:
            if len(pairs) > 1:
                half = len(pairs) // 2
                first, more = self._careful(pairs.select(range(half)))
                second, others = self._careful(pairs.select(range(half, len(pairs))))
                return [*first, *second], [*more, *others]
            self.failed += 1
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            if self.failed > MOST_FAILED:
                raise RunError(
                    f"more than {MOST_FAILED} rows cannot be answered, last '{pairs.ids[0]}': {reason}"
                ) from error
            return [self._table(pairs, None, {pairs.ids[0]: reason})], [f"row '{pairs.ids[0]}': {reason}"]

    def _answered(self, pairs: Pairs) -> tuple[list[pa.Table], list[str]]:
        from plait.features.store import FeatureStore

        store = FeatureStore(self.engine.config.store) if self.work.out is None else None
        features = self.engine.features(pairs, store, Tally(self.work.strict, quiet=not self.work.strict))
        found = features["image"].problems if "image" in features else []
        if self.work.out is None:
            return [], [str(problem) for problem in found]
        reasons = {problem.id: problem.reason for problem in found}
        return [self._table(pairs, features, reasons)], [str(problem) for problem in found]

    def _table(self, pairs: Pairs, features: dict[str, Features] | None, reasons: dict[str, str]) -> pa.Table:
        """Answers or features of N rows; without features, rows that have none."""
        make = self._features_table if self.work.what == "encode" else self._answers_table
        return make(pairs, features, [reasons.get(key) for key in pairs.ids])

    def _features_table(
        self, pairs: Pairs, features: dict[str, Features] | None, reasons: list[str | None]
    ) -> pa.Table:  # fmt: skip
        """``id``, a vector for each modality (null where the row lacks it), ``problem``."""
        import pyarrow as pa

        columns = {"id": pa.array(pairs.ids, pa.string())}
        for name, dim in self.engine.encoders.dims.items():
            if features is None:
                columns[name] = pa.nulls(len(pairs), pa.list_(pa.float32(), dim))
            else:
                flat = pa.array(np.ascontiguousarray(features[name].vectors, np.float32).reshape(-1))
                absent = pa.array(~features[name].present)
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, dim, mask=absent)
        return pa.table({**columns, PROBLEM: pa.array(reasons, pa.string())})

    def _answers_table(
        self, pairs: Pairs, features: dict[str, Features] | None, reasons: list[str | None]
    ) -> pa.Table:  # fmt: skip
        import pyarrow as pa

        if features is None:
            answers: list[dict[str, Any]] = [{"id": key} for key in pairs.ids]
        else:
            effects = self.engine.effects(features) if self.work.explain else None
            probabilities = self.engine.probabilities(features)
            answers = answer_rows(pairs, self.engine.labels, probabilities, effects, self.engine.captions)
        for answer, reason in zip(answers, reasons, strict=True):
            answer[PROBLEM] = reason
        return pa.Table.from_pylist(answers, _answers_schema(self.engine, self.work.explain))


def _answers_schema(engine: Engine, explain: bool) -> pa.Schema:
    """The same for every range, whatever its rows have."""
    import pyarrow as pa

    label, confidence = pa.field("label", pa.string()), pa.field("confidence", pa.float64())
    fields = [
        pa.field("id", pa.string()),
        label,
        confidence,
        pa.field("top5", pa.list_(pa.struct([label, confidence]))),
    ]
    if explain:
        fields += [pa.field(f"effect_{modality}", pa.float64()) for modality in engine.modalities]
    if engine.fill is not None:
        fields.append(pa.field(MACHINE_TEXT, pa.string()))
    return pa.schema([*fields, pa.field(PROBLEM, pa.string())])
