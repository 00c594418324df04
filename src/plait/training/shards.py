"""A network shared out among processes: each holds its part of the weights, gradients and optimiser state.

PyTorch's `fully_shard` (FSDP2, after ZeRO; Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054). A block's
weights are put together where it computes and let go of after, so all must call the network equally often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from plait.processes import count, is_first


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for networks shared out over all processes, with the checkpoints of those that are whole."""

    def __init__(self) -> None:
        super().__init__(count(), 1, save_distributed_checkpoint=False)

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Put together, and by numbers in the order of the groups, as an optimiser by itself has it."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        plain = getattr(optimizer, "_optimizer", optimizer)
        found: Any = get_optimizer_state_dict(self._network, plain, options=options)
        if not is_first():
            return {}
        names = [name for group in found["param_groups"] for name in group["params"]]
        return _renamed(found, {name: number for number, name in enumerate(names)})

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """What was saved, with weights and the optimiser's state shared out again."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        checkpoint: dict[str, Any] = torch.load(checkpoint_path, "cpu", weights_only=weights_only)
        load_weights(self._network, checkpoint.pop("state_dict"))
        names = {parameter: name for name, parameter in self._network.named_parameters()}
        options = StateDictOptions(full_state_dict=True, strict=False)  # a parameter without use has no state
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
            named = _renamed(state, dict(enumerate(order)))
            set_optimizer_state_dict(self._network, optimizer, optim_state_dict=named, options=options)
        return checkpoint

    @property
    def _network(self) -> nn.Module:
        assert self.model is not None
        return self.model


def _renamed(state: Mapping[str, Any], keys: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimiser's state with other keys for its parameters."""
    groups = [{**group, "params": [keys[one] for one in group["params"]]} for group in state["param_groups"]]
    return {"state": {keys[one]: value for one, value in state["state"].items()}, "param_groups": groups}


def shard(root: nn.Module, method: str, blocks: Iterable[nn.Module], mesh: Any) -> None:
    """Share out the parameters of a module, in place.

    Args:
        method: of `root`, that computes with what is in no block.
        blocks: modules of it that are called; each is put together by itself.
        mesh: of processes; ``LightningModule.device_mesh``.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for module in [*blocks, root]:
        fully_shard(module, mesh=mesh["data_parallel"])
    register_fsdp_forward_method(root, method)


def is_shared(value: Any) -> bool:
    """Whether a tensor is one of which each process has a part."""
    if count() == 1:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def whole(weights: Mapping[str, Tensor], everywhere: bool = True) -> dict[str, Tensor]:
    """Weights put together, on the CPU; those that are not shared out as they are. All processes must call this.

    Args:
        everywhere: false: the other processes get none of those that were shared out.
    """
    found = {}
    for name, value in weights.items():
        if not is_shared(value):
            found[name] = value
            continue
        full: Tensor = value.full_tensor().cpu()  # type: ignore[attr-defined]
        if everywhere or is_first():
            found[name] = full
    return found


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights, shared out or whole, into a module that is either. All processes must have whole ones."""
    own = module.state_dict()
    module.load_state_dict(
        {name: _placed(value, own[name]) if name in own else value for name, value in weights.items()}
    )


def _placed(value: Tensor, like: Any) -> Tensor:
    if not is_shared(like) or is_shared(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
