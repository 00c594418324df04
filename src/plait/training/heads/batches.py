"""The rows of an epoch in random order, those on disk a few blocks at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from plait.fusion.inputs import HeadInputs, InMemory

TOGETHER = 1 << 28  # bytes of the rows that are shuffled together
BLOCKS = 64  # of neighbours that these are of


def batches(inputs: HeadInputs, size: int, generator: torch.Generator) -> Iterator[tuple[InMemory, Tensor]]:
    """Batches of `size` rows (the last may be smaller) and the numbers of their rows, each row once.

    Rows in memory are shuffled as a whole. Those on disk in blocks of neighbours: blocks are drawn, read one after
    another, and their rows shuffled together, as streaming data sets do (WebDataset, MosaicML Streaming).
    """
    count = len(inputs)
    for rows in _drawn(inputs, size, generator) if inputs.on_disk else [torch.arange(count)]:
        held = inputs.rows(rows) if inputs.on_disk else inputs
        for part in torch.split(torch.randperm(len(rows), generator=generator), size):
            yield held.rows(part), rows[part]


def _drawn(inputs: HeadInputs, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of blocks that are read and shuffled together; each but the last block is of whole batches."""
    count, width = len(inputs), sum(x.shape[1] for x in inputs.features.values())
    block = max(1, TOGETHER // (4 * width * BLOCKS * size)) * size
    order = torch.randperm(-(-count // block), generator=generator)
    for some in torch.split(order, BLOCKS):
        yield torch.cat([torch.arange(i * block, min((i + 1) * block, count)) for i in some.sort().values.tolist()])
