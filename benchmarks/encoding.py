"""Rows a second of each encoder, beside plain timm and sentence-transformers loops, and of full-size photos."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.timing import Table, seconds
from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder
from plait.encoders.pixels import normalise
from plait.encoders.text import SentenceEncoder
from plait.features.encode import encode_images, encode_texts
from plait.memory import reuse_freed
from plait.pipeline.classifier import Classifier

BATCH, PHOTOS = 128, 200


def measure(classifier: Classifier, pairs: Pairs, table: Table) -> None:
    """Add the rows."""
    image, (text, *_) = classifier.engine_.encoders.image, classifier.engine_.encoders.text
    assert isinstance(image, TimmEncoder)
    anew = seconds(lambda: encode_images(image, pairs, batch=BATCH))
    reused = reuse_freed()
    found = seconds(lambda: encode_images(image, pairs, batch=BATCH))
    if reused:
        table.add("images, freed memory used again", times_of_mapped_anew=anew / found)
    plain = seconds(lambda: plain_images(image, pairs))
    table.add("images", rows_a_second=len(pairs) / found, of_a_plain_timm_loop=plain / found)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, image.size, image.size), np.uint8)
    found, other = seconds(lambda: image.encode(pixels)), seconds(lambda: in_pytorch(image, pixels))
    table.add("a batch of pixels", rows_a_second=BATCH / found, of_the_same_in_pytorch=other / found)
    photos = Pairs.from_columns(images=[photo(i) for i in range(PHOTOS)])
    found = seconds(lambda: encode_images(image, photos, batch=BATCH), 2)
    plain = seconds(lambda: plain_images(image, photos), 2)
    table.add("photos of 1024 x 768", rows_a_second=PHOTOS / found, of_a_plain_timm_loop=plain / found)
    found = seconds(lambda: encode_texts([text], pairs))
    if isinstance(text, SentenceEncoder):
        plain = seconds(lambda: plain_texts(text, pairs))
        table.add("texts", rows_a_second=len(pairs) / found, of_a_plain_sentence_transformers_loop=plain / found)
    else:
        table.add("texts", rows_a_second=len(pairs) / found)


def in_pytorch(encoder: TimmEncoder, pixels: np.ndarray) -> np.ndarray:
    """What networks without a graph are run by."""
    with torch.inference_mode():
        return encoder.folded(normalise(torch.from_numpy(pixels), encoder.settings)).numpy()


def photo(seed: int) -> bytes:
    """A JPEG of 1024 x 768 pixels with structure of every size."""
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 256, (3 * 2**k, 4 * 2**k, 3), np.uint8) for k in range(2, 8)]
    scaled = [np.asarray(Image.fromarray(layer).resize((1024, 768)), np.float32) for layer in layers]
    buffer = io.BytesIO()
    Image.fromarray(np.mean(scaled, axis=0).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def plain_images(encoder: TimmEncoder, pairs: Pairs) -> np.ndarray:
    """Decode, transform and encode batch by batch, as a notebook does with timm alone."""
    from timm.data.transforms_factory import create_transform

    transform: Any = create_transform(**encoder.settings, is_training=False)
    images = [ref.load() for ref in pairs.images() if ref is not None]
    model = encoder.model.to(memory_format=torch.contiguous_format)
    found = []
    with torch.inference_mode():
        for i in range(0, len(images), BATCH):
            opened = (Image.open(io.BytesIO(one)).convert("RGB") for one in images[i : i + BATCH])
            found.append(model(torch.stack([transform(one) for one in opened])))
    model.to(memory_format=torch.channels_last)
    return torch.cat(found).numpy()


def plain_texts(encoder: SentenceEncoder, pairs: Pairs) -> np.ndarray:
    """What sentence-transformers does by default."""
    return np.asarray(encoder.model.encode([text or "" for text in pairs.texts], show_progress_bar=False))
