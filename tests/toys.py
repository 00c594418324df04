"""Toy encoders and pictures that tests share."""

from __future__ import annotations

import io
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from plait.data.images import open_image
from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder, create_model, data_config, save_timm

TOY_SIZE = 48
Run = Callable[..., tuple[int, str, str]]  # the command line: exit code, standard output, standard error
WORDS = ["dish", "soup", "bowl", "row", "number", "of", "with", "and", "the", "red", "green", "blue", "fresh", "from"]


def make_image_folder(
    folder: Path, seed: int = 0, size: int = TOY_SIZE, name: str = "test_resnet", **arguments: object
) -> Path:
    """A timm ``local-dir:`` folder of a model with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = create_model(name, False, num_classes=0, **arguments)
    save_timm(model, data_config(model, size), folder)
    return folder


def make_light_image_folder(folder: Path, seed: int = 0, size: int = TOY_SIZE) -> Path:
    """The same of a network that plait opens and writes down without timm and PyTorch's exporter."""
    blocks = ("cn_r1_k3_s1_e1_c8_skip", "er_r1_k3_s2_e4_c16", "ir_r1_k3_s2_e4_c32_se0.25")
    return make_image_folder(folder, seed, size, "plait_efficientnet", blocks=blocks, stem=8, features=96)


def make_text_folder(folder: Path, seed: int = 0) -> Path:
    """A sentence-transformers folder: a random BERT of one layer, mean pooling, its own WordPiece vocabulary."""
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    plain = folder.with_name(f"{folder.name}-bert")
    plain.mkdir(parents=True)
    signs = [*string.ascii_lowercase, *string.digits]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs), *WORDS]
    (plain / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    BertTokenizerFast(vocab=str(plain / "vocab.txt"), vocab_file=str(plain / "vocab.txt")).save_pretrained(plain)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(plain)
    SentenceTransformer(str(plain), device="cpu").save(str(folder), create_model_card=False)
    return folder


def picture(number: int, side: int = 40, kind: str = "PNG") -> bytes:
    """An image of one colour, which tells the number."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), ((number * 37) % 256, (number * 91) % 256, number % 256)).save(buffer, kind)
    return buffer.getvalue()


def numbered(n: int) -> Pairs:
    """Rows whose image and text tell the row's number."""
    return Pairs.from_columns(
        [picture(i) for i in range(n)],
        [f"dish number {i} of row {i}" for i in range(n)],
        ids=[f"r{i}" for i in range(n)],
    )


def alone(encoder: TimmEncoder, content: bytes) -> np.ndarray:
    """Features of one image by itself."""
    return encoder.encode(encoder.preprocess(open_image(content))[None])[0]
