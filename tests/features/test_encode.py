from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from timm.data import create_transform, resolve_model_data_config

import plait
from plait.data.images import DECODING, content_hash, open_image
from plait.data.pairs import Pairs
from plait.data.unreadable import Problem
from plait.encoders.image import TimmEncoder
from plait.encoders.text import SentenceEncoder
from plait.encoders.tfidf import fit_tfidf
from plait.features.encode import encode_images, encode_texts
from plait.features.store import FeatureStore
from toys import alone, numbered, picture

pytestmark = pytest.mark.numerics


def no_decoding(*_: object) -> Image.Image:
    raise AssertionError("an image was decoded again")


# ------------------------------------------------------------------ what the libraries themselves give


def test_images_as_a_plain_timm_loop(image_encoder: TimmEncoder, image_folder: Path, drawn: Pairs) -> None:
    model = timm.create_model(f"local-dir:{image_folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    rows = np.flatnonzero(drawn.has_image)
    pixels = torch.stack([transform(open_image(ref.load())) for ref in drawn.images() if ref])  # type: ignore[misc]
    with torch.inference_mode():
        plain = model(pixels).numpy()
    found = encode_images(image_encoder, drawn, batch=24)
    assert found.vectors.shape == (64, 96)
    assert found.vectors.dtype == np.float32
    assert found.vectors.flags.c_contiguous
    assert found.present.tolist() == drawn.has_image.tolist()
    np.testing.assert_allclose(found.vectors[rows], plain, atol=1e-5)
    assert np.abs(np.diff(plain, axis=0)).max(1).min() > 1e-3  # rows differ, so a shift would show


def test_texts_as_sentence_transformers(text_encoder: SentenceEncoder, text_folder: Path) -> None:
    texts = ["soup " * (length + 1) + str(number) for number, length in enumerate([5, 0, 11, 3, 8, 0, 2])]
    plain = SentenceTransformer(str(text_folder), device="cpu").encode(texts, show_progress_bar=False)
    found = encode_texts([text_encoder], Pairs.from_columns(texts=texts))  # encoded longest first
    np.testing.assert_allclose(found.vectors, plain, atol=1e-5)
    assert found.encoded == 7
    distances = np.linalg.norm(plain[:, None] - plain[None], axis=2) + np.eye(7)
    assert distances.min() > 1e-2


def test_text_encoders_side_by_side(text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    texts = ["red soup", "green bowl", None, "fresh green soup", "blue dish"]
    tfidf = fit_tfidf([text for text in texts if text], dim=3)
    pairs = Pairs.from_columns(texts=texts)
    found = encode_texts([text_encoder, tfidf], pairs, store)
    first, second = encode_texts([text_encoder], pairs), encode_texts([tfidf], pairs)
    np.testing.assert_allclose(found.vectors, np.hstack([first.vectors, second.vectors]), atol=1e-6)
    assert found.vectors.shape == (5, 32 + 3)
    assert found.encoded == 4  # by the network
    assert not found.vectors[2].any()
    again = encode_texts([text_encoder, tfidf], pairs, FeatureStore(store.folder))
    assert again.encoded == 0
    np.testing.assert_array_equal(again.vectors, found.vectors)


def test_what_is_quickly_encoded_is_not_stored(text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    """Its scores change with every fit, and reading would take as long."""
    texts = ["red soup", "green bowl", "fresh green soup", "blue dish"]
    plain = fit_tfidf(texts, dim=3)
    scored = plain.with_scores(np.eye(len(plain.vocabulary), 2, dtype=np.float32))
    pairs = Pairs.from_columns(texts=texts)
    found = encode_texts([plain, text_encoder, scored], pairs, store)
    assert found.vectors.shape == (4, 3 + 32 + 5)
    np.testing.assert_array_equal(found.vectors[:, 35:], scored.encode(texts))
    assert {path.stem for path in (store.folder / "features").iterdir()} == {text_encoder.fingerprint}


# ------------------------------------------------------------------ the store


def test_second_call_encodes_nothing(
    image_encoder: TimmEncoder, text_encoder: SentenceEncoder, drawn: Pairs, store: FeatureStore
) -> None:
    images, texts = encode_images(image_encoder, drawn, store), encode_texts([text_encoder], drawn, store)
    assert images.encoded == drawn.has_image.sum()
    assert texts.encoded == len({text for text in drawn.texts if text})
    backwards = np.arange(len(drawn))[::-1]
    fresh = FeatureStore(store.folder)
    again = encode_images(image_encoder, drawn.select(backwards), fresh)
    assert again.encoded == 0
    np.testing.assert_array_equal(again.vectors, images.vectors[backwards])
    again = encode_texts([text_encoder], drawn.select(backwards), fresh)
    assert again.encoded == 0
    np.testing.assert_array_equal(again.vectors, texts.vectors[backwards])


def test_duplicates_are_encoded_once(
    image_encoder: TimmEncoder, text_encoder: SentenceEncoder, store: FeatureStore
) -> None:
    pairs = numbered(5).select([3, 1, 3, 3, 0, 1])
    images, texts = encode_images(image_encoder, pairs, store, batch=2), encode_texts([text_encoder], pairs, store)
    assert (images.encoded, texts.encoded) == (3, 3)
    for found in (images, texts):
        np.testing.assert_array_equal(found.vectors[[2, 3, 5]], found.vectors[[0, 0, 1]])
        assert np.abs(found.vectors[[0, 1, 4]] - found.vectors[[1, 4, 0]]).max(1).min() > 1e-3
    for row, number in enumerate([3, 1, 3, 3, 0, 1]):
        np.testing.assert_allclose(images.vectors[row], alone(image_encoder, picture(number)), atol=1e-5)


def test_missing_inputs(image_encoder: TimmEncoder, text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    pairs = Pairs.from_columns([None, picture(1), ""], ["soup", None, " \n\t"])
    images, texts = encode_images(image_encoder, pairs, store), encode_texts([text_encoder], pairs, store)
    assert images.present.tolist() == [False, True, False]
    assert texts.present.tolist() == [True, False, False]
    assert images.vectors.any(1).tolist() == [False, True, False]
    assert texts.vectors.any(1).tolist() == [True, False, False]
    assert images.problems == texts.problems == []
    nothing = pairs.select([2])
    assert encode_images(image_encoder, nothing, store).vectors.shape == (1, 96)
    assert encode_texts([text_encoder], nothing, store).vectors.shape == (1, 32)
    nobody = pairs.select([])
    assert encode_images(image_encoder, nobody, store).vectors.shape == (0, 96)
    assert encode_texts([text_encoder], nobody, store).vectors.shape == (0, 32)


# ------------------------------------------------------------------ images that cannot be read


def spoilt(folder: Path) -> Pairs:
    """Six rows: good, truncated, corrupt, a text, no file, good."""
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "good.jpg")
    whole = (folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "corrupt.jpg").write_bytes(whole[:2] + bytes(40) + whole[42:])
    (folder / "text.jpg").write_text("soup of the day")
    names = ["good", "cut", "corrupt", "text", "gone", "good"]
    return Pairs.from_columns([folder / f"{name}.jpg" for name in names], ids=[f"id-{name}" for name in names])


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_named(
    image_encoder: TimmEncoder, store: FeatureStore, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = spoilt(tmp_path)
    found = encode_images(image_encoder, pairs, store, workers=workers)
    cut = found.problems[0]
    assert cut.reason.startswith("image file is truncated (")
    assert found.problems == [
        Problem("id-cut", f"{tmp_path}/cut.jpg", cut.reason),
        Problem("id-corrupt", f"{tmp_path}/corrupt.jpg", "not an image"),
        Problem("id-text", f"{tmp_path}/text.jpg", "not an image"),
        Problem("id-gone", f"{tmp_path}/gone.jpg", "no such file"),
    ]
    assert found.present.tolist() == [True, False, False, False, False, True]
    assert found.vectors.any(1).tolist() == found.present.tolist()
    good = alone(image_encoder, (tmp_path / "good.jpg").read_bytes())
    np.testing.assert_allclose(found.vectors[[0, 5]], [good, good], atol=1e-5)

    monkeypatch.setattr("plait.features.encode.open_image", no_decoding)
    again = encode_images(image_encoder, pairs, FeatureStore(store.folder), workers=0)
    assert again.encoded == 0
    assert again.problems == found.problems
    np.testing.assert_array_equal(again.vectors, found.vectors)


def png(width: int, height: int, rows: int) -> bytes:
    """A black one-bit PNG of which so many rows are there."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + (width + 7) // 8) * rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_a_problem(image_encoder: TimmEncoder) -> None:
    bombs = [png(20_000, 20_000, 20_000), png(20_000, 5_000, 1), png(4_000, 4_000, 4_000)]
    assert max(map(len, bombs)) < 100_000
    limit = Image.MAX_IMAGE_PIXELS
    found = encode_images(image_encoder, Pairs.from_columns(bombs, ids=["huge", "large", "fine"]))
    # One row of the large one is there: had it been decoded, the reason would be another.
    assert [(problem.id, problem.reason) for problem in found.problems] == [
        ("huge", "image of more than 178 megapixels"),
        ("large", "image of 100 megapixels, more than 89"),
    ]
    assert found.present.tolist() == [False, False, True]
    assert limit == Image.MAX_IMAGE_PIXELS


# ------------------------------------------------------------------ pairing, and a kill


@pytest.mark.parametrize("workers", [0, 2])
def test_pairing_survives_shards_shuffling_and_workers(
    image_encoder: TimmEncoder, text_encoder: SentenceEncoder, store: FeatureStore, tmp_path: Path, workers: int
) -> None:
    whole = numbered(40)
    (tmp_path / "shards").mkdir()
    for shard in range(4):
        rows = whole.select(range(shard * 10, shard * 10 + 10))
        rows.table.to_parquet(tmp_path / "shards" / f"part-{shard}.parquet")
    order = np.random.default_rng(5).permutation(40)
    pairs = plait.read(tmp_path / "shards").select(order)
    assert pairs.ids == [f"r{number}" for number in order]
    images = encode_images(image_encoder, pairs, store, batch=4, workers=workers)
    texts = encode_texts([text_encoder], pairs, store)
    assert (images.encoded, texts.encoded) == (40, 40)
    own_images = [alone(image_encoder, picture(int(number))) for number in order]
    own_texts = [text_encoder.encode([f"dish number {number} of row {number}"])[0] for number in order]
    for found, own in ((images.vectors, np.stack(own_images)), (texts.vectors, np.stack(own_texts))):
        np.testing.assert_allclose(found, own, atol=1e-5)
        nearest = np.linalg.norm(found[:, None] - own[None], axis=2).argmin(1)
        assert nearest.tolist() == list(range(40))


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from toys import numbered
from plait.features import encode as encoding
from plait.encoders.efficientnet_encoder import EfficientNetEncoder
from plait.encoders.image import TimmEncoder
from plait.features.store import FeatureStore

encoding.FLUSH_ROWS = 8
encode = EfficientNetEncoder.encode
def slowly(self, pixels):
    time.sleep(0.2)
    return encode(self, pixels)
EfficientNetEncoder.encode = slowly
encoder = TimmEncoder.load(Path(sys.argv[2]), {"name": "toy"})
encoding.encode_images(encoder, numbered(64), FeatureStore(sys.argv[3]), batch=4, workers=0)
"""


def test_a_killed_encode_goes_on(light_image_folder: Path, store: FeatureStore, tmp_path: Path) -> None:
    image_encoder = TimmEncoder.load(light_image_folder, {"name": "toy"})
    pairs, here = numbered(64), str(Path(__file__).parents[1])
    child = subprocess.Popen([sys.executable, "-c", CHILD, here, str(light_image_folder), str(store.folder)])
    try:
        deadline = time.monotonic() + 90
        while not len(store.table(f"{image_encoder.fingerprint}-{DECODING}")):
            assert child.poll() is None, "the child ended before it was killed"
            assert time.monotonic() < deadline, "the child committed nothing"
            time.sleep(0.05)
    finally:
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    table = store.table(f"{image_encoder.fingerprint}-{DECODING}")
    kept = len(table)
    assert not table.missing([content_hash(picture(number)) for number in range(kept)])
    found = encode_images(image_encoder, pairs, FeatureStore(store.folder), batch=4, workers=0)
    assert found.encoded == 64 - kept
    assert 0 < found.encoded < 64
    uninterrupted = encode_images(image_encoder, pairs, FeatureStore(tmp_path / "other"), batch=4, workers=0)
    assert uninterrupted.encoded == 64
    np.testing.assert_allclose(found.vectors, uninterrupted.vectors, atol=1e-6)
    assert found.present.all()
