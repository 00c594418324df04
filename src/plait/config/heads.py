"""The sections about what is trained on top of the encoders: heads, joint training, joint spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from plait.config.base import Layers, PositiveFloat, PositiveInt, Precision, Probability, Section
from plait.errors import did_you_mean

LateChoice = Literal["auto", "mean", "product", "weighted", "stacking"]
# An early head is a file in that folder, and its name the choice: a new one needs no other place.
EARLY_HEADS = sorted(
    file.stem for file in (Path(__file__).parents[1] / "fusion" / "early").glob("[a-z]*.py") if file.stem != "base"
)


def _early_head(name: str) -> str:
    if name not in EARLY_HEADS:
        raise ValueError(f"no early head '{name}'.{did_you_mean(name, EARLY_HEADS)}")
    return name


EarlyChoice = Annotated[str, AfterValidator(_early_head)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class TowersConfig(Section):
    """Early fusion by towers: dense layers with ReLU for each modality, concatenated before one softmax layer."""

    image: Widths = (128,)
    text: Widths = (512, 256, 128)


class HuseConfig(Section):
    """HUSE (Narayana et al. 2019): both towers end in one normalised space with one classifier."""

    image: Widths = (512, 512, 512, 512, 512)
    text: Widths = (512, 512)
    dropout: Probability = 0.15
    graph: float = Field(1.0, ge=0, description="weight of the semantic-graph loss")
    gap: float = Field(1.0, ge=0, description="weight of the cross-modal gap loss")
    margin: PositiveFloat = Field(0.7, description="cosine distance up to which the graph loss holds classes apart")


class HeadConfig(Section):
    """The trained part on top of the features."""

    kind: Literal["linear", "mlp"] = Field(
        "linear", description="of one modality; linear: logistic regressions at their optimum, one an encoder, joined"
    )
    hidden: PositiveInt = 512
    dropout: Probability = 0.5
    late: LateChoice = Field(
        "auto", description="auto: mean, product or weighted, the best in a cross-validation on held-out rows"
    )
    early: EarlyChoice = "mlp"
    towers: TowersConfig = TowersConfig()
    huse: HuseConfig = HuseConfig()
    modality_dropout: float = Field(
        0.2, ge=0, le=0.5, description="share of rows that early fusion sees without image, or text"
    )
    folds: int = Field(
        5, ge=2, le=20, description="that up to 2,000 training rows are cross-fitted by, for calibration and fusion"
    )


class TrainConfig(Section):
    """How heads are trained. Linear heads have one optimum, which is found whatever epochs, batch, lr and patience."""

    epochs: PositiveInt = Field(100, description="at most; an MLP or a fusion stops when patience is over")
    batch: PositiveInt | None = Field(
        None, description="rows a step; null: 32 to 512, so that an epoch has some 32 steps"
    )
    lr: PositiveFloat = Field(1.5e-3, description="at its highest; it falls to 0 when patience is over")
    weight_decay: float = Field(0.01, ge=0, description="of MLPs and fusions; linear heads choose their L2 strength")
    label_smoothing: Probability | None = Field(None, description="null: none for linear heads, 0.1 for others")
    patience: PositiveInt = Field(
        1, description="epochs of 32 steps without a validation loss that is 5 % better, before the learning rate falls"
    )
    class_weights: Literal["none", "balanced"] = "none"


class JointConfig(Section):
    """Early fusion trained end to end with its encoders; with both frozen, only the head is trained, on features."""

    image: Layers = "frozen"
    text: Layers = "frozen"
    epochs: PositiveInt = 5
    batch: PositiveInt = 32
    lr: PositiveFloat = Field(5e-5, description="of the encoders")
    head_lr: PositiveFloat = 1e-3
    weight_decay: float = Field(0.01, ge=0)
    label_smoothing: Probability = 0.1
    accumulate: PositiveInt = Field(1, description="batches a step")
    precision: Precision = Field("auto", description="auto: bf16 where the GPU has it, else 32 bits")


class SpaceConfig(Section):
    """A joint space, in which pictures find texts and texts pictures: two towers on features, trained contrastively."""

    loss: Literal["info_nce", "sigmoid"] = Field("info_nce", description="softmax over a batch, or SigLIP's sigmoid")
    same_class: Literal["auto", "mask", "positive", "negative"] = Field(
        "auto",
        description="rows of one class: no negatives of each other (mask), right answers, or negatives like any "
        "others; auto: mask or negative, by the recall on validation rows",
    )
    hard: float = Field(0.0, ge=0, description="how much near negatives weigh more; 0: all the same, 1 to 5: hard ones")
    dim: PositiveInt = Field(256, description="of the space")
    hidden: PositiveInt = 512
    dropout: Probability = 0.3
    temperature: PositiveFloat = Field(0.07, description="at the start; it is learnt")
    epochs: PositiveInt = Field(24, description="at most")
    patience: PositiveInt = Field(8, description="epochs without a better recall on validation rows before stopping")
    batch: PositiveInt = 512
    lr: PositiveFloat = 1e-3
    weight_decay: float = Field(0.1, ge=0)
