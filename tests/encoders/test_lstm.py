"""The LSTM module: by itself against one row at a time, and in the folders that hold it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from plait.config import Config
from plait.data.pairs import Pairs
from plait.encoders import lstm as lstm_module
from plait.encoders import text as text_module
from plait.encoders.lstm import BiLSTM
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.errors import EncoderError
from plait.pipeline.classifier import Classifier
from plait.runs.open import load

pytestmark = pytest.mark.numerics
TEXTS = ["red soup", "a bowl of fresh green soup with blue 12", "dish", "soup red"]


@pytest.fixture(scope="module")
def lstm_folder(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy transformer, an LSTM with 5 units a direction and maximum pooling, as sentence-transformers saves it."""
    folder = tmp_path_factory.mktemp("lstm") / "model"
    transformer = SentenceTransformer(str(text_folder), device="cpu")[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = [transformer, BiLSTM(32, 5), Pooling(10, "max")]
    prompts = {"say": "fresh "}
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts, default_prompt_name="say")
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def copied(lstm_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lstm_folder, tmp_path / "copied"))


def row_by_row(lstm: BiLSTM, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What PyTorch's LSTM gives for the real tokens of each row alone."""
    out = torch.zeros(*mask.shape, 2 * lstm.hidden_dim)
    for row, real in enumerate(mask.bool()):
        if real.any():
            out[row, real] = lstm.encoder(tokens[row, real][None])[0][0]
    return out


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]],
        [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
        [[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 0, 0, 1]],
    ],
    ids=["right", "left", "holes"],
)
def test_each_row_is_read_as_if_alone(mask: list[list[int]]) -> None:
    torch.manual_seed(0)
    lstm, tokens, real = BiLSTM(4, 3).eval(), torch.randn(3, 5, 4), torch.tensor(mask)
    features = {"token_embeddings": tokens, "attention_mask": real}
    with torch.inference_mode():
        out = lstm(dict(features))
        expected = row_by_row(lstm, tokens, real)
    torch.testing.assert_close(out["token_embeddings"], expected)
    assert out["attention_mask"].tolist() == mask
    assert features["attention_mask"] is real
    torch.testing.assert_close(
        Pooling(6, "max")(out)["sentence_embedding"],
        torch.stack([expected[row, real[row].bool()].amax(0) for row in range(3)]),
    )


def test_a_row_without_tokens_is_finite() -> None:
    torch.manual_seed(0)
    lstm, mask = BiLSTM(4, 3).eval(), torch.tensor([[1, 1], [0, 0]])
    out = Pooling(6, "max")(lstm({"token_embeddings": torch.randn(2, 2, 4), "attention_mask": mask}))
    assert out["sentence_embedding"].isfinite().all()
    assert mask.tolist() == [[1, 1], [0, 0]]


def test_gradients_reach_the_tokens() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    BiLSTM(4, 3)({"token_embeddings": tokens, "attention_mask": mask})["token_embeddings"].sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum(2).gt(0).tolist() == mask.bool().tolist()


def test_the_folder_is_one_of_sentence_transformers(lstm_folder: Path, toy_config: Callable[..., Config]) -> None:
    """It opens there too, where code that is not its own is trusted."""
    types = [module["type"] for module in json.loads((lstm_folder / "modules.json").read_text("utf-8"))]
    assert types[1] == "plait.encoders.lstm.BiLSTM"
    theirs = SentenceTransformer(str(lstm_folder), device="cpu", trust_remote_code=True)
    ours = load_sentence_encoder(str(lstm_folder), toy_config("text.batch=2").text)
    assert ours.dim == 10
    np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS, show_progress_bar=False), atol=1e-6)
    single = np.concatenate([ours.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(ours.encode(TEXTS), single, atol=1e-5)
    assert np.abs(single[0] - single[3]).max() > 0.05  # order counts
    prompted = load_sentence_encoder(str(lstm_folder), toy_config("text.prompt='fresh '").text)
    np.testing.assert_allclose(prompted.encode(TEXTS), ours.encode(TEXTS), atol=1e-6)  # the folder's own prompt


def test_saved_and_loaded(lstm_folder: Path, toy_config: Callable[..., Config], tmp_path: Path) -> None:
    encoder = load_sentence_encoder(str(lstm_folder), toy_config("text.max_length=6").text)
    loaded = SentenceEncoder.load(tmp_path / "saved", encoder.save(tmp_path / "saved"))
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


def test_a_run_with_an_lstm(lstm_folder: Path, toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    fitted = Classifier(toy_config("model=text", f"text.model={lstm_folder}")).fit(drawn)
    fitted.save(tmp_path / "run")
    loaded = load(tmp_path / "run", device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(drawn), fitted.predict_proba(drawn), atol=1e-6)


HOSTILE = [
    "evil.BiLSTM",
    "lstm.BiLSTM",
    "plait.encoders.lstm.LSTM",
    "plait.encoders.lstm.BiLSTM.evil",
    "plait.encoders.text.SentenceEncoder",
    "sentence_transformers.sentence_transformer.modules.LSTM",
]


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("beside", [True, False], ids=["beside", "instead"])
def test_other_classes_are_refused(copied: Path, kind: str, beside: bool, toy_config: Callable[..., Config]) -> None:
    marker = copied / "marker"
    for name in ("evil.py", "lstm.py"):
        (copied / name).write_text(f"open({str(marker)!r}, 'w')\nclass BiLSTM: pass\n", "utf-8")
    modules = json.loads((copied / "modules.json").read_text("utf-8"))
    if beside:
        modules.append({"idx": 3, "name": "3", "path": "", "type": kind})
    else:
        modules[1]["type"] = kind
    (copied / "modules.json").write_text(json.dumps(modules), "utf-8")
    message = f"{copied}: module '{kind}' may run code of its own; do not trust this folder"
    settings = {"name": "x", "prompt": "", "batch": 4}
    with pytest.raises(EncoderError) as caught:
        SentenceEncoder.load(copied, settings)
    assert str(caught.value) == message
    if beside:
        with pytest.raises(EncoderError) as caught:
            load_sentence_encoder(str(copied), toy_config().text)
        assert str(caught.value) == message
    assert not marker.exists()


def test_code_of_the_transformer_is_not_run(copied: Path, toy_config: Callable[..., Config]) -> None:
    """A transformer that asks for a class of its own, and for being trusted."""
    marker = copied / "marker"
    (copied / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n", "utf-8")
    config = json.loads((copied / "config.json").read_text("utf-8"))
    config |= {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}, "model_type": "evil"}
    (copied / "config.json").write_text(json.dumps(config), "utf-8")
    trusting = {name: {"trust_remote_code": True} for name in ("model_args", "tokenizer_args", "config_args")}
    settings = json.loads((copied / "sentence_bert_config.json").read_text("utf-8"))
    (copied / "sentence_bert_config.json").write_text(json.dumps(settings | trusting), "utf-8")
    with pytest.raises(EncoderError, match="cannot be had"):
        load_sentence_encoder(str(copied), toy_config().text)
    assert not marker.exists()


def test_a_look_alike_is_not_saved(lstm_folder: Path, tmp_path: Path) -> None:
    class BiLSTM2(BiLSTM):
        pass

    BiLSTM2.__name__ = "BiLSTM"
    transformer, _, pooling = load_parts(lstm_folder)
    encoder = SentenceEncoder(SentenceTransformer(modules=[transformer, BiLSTM2(32, 5), pooling], device="cpu"), "mine")
    with pytest.raises(EncoderError) as caught:
        encoder.save(tmp_path / "saved")
    assert str(caught.value) == "text.model 'mine' has a module 'BiLSTM' that a run cannot keep; use another text.model"


def load_parts(folder: Path) -> list[torch.nn.Module]:
    return list(SentenceTransformer(str(folder), device="cpu", trust_remote_code=True))


def test_more_tokens_than_positions(text_folder: Path, toy_config: Callable[..., Config]) -> None:
    from plait.errors import ConfigError

    assert load_sentence_encoder(str(text_folder), toy_config("text.max_length=64").text).encode(["a " * 99]).any()
    with pytest.raises(ConfigError) as caught:
        load_sentence_encoder(str(text_folder), toy_config("text.max_length=65").text)
    assert str(caught.value) == f"text.max_length 65: '{text_folder}' reads at most 64 tokens; give 64 or less"


def played(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    """A processor that has, or has not, an LSTM in bfloat16."""
    for module in (lstm_module, text_module):
        monkeypatch.setattr(module, "has_bf16_lstm", lambda kind: has)


def test_32_bits_where_the_processor_has_no_lstm_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, False)
    torch.manual_seed(0)
    module = BiLSTM(8, 5)
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    exact = module({"token_embeddings": tokens, "attention_mask": mask})["token_embeddings"]
    with torch.autocast("cpu", torch.bfloat16):
        got = module({"token_embeddings": tokens, "attention_mask": mask})["token_embeddings"]
        half = module({"token_embeddings": tokens.bfloat16(), "attention_mask": mask})["token_embeddings"]
    assert torch.equal(got, exact)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 1e-2  # of its inputs, which had been rounded
    got.sum().backward()
    assert module.encoder.weight_ih_l0.grad is not None


def test_the_fingerprint_says_what_is_computed_in_bf16(
    lstm_folder: Path, text_folder: Path, toy_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prints(has: bool) -> list[str]:
        played(monkeypatch, has)
        config = toy_config("text.precision=bf16").text
        return [load_sentence_encoder(str(folder), config).fingerprint for folder in (lstm_folder, text_folder)]

    with_lstm, without = prints(True), prints(False)
    assert with_lstm[0] != without[0]
    assert with_lstm[1] == without[1]


ASK = """
import torch
from plait.devices import has_bf16, has_bf16_lstm
found = has_bf16(torch.device("cpu")), has_bf16_lstm("cpu"), has_bf16_lstm("cpu")
with torch.autocast("cpu", torch.bfloat16):
    print(*found, torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype)
"""


def test_a_processor_without_avx512() -> None:
    """Played by oneDNN; it still multiplies in bfloat16 where asked to, by and by."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=environment)
    bf16, lstm_too, again, kind = done.stdout.split()
    assert (bf16, kind) == ("False", "torch.bfloat16")
    assert lstm_too == again
    line = "this processor has no LSTM in bf16: that layer computes in 32 bits\n"
    assert done.stderr == ("" if lstm_too == "True" else line)
