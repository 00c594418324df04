"""Rows a second of each stage, beside a plain timm and sentence-transformers loop over the same rows.

Run with ``make bench``. The image network has random weights (its speed is the same); ratios within one run are what
counts, absolute figures depend on the machine and what else it does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import plait
from plait.data.pairs import Pairs, open_image
from plait.encoders.image import TimmEncoder, create_model, data_config
from plait.encoders.text import load_text_encoders
from plait.encoding import encode_images, encode_texts
from plait.errors import PlaitError
from plait.features import FeatureStore

ROWS, BATCH = 2000, 128


def timed(function: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def plain_images(encoder: TimmEncoder, pairs: Pairs) -> None:
    """Decode, transform and encode batch by batch, as a notebook would."""
    images = [ref.load() for ref in pairs.images() if ref is not None]
    for i in range(0, len(images), BATCH):
        encoder.encode(np.stack([encoder.preprocess(open_image(one)) for one in images[i : i + BATCH]]))


def show(stage: str, seconds: float, plain: float | None = None) -> None:
    """One line of the table."""
    ratio = "" if plain is None else f"{plain / seconds:8.2f} x a plain loop"
    print(f"{stage:<36}{ROWS / seconds:10,.0f} rows/s{ratio}")


def main() -> None:
    """Measure and print."""
    pairs = plait.draw(rows=ROWS)
    model = create_model("tf_efficientnetv2_b0", pretrained=False)
    image = TimmEncoder(model, data_config(model, 64), "tf_efficientnetv2_b0")
    texts = [text for text in pairs.texts if text is not None]
    print(f"{ROWS:,} drawn pairs, 64 px, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    image.encode(np.zeros((BATCH, 3, 64, 64), np.uint8))
    plain = timed(lambda: plain_images(image, pairs))
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(folder)
        show("images, EfficientNetV2-B0", timed(lambda: encode_images(image, pairs, store, BATCH)), plain)
        show("images again, from the store", timed(lambda: encode_images(image, pairs, store, BATCH)))
        for name in ("tfidf", "minilm"):
            try:
                encoder = load_text_encoders(plait.configure(overrides=[f"text.model={name}"]).text, lambda: texts)
            except PlaitError as error:
                print(f"texts, {name}: skipped ({error})")
                continue
            plain = timed(lambda e=encoder: [e[0].encode(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])
            show(f"texts, {name}", timed(lambda e=encoder: encode_texts(e, pairs, store)), plain)
            show(f"texts again, {name}, from the store", timed(lambda e=encoder: encode_texts(e, pairs, store)))


if __name__ == "__main__":
    main()
