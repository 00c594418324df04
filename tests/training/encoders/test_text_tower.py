"""Tuned text encoders: on texts whose class is in the order of two words, which a bag of tokens cannot tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from ordered import FEW, PLAIN, TRAIN, VAL, Labelled, changed, ordered, settings, tune, weights
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from plait.config import TextConfig, TextTrainConfig, configure
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.errors import ConfigError, DataError, EncoderError, PlaitError
from plait.training.encoders import text, text_model
from plait.training.encoders.text import TunedText, tune_text
from plait.training.encoders.text_batches import at_random, in_order
from plait.training.encoders.text_model import learning_rate, matmul_precision
from plait.training.encoders.tokens import tokenise
from plait.training.loop import lightning_precision
from plait.training.seeds import warm_cosine

pytestmark = pytest.mark.numerics


def probed(encoder: SentenceEncoder) -> float:
    """Validation accuracy of logistic regression on what an encoder makes of the texts."""
    (texts, targets), (val, val_targets) = TRAIN, VAL
    fitted = LogisticRegression(max_iter=2000).fit(encoder.encode([*map(str, texts)]), targets)
    return float(fitted.score(encoder.encode([*map(str, val)]), val_targets))


@pytest.fixture(scope="module")
def plain(text_folder: Path) -> SentenceEncoder:
    return load_sentence_encoder(str(text_folder), settings(text_folder))


LSTM = ("tower=lstm", "layers=frozen", "lstm_hidden=32", "head_lr=2e-2", "epochs=6")


@pytest.fixture(scope="module")
def lstm(text_folder: Path) -> TunedText:
    return tune(text_folder, *LSTM, rows=TRAIN)


def test_an_lstm_learns_the_order_of_words(lstm: TunedText) -> None:
    counts = CountVectorizer().fit(TRAIN[0])
    bag = LogisticRegression().fit(counts.transform(TRAIN[0]), TRAIN[1]).score(counts.transform(VAL[0]), VAL[1])
    assert bag == 0.5
    assert max(entry["val_accuracy"] for entry in lstm.curve) > 0.9
    assert probed(lstm.encoder) > 0.9
    assert lstm.encoder.dim == 2 * 32
    assert [type(module).__name__ for module in lstm.encoder.model] == ["Transformer", "BiLSTM", "Pooling"]
    assert [entry["epoch"] for entry in lstm.curve] == [1, 2, 3, 4, 5, 6]
    assert lstm.skipped == 0


def test_a_frozen_transformer_is_not_changed(lstm: TunedText, plain: SentenceEncoder) -> None:
    tuned, before = weights(lstm.encoder), weights(plain)
    assert {name for name in tuned if name.startswith("0.")} == set(before)
    assert all(torch.equal(tuned[name], value) for name, value in before.items())


def test_a_tuned_transformer_is_better_than_a_frozen_one(text_folder: Path, plain: SentenceEncoder) -> None:
    tuned = tune(text_folder, "lr=3e-3", "epochs=5", rows=TRAIN).encoder
    assert probed(tuned) > probed(plain) + 0.15
    assert tuned.dim == plain.dim
    assert tuned.fingerprint != plain.fingerprint
    assert not tuned.model.training
    assert not any(parameter.requires_grad for parameter in tuned.model.parameters())
    # The pooler is not part of the sentence vector, so that no gradient reaches it.
    assert changed(tuned, plain) == {name for name in weights(plain) if "pooler" not in name}


@pytest.mark.parametrize("tower", ["pooled", "lstm"])
def test_layers_from_number_n_on(text_folder: Path, plain: SentenceEncoder, tower: str) -> None:
    tuned, before = weights(tune(text_folder, "layers=1", "epochs=1", f"tower={tower}").encoder), weights(plain)
    moved = {name for name, value in before.items() if not torch.equal(tuned[name], value)}
    assert moved == {name for name in before if "encoder.layer.0." in name}


def test_the_same_seed_gives_the_same_weights(text_folder: Path) -> None:
    one, other = (tune(text_folder, "tower=lstm", "epochs=2") for _ in range(2))
    assert changed(one.encoder, other.encoder) == set()
    assert one.encoder.fingerprint == other.encoder.fingerprint
    assert one.curve == other.curve
    assert changed(one.encoder, tune(text_folder, "tower=lstm", "epochs=2", seed=1).encoder)


def test_the_random_state_outside_is_left_alone(text_folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tune(text_folder, "epochs=1")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("tower", ["pooled", "lstm"])
def test_saved_and_loaded(text_folder: Path, tmp_path: Path, tower: str) -> None:
    texts = [*map(str, VAL[0])]
    config = configure(
        overrides=[
            f"text.model={text_folder}", "text.prompt='fresh '", "text.max_length=7", "text.train.epochs=1",
            f"text.train.tower={tower}",
        ]
    ).text  # fmt: skip
    encoder = tune_text(FEW, VAL, 2, config).encoder
    loaded = SentenceEncoder.load(tmp_path / "saved", encoder.save(tmp_path / "saved"))
    assert loaded.fingerprint == encoder.fingerprint
    assert (loaded.name, loaded.prompt) == (str(text_folder), "fresh ")
    np.testing.assert_array_equal(loaded.encode(texts), encoder.encode(texts))
    assert np.isfinite(loaded.encode(["soup " * 99])).all()
    np.testing.assert_allclose(loaded.encode(["soup " * 99]), loaded.encode(["soup " * 4]), atol=1e-6)
    # It can be tuned again, as any encoder can.
    again = tune_text(FEW, VAL, 2, config.model_copy(update={"model": str(tmp_path / "saved")}))
    assert again.encoder.dim == (256 if tower == "lstm" else 32)


def test_a_transformers_folder_without_pooling(text_folder: Path) -> None:
    """The toy's BERT as transformers saves it gives the same towers."""
    bare = text_folder.with_name(f"{text_folder.name}-bert")
    assert not (bare / "modules.json").exists()
    for tower in ("lstm", "pooled"):
        train = (f"tower={tower}", "epochs=1")
        assert changed(tune(bare, *train).encoder, tune(text_folder, *train).encoder) == set()


def test_the_learning_rate() -> None:
    shares = [warm_cosine(step, 200) for step in range(201)]
    np.testing.assert_allclose(shares[:20], np.arange(1, 21) / 21)
    np.testing.assert_allclose(shares[20:], 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, 181)), atol=1e-12)
    assert [warm_cosine(step, 1) for step in (0, 1)] == [0.5, 1.0]


def test_rows_without_text_are_left_out(text_folder: Path) -> None:
    texts, targets = FEW
    gaps: Labelled = (
        [None, *texts[:30], "", " \t", *texts[30:]],
        torch.tensor([0, *targets[:30], 1, 1, *targets[30:]]),
    )
    whole, some = tune(text_folder, "epochs=1"), tune(text_folder, "epochs=1", rows=gaps)
    assert (whole.skipped, some.skipped) == (0, 3)
    assert changed(whole.encoder, some.encoder) == set()
    more = tune_text(
        FEW, ([*VAL[0], None], torch.cat([VAL[1], torch.tensor([1])])), 2, settings(text_folder, *PLAIN, "epochs=1")
    )
    assert more.skipped == 1
    assert more.curve == whole.curve


def test_unit_vectors_are_learnt_from(text_folder: Path, tmp_path: Path) -> None:
    """An encoder that ends in Normalize, as many do, is tuned as well as one that does not."""
    model = SentenceTransformer(str(text_folder), device="cpu")
    SentenceTransformer(modules=[*model, Normalize()], device="cpu").save(str(tmp_path / "unit"))
    tuned = tune(tmp_path / "unit", "lr=3e-3", "epochs=5", rows=ordered(500, 0))
    np.testing.assert_allclose(np.linalg.norm(tuned.encoder.encode(["red soup"]), axis=1), 1, atol=1e-5)
    assert tuned.curve[-1]["val_accuracy"] > 0.9
    assert tuned.curve[-1]["val_loss"] < 0.15  # 0.28 with a classifier of the unit vectors as they are


@pytest.mark.parametrize("tower", ["pooled", "lstm"])
def test_bf16(text_folder: Path, tower: str) -> None:
    tuned = tune(text_folder, f"tower={tower}", "precision=bf16", "epochs=1")
    exact = tune(text_folder, f"tower={tower}", "epochs=1")
    assert lightning_precision("bf16", torch.device("cpu")) == "bf16-mixed"
    assert {value.dtype for value in weights(tuned.encoder).values() if value.is_floating_point()} == {torch.float32}
    assert tuned.curve[0]["val_loss"] == pytest.approx(exact.curve[0]["val_loss"], rel=0.05)
    assert tuned.curve != exact.curve


def test_auto_is_bf16_where_the_device_multiplies_it_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for faster, precision in ((True, "bf16"), (False, "32")):
        monkeypatch.setattr(text_model, "has_bf16", lambda device, faster=faster: faster)
        assert matmul_precision("auto", "cpu") == precision
        assert matmul_precision("16", "cpu") == "16"


@pytest.mark.parametrize(
    ("width", "options", "expected"),
    [(32, {}, 1e-4), (384, {}, 1e-4), (768, {}, 5e-5), (1024, {}, 3.75e-5), (4096, {"lora": 8}, 2e-4),
     (768, {"lr": 3e-5}, 3e-5), (768, {"lr": 3e-5, "lora": 8}, 3e-5)],
)  # fmt: skip
def test_wider_transformers_learn_more_slowly(width: int, options: dict[str, float], expected: float) -> None:
    assert learning_rate(TextTrainConfig.model_validate(options), width) == pytest.approx(expected)


def test_the_transformer_learns_at_its_rate(text_folder: Path) -> None:
    usual, same, faster = (tune(text_folder, f"lr={lr}", "epochs=1").encoder for lr in ("null", "1e-4", "3e-4"))
    assert not changed(usual, same)
    assert changed(usual, faster)


def refused(kind: type[PlaitError], config: TextConfig, rows: Labelled = FEW, val: Labelled = VAL) -> str:
    with pytest.raises(kind) as caught:
        tune_text(rows, val, 2, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_models_that_cannot_be_tuned(text_folder: Path, tmp_path: Path) -> None:
    assert refused(ConfigError, settings("minilm + tfidf + bert")) == (
        "text.model 'minilm + tfidf + bert' is more than one network; give one to be tuned, or set text.tune=false"
    )
    assert refused(ConfigError, settings("tfidf")) == (
        "text.model 'tfidf' has no weights to be tuned; use another, e.g. minilm, or set text.tune=false"
    )
    assert refused(EncoderError, settings("./gone")) == "text.model './gone': no such folder"
    tokenizer = SentenceTransformer(str(text_folder), device="cpu").tokenizer.backend_tokenizer
    words = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    words.save(str(tmp_path / "words"), create_model_card=False)
    assert refused(EncoderError, settings(tmp_path / "words")) == (
        f"text.model '{tmp_path}/words' has no transformer to be tuned; use another, or set text.tune=false"
    )


def test_layers_that_cannot_be_trained(text_folder: Path) -> None:
    assert refused(ConfigError, settings(text_folder, "layers=3")) == (
        f"layers 3: '{text_folder}' has layers 0 to 2; give one of those, 'all' or 'frozen'"
    )
    assert refused(ConfigError, settings(text_folder, "layers=frozen")) == (
        "text.train.layers=frozen leaves nothing to be trained in a pooled tower; set text.train.layers=all, "
        "text.train.tower=lstm or text.tune=false"
    )


def test_no_text_at_all(text_folder: Path) -> None:
    nothing: Labelled = ([None, " ", ""], torch.zeros(3, dtype=torch.long))
    remedy = "train on images alone (model=image) or check data.text"
    assert refused(DataError, settings(text_folder), rows=nothing) == f"no training row has a text; {remedy}"
    assert refused(DataError, settings(text_folder), val=nothing) == f"no validation row has a text; {remedy}"


def test_each_part_learns_at_its_own_rate(text_folder: Path) -> None:
    """With next to no rate for the one, only the other moves."""

    def moved(lr: str, head_lr: str) -> set[str]:
        start, end = (
            weights(tune(text_folder, "tower=lstm", "epochs=1", *rates).encoder)
            for rates in (("lr=1e-30", "head_lr=1e-30"), (f"lr={lr}", f"head_lr={head_lr}"))
        )
        return {name.split(".")[0] for name in start if (end[name] - start[name]).abs().max() > 1e-5}

    assert moved("1e-30", "1e-3") == {"1"}  # the LSTM
    assert moved("1e-3", "1e-30") == {"0"}  # the transformer


def test_a_frozen_transformer_has_no_dropout(text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bool | None, ...]] = set()

    class Task(text._Task):
        def training_step(self, batch: object, number: int) -> Tensor:
            parts = (self.model[0], self.model[1], self.classifier)
            modes = [{module.training for module in part.modules()} for part in parts]
            seen.add(tuple(mode == {True} if len(mode) == 1 else None for mode in modes))
            return super().training_step(batch, number)

    monkeypatch.setattr(text, "_Task", Task)
    tune(text_folder, "tower=lstm", "layers=frozen", "epochs=3")  # after a validation, too
    assert seen == {(False, True, True)}


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_what_the_model_would_be_given(text_folder: Path, side: str) -> None:
    model = SentenceTransformer(str(text_folder), device="cpu")
    model.max_seq_length = 6
    model.tokenizer.padding_side = side
    texts = [*map(str, TRAIN[0][:70])]
    tokens = tokenise(model, "fresh ", texts)
    for batches in (in_order(tokens.lengths, 8), at_random(tokens.lengths, 8, torch.Generator().manual_seed(0))):
        assert sorted(row for batch in batches for row in batch) == list(range(70))
        assert [len(batch) for batch in batches].count(8) == 8
        for batch in batches:
            features, expected = tokens.rows(batch), model.preprocess([texts[i] for i in batch], prompt="fresh ")
            assert features.keys() == expected.keys()
            assert all(np.array_equal(features[name], expected[name]) for name in expected)


def test_batches_are_drawn_anew_and_of_like_length(text_folder: Path) -> None:
    model = SentenceTransformer(str(text_folder), device="cpu")
    lengths = tokenise(model, "", [*map(str, TRAIN[0])]).lengths
    drawn = [at_random(lengths, 8, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert len({frozenset(batch) for batch in drawn[0]} & {frozenset(batch) for batch in drawn[2]}) < 3
    padding = sum(max(lengths[i] for i in batch) * len(batch) for batch in drawn[0]) / sum(lengths) - 1
    assert padding < 0.1
    firsts = Counter(lengths[batch[0]] for batch in drawn[0][:30])
    assert len(firsts) > 2  # not from short to long


def test_the_classifier_computes_in_32_bits_under_autocast(text_folder: Path) -> None:
    config = settings(text_folder, *PLAIN)
    torch.manual_seed(0)
    task = text._Task(text_model.build_text_model(config), [None, None], 3, config.train, 0).eval()  # type: ignore[list-item]
    vectors = torch.randn(5, 32)
    wanted = task.logits(vectors)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(task.logits(vectors), wanted)
