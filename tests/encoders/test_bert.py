"""BERTs run directly, against sentence-transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel

from plait.config import Config
from plait.encoders.bert import Bert, BertEncoder, Form
from plait.encoders.bert_graph import written
from plait.encoders.onnx import Graph
from plait.encoders.pair import EncoderPair
from plait.encoders.text import MINILM_PACKAGE, SentenceEncoder, load_sentence_encoder
from plait.errors import EncoderError

pytestmark = pytest.mark.numerics

LONG = "a bowl of fresh green soup with blue 12 " * 30  # of more tokens than the toy has positions
TEXTS = ["red soup", "", "dish", LONG, "Blue   12", "red soup", "soupe à l'œuf 🍲", "green"]


def saved(text_folder: Path, config: Config, folder: Path) -> tuple[SentenceEncoder, dict[str, Any]]:
    encoder = load_sentence_encoder(str(text_folder), config.text)
    return encoder, encoder.save(folder)


def peer(folder: Path, texts: list[str], prompt: str = "") -> np.ndarray:
    model = SentenceTransformer(str(folder), device="cpu")
    return np.asarray(model.encode(texts, batch_size=3, prompt=prompt or None))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("prompt", ["", "red "])
def test_it_is_what_sentence_transformers_computes(
    pooling: str, prompt: str, toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    config = toy_config(f"text.pooling={pooling}", f"text.prompt='{prompt}'", "text.batch=2")
    encoder, settings = saved(text_folder, config, tmp_path / "saved")
    opened = SentenceEncoder.load(tmp_path / "saved", settings)
    assert isinstance(opened, BertEncoder)
    expected = peer(tmp_path / "saved", TEXTS, prompt)
    np.testing.assert_allclose(opened.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(TEXTS), opened.encode(TEXTS))
    assert opened.fingerprint == encoder.fingerprint
    assert opened.parameters == encoder.parameters
    assert opened.encode([]).shape == (0, 32)


def test_length_one_vectors(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize

    model = SentenceTransformer(modules=[*SentenceTransformer(str(text_folder), device="cpu"), Normalize()])
    model.save(str(tmp_path / "unit"), create_model_card=False)
    _, settings = saved(tmp_path / "unit", toy_config(), tmp_path / "saved")
    opened = SentenceEncoder.load(tmp_path / "saved", settings)
    assert isinstance(opened, BertEncoder)
    vectors = opened.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, peer(tmp_path / "unit", TEXTS), atol=1e-5)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_its_graph_answers_as_it_does(pooling: str, unit: bool) -> None:
    """Three layers and two heads; rows of unlike length, padded with tokens that are not 0."""
    pytest.importorskip("onnxruntime")
    config = BertConfig(vocab_size=50, hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=20,
                        max_position_embeddings=9)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = {name: torch.randn(one.shape) for name, one in BertModel(config).named_parameters()}
    network = Bert(Form(3, 2, 1e-12, pooling, unit), weights, Tokenizer(WordLevel()), None)
    graph = Graph(written(network))
    rows = np.random.default_rng(0).integers(0, 50, (4, 9))
    lengths = [9, 1, 4, 6]
    mask = (np.arange(9) < np.array(lengths)[:, None]).astype(np.int64)
    found = graph({"input_ids": rows, "attention_mask": mask})
    for row, length, vector in zip(rows, lengths, found, strict=True):
        expected = network.form.vectors(weights, torch.from_numpy(row[None, :length]))
        np.testing.assert_allclose(vector, expected[0].numpy(), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.05


def test_a_text_alone_is_as_among_others(toy_config: Callable[..., Config], text_folder: Path) -> None:
    encoder = load_sentence_encoder(str(text_folder), toy_config().text)
    together = encoder.encode([text for text in TEXTS for _ in range(60)])[::60]
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([text]) for text in TEXTS]), atol=1e-5)


def test_minilm(toy_config: Callable[..., Config]) -> None:
    pytest.importorskip(MINILM_PACKAGE, reason="the MiniLM package is not installed")
    encoder = load_sentence_encoder("minilm", toy_config().text)
    np.testing.assert_allclose(encoder.encode(TEXTS), encoder.model.encode(TEXTS), atol=1e-5)


def test_other_weights_and_words_have_another_fingerprint(
    toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    encoder, settings = saved(text_folder, toy_config(), folder)
    tokenizer = (folder / "tokenizer.json").read_text("utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.replace('"soup"', '"stew"'), "utf-8")
    assert SentenceEncoder.load(folder, settings).fingerprint != encoder.fingerprint
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    assert SentenceEncoder.load(folder, settings).fingerprint == encoder.fingerprint
    assert SentenceEncoder.load(folder, {**settings, "prompt": "a "}).fingerprint != encoder.fingerprint
    assert SentenceEncoder.load(folder, {**settings, "max_length": 9}).fingerprint != encoder.fingerprint
    assert SentenceEncoder.load(folder, {**settings, "precision": "bf16"}).fingerprint != encoder.fingerprint
    network = BertModel.from_pretrained(folder)
    with torch.no_grad():
        network.embeddings.word_embeddings.weight[7] += 1
    network.save_pretrained(folder)
    assert SentenceEncoder.load(folder, settings).fingerprint != encoder.fingerprint


def test_a_prompt_around_the_text_opens_the_whole_model(
    toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    encoder, settings = saved(text_folder, toy_config("text.prompt='red {text} soup'"), tmp_path / "saved")
    opened = SentenceEncoder.load(tmp_path / "saved", settings)
    assert isinstance(opened, SentenceEncoder)
    np.testing.assert_array_equal(opened.encode(TEXTS), encoder.encode(TEXTS))


def test_a_run_of_an_earlier_plait_opens(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    encoder, settings = saved(text_folder, toy_config("text.max_length=6"), tmp_path / "saved")
    del settings["max_length"]
    opened = SentenceEncoder.load(tmp_path / "saved", settings)
    assert isinstance(opened, SentenceEncoder)
    assert opened.fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
        {"num_hidden_layers": 2},
        {"model_type": "roberta"},
    ],
)
def test_any_other_network_is_left_to_its_library(
    change: dict[str, Any], toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    saved(text_folder, toy_config(), tmp_path / "saved")
    assert Bert.read(tmp_path / "saved", 64) is not None
    file = tmp_path / "saved/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **change}), "utf-8")
    assert Bert.read(tmp_path / "saved", 64) is None


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_broken_file_is_named(
    name: str, toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path
) -> None:
    _, settings = saved(text_folder, toy_config(), tmp_path / "saved")
    (tmp_path / "saved" / name).write_bytes(b"{" * 20)
    with pytest.raises(EncoderError) as caught:
        SentenceEncoder.load(tmp_path / "saved", settings)
    assert str(tmp_path / "saved") in str(caught.value)


def test_saved_again(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    encoder, settings = saved(text_folder, toy_config("text.max_length=6"), tmp_path / "first")
    again = SentenceEncoder.load(tmp_path / "first", settings).save(tmp_path / "second")
    assert again == settings
    opened = SentenceEncoder.load(tmp_path / "second", again)
    assert opened.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(opened.encode(TEXTS), encoder.encode(TEXTS))


def test_the_whole_model_can_be_had(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    encoder, settings = saved(text_folder, toy_config(), tmp_path / "text-0")
    pair = EncoderPair.load(tmp_path, {"text": [{"folder": "text-0", **settings}]})
    assert isinstance(pair.text[0], BertEncoder)
    (whole,) = pair.opened().text
    assert isinstance(whole, SentenceEncoder)
    assert whole.fingerprint == encoder.fingerprint


def test_no_training_library_is_imported(toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path) -> None:
    _, settings = saved(text_folder, toy_config(), tmp_path / "saved")
    code = (
        "import sys, json; from pathlib import Path; from plait.encoders.text import SentenceEncoder\n"
        "encoder = SentenceEncoder.load(Path(sys.argv[1]), json.loads(sys.argv[2])); encoder.encode(['red soup'])\n"
        "print(sorted({'sentence_transformers', 'transformers', 'sklearn', 'timm'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "saved"), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
