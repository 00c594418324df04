"""Text encoders of several makes, tiny and random: how they pool, pad, read prompts, and come back from a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.config import Config, TextConfig, configure
from plait.data.pairs import Pairs
from plait.encoders.prompts import ANGLE_PROMPT, prompted
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.errors import ConfigError, EncoderError
from plait.fusion.inputs import HeadInputs
from plait.pipeline.prepare import Preparation
from plait.training.encoders.joint import JointRows, _Network, _Task
from plait.training.encoders.text import tune_text

pytestmark = pytest.mark.numerics

TEXTS = ["red soup", "a bowl of fresh green soup with blue fish and rice", "dish", "the dish"]
WORDS = ["a", "and", "blue", "bowl", "cake", "dish", "fish", "fresh", "green", "in", "of", "one", "red", "rice", "soup"]
OTHERS = ["sentence", "summarize", "the", "with", "word", '"', ":", "."]
LLAMA_CHAT = "{% for m in messages %}<s> chat {{ m['content'] }}</s>{% endfor %}"
MODELS = ["llama", "gpt2", "uae", "roberta", "modernbert"]
POOLED = {"llama": "last", "gpt2": "last", "uae": "cls", "roberta": "mean", "modernbert": "mean"}


def make_tokenizer(folder: Path, begin: str, end: str, pad: str | None, closes: bool, **options: Any) -> int:
    """A word-level tokenizer; returns how many tokens it has."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = [begin, end, "<unk>", *([pad] if pad else [])]
    words = {word: i for i, word in enumerate([*special, *WORDS, *OTHERS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    single = f"{begin} $A {end}" if closes else f"{begin} $A"
    ids = [(token, words[token]) for token in (begin, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    tokens: dict[str, Any] = {"bos_token": begin, "eos_token": end, "unk_token": "<unk>", "pad_token": pad}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens, **options)
    fast.save_pretrained(folder)
    return len(words)


def make_model(kind: str, folder: Path, **options: Any) -> Path:
    """A folder with a tiny random model, as transformers saves it, or (uae) as sentence-transformers does."""
    import transformers as hf

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    wide = {**sizes, "intermediate_size": 48, "initializer_range": 0.5, "max_position_embeddings": 64}
    encodes = kind in ("uae", "roberta", "modernbert")
    side = {"padding_side": "left"} if kind in ("llama", "gpt2") else {}
    tokens = make_tokenizer(folder, "<s>", "</s>", "<pad>" if encodes else None, encodes, **side, **options)
    pad = {"pad_token_id": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = {
            "llama": lambda: hf.LlamaModel(hf.LlamaConfig(vocab_size=tokens, **wide)),
            "gpt2": lambda: hf.GPT2LMHeadModel(
                hf.GPT2Config(vocab_size=tokens, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5)
            ),
            "uae": lambda: hf.BertModel(hf.BertConfig(vocab_size=tokens, **pad, **wide)),
            "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(vocab_size=tokens, **pad, **wide)),
            "modernbert": lambda: hf.ModernBertForMaskedLM(
                hf.ModernBertConfig(vocab_size=tokens, **pad, **wide, cls_token_id=0, sep_token_id=1)
            ),
        }[kind]()
    model.save_pretrained(folder)
    return with_cls_pooling(folder) if kind == "uae" else folder


def with_cls_pooling(plain: Path) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(plain))
    model = SentenceTransformer(modules=[transformer, Pooling(32, "cls")], device="cpu")
    folder = plain.with_name(f"{plain.name}-pooled")
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    return {kind: make_model(kind, root / kind) for kind in MODELS}


def opened(folder: Path, *overrides: str) -> SentenceEncoder:
    config = configure(overrides=["device=cpu", "text.batch=4", "text.precision=32", *overrides]).text
    return load_sentence_encoder(str(folder), config)


def by_hand(folder: Path, text: str, pooling: str) -> np.ndarray:
    """One text through the bare transformer, its last hidden state pooled with no library's help."""
    from transformers import AutoModel, AutoTokenizer

    model: Any = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = model(**tokens).last_hidden_state[0].numpy()
    found: np.ndarray = {"last": states[-1], "cls": states[0], "mean": states.mean(0)}[pooling]
    return found


# ------------------------------------------------------------------ pooling and padding


@pytest.mark.parametrize("kind", MODELS)
def test_pooling_of_its_own(kind: str, folders: dict[str, Path]) -> None:
    expected = [by_hand(folders[kind], text, POOLED[kind]) for text in TEXTS]
    vectors = opened(folders[kind]).encode(TEXTS)
    assert vectors.shape == (4, 32)
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_asked_for(kind: str, pooling: str, folders: dict[str, Path]) -> None:
    encoder = opened(folders[kind], f"text.pooling={pooling}")
    expected = [by_hand(folders[kind], text, pooling) for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-5)
    assert (encoder.fingerprint == opened(folders[kind]).fingerprint) == (pooling == POOLED[kind])


@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_gives_what_its_texts_give_alone(kind: str, folders: dict[str, Path]) -> None:
    encoder = opened(folders[kind])
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=2e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_decoder_is_padded_with_its_end_on_the_right(kind: str, folders: dict[str, Path]) -> None:
    tokenizer = opened(folders[kind]).model.tokenizer
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("</s>", "right")


def test_a_tokenizer_without_any_end(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "endless"))
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(EncoderError) as caught:
        opened(folder)
    assert str(caught.value) == (
        f"text.model '{folder}': its tokenizer has neither a padding nor an end token; add one to its files"
    )


def test_no_token_vectors_to_be_pooled(folders: dict[str, Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folders["roberta"] / "tokenizer.json"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    model.save(str(tmp_path / "static"), create_model_card=False)
    template = opened(tmp_path / "static", "text.prompt='{text} soup'")
    np.testing.assert_allclose(template.encode(["red"]), opened(tmp_path / "static").encode(["red soup"]), atol=1e-6)
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path / "static", "text.pooling=cls")
    assert str(caught.value) == (
        f"text.pooling=cls: '{tmp_path}/static' pools no token vectors; leave text.pooling away"
    )


def test_a_decoder_with_pooling_of_its_own_keeps_it(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = opened(folders["llama"], "text.pooling=mean")
    encoder.save(tmp_path / "mean")
    np.testing.assert_allclose(opened(tmp_path / "mean").encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


# ------------------------------------------------------------------ saved and loaded


@pytest.mark.parametrize("kind", MODELS)
def test_saved_and_loaded(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = opened(folders[kind], 'text.prompt=one {text} word:"')
    vectors = encoder.encode(TEXTS)
    settings = encoder.save(tmp_path / "saved")
    loaded = SentenceEncoder.load(tmp_path / "saved", settings)
    assert (loaded.prompt, loaded.fingerprint) == ('one {text} word:"', encoder.fingerprint)
    np.testing.assert_array_equal(loaded.encode(TEXTS), vectors)
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(SentenceEncoder.load(tmp_path / "again", settings).encode(TEXTS), vectors)


# ------------------------------------------------------------------ prompts


def test_angles_prompt_is_told_and_can_be_set() -> None:
    assert ANGLE_PROMPT == 'Summarize sentence "{text}" in one word:"'
    assert ANGLE_PROMPT in str(TextConfig.model_fields["prompt"].description)
    assert configure(overrides=[f"text.prompt={ANGLE_PROMPT}"]).text.prompt == ANGLE_PROMPT


@pytest.mark.parametrize("kind", ["llama", "uae"])
def test_a_template_is_put_around_every_text(kind: str, folders: dict[str, Path]) -> None:
    encoder = opened(folders[kind], f"text.prompt={ANGLE_PROMPT}")
    whole = [f'Summarize sentence "{text}" in one word:"' for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), opened(folders[kind]).encode(whole), atol=2e-5)
    assert encoder.fingerprint != opened(folders[kind]).fingerprint


def test_prompted(folders: dict[str, Path]) -> None:
    model = opened(folders["llama"]).model
    assert prompted(model, ["red", "{text}"], "a {text} of {text}") == (["a red of red", "a {text} of {text}"], "")
    assert prompted(model, ["red"], "fresh ") == (["red"], "fresh ")
    assert prompted(model, ["red"], "") == (["red"], "")
    model.prompts, model.default_prompt_name = {"usual": "blue "}, "usual"
    assert prompted(model, ["red"], "") == (["red"], "blue ")
    assert prompted(model, ["red"], "a {text}") == (["a red"], "")
    assert prompted(model, [], "a {text}") == ([], "")


def test_a_default_prompt_is_not_put_before_a_template(folders: dict[str, Path]) -> None:
    encoder = opened(folders["llama"], "text.prompt='a {text}'")
    expected = encoder.encode(TEXTS)
    encoder.model.prompts, encoder.model.default_prompt_name = {"usual": "blue "}, "usual"
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)


def test_a_long_text_is_cut_and_its_template_is_not(folders: dict[str, Path]) -> None:
    encoder = opened(folders["llama"], "text.prompt='one {text} word: dish'", "text.max_length=10")
    texts = ["red", "red fish and rice in the bowl of cake with soup"]
    assert prompted(encoder.model, texts, encoder.prompt)[0] == ["one red word: dish", "one red fish and word: dish"]
    np.testing.assert_allclose(
        encoder.encode(texts)[1], by_hand(folders["llama"], "one red fish and word: dish", "last"), atol=2e-5
    )


def test_a_template_longer_than_the_model_reads(folders: dict[str, Path]) -> None:
    encoder = opened(folders["llama"], f"text.prompt={ANGLE_PROMPT}", "text.max_length=9")
    with pytest.raises(ConfigError) as caught:
        encoder.encode(TEXTS)
    assert str(caught.value) == ("text.prompt leaves a text none of the 9 tokens that are read; raise text.max_length")


def test_a_plain_decoder_reads_texts_not_conversations(tmp_path: Path) -> None:
    """A chat template would put the prompt into a message of the system."""
    folder = make_model("llama", tmp_path / "chat", chat_template=LLAMA_CHAT)
    encoder = opened(folder, "text.prompt='fresh '")
    expected = [by_hand(folder, f"fresh {text}", "last") for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-5)
    settings = encoder.save(tmp_path / "saved")
    loaded = SentenceEncoder.load(tmp_path / "saved", settings)
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_padded_on_the_left_reads_a_text_alike_beside_any_other(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """GPT-2 counts positions from the first place, whether it is padding or not."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folders[kind]), device="cpu")
    model.tokenizer.padding_side = "left"
    model.save(str(tmp_path / "left"), create_model_card=False)
    encoder = opened(tmp_path / "left")
    together, alone = encoder.encode(TEXTS), np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_half_precision(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = Path(shutil.copytree(folders["llama"], tmp_path / "half"))
    AutoModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    vectors = opened(folder).encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, opened(folders["llama"]).encode(TEXTS), atol=0.1)


# ------------------------------------------------------------------ where encoders are trained


def test_joint_training_reads_what_the_encoder_reads(
    folders: dict[str, Path], toy_config: Callable[..., Config]
) -> None:
    encoder = opened(folders["llama"], f"text.prompt={ANGLE_PROMPT}")
    modalities = HeadInputs({"text": torch.zeros(4, 32)}, {"text": torch.ones(4, dtype=torch.bool)})
    rows = JointRows(Pairs.from_columns(texts=TEXTS), modalities, torch.arange(4))
    task = _Task(
        _Network(None, encoder, torch.nn.Identity(), (0, encoder.dim)), rows, rows, toy_config("joint.text=all")
    )
    features, _, targets = task._step(rows, (torch.tensor([2, 0, 1]), None, None))
    np.testing.assert_allclose(features["text"].detach(), encoder.encode(TEXTS)[[2, 0, 1]], atol=2e-5)
    assert targets.tolist() == [2, 0, 1]


def test_a_tuned_encoder_keeps_the_pooling_of_its_folder(
    folders: dict[str, Path], toy_config: Callable[..., Config], drawn: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An LSTM tower pools the maximum, whatever the transformer below it was asked to pool."""
    monkeypatch.setattr(Preparation, "_tuned", lambda *_: folders["uae"])
    settings = ("text.tune=true", "text.pooling=mean")
    prepared = Preparation(drawn, toy_config(*settings), ("text",))
    assert prepared.make_encoders().text[0].fingerprint == opened(folders["uae"]).fingerprint


FAMILIES = [("llama", ("text.train.lora=4", f"text.prompt={json.dumps(ANGLE_PROMPT)}")), ("uae", ()), ("roberta", ())]


LORA = ("text.train.lora=4",)
MORE = [pytest.param(*one, marks=pytest.mark.slow) for one in (("modernbert", ()), ("gpt2", LORA))]


@pytest.mark.parametrize(("kind", "overrides"), [*FAMILIES, *MORE])
def test_every_family_is_tuned_saved_and_opened_again(
    folders: dict[str, Path], kind: str, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    """A class is told by one word among others."""
    from sentence_transformers import SentenceTransformer

    rng = np.random.default_rng(0)
    texts, targets = [], torch.arange(160) % 2
    for target in targets.tolist():
        words = [*rng.choice(["bowl", "rice", "cake", "one", "fish", "green"], 3), "red" if target else "blue"]
        texts.append(" ".join(rng.permutation(words)))
    train = ("epochs=8", "lr=3e-3", "batch=16", "head_lr=1e-2", "precision=32", "patience=8", "angle.cosine=0.01",
             "angle.in_batch=0.01", "angle.angle=0.01")  # fmt: skip
    settings = [f"text.model={folders[kind]}", "text.precision=32", *(f"text.train.{one}" for one in train), *overrides]
    config = configure(overrides=settings).text
    rows = list(texts)
    tuned = tune_text((rows[:120], targets[:120]), (rows[120:], targets[120:]), 2, config)
    losses = [entry["train_loss"] for entry in tuned.curve]
    assert losses[-1] < 0.92 * losses[0]
    tuned.encoder.save(tmp_path / "tuned")
    assert not list((tmp_path / "tuned").rglob("*adapter*"))
    again = load_sentence_encoder(str(tmp_path / "tuned"), config.model_copy(update={"model": "tuned"}))
    np.testing.assert_allclose(again.encode(texts), tuned.encoder.encode(texts), atol=1e-5)
    anyone = SentenceTransformer(str(tmp_path / "tuned"), device="cpu")
    asked, prefix = prompted(anyone, texts, config.prompt)
    found = anyone.encode(asked, prompt=prefix, show_progress_bar=False)
    np.testing.assert_allclose(found, tuned.encoder.encode(texts), atol=1e-5)
    before = opened(folders[kind], "text.precision=32", *overrides)
    assert np.abs(before.encode(texts) - tuned.encoder.encode(texts)).max() > 0.05
