"""`plait recipe`: classes, matches, thresholds, and what a chat model writes, on a cookbook drawn from sample rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import plait
from plait.cli import app
from plait.config import Config
from plait.data.pairs import Pairs
from plait.data.sample import DISHES
from plait.errors import ConfigError, DataError, EncoderError
from plait.inference.engine import Engine
from plait.pipeline.recipe import Columns, Cookbook, Threshold
from plait.recipes.chat import load_chat
from plait.retrieval.space import space_of

ToyConfig = Callable[..., Config]
WORDS = "the dish is cooked with rice water salt a for in minutes use recipes data"


@pytest.fixture(scope="module")
def engine(toy_config: ToyConfig, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    rows = plait.draw(rows=320, seed=4, size=32)
    folder = tmp_path_factory.mktemp("runs") / "run"
    plait.Classifier(toy_config("model=late", "text.model=minilm")).fit(rows).save(folder)
    return plait.load(folder)


@pytest.fixture(scope="module")
def cookbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recipes of each dish: honest titles, ingredients by the dish."""
    told = ["title,category,ingredients,steps"]
    for label in sorted(DISHES):
        for number, way in enumerate(("simple", "grandmother's", "spicy", "vegan", "ten minute", "festive")):
            told.append(f'{way} {label.replace("_", " ")},{label},"rice; {label} spice; {number} eggs",Cook it.')
    file = tmp_path_factory.mktemp("cookbook") / "recipes.csv"
    file.write_text("\n".join(told) + "\n", "utf-8")
    return file


@pytest.fixture(scope="module")
def book(engine: Engine, cookbook: Path) -> Cookbook:
    return Cookbook(engine, space_of(engine), cookbook, Columns("ingredients", ("steps",)))


def make_chat_folder(folder: Path) -> Path:
    """A tiny LLaMA with random weights and a chat template."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *WORDS.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="<pad>"
    )
    wrapped.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, eos_token_id=2, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


def test_the_lowest_similarity_that_is_precise_enough() -> None:
    near = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.4])
    right = np.array([True, True, False, True, True, False])
    found = Threshold.fit(near, right, 0.75)
    assert (found.least, found.found, found.taken, found.pairs) == (0.5, 0.8, 5 / 6, 6)
    assert Threshold.fit(near, right, 0.9).least == 0.9  # of the two at 0.8 one is wrong: both stay out
    assert Threshold.fit(near, ~right, 0.99).least == float("inf")


def test_a_dish_finds_recipes_of_its_class(book: Cookbook) -> None:
    new = plait.draw(rows=45, seed=11, size=32)
    some = [i for i, (text, label) in enumerate(zip(new.texts, new.labels, strict=True)) if text and label][:40]
    right = 0
    for row in some:
        answer = book.answer(text=new.texts[row], k=2)
        assert [near for _, near in answer.matches] == sorted((near for _, near in answer.matches), reverse=True)
        right += answer.matches[0][0].fields["dish"] == new.labels[row]
    assert right > 20  # of 40: a quarter of the sample's titles mislead; by chance 2.5
    best = book.answer(text=book.pairs.texts[3], k=1).matches[0]
    assert best[0].fields["title"] == book.pairs.texts[3]
    assert best[1] == pytest.approx(1.0, abs=1e-5)
    assert f"{best[0].fields['dish']} spice" in best[0].ingredients


def test_a_picture_alone_goes_by_the_name_of_its_class(book: Cookbook) -> None:
    new = plait.draw(rows=40, seed=12, size=32)
    ref = next(ref for ref in new.images() if ref is not None)
    answer = book.answer(image=ref.bytes, k=1)
    by_name = book.answer(text=answer.label.replace("_", " "), k=1)
    assert answer.matches[0][0].id == by_name.matches[0][0].id


def test_below_the_threshold_nothing_matches(book: Cookbook, capsys: pytest.CaptureFixture[str]) -> None:
    threshold = book.threshold(0.7, asked=(False, True))
    assert threshold is not None
    assert threshold.found >= 0.7
    assert threshold.pairs == len(book.pairs)
    assert "ingredients of the best match, 96 dishes: F1 " in capsys.readouterr().err
    assert book.answer(text=book.pairs.texts[0], threshold=threshold).fits
    assert not book.answer(text="quarterly tax return of a bank", threshold=threshold).fits


def test_an_answer_is_written_and_checked(book: Cookbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = load_chat(str(make_chat_folder(tmp_path / "chat")))
    asked = []
    real = chat.answer
    monkeypatch.setattr(chat, "answer", lambda told: asked.append(told) or real(told, 12))
    found = book.answer(text=book.pairs.texts[0], chat=chat, k=2)
    assert found.written is not None
    assert found.written.text
    assert set(found.written.text.replace("(in no recipe cited)", "").split()) <= set(
        WORDS.split()
    )  # the twin's own words
    assert found.written.cited == []
    if "rice" in found.written.text:
        assert found.written.unfounded == ["rice"]
    assert [json.loads(line)["id"] for line in asked[0][1]["content"].split("\n")[1:3]] == [
        recipe.id for recipe, _ in found.matches
    ]
    never = Threshold(float("inf"), 0.9, 0.0, 0.0, 40)
    assert book.answer(text="anything", chat=chat, threshold=never).written is None
    assert len(asked) == 1  # where nothing fits, nothing is written


def test_what_cannot_be_answered(
    engine: Engine, book: Cookbook, cookbook: Path, tmp_path: Path, text_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def error(call: Callable[[], object]) -> str:
        with pytest.raises((ConfigError, DataError, EncoderError)) as caught:
            call()
        return str(caught.value)

    empty = tmp_path / "empty.csv"
    empty.write_text("title,category\n")
    assert error(lambda: Cookbook(engine, space_of(engine), empty)) == (
        f"{empty}: the cookbook is empty; give one with recipes"
    )
    assert "no column 'ingredient'" in error(
        lambda: Cookbook(engine, space_of(engine), cookbook, Columns("ingredient"))
    )
    assert error(lambda: book.answer(text="  ")) == (
        "the query has neither an image nor a text; give image, text or both"
    )
    assert error(lambda: book.answer(text="soup", k=0)) == "k 0: ask for 1 recipe or more"
    assert error(lambda: book.threshold(1.5)) == "precision 1.5: give a share above 0, at most 1"
    few = Pairs.from_columns(texts=["soup", "cake"], labels=book.pairs.labels[:2])
    assert book.threshold(0.8, few, (False, True)) is None
    assert capsys.readouterr().err.endswith("have a label and what is asked by, not 20\n")
    assert "has no chat template: it was not tuned to answer" in error(lambda: load_chat(str(plain_llama(tmp_path))))
    assert error(lambda: load_chat(str(tmp_path / "gone"))).startswith(f"llm '{tmp_path / 'gone'}' cannot be had (")


def plain_llama(folder: Path) -> Path:
    from transformers import AutoTokenizer

    made = make_chat_folder(folder / "plain")
    tokenizer = AutoTokenizer.from_pretrained(made)
    tokenizer.chat_template = None
    (made / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(made)
    return made


def test_the_verb(engine: Engine, cookbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> str:
        app(["recipe", engine.folder, "--cookbook", str(cookbook), *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    told = json.loads(run("--text", "sushi platter", "--ingredients", "ingredients", "--json", "-k", 2))
    assert set(told) >= {"label", "confidence", "fits", "matches", "written"}
    assert len(told["matches"]) == 2
    said = run("--text", "quarterly tax return of a bank", "--precision", 0.99).splitlines()
    assert len(said) == 2
    assert said[1].startswith("nothing in the cookbook matches: the nearest, [")
