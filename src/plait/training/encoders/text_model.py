"""The text model that is trained: its tower, which of its weights move, and how fast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor, nn

from plait.config import Precision, TextConfig, TextTrainConfig
from plait.devices import has_bf16
from plait.encoders.text import SentenceEncoder, open_sentence_model
from plait.errors import ConfigError, DataError, EncoderError
from plait.processes import count
from plait.training.encoders.layers import blocks, freeze, train_mode
from plait.training.encoders.tokens import Tokens, tokenise
from plait.training.loop import KeepBest, Loop, SeedEpochs, run_trainer
from plait.training.seeds import Curve, warm_cosine
from plait.training.shards import is_shared, shard, whole

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CLIP = 1.0  # longest gradient
LORA_ALPHA = 2  # times the rank
LR, WIDTH = 1e-4, 384  # wider transformers learn more slowly: 5e-5 at BERT's 768 is common
LORA_LR = 2e-4


def build_text_model(config: TextConfig) -> SentenceTransformer:
    """The tower to be trained, with the parameters that stay as they are frozen.

    Raises:
        ConfigError: a model that cannot be tuned, layers that it does not have, or nothing to train.
        EncoderError: the model cannot be had, or has no transformer.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    from plait.encoders.lstm import BiLSTM

    options, name = config.train, config.model
    model = open_sentence_model(name, config).float()  # half-precision weights would lose small steps
    first = model[0]
    if not isinstance(first, Transformer):
        raise EncoderError(f"text.model '{name}' has no transformer to be tuned; use another, or set text.tune=false")
    freeze(first, options.layers, name)
    if options.lora:
        _adapt(first, options.lora)
    if options.tower == "lstm":
        lstm = BiLSTM(first.get_embedding_dimension(), options.lstm_hidden)
        modules = [first, lstm, Pooling(lstm.get_embedding_dimension(), "max")]
        prompts: dict[str, Any] = {"prompts": model.prompts, "default_prompt_name": model.default_prompt_name}
        model = SentenceTransformer(modules=modules, device="cpu", **prompts)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            "text.train.layers=frozen leaves nothing to be trained in a pooled tower; set text.train.layers=all, "
            "text.train.tower=lstm or text.tune=false"
        )
    return model


def of_network(config: TextConfig) -> TextConfig:
    """The configuration with the one network of ``model`` alone: what TF-IDF beside it knows is not trained.

    Raises:
        ConfigError: no network, or several.
    """
    networks = config.networks
    if not networks:
        raise ConfigError(
            f"text.model '{config.model}' has no weights to be tuned; use another, e.g. minilm, or set text.tune=false"
        )
    if len(networks) > 1:
        raise ConfigError(
            f"text.model '{config.model}' is more than one network; give one to be tuned, or set text.tune=false"
        )
    return config.model_copy(update={"model": networks[0]})


def _adapt(transformer: Any, rank: int) -> None:
    """Low-rank adapters (Hu et al. 2021) on every linear layer, trained in place of the layers themselves."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ConfigError(
            f"text.train.lora={rank} needs PEFT; pip install 'plait[lora]', or set text.train.lora=0"
        ) from None
    adapters = LoraConfig(r=rank, lora_alpha=LORA_ALPHA * rank, target_modules="all-linear")
    transformer.model = get_peft_model(transformer.model, adapters)


def matmul_precision(precision: Precision, device: torch.device | str) -> Precision:
    """``auto``, made definite: bf16 where the device multiplies it faster, CPUs too, for a transformer is products."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(torch.device(device)) else "32"


def _loop(options: TextTrainConfig, device: torch.device | str, checkpoint: Path | None) -> Loop:
    """How a text encoder is trained."""
    precision = matmul_precision(options.precision, device)
    return Loop(
        options.epochs, device, precision, checkpoint=checkpoint, reload=True, label="tune text encoder",
        shard=_is_sharded(options),
    )  # fmt: skip


def learning_rate(options: TextTrainConfig, width: int) -> float:
    """Of a transformer with so many dimensions, or of its adapters."""
    return options.lr or (LORA_LR if options.lora else LR * min(1.0, WIDTH / width))


def total_weight(options: TextTrainConfig, classes: bool) -> float:
    """Of all objectives: losses are divided by it, since gradients are clipped and more than ratios would count.

    Raises:
        ConfigError: nothing has a weight.
    """
    total = options.angle.weight + (options.classify if classes else 0.0)
    if not total:
        keys = "text.train.classify or " if classes else ""
        raise ConfigError(
            f"no objective has a weight; set {keys}one of text.train.angle.cosine, in_batch and angle above 0"
        )
    return total


def tokens_of(model: SentenceTransformer, config: TextConfig, texts: Sequence[str]) -> Tokens:
    """Texts tokenised for training; those of a batch in one part where all processes must call the network as often.

    Raises:
        DataError: fewer texts than processes that share out the network.
    """
    if not _is_sharded(config.train):
        return tokenise(model, config.prompt, texts)
    if len(texts) < count():
        raise DataError(f"{count()} processes cannot share out {len(texts)} texts; start fewer, or give more rows")
    return tokenise(model, config.prompt, texts, part=len(texts))


def _is_sharded(options: TextTrainConfig) -> bool:
    return options.shard and count() > 1


def train_text(
    task: TextTask, config: TextConfig, seed: int, device: torch.device | str, checkpoint: Path | None
) -> tuple[SentenceEncoder, Curve]:
    """Run a task; its tower as an encoder, with the weights of the best epoch, and the learning curve."""
    best = KeepBest(config.train.patience)
    run_trainer(task, (None, None), [best, SeedEpochs(seed)], _loop(config.train, device, checkpoint))
    tower = _finished(task.model, config).to(device)
    return SentenceEncoder(tower, config.model, config.prompt, config.batch), best.curve


def _finished(model: SentenceTransformer, config: TextConfig) -> SentenceTransformer:
    """A plain model of a trained one: put together, and its adapters added to the weights they adapt."""
    if _is_sharded(config.train):
        weights = whole(model.state_dict())
        model = build_text_model(config)
        model.load_state_dict(weights)
    first: Any = model[0]
    if hasattr(first.model, "merge_and_unload"):
        first.model = first.model.merge_and_unload()
    return model


class TextTask(lightning.LightningModule):
    """Trains a tower; what it learns from is up to those that inherit.

    Args:
        fresh: modules that start from random weights, and learn at ``head_lr``.
    """

    def __init__(self, model: SentenceTransformer, options: TextTrainConfig, seed: int, fresh: list[nn.Module]):
        from plait.encoders.lstm import BiLSTM

        super().__init__()
        self.model, self.options, self.seed = model, options, seed
        self._fresh = [*fresh, *(module for module in model if isinstance(module, BiLSTM))]

    def configure_model(self) -> None:
        """Where the network is sharded, keep this process's part of it; Lightning calls this, and may do so again."""
        if _is_sharded(self.options) and not is_shared(next(self.parameters())):
            others = [module for name, module in self.named_children() if name != "model"]
            shard(self, "vectors", [*blocks(self.model), *others], self.device_mesh)

    def generator(self) -> torch.Generator:
        """Of the order in which an epoch draws."""
        return torch.Generator().manual_seed(self.seed * 100_003 + self.trainer.current_epoch)

    def vectors(self, parts: list[dict[str, Any]]) -> Tensor:
        """(B, D) float32 of a batch of tokenised texts, in parts."""
        return torch.cat([self.model(dict(part))["sentence_embedding"].float() for part in parts])

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training, at most."""
        raise NotImplementedError

    def on_train_epoch_start(self) -> None:
        train_mode(self)  # Lightning keeps the modes it finds

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=CLIP, gradient_clip_algorithm="norm")

    def configure_optimizers(self) -> Any:
        options = self.options
        fresh = {id(parameter) for module in self._fresh for parameter in module.parameters()}
        first: Any = self.model[0]
        lr = learning_rate(options, first.get_embedding_dimension())
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for parameter in self.parameters():
            if parameter.requires_grad:
                decay = options.weight_decay if parameter.ndim > 1 else 0.0  # not of biases and norms
                groups[options.head_lr if id(parameter) in fresh else lr, decay].append(parameter)
        optimiser = torch.optim.AdamW(
            [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(warm_cosine, steps=self.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
