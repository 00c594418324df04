from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plait.config import Config
from plait.data.cleaning import clean
from plait.data.images import content_hash
from plait.data.pairs import Pairs
from plait.data.read import read_as
from plait.pipeline.classifier import Classifier
from plait.runs.open import load

FOOD = Path(__file__).parents[3] / "shared/data/food_pairs_train.parquet"
CLEANED = {
    # entities, singly and doubly escaped
    "Jack&#8217;s &amp; Jill&rsquo;s": "Jack’s & Jill’s",
    "Tom &amp;amp; Jerry": "Tom & Jerry",
    "fish &amp;amp;amp;#8211; chips": "fish – chips",
    "cr&egrave;me&nbsp;br&ucirc;l&eacute;e": "crème brûlée",
    "&#x27;n&#x27; &#39;til": "'n' 'til",
    # tags, also such as only show once entities are decoded
    "<b>fish</b> &lt;br/&gt; chips <!-- old -->": "fish chips",
    "1 < 2 > 0, i <3 u": "1 < 2 > 0, i <3 u",
    # entities without their signs
    "meal at art 8217 s bbq": "meal at art’s bbq",
    "don 8217 t make": "don’t make",
    "persephone 039 s kitchen": "persephone's kitchen",
    "chloe x27 s cake": "chloe's cake",
    "s 039 mores nachos": "s'mores nachos",
    "hezzi d 039 s cooks 039 books": "hezzi d's cooks' books",
    "fried 8220 rice 8221 recipe": "fried “rice” recipe",
    "soup 8226 stew 8211 stock": "soup • stew – stock",
    "two peas amp their pod": "two peas & their pod",
    "say &quot cheese quot nbsp now": 'say " cheese " now',
    "herm rsquo s raquo recipes": "herm’s » recipes",
    "cr egrave me br ucirc l eacute e recipe": "crème brûlée recipe",
    "nestl eacute cook": "nestlé cook",
    # UTF-8 bytes in hexadecimal
    "creme cr xc3 xa8me br xc3 xbbl xc3 xa9e": "creme crème brûlée",
    "bon app xc3 xa9tit": "bon appétit",
    "cr\\xc3\\xa8me br\\xc3\\xbbl\\xc3\\xa9e": "crème brûlée",
    "a \\xC3\\xA9clair, \\xe2\\x80\\x9cbig\\xe2\\x80\\x9d": "a éclair, “big”",
    "wayne xe2 x80 x99s recipes xe2 x80 x94 kitchen": "wayne’s recipes — kitchen",
    "escargots xc3 xa0 la bourguignonne": "escargots à la bourguignonne",
    "wings xe8 x9a x9d xe6 xb2 xb9": "wings 蚝油",
    "photos xc2 xa0 here": "photos here",
    "broken x86 x92 bytes \\x9d here": "broken bytes here",
    # mojibake
    "CafÃ© â€“ Joeâ€™s": "Café – Joe’s",
    "caf xc3 x83 xc2 xa9": "café",
    # lists, sites, white space, Unicode
    "['Fish Tacos']": "Fish Tacos",
    'Fish Tacos"]': "Fish Tacos",
    "Baby Back Ribs Recipe | Taste of Home": "Baby Back Ribs Recipe",
    "pasta | ravioli | gnocchi on pinterest": "pasta, ravioli",
    "gyoza |": "gyoza",
    "| gyoza": "gyoza",
    "  red\t soup \n": "red soup",
    "cafe\u0301": "café",
}
KEPT = [
    "red soup",
    "160 calories, 174 g, 18217 steps, no.8217",
    "x86 xfactor xactly xbox",
    "regular trade - fish & chips",
    "M&notes &copy=1",
    "Kraft [2014] it's",
    "AMANHÃ”",
    "amped-up clamp",
]
EMPTY = ["", "  ", "<br>", "|", "nbsp", "&nbsp;", "['']", "xe2 x80"]


@pytest.mark.parametrize("text", CLEANED)
def test_cleaned(text: str) -> None:
    assert clean(text) == CLEANED[text]


@pytest.mark.parametrize("text", KEPT)
def test_kept(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("text", EMPTY)
def test_a_text_of_which_nothing_would_be_left_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("text", [*CLEANED, *EMPTY, "&amp;lt;b&amp;gt; &#124; amp; amp amp", "a &amp;#124; b | c"])
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.skipif(not FOOD.is_file(), reason=f"needs {FOOD}")
def test_real_titles() -> None:
    import pyarrow.parquet as pq

    titles = [title for title in pq.read_table(FOOD, columns=["text"])["text"].to_pylist() if title]
    cleaned = [clean(title) for title in titles]
    assert [clean(title) for title in cleaned] == cleaned
    assert all(title == " ".join(unicodedata.normalize("NFC", title).split()) for title in cleaned)
    words = {word for title in cleaned for word in title.split()}
    assert not words & {"8217", "8211", "039", "amp", "nbsp", "quot", "xc3", "xe2"}


# ------------------------------------------------------------------ as a step before encoding


def tidy(drawn: Pairs) -> Pairs:
    texts = [text and clean(text) for text in drawn.texts]
    return Pairs.from_columns(None, texts, drawn.labels, drawn.ids)


def messy(drawn: Pairs) -> Pairs:
    texts = [text and f"<b>{text}</b> | site {i % 7}" for i, text in enumerate(tidy(drawn).texts)]
    return Pairs.from_columns(None, texts, drawn.labels, drawn.ids)


def test_texts_and_their_hashes(toy_config: Callable[..., Config]) -> None:
    pairs = Pairs.from_columns(texts=["fish | site", None, " ", "|"], labels=list("abab"))
    raw = read_as(pairs, toy_config())
    assert raw.texts == ["fish | site", None, None, "|"]
    cleaned = read_as(pairs, toy_config("text.clean=true"))
    assert cleaned.texts == ["fish", None, None, "|"]
    assert cleaned.text_hashes[0] == content_hash(b"fish")
    assert cleaned.select([3, 0]).texts == ["|", "fish"]
    assert cleaned.has_text.tolist() == raw.has_text.tolist()
    assert read_as(cleaned, toy_config("text.clean=true")).texts == cleaned.texts


def test_encoders_learn_from_cleaned_texts(toy_config: Callable[..., Config], drawn: Pairs) -> None:
    options = ("model=text", "text.model=tfidf")
    on_cleaned = Classifier(toy_config(*options, "text.clean=true")).fit(messy(drawn))
    expected = Classifier(toy_config(*options)).fit(tidy(drawn))
    assert on_cleaned.engine_.encoders.text[0].fingerprint == expected.engine_.encoders.text[0].fingerprint
    np.testing.assert_array_equal(on_cleaned.predict_proba(messy(drawn)), expected.predict_proba(tidy(drawn)))


@pytest.mark.parametrize("model", ["tfidf", None])
def test_a_loaded_run_cleans_the_same(
    toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path, model: str | None
) -> None:
    options = ["model=text", "text.clean=true", *([f"text.model={model}"] if model else [])]
    classifier = Classifier(toy_config(*options)).fit(messy(drawn))
    classifier.save(tmp_path / "run")
    loaded = load(tmp_path / "run", device="cpu")
    assert loaded.config.text.clean
    expected = classifier.predict_proba(messy(drawn))
    np.testing.assert_array_equal(loaded.predict_proba(messy(drawn)), expected)
    np.testing.assert_array_equal(loaded.predict_proba(tidy(drawn)), expected)
