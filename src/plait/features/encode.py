"""From pairs to features: hash every input, encode the new ones in batches, read all back in row order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from os import cpu_count
from typing import Any

import numpy as np

from plait.config import ImageConfig
from plait.data.images import ImageRef, image_ref, open_image
from plait.data.pairs import Pairs
from plait.data.unreadable import Problem, Tally, problems_of
from plait.encoders.base import ImageEncoder, TextEncoder
from plait.encoders.pair import EncoderPair
from plait.features.costs import evenly
from plait.features.gather import Cache, Memory, gather
from plait.features.store import FLUSH_ROWS, FeatureStore
from plait.features.tables import Tables
from plait.processes import mine, wait
from plait.progress import bar

WORKERS = 16  # threads that decode, at most
AHEAD = 2  # batches that are decoded while one is encoded


@dataclass(frozen=True)
class Features:
    """One modality of N rows.

    Attributes:
        vectors: (N, D) float32, contiguous; zeros where the input is missing. On disk where a store limits memory
            and they are too many.
        present: (N,) bool.
        encoded: how many inputs were new and had to be encoded.
        seconds: wall seconds it took.
        problems: images that could not be read; their rows count as missing.
    """

    vectors: Any
    present: np.ndarray
    encoded: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    def hidden(self) -> Features:
        """The same rows as if none had this modality."""
        return Features(self.vectors, np.zeros_like(self.present))


def encode_texts(encoders: Sequence[TextEncoder], pairs: Pairs, store: FeatureStore | None = None) -> Features:
    """Features of the text modality, those of several encoders side by side."""
    start = time.perf_counter()
    texts = pairs.texts
    hashes = pairs.text_hashes
    by_hash = {value: text for value, text in zip(hashes, texts, strict=True) if value is not None and text is not None}
    caches: list[tuple[Cache, int]] = []
    encoded = 0
    for encoder in encoders:
        cache: Cache
        if store is None or encoder.quick:
            cache = Memory(len(by_hash), encoder.dim, store)
        else:
            cache = store.table(encoder.fingerprint, encoder.name)
        new = cache.missing(list(by_hash))
        if cache.shared:
            new = [value for value in new if mine(value)]
        new.sort(key=lambda value: len(by_hash[value]), reverse=True)
        single = partial(_single_texts, encoder, by_hash, new)
        with _timed(store, encoder, len(new), single), bar(f"encode text ({encoder.name})", len(new)) as advance:
            for chunk in _chunks(new, FLUSH_ROWS):
                # Batches of like length waste no padding; a chunk is what one kill can lose.
                vectors = encoder.encode([by_hash[value] for value in chunk])
                cache.append(chunk, vectors, [None] * len(chunk))
                advance(len(chunk))
        if cache.shared:
            wait()
            cache.renew()
        caches.append((cache, encoder.dim))
        encoded += 0 if encoder.quick else len(new)
    return Features(gather(caches, hashes, store), pairs.has_text, encoded, time.perf_counter() - start)


def encode_images(
    encoder: ImageEncoder, pairs: Pairs, store: FeatureStore | None = None, batch: int = 128, workers: int | None = None
) -> Features:
    """Features of the image modality. An unreadable image is a `Problem` and its row counts as missing."""
    start = time.perf_counter()
    hashes, opened = pairs.image_hashes
    reasons = dict(opened)
    first_row = {value: row for row, value in reversed(list(enumerate(hashes))) if value is not None}
    tables, encoded = Tables(encoder, store, len(first_row)), 0
    for one in tables.lacking(list(first_row)):
        new = sorted(first_row[value] for value in one.hashes if not tables.shared or mine(value))
        single = partial(_single_images, one.encoder, pairs, new)
        with _timed(store, one.encoder, len(new), single), bar("encode images", len(new)) as advance:
            for chunk in _encoded_chunks(one.encoder, pairs, new, batch, workers):
                values = [value for row in chunk.rows if (value := hashes[row]) is not None]
                tables.append(one.encoder, values, chunk.vectors, chunk.reasons)
                advance(len(chunk.rows))
        encoded += len(new)
    if tables.shared:
        wait()
        tables.renew()
    known = tables.problems()
    reasons.update({row: known[value] for row, value in enumerate(hashes) if value is not None and value in known})
    present = np.array([value is not None for value in hashes], bool)
    present[list(reasons)] = False
    readable = [value if ok else None for value, ok in zip(hashes, present, strict=True)]
    vectors = gather(tables.columns, readable, store)
    return Features(vectors, present, encoded, time.perf_counter() - start, problems_of(pairs, reasons))


def encode(
    encoders: EncoderPair, pairs: Pairs, config: ImageConfig, store: FeatureStore | None = None,
    tally: Tally | None = None,
) -> dict[str, Features]:  # fmt: skip
    """Features of every modality that there are encoders for.

    Args:
        tally: what names unreadable images, and raises DataError where they are too many.
    """
    tally = tally or Tally()
    found: dict[str, Features] = {}
    if encoders.image is not None:
        tally.look(pairs)
        found["image"] = image = encode_images(encoders.image, pairs, store, config.batch, config.workers)
        tally.report(pairs, image.problems, len(image.problems) + int(image.present.sum()))
    if encoders.text:
        found["text"] = encode_texts(encoders.text, pairs, store)
    return found


@dataclass(frozen=True)
class _Chunk:
    rows: list[int]
    vectors: np.ndarray
    reasons: list[str | None]


Decoded = tuple[np.ndarray | None, str | None]  # (3, H, W) uint8, or why there is none


def decode(encoder: ImageEncoder, ref: ImageRef) -> Decoded:
    """The pixels of one image as the encoder takes them, or the reason why it cannot be read."""
    try:
        return encoder.preprocess(open_image(ref.load(), encoder.size)), None
    except (OSError, ValueError) as error:
        return None, str(error)


class _Decoder:
    """Decodes batches of images in threads, some batches ahead of who encodes them."""

    def __init__(self, encoder: ImageEncoder, pairs: Pairs, workers: int | None):
        self.encoder, self.table = encoder, pairs.table.select_columns("image")
        self.workers = min(WORKERS, cpu_count() or 2) if workers is None else max(1, workers)

    def batches(self, rows: Sequence[int], size: int) -> Iterator[tuple[list[int], list[Decoded]]]:
        """Every row once, in order."""
        waiting: deque[tuple[list[int], list[Future[list[Decoded]]]]] = deque()
        starts = iter(range(0, len(rows), size))
        with ThreadPoolExecutor(self.workers, "plait-decode") as pool:
            try:
                while True:
                    while len(waiting) <= AHEAD and (start := next(starts, None)) is not None:
                        batch = list(rows[start : start + size])
                        waiting.append((batch, [pool.submit(self._decode, part) for part in self._parts(batch)]))
                    if not waiting:
                        return
                    batch, parts = waiting.popleft()
                    yield batch, [item for part in parts for item in part.result()]
            finally:
                pool.shutdown(cancel_futures=True)

    def _parts(self, batch: list[int]) -> Iterator[list[int]]:
        size = -(-len(batch) // self.workers)
        for start in range(0, len(batch), size):
            yield batch[start : start + size]

    def _decode(self, rows: list[int]) -> list[Decoded]:
        refs = (image_ref(image) for image in self.table[rows]["image"])
        return [decode(self.encoder, ref) if ref is not None else (None, "no image") for ref in refs]


def _encoded_chunks(
    encoder: ImageEncoder, pairs: Pairs, rows: Sequence[int], batch: int, workers: int | None
) -> Iterator[_Chunk]:
    """Encode the given rows, about FLUSH_ROWS at a time."""
    done: list[int] = []
    vectors: list[np.ndarray] = []
    reasons: list[str | None] = []
    for batch_rows, decoded in _Decoder(encoder, pairs, workers).batches(rows, batch):
        block = np.zeros((len(batch_rows), encoder.dim), np.float32)
        pixels = [one for one, _ in decoded if one is not None]
        if pixels:
            block[[one is not None for one, _ in decoded]] = encoder.encode(np.stack(pixels))
        done += batch_rows
        reasons += [reason for _, reason in decoded]
        vectors.append(block)
        if len(done) >= FLUSH_ROWS:
            yield _Chunk(done, np.concatenate(vectors), reasons)
            done, vectors, reasons = [], [], []
    if done:
        yield _Chunk(done, np.concatenate(vectors), reasons)


Singles = list[Callable[[], Any]]


def _timed(
    store: FeatureStore | None, encoder: ImageEncoder | TextEncoder, rows: int, single: Callable[[], Singles]
) -> AbstractContextManager[None]:
    """A block whose time goes to the costs of the store; see `Costs.measured`."""
    return nullcontext() if store is None else store.costs.measured(encoder, rows, single)


def _single_texts(encoder: TextEncoder, by_hash: Mapping[bytes, str], new: Sequence[bytes]) -> Singles:
    return [partial(encoder.encode, [by_hash[value]]) for value in evenly(new)]


def _single_images(encoder: ImageEncoder, pairs: Pairs, rows: Sequence[int]) -> Singles:
    """Functions that each decode and encode one picture; those that cannot be read are left out."""

    def encode_one(ref: ImageRef) -> None:
        pixels, _ = decode(encoder, ref)
        assert pixels is not None
        encoder.encode(pixels[None])

    refs = [ref for ref in pairs.images(evenly(rows)) if ref is not None]
    return [partial(encode_one, ref) for ref in refs if decode(encoder, ref)[0] is not None]


def _chunks(items: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
