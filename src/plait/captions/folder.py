"""Captioners by their folder or name, and captions of many rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch

from plait.captions.decoder import DecoderCaptioner, is_decoder
from plait.captions.pretrained import PretrainedCaptioner, is_pretrained
from plait.data.images import open_image
from plait.data.pairs import Pairs
from plait.data.unreadable import Tally, problems_of
from plait.errors import EncoderError, PlaitError
from plait.progress import bar

CHUNK = 64  # images opened at one time
THREADS = 8


class Captioner(Protocol):
    """Writes a text for an image."""

    name: str

    @property
    def fingerprint(self) -> str: ...

    def caption(self, images: Sequence[Any]) -> list[str]: ...

    def save(self, folder: Path) -> None: ...


def load_captioner(name: str | Path, device: torch.device | str = "cpu") -> Captioner:
    """What `plait tune caption` wrote, or a GIT or BLIP by its name. Nothing in it is executed.

    Raises:
        EncoderError: no captioner, or one that is damaged or cannot be had.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or str(name).startswith((".", "~")):
            raise EncoderError(f"no captioner '{name}': no such folder; give one written by plait tune caption")
        return PretrainedCaptioner.load(str(name), device=device)
    if not is_decoder(folder):
        if not is_pretrained(folder):
            raise EncoderError(
                f"'{folder}' is no captioner; give a folder written by plait tune caption, or of a GIT or BLIP"
            )
        return PretrainedCaptioner.load(str(folder), device=device)
    try:
        return DecoderCaptioner.load(folder, device)
    except PlaitError:
        raise
    except Exception as error:  # of a damaged folder
        reason = " ".join(str(error).split())[:160]
        raise EncoderError(f"captioner '{folder}' is damaged ({reason}); copy it again or tune it anew") from error


def captions_of(
    captioner: Captioner, pairs: Pairs, rows: Sequence[int], tally: Tally | None = None
) -> list[str | None]:  # fmt: skip
    """A caption for each of some rows; None where the image is missing, cannot be read, or nothing was said of it.

    Args:
        tally: what names unreadable images.
    """
    found: list[str | None] = []
    reasons: dict[int, str] = {}
    with bar(f"caption images ({captioner.name})", len(rows)) as advance:
        for numbers, images in _opened(pairs, rows, reasons):
            shown = [image for image in images if image is not None]
            said = iter(captioner.caption(shown) if shown else ())
            found += [None if image is None else (next(said) or None) for image in images]
            advance(len(numbers))
    if tally is not None and reasons:
        tally.report(pairs, problems_of(pairs, reasons), len(rows))
    return found


def _opened(pairs: Pairs, rows: Sequence[int], reasons: dict[int, str]) -> Iterator[tuple[list[int], list[Any]]]:
    """Rows and their images, some at a time; `reasons` is told why one cannot be read."""

    def opened(row: int, ref: Any) -> Any:
        if ref is None:
            return None
        try:
            return open_image(ref.load())
        except (OSError, ValueError) as error:
            reasons[row] = str(error)
            return None

    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(rows), CHUNK):
            numbers = [int(row) for row in rows[start : start + CHUNK]]
            yield numbers, list(threads.map(opened, numbers, pairs.images(numbers)))
