"""Too little memory: the batch that would fit."""

from __future__ import annotations

import pytest
import torch

from plait.errors import EncoderError
from plait.tuning.memory import needs_memory


class Device:
    """Does a step with up to `holds` rows."""

    def __init__(self, holds: int, batch: int):
        self.holds, self.batch, self.tried = holds, batch, list[int]()

    def rehearse(self, batch: int | None = None) -> tuple[int, int]:
        if batch is not None:
            self.tried.append(batch)
            if batch > self.holds:
                raise torch.OutOfMemoryError("no room")
        return 128, self.batch


def refusal(device: Device, error: BaseException) -> str:
    with pytest.raises(EncoderError) as caught, needs_memory(device.rehearse, "image.train"):
        raise error
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_names_the_batch_that_fits(error: BaseException) -> None:
    device = Device(holds=20, batch=96)
    assert refusal(device, error) == (
        "out of memory at 128 px with 96 rows a batch; 12 would fit: "
        "--set image.train.batch=12 --set image.train.accumulate=8"
    )
    assert device.tried == [48, 24, 12]


def test_nothing_fits() -> None:
    assert refusal(Device(holds=1, batch=8), MemoryError()) == (
        "out of memory at 128 px, even with two rows a batch; set a smaller image.size or model"
    )


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), needs_memory(Device(1, 8).rehearse, "image.train"):
        raise RuntimeError("shapes do not match")
