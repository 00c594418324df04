"""Joint training: encoders and an early-fusion head, end to end; a frozen encoder gives its features once."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from plait.config import Config, JointConfig, Layers, Stage
from plait.data.pairs import Pairs
from plait.devices import in_32_bits
from plait.encoders.image import TimmEncoder
from plait.encoders.pair import EncoderPair
from plait.encoders.pixels import normalise
from plait.encoders.prompts import prompted
from plait.encoders.text import SentenceEncoder
from plait.errors import ConfigError
from plait.fusion.inputs import HeadInputs
from plait.training.encoders.depthwise import widen_small_maps
from plait.training.encoders.images import Draws, Images, Numbers, Rows, batches, only_rows, with_rows
from plait.training.encoders.layers import freeze, train_mode
from plait.training.encoders.memory import needs_memory
from plait.training.encoders.stages import plan
from plait.training.heads.loss import row_losses
from plait.training.heads.practice import Practice
from plait.training.loop import Judged, KeepBest, Loop, SeedEpochs, run_trainer
from plait.training.seeds import Curve, seeded, warm_cosine

CLIP = 1.0  # longest gradient


@dataclass(frozen=True)
class JointRows:
    """Rows to learn from: pairs, their features from the frozen encoders, and the (N,) int64 classes."""

    pairs: Pairs
    inputs: HeadInputs
    targets: Tensor


@dataclass(frozen=True)
class Joint:
    """Encoders and head trained together; the encoders not trained are those given."""

    encoders: EncoderPair
    head: nn.Module
    curve: Curve
    seconds: float


def tune_joint(
    encoders: EncoderPair, head: nn.Module, train: JointRows, val: JointRows, config: Config, *,
    device: torch.device | str = "cpu", checkpoint: Path | None = None,
) -> Joint:  # fmt: skip
    """Train a head of early fusion together with copies of the encoders, as ``config.joint`` says.

    Args:
        encoders: where the towers start; one whose layers are ``frozen`` is not run at all.
        head: prepared and untrained; trained in place.
        val: rows that choose the best epoch.
        checkpoint: file to go on from where it exists, written after every epoch.

    Raises:
        ConfigError: fewer layers than asked for, or several encoders of a modality, or one without weights to tune.
        EncoderError: too little memory; the error says which batch would fit.
    """
    start = time.perf_counter()
    with seeded(config.seed):
        network = _Network(_image(encoders, config), _text(encoders, config), head, _place(encoders))
        task = _Task(network, train, val, config)
        options = config.joint
        loop = Loop(
            options.epochs, device, options.precision, options.accumulate, checkpoint, True, label="tune jointly"
        )
        with needs_memory(task, "joint", loop):
            best = KeepBest()
            run_trainer(task, (None, None), [SeedEpochs(config.seed), best], loop)
    return Joint(network.tuned(encoders, device), head.cpu().eval(), best.curve, time.perf_counter() - start)


def _image(encoders: EncoderPair, config: Config) -> TimmEncoder | None:
    """A copy of the image encoder with the layers to be tuned unfrozen; None where all are frozen."""
    if config.joint.image == "frozen" or encoders.image is None:
        return None
    if not isinstance(encoders.image, TimmEncoder):
        raise ConfigError(
            f"joint.image={config.joint.image} needs one image encoder to tune, not '{config.image.model}'; "
            "set joint.image=frozen or another image.model"
        )
    encoder = copy.deepcopy(encoders.image)
    widen_small_maps(encoder.model)
    freeze(encoder.model, config.joint.image, encoder.name)
    return encoder


def _text(encoders: EncoderPair, config: Config) -> SentenceEncoder | None:
    if config.joint.text == "frozen":
        return None
    networks = [encoder for encoder in encoders.text if isinstance(encoder, SentenceEncoder)]
    if len(networks) != 1:
        raise ConfigError(
            f"joint.text={config.joint.text} needs one text encoder with weights to tune, not '{config.text.model}'; "
            "set joint.text=frozen or another text.model"
        )
    encoder = copy.deepcopy(networks[0])
    _unfreeze_text(encoder, config.joint.text)
    return encoder


def _place(encoders: EncoderPair) -> tuple[int, int]:
    """Columns of the text features, first and one past the last, that are the network's."""
    start = 0
    for encoder in encoders.text:
        if isinstance(encoder, SentenceEncoder):
            return start, start + encoder.dim
        start += encoder.dim
    return start, start


def _unfreeze_text(encoder: SentenceEncoder, layers: Layers) -> None:
    """What follows the transformer (an LSTM, a dense layer) counts as its last layer."""
    for module in list(encoder.model)[1:]:
        module.requires_grad_(True)
    freeze(encoder.model[0], layers, encoder.name)


Given = tuple[Any, Tensor]  # what an encoder takes, of the rows of a batch (B,) bool that have it


class _Network(nn.Module):
    """``features(inputs, known)``: what is tuned encodes its inputs, what is frozen has its known features.

    Rows without an image or a text do not go through a network: batch norms would learn their made-up pixels.

    Args:
        place: columns of the text features, first and one past the last, that `text` makes.
    """

    def __init__(
        self, image: TimmEncoder | None, text: SentenceEncoder | None, head: nn.Module, place: tuple[int, int]
    ):
        super().__init__()
        self.encoders: dict[str, Any] = {"image": image, "text": text}
        self.place = place
        self.image = image.model if image else None
        self.text = text.model if text else None
        self.head = head

    def features(self, inputs: dict[str, Given], known: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, D_s) float32 of each modality; what is tuned gives zeros for rows that have no input."""
        found = dict(known)
        if self.image is not None:
            pixels, rows = inputs["image"]
            found["image"] = torch.zeros_like(known["image"])
            if len(pixels):
                vectors = self.image(normalise(pixels, self.encoders["image"].settings))
                found["image"][rows] = vectors.float()
        if self.text is not None:
            tokens, rows = inputs["text"]
            start, end = self.place
            found["text"] = known["text"].clone()
            found["text"][:, start:end] = 0
            if tokens:
                found["text"][rows, start:end] = self.text(dict(tokens))["sentence_embedding"].float()
        return found

    def tuned(self, encoders: EncoderPair, device: torch.device | str) -> EncoderPair:
        """The encoders as trained, with fingerprints of their own."""
        image, text = encoders.image, encoders.text
        if (was := self.encoders["image"]) is not None:
            image = TimmEncoder(was.model, was.settings, was.name, device, was.precision)
        if (then := self.encoders["text"]) is not None:
            now = SentenceEncoder(then.model.to(device), then.name, then.prompt, then.batch, then.precision)
            text = [now if isinstance(encoder, SentenceEncoder) else encoder for encoder in text]
        return EncoderPair(image, text)


class _Task(lightning.LightningModule):
    def __init__(self, network: _Network, train: JointRows, val: JointRows, config: Config):
        super().__init__()
        self.network, self.train_rows, self.val_rows, self.config = network, train, val, config
        self.practice = Practice(config.head.modality_dropout)
        self.judged = Judged()

    @property
    def options(self) -> JointConfig:
        return self.config.joint

    @property
    def stage(self) -> Stage | None:
        """Augmentation of the image, where it is trained."""
        encoder = self.network.encoders["image"]
        if encoder is None:
            return None
        fixed = self.config.image.train.model_copy(update={"progressive": False, "stages": None})
        return plan(fixed, encoder.size, pretrained=True)[-1]

    def train_dataloader(self) -> Any:
        seed = self.config.seed * 100_003 + self.current_epoch
        rows = torch.arange(len(self.train_rows.targets)).numpy()
        return self._loader(self.train_rows, Draws(rows, self.train_rows.targets, seed), self.stage)

    def val_dataloader(self) -> Any:
        return self._loader(self.val_rows, range(len(self.val_rows.targets)), None)

    def _loader(self, rows: JointRows, sampler: Any, stage: Stage | None) -> Any:
        encoder = self.network.encoders["image"]
        if encoder is None:
            numbers: Any = Numbers(len(rows.targets))
            return batches(numbers, sampler, self.options.batch, 0, only_rows, training=isinstance(sampler, Draws))
        images = Images(Rows(rows.pairs, rows.targets), encoder.settings, stage)
        return batches(
            images, sampler, self.options.batch, self.config.image.workers, with_rows, isinstance(sampler, Draws)
        )

    def _step(self, data: JointRows, batch: Any) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Features, presence and targets of a batch of rows."""
        rows, pixels, readable = batch
        part = data.inputs.rows(rows.cpu())
        known = {s: x.to(self.device) for s, x in part.features.items()}
        present = {s: x.to(self.device) for s, x in part.present.items()}
        inputs: dict[str, Given] = {}
        if self.network.image is not None:
            if len(pixels) == 1 and self.network.image.training:
                pixels, readable = pixels[:0], torch.zeros_like(readable)  # batch norms cannot learn from one
            inputs["image"] = pixels, readable
            present["image"] = present["image"] & readable
        if self.network.text is not None:
            texts = [data.pairs.texts[row] for row, has in zip(rows.tolist(), part.present["text"], strict=True) if has]
            inputs["text"] = self._tokens([text or "" for text in texts]), present["text"]
        return self.network.features(inputs, known), present, data.targets[rows.cpu()].to(self.device)

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        """What the text network takes; nothing of no texts."""
        if not texts:
            return {}
        text = self.network.encoders["text"]
        texts, prefix = prompted(text.model, texts, text.prompt)
        features = text.model.preprocess(texts, prompt=prefix or None)
        return {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in features.items()}

    def on_train_epoch_start(self) -> None:
        train_mode(self.network)  # Lightning keeps the mode it finds

    def training_step(self, batch: Any, _: int) -> Tensor:
        features, present, targets = self._step(self.train_rows, batch)
        features, present = self.practice.apply(features, present)
        loss = row_losses(self.network.head, features, present, targets, self.options.label_smoothing)[1].mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        if not len(batch[0]):
            return
        features, present, targets = self._step(self.val_rows, batch)
        with in_32_bits(self.device):
            self.judged.add(self.network.head(features, present), targets)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.judged.found())

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=CLIP, gradient_clip_algorithm="norm")

    def configure_optimizers(self) -> Any:
        options, head = self.options, list(self.network.head.parameters())
        fresh = {id(parameter) for parameter in head}
        towers = [p for p in self.network.parameters() if p.requires_grad and id(p) not in fresh]
        optimiser = torch.optim.AdamW(
            [{"params": towers, "lr": options.lr}, {"params": head, "lr": options.head_lr}],
            weight_decay=options.weight_decay,
        )
        steps = options.epochs * math.ceil(len(self.train_rows.targets) / (options.batch * options.accumulate))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(warm_cosine, steps=steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rehearse(self, batch: int | None = None) -> tuple[int, int]:
        """One step with `batch` rows; the image size in pixels and the configured batch."""
        encoder = self.network.encoders["image"]
        size = encoder.size if encoder else 0
        if batch is not None:
            pixels = torch.zeros(batch, 3, size, size, dtype=torch.uint8, device=self.device) if encoder else None
            self.on_train_epoch_start()
            texts = self.train_rows.pairs.texts
            rows = torch.full((batch,), max(range(len(texts)), key=lambda row: len(texts[row] or "")))
            everywhere = torch.ones(batch, dtype=torch.bool, device=self.device)
            features, present, targets = self._step(self.train_rows, (rows, pixels, everywhere))
            row_losses(self.network.head, features, present, targets, 0.0)[1].mean().backward()  # type: ignore[no-untyped-call]
            self.zero_grad(set_to_none=True)
        return size, self.options.batch
