from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from plait.config import Config
from plait.encoders.text import MINILM_PACKAGE, SentenceEncoder, load_sentence_encoder, load_text_encoders
from plait.encoders.tfidf import TfidfEncoder
from plait.errors import DataError, EncoderError
from toys import make_text_folder

pytestmark = pytest.mark.numerics

TEXTS = ["red soup", "a bowl of fresh green soup with blue 12", "dish"]


def no_texts() -> list[str]:
    raise AssertionError("the training texts were asked for")


def refused(config: Config) -> str:
    with pytest.raises(EncoderError) as caught:
        load_text_encoders(config.text, no_texts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder(toy_config: Callable[..., Config], tmp_path: Path) -> None:
    assert refused(toy_config(f"text.model={tmp_path}/gone")) == f"text.model '{tmp_path}/gone': no such folder"
    assert refused(toy_config("text.model=./gone")) == "text.model './gone': no such folder"


def test_a_folder_without_a_model(toy_config: Callable[..., Config], tmp_path: Path) -> None:
    message = refused(toy_config(f"text.model={tmp_path}"))
    assert message.startswith(f"text.model '{tmp_path}' cannot be had (")
    assert message.endswith("); check the name and the network, give a folder, or use text.model=tfidf")


def test_weights_that_cannot_be_had(toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    start = time.monotonic()
    message = refused(toy_config("text.model=nobody/no-such-model"))
    assert message.startswith("text.model 'nobody/no-such-model' cannot be had (")
    assert message.endswith("); check the name and the network, give a folder, or use text.model=tfidf")
    assert time.monotonic() - start < 30
    assert constants.HF_HUB_OFFLINE is False


def test_tfidf_learns_from_the_training_texts(toy_config: Callable[..., Config]) -> None:
    (encoder,) = load_text_encoders(toy_config("text.model=tfidf").text, lambda: TEXTS)
    assert isinstance(encoder, TfidfEncoder)
    assert (encoder.name, encoder.dim) == ("tfidf", 2)
    vectors = encoder.encode([*TEXTS, "unheard"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-6)


def test_names_joined_by_plus(toy_config: Callable[..., Config], text_folder: Path) -> None:
    config = toy_config(f"text.model={text_folder} + tfidf+tfidf-char").text
    assert config.networks == [str(text_folder)]
    encoders = load_text_encoders(config, lambda: TEXTS)
    assert [encoder.name for encoder in encoders] == [str(text_folder), "tfidf", "tfidf-char"]
    assert [isinstance(encoder, TfidfEncoder) for encoder in encoders] == [False, True, True]


def test_size_of_the_matrix_and_of_what_is_left_of_it(toy_config: Callable[..., Config]) -> None:
    texts = [f"{a} {b}" for a in ("red", "green", "blue", "warm") for b in ("soup", "stew", "bowl", "dish")]
    config = toy_config("text.model=tfidf+tfidf-char", "text.tfidf_dim=3", "text.tfidf_terms=9").text
    for encoder in load_text_encoders(config, lambda: texts):
        assert isinstance(encoder, TfidfEncoder)
        assert (encoder.dim, len(encoder.vocabulary)) == (3, 9)


def test_tfidf_that_learns_nothing_is_left_out_beside_a_network(
    toy_config: Callable[..., Config], text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"条目{i:03d}番" for i in range(300)]  # no word twice
    (encoder,) = load_text_encoders(toy_config(f"text.model=tfidf+{text_folder}").text, lambda: texts)
    assert encoder.name == str(text_folder)
    warning = "warning: text.model=tfidf: the 300 training texts share no words; going on without it\n"
    assert capsys.readouterr().err == warning
    with pytest.raises(DataError, match=r"share no words; use another text\.model, or give more rows$"):
        load_text_encoders(toy_config("text.model=tfidf").text, lambda: texts)


def test_minilm_comes_from_the_installed_package(toy_config: Callable[..., Config]) -> None:
    pytest.importorskip(MINILM_PACKAGE)
    (encoder,) = load_text_encoders(toy_config("text.model=minilm").text, no_texts)
    assert (encoder.name, encoder.dim) == ("minilm", 384)
    soup, broth, car = encoder.encode(["a bowl of soup", "hot broth in a dish", "the car needs new tyres"])
    assert soup @ broth > 0.3 + soup @ car


def test_prompt_and_length(toy_config: Callable[..., Config], text_folder: Path) -> None:
    plain = load_sentence_encoder(str(text_folder), toy_config().text)
    prompted = load_sentence_encoder(str(text_folder), toy_config("text.prompt='red '").text)
    np.testing.assert_allclose(prompted.encode(["soup"]), plain.encode(["red soup"]), atol=1e-6)
    short = load_sentence_encoder(str(text_folder), toy_config("text.max_length=4").text)
    np.testing.assert_allclose(short.encode(["red soup and fish"]), plain.encode(["red soup"]), atol=1e-6)


def test_fingerprint_names_weights_and_preprocessing(
    toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    def fingerprint(folder: Path, *overrides: str) -> str:
        return load_sentence_encoder(str(folder), toy_config(*overrides).text).fingerprint

    usual = fingerprint(text_folder)
    assert usual == fingerprint(text_folder, "text.batch=3")
    assert usual == fingerprint(Path(shutil.copytree(text_folder, tmp_path / "moved")))
    other_words = Path(shutil.copytree(text_folder, tmp_path / "words"))
    tokenizer = (other_words / "tokenizer.json").read_text("utf-8")
    (other_words / "tokenizer.json").write_text(tokenizer.replace('"soup"', '"stew"'), "utf-8")
    others = {
        usual,
        fingerprint(text_folder, "text.prompt='query: '"),
        fingerprint(text_folder, "text.max_length=9"),
        fingerprint(make_text_folder(tmp_path / "seed", seed=1)),
        fingerprint(other_words),
    }
    assert len(others) == 5


def test_saved_and_loaded(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    config = toy_config("text.prompt='red '", "text.max_length=6", "text.batch=2").text
    encoder = load_sentence_encoder(str(text_folder), config)
    settings = encoder.save(tmp_path / "saved")
    assert settings == {
        "kind": "sentence", "name": str(text_folder), "prompt": "red ", "batch": 2, "precision": "32",
        "max_length": 6,
    }  # fmt: skip
    loaded = SentenceEncoder.load(tmp_path / "saved", settings)
    assert loaded.fingerprint == encoder.fingerprint
    assert (loaded.prompt, loaded.dim) == ("red ", 32)
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
    assert SentenceEncoder.open(tmp_path / "saved", settings).batch == 2


@pytest.mark.parametrize("kind", ["tfidf", "tfidf-char"])
def test_a_saved_tfidf_is_the_same(kind: str, toy_config: Callable[..., Config], tmp_path: Path) -> None:
    (encoder,) = load_text_encoders(toy_config(f"text.model={kind}").text, lambda: TEXTS)
    settings = encoder.save(tmp_path / "saved")
    assert settings == {"kind": "tfidf", "terms": kind}
    loaded = TfidfEncoder.load(tmp_path / "saved", settings)
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
    (other,) = load_text_encoders(toy_config(f"text.model={kind}").text, lambda: [*TEXTS, "stew"])
    assert other.fingerprint != encoder.fingerprint


def test_a_model_with_other_modules_is_not_saved(text_folder: Path, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    class Doubled(torch.nn.Module):
        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {**features, "sentence_embedding": features["sentence_embedding"] * 2}

    model = SentenceTransformer(str(text_folder), device="cpu")
    encoder = SentenceEncoder(SentenceTransformer(modules=[*model, Doubled()], device="cpu"), "mine")
    with pytest.raises(EncoderError) as caught:
        encoder.save(tmp_path / "saved")
    assert str(caught.value) == (
        "text.model 'mine' has a module 'Doubled' that a run cannot keep; use another text.model"
    )
    assert not (tmp_path / "saved").exists()
