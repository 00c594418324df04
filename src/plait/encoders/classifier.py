"""The linear classifier that an image encoder was tuned with, which stays in its folder beside the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from plait.encoders.image import LOCAL, folder_of
from plait.encoders.pair import EncoderPair
from plait.files import read_json


@dataclass(frozen=True)
class OwnClassifier:
    """Weights (D, K) and bias (K,) for an encoder's features as they are."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, folder: Path, labels: Sequence[str], dim: int) -> OwnClassifier | None:
        """That of a timm folder; None where it has none for `dim` features and these classes in this order."""
        from safetensors import SafetensorError, safe_open

        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("label_names") != list(labels):
            return None
        settings = config.get("pretrained_cfg")
        name = settings.get("classifier") if isinstance(settings, dict) else None
        try:
            with safe_open(folder / "model.safetensors", "pt") as file:
                weight, bias = (file.get_tensor(f"{name}.{kind}").float() for kind in ("weight", "bias"))
        except (OSError, SafetensorError):
            return None
        if weight.shape != (len(labels), dim) or bias.shape != (len(labels),):
            return None
        return cls(weight.T.contiguous(), bias)


def own_classifiers(encoders: EncoderPair, labels: Sequence[str]) -> dict[str, Mapping[int, OwnClassifier]]:
    """Those of the image encoders that were tuned on these classes, by modality and number of the encoder."""
    found = {
        number: OwnClassifier.of(folder_of(encoder.name), labels, encoder.dim)
        for number, encoder in enumerate(encoders.images)
        if encoder.name.startswith(LOCAL)
    }
    return {"image": {number: own for number, own in found.items() if own is not None}}
