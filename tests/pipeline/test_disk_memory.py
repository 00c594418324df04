"""A comparison whose features stay on disk is the comparison in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.encoders.text import SentenceEncoder
from plait.encoders.tfidf import fit_tfidf
from plait.errors import StoreError
from plait.features import gather
from plait.features.encode import encode_texts
from plait.features.store import FeatureStore
from plait.matrix import DiskMatrix


def test_a_comparison_on_disk(drawn: Pairs, toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    new = DiskMatrix.new

    def watched(folder: Path, rows: int, width: int) -> DiskMatrix:
        made.append(rows)
        return new(folder, rows, width)

    monkeypatch.setattr(DiskMatrix, "new", watched)
    config = toy_config("text.model=tfidf", "data.test_fraction=0.4")
    memory = plait.compare(drawn, config=config)
    assert not made
    disk = plait.compare(drawn, config=config.model_copy(update={"memory_mb": 0.001}))
    assert len(made) >= 6  # two modalities of training, validation and test rows
    for name, model in memory.models.items():
        np.testing.assert_allclose(disk.models[name].probabilities, model.probabilities, atol=1e-4)


def test_encoders_side_by_side_on_disk(
    text_encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "READ_ROWS", 3)
    texts = ["red soup", "green bowl", None, "fresh green soup", "blue dish", "red soup", "pale dish"]
    encoders = [text_encoder, fit_tfidf([text for text in texts if text], dim=3)]
    pairs = Pairs.from_columns(texts=texts)
    memory = encode_texts(encoders, pairs, FeatureStore(tmp_path))
    disk = encode_texts(encoders, pairs, FeatureStore(tmp_path, memory_mb=1e-6))
    assert isinstance(disk.vectors, DiskMatrix)
    np.testing.assert_allclose(disk.vectors[:].numpy(), memory.vectors, atol=1e-6)
    assert disk.encoded == 0
    np.testing.assert_array_equal(disk.present, memory.present)


def test_a_disk_too_small(text_encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: DiskMatrix, first: int, block: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    pairs, store = Pairs.from_columns(texts=["red soup", "green bowl"]), FeatureStore(tmp_path, memory_mb=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(DiskMatrix, "write", full)
        with pytest.raises(StoreError) as caught:
            encode_texts([text_encoder], pairs, store)
    assert str(caught.value) == (
        f"features cannot be written to '{tmp_path}/features': no space left on the device; free space there or choose "
        "another folder with store=FOLDER (what was encoded so far is kept)"
    )
    assert encode_texts([text_encoder], pairs, store).encoded == 0
