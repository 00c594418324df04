"""Too little memory: the batch that would fit."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from plait.config import Config, configure
from plait.data.pairs import Pairs
from plait.errors import EncoderError
from plait.pipeline.models import fit_model
from plait.pipeline.prepare import Preparation
from plait.training.encoders import image, joint
from plait.training.encoders.images import Rows
from plait.training.encoders.memory import needs_memory
from plait.training.heads.fitter import Fitter
from plait.training.loop import Loop


class Device:
    """A training that does a step with up to `holds` rows, and is on the CPU at first."""

    def __init__(self, holds: int, batch: int):
        self.holds, self.batch, self.place, self.tried = holds, batch, "cpu", list[tuple[str, int]]()
        self.weights = [torch.nn.Parameter(torch.ones(3))]

    def to(self, device: torch.device, /) -> None:
        self.place = str(device)

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass

    def parameters(self) -> list[torch.nn.Parameter]:
        return self.weights

    def rehearse(self, batch: int | None = None) -> tuple[int, int]:
        if batch is not None:
            self.tried.append((self.place, batch))
            if batch > self.holds:
                raise torch.OutOfMemoryError("no room")
        return 128, self.batch


def refusal(device: Device, error: BaseException) -> str:
    with pytest.raises(EncoderError) as caught, needs_memory(device, "image.train", Loop(1, "cuda:1")):
        raise error
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_names_the_batch_that_fits(error: BaseException) -> None:
    device = Device(holds=20, batch=96)
    assert refusal(device, error) == (
        "out of memory at 128 px with 96 rows a batch; 12 would fit: image.train.batch=12 and image.train.accumulate=8"
    )
    assert device.tried == [("cuda:1", 48), ("cuda:1", 24), ("cuda:1", 12)]  # where the training ran
    assert device.place == "cpu"


def test_nothing_fits() -> None:
    assert refusal(Device(holds=1, batch=8), MemoryError()) == (
        "out of memory at 128 px, even with two rows a batch; set a smaller image.size or model"
    )


def test_the_weights_alone_do_not_fit() -> None:
    class Heavy(Device):
        def to(self, device: torch.device, /) -> None:
            if device.type != "cpu":
                raise torch.OutOfMemoryError("no room")

    assert "even with two rows a batch" in refusal(Heavy(holds=9, batch=8), MemoryError())


class Activations:
    """What a step keeps for its backward pass."""


def test_a_failed_step_is_forgotten_before_another_is_tried() -> None:
    kept: list[weakref.ref[Activations]] = []

    class Hungry(Device):
        def rehearse(self, batch: int | None = None) -> tuple[int, int]:
            assert all(one() is None for one in kept)
            if batch is not None:
                self.tried.append((self.place, batch))
                step(batch > 4)
            return 128, self.batch

    def step(fails: bool = True) -> None:
        held = Activations()
        kept.append(weakref.ref(held))
        if fails:
            raise torch.OutOfMemoryError("no room")

    device = Hungry(holds=4, batch=16)
    with pytest.raises(EncoderError, match="4 would fit"), needs_memory(device, "joint", Loop(1)):
        step()
    assert [batch for _, batch in device.tried] == [8, 4]
    assert len(kept) == 3


def test_a_step_is_tried_in_the_precision_of_the_training() -> None:
    found: list[torch.dtype] = []

    class Product(Device):
        def rehearse(self, batch: int | None = None) -> tuple[int, int]:
            if batch is not None:
                found.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return 128, self.batch

    for loop in (Loop(1, precision="bf16"), Loop(1)):
        with pytest.raises(EncoderError, match="4 would fit"), needs_memory(Product(8, 8), "joint", loop):
            raise MemoryError
    assert found == [torch.bfloat16, torch.float32]


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), needs_memory(Device(1, 8), "image.train", Loop(1)):
        raise RuntimeError("shapes do not match")


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def played_gpu(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fit fails as on a GPU, and moves to one are noted instead of made."""
    moves: list[str] = []
    monkeypatch.setattr(module, "run_trainer", out_of_memory)
    monkeypatch.setattr(module._Task, "to", lambda self, device: moves.append(str(device)) or self)
    return moves


def test_image_training_is_rehearsed_where_it_ran(drawn: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    moves, rows = played_gpu(image, monkeypatch), Rows(drawn, torch.zeros(len(drawn), dtype=torch.int64))
    scratch = configure(overrides=["image.model=test_resnet", "image.pretrained=false", "image.size=32"]).image
    with pytest.raises(EncoderError, match="32 rows a batch; 16 would fit"):
        image.tune_image(rows, rows, 2, scratch, device="cuda:1")
    assert moves == ["cuda:1", "cpu"]


def test_joint_training_is_rehearsed_where_it_ran(
    drawn: Pairs, toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = played_gpu(joint, monkeypatch)
    config = toy_config("model=early", "image.size=32", "joint.image=all", "joint.text=all")
    prepared = Preparation(drawn, config)
    fitter = Fitter(prepared.task(), config, prepared.device)
    prepared.device = torch.device("cuda:1")
    with pytest.raises(EncoderError, match="32 rows a batch; 16 would fit"):
        fit_model(prepared, fitter, "early")
    assert moves == ["cuda:1", "cpu"]
