"""The sections about encoders: which ones, how they encode, and how they are trained on the rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, field_validator

from plait.config.base import Layers, PositiveFloat, PositiveInt, Precision, Probability, Section

AngleForm = Literal["reference", "paper"]
CropMode = Literal["squash", "center", "border"]  # by timm's names


class Stage(Section):
    """One stage of progressive learning: an image size, and the regularisation that goes with it."""

    size: PositiveInt = Field(description="side in pixels")
    epochs: PositiveInt
    batch: PositiveInt | None = Field(None, description="null: image.train.batch")
    dropout: Probability = Field(0.0, description="before the classifier")
    drop_path: Probability = Field(0.0, description="stochastic depth of the last block; earlier blocks have less")
    randaugment: int = Field(0, ge=0, le=30, description="magnitude; 0: crops, flips and a little colour only")
    crop: float = Field(0.5, gt=0, le=1, description="least share of the picture that a random crop keeps")
    mixup: float = Field(0.0, ge=0, description="alpha of the Beta distribution; 0: none")


class ImageTrainConfig(Section):
    """How an image encoder is trained on the rows, with a linear classifier on top."""

    epochs: PositiveInt | None = Field(None, description="null: 16 from random weights, 10 from pretrained ones")
    batch: PositiveInt = 32
    lr: PositiveFloat | None = Field(None, description="null: 2e-3 from random weights, 2e-4 from pretrained ones")
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: Probability = 0.1
    progressive: bool | None = Field(
        None, description="small images and weak regularisation first (Tan & Le 2021); null: only from random weights"
    )
    strength: float = Field(
        0.2,
        ge=0,
        le=1,
        description="regularisation of the last stage; 1: what the paper gives EfficientNetV2-S in 350 epochs",
    )
    stages: tuple[Stage, ...] | None = Field(
        None, description="null: made from size, epochs and strength; given ones replace epochs and strength"
    )
    batch_stats: bool = Field(
        False, description="batch norms of a pretrained network learn new statistics; false: they keep their own"
    )
    layers: Layers | Literal["upper"] | None = Field(
        None, description="upper: the upper two thirds; null: those of a pretrained network, all from random weights"
    )
    enlarge: bool = Field(
        True,
        description="where image.size is null, tune a pretrained network at 0.8 of the side its features are taken at, "
        "then let validation rows say which of the two sides features are taken at",
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of each layer, of that of the one above")
    ema: Probability = Field(0.0, description="decay of the moving average of the weights; 0: none")
    accumulate: PositiveInt = Field(1, description="batches a step")
    balanced: bool = Field(False, description="draw every class equally often")
    precision: Precision = Field("auto", description="auto: bf16 where the GPU has it, else 32 bits")

    @field_validator("stages")
    @classmethod
    def _never_shrinks(cls, stages: tuple[Stage, ...] | None) -> tuple[Stage, ...] | None:
        for i, (one, following) in enumerate(pairwise(stages or ())):
            if following.size < one.size:
                raise ValueError(
                    f"stage {i + 2} has {following.size} px after {one.size} px; sizes must not shrink: reorder them"
                )
        if stages is not None and not stages:
            raise ValueError("no stage; give at least one, or null for stages made from size and epochs")
        return stages


class ImageConfig(Section):
    """The image encoder: ``lite0`` to ``lite2`` (extra ``offline``), any timm model name, or ``local-dir:FOLDER``.

    Names joined by ``+`` are used side by side; the first alone is what ``tune`` and ``pretrained`` speak of.
    """

    model: str = "lite0"
    pretrained: bool = Field(True, description="false: start from random weights and train on the rows")
    tune: bool = Field(False, description="train it on the rows, as image.train says, before features are taken")
    size: PositiveInt | None = Field(
        None, description="side in pixels; null: what the model was trained with, less where pictures are small"
    )
    crop_mode: CropMode | None = Field(
        None,
        description="of pictures that are not square: squash shows the whole in another aspect ratio, border the whole "
        "with edges added, center cuts away what is too long; null: squash, a folder's own",
    )
    batch: PositiveInt = 128
    precision: Precision = Field("auto", description="of encoding; auto: bf16 where that is faster, else 32 bits")
    workers: int | None = Field(
        None, ge=0, description="threads that decode images (processes, in training); null: by cores"
    )
    train: ImageTrainConfig = ImageTrainConfig()

    @property
    def names(self) -> list[str]:
        """The encoders that ``model`` joins."""
        return [name.strip() for name in self.model.split("+")]

    @property
    def members(self) -> list[ImageConfig]:
        """A configuration for each of them."""
        first, *others = self.names
        as_they_come = (self.model_copy(update={"model": name, "tune": False, "pretrained": True}) for name in others)
        return [self.model_copy(update={"model": first}), *as_they_come]


class AngleConfig(Section):
    """AnglE's three objectives on pairs of texts (Li & Li 2023): weights, and scales, which are 1 / temperature.

    Weights are relative: to one another, and to ``text.train.classify`` where rows have classes.
    """

    cosine: float = Field(0.05, ge=0, description="weight of the cosine objective")
    in_batch: float = Field(0.3, ge=0, description="weight of the in-batch negatives")
    angle: float = Field(0.05, ge=0, description="weight of the angle objective")
    cosine_scale: PositiveFloat = 20.0
    in_batch_scale: PositiveFloat = 20.0
    angle_scale: PositiveFloat = 20.0
    form: AngleForm = Field("reference", description="of the angle: the authors' code, or the paper's phase difference")
    same_class: Literal["mask", "negative"] = Field("mask", description="texts of one class as in-batch negatives")

    @property
    def weight(self) -> float:
        """Of the three together."""
        return self.cosine + self.in_batch + self.angle


class TextTrainConfig(Section):
    """How a text encoder is trained on the rows: AnglE's objectives, and a linear classifier on top."""

    tower: Literal["pooled", "lstm"] = Field("pooled", description="lstm: a bidirectional LSTM over the token vectors")
    lstm_hidden: PositiveInt = Field(128, description="units of each direction")
    layers: Layers = Field("all", description="of the transformer: frozen, all, or from number N on")
    lora: int = Field(0, ge=0, description="rank of low-rank adapters (PEFT) trained in place of layers; 0: none")
    classify: float = Field(1.0, ge=0, description="weight of the classifier's cross-entropy")
    angle: AngleConfig = AngleConfig()
    per_class: PositiveInt = Field(2, description="rows of a class that a batch has together; 1: any rows")
    hard: float = Field(0.5, ge=0, le=1, description="share of a batch from classes confused with one another so far")
    epochs: PositiveInt = 4
    patience: PositiveInt = Field(2, description="epochs without a better validation loss before stopping")
    batch: PositiveInt = 64
    lr: PositiveFloat | None = Field(
        None,
        description="of the transformer; null: 1e-4 up to 384 dimensions, 5e-5 at 768...; 2e-4 of adapters",
    )
    head_lr: PositiveFloat = Field(1e-3, description="of the LSTM and the classifier")
    weight_decay: float = Field(0.01, ge=0)
    label_smoothing: Probability = 0.1
    dropout: Probability = Field(0.1, description="before the classifier")
    precision: Precision = Field("auto", description="auto: bf16 where that is faster, else 32 bits")
    shard: bool = Field(False, description="under torchrun, each process holds a part of the network (FSDP)")


class StaticConfig(Section):
    """How a text encoder is distilled into static vectors of words."""

    dim: PositiveInt = Field(256, description="of the vectors")
    min_count: PositiveInt = Field(3, description="texts that have a word, for it to get a vector of its own")
    epochs: PositiveInt = 10
    batch: PositiveInt = 256
    lr: PositiveFloat = 1e-2


TFIDF = ("tfidf", "tfidf-char")  # of words and pairs of words, and of pieces of words


class TextConfig(Section):
    """The text encoder: ``minilm``, ``tfidf``, ``tfidf-char``, any sentence-transformers or transformers model.

    Names joined by ``+`` are used side by side: TF-IDF sees rare words that an embedding blurs, of characters also
    misspelt and inflected ones.
    """

    model: str = "minilm+tfidf+tfidf-char"
    fill: str | None = Field(
        None,
        description="a captioner (plait tune caption) whose captions stand in for missing texts, for as much as they "
        "gain on validation rows; null: rows without a text are answered by their image alone",
    )
    clean: bool = Field(
        False, description="tags, entity and UTF-8 debris, site names after | are removed before encoding"
    )
    prompt: str = Field(
        "",
        description="put before every text, or around it where it holds {text}; some encoders ask for one, "
        'AnglE for decoders: Summarize sentence "{text}" in one word:"',
    )
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None, description="tokens that a vector is made of; null: the model's own, else mean, last for a decoder"
    )
    max_length: PositiveInt | None = Field(None, description="tokens; null: the encoder's own limit")
    batch: PositiveInt = 128
    precision: Precision = Field("auto", description="of encoding; auto: bf16 where that is faster, else 32 bits")
    tune: bool = Field(False, description="train it on the rows, as text.train says, before features are taken")
    tfidf_dim: PositiveInt = Field(
        256, description="dimensions that early fusion gets of a TF-IDF matrix, at most a quarter of the rows"
    )
    tfidf_terms: PositiveInt = Field(50_000, description="terms that a TF-IDF knows, the most frequent ones")
    train: TextTrainConfig = TextTrainConfig()
    static: StaticConfig = StaticConfig()

    @property
    def names(self) -> list[str]:
        """The encoders that ``model`` joins."""
        return [name.strip() for name in self.model.split("+")]

    @property
    def networks(self) -> list[str]:
        """Those of them that have weights to be trained."""
        return [name for name in self.names if name not in TFIDF]
