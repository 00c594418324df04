"""Images that cannot be read: named, counted, and a reason to stop where they are most of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from plait.data.images import GONE
from plait.data.pairs import Pairs
from plait.errors import DataError, and_more, option, setting
from plait.progress import say


@dataclass(frozen=True)
class Problem:
    """An image that could not be read: its row id, its file, and the reason."""

    id: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"row '{self.id}': image '{self.file}' cannot be read ({self.reason})"


def problems_of(pairs: Pairs, reasons: dict[int, str]) -> list[Problem]:
    """Problems in row order, from the reasons by row."""
    rows = sorted(reasons)
    names = [ref.name if ref else "" for ref in pairs.images(rows)]
    return [Problem(pairs.ids[row], name, reasons[row]) for row, name in zip(rows, names, strict=True)]


@dataclass
class Tally:
    """Unreadable images of some tables, parts of one source counted together.

    Attributes:
        strict: an unreadable image is an error.
        warnings: the lines that were said.
        quiet: however many there are, nothing is said and it is no error: whoever asked tells of them.
    """

    strict: bool = False
    warnings: list[str] = field(default_factory=list)
    quiet: bool = False
    _counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def look(self, pairs: Pairs) -> None:
        """Find files that cannot be opened before any work is done on the others.

        Raises:
            DataError: as `report` does.
        """
        hashes, reasons = pairs.image_hashes
        images = len(reasons) + sum(value is not None for value in hashes)
        self._require(pairs, problems_of(pairs, reasons), images)

    def report(self, pairs: Pairs, problems: Sequence[Problem], images: int) -> None:
        """Name and count unreadable images on standard error; the same line is said once.

        Args:
            problems: those of the rows of `pairs`.
            images: how many of the rows have an image, readable or not.

        Raises:
            DataError: with `strict`, naming the first of them; where they are several, and more than half of the
                images that this source has had so far.
        """
        self._require(pairs, problems, images)
        bad, of = self._counts.get(pairs.source, (0, 0))
        self._counts[pairs.source] = bad + len(problems), of + images
        if not problems or self.quiet:
            return
        names = and_more([str(problem) for problem in problems])
        line = f"{len(problems):,} of {images:,} images cannot be read and count as missing: {names}"
        if line not in self.warnings:
            say(f"warning: {line}")
            self.warnings.append(line)

    def _require(self, pairs: Pairs, problems: Sequence[Problem], images: int) -> None:
        if problems and self.strict:
            more = f" and {len(problems) - 1:,} more" if len(problems) > 1 else ""
            strict = option("--strict", "data.strict")
            raise DataError(f"{problems[0]}{more}; mend or remove it, or leave {strict} away to treat it as missing")
        bad, of = self._counts.get(pairs.source, (0, 0))
        bad, of = bad + len(problems), of + images
        if len(problems) > 1 and 2 * bad > of and not self.quiet:
            raise DataError(f"{pairs.source}: {bad:,} of {of:,} images cannot be read ({_first(pairs, problems[0])}")


def _first(pairs: Pairs, first: Problem) -> str:
    """The first of many, and what to do about them."""
    inside = pairs.root and first.file.startswith(f"{pairs.root.rstrip('/')}/")
    if first.reason == GONE and inside:
        name = first.file[len(pairs.root.rstrip("/")) + 1 :]
        return (
            f"first: row '{first.id}': '{name}': {GONE}; looked in '{pairs.root}'); "
            f"set the folder they start from with {setting('data.root=FOLDER')}"
        )
    other = f", or name another column with {setting('data.image=COLUMN')}" if "image" in pairs.taken else ""
    return f"first: row '{first.id}': '{first.file}': {first.reason}); mend or remove them{other}"
