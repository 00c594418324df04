"""The page's parts without a browser: what is said, what is read, and what is offered to click."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import plait
from plait.app.card import FAINT, breakable, card, empty, heat, notice, place, said, tinted
from plait.app.examples import MOST, find_examples
from plait.app.pictures import Held, Limits, Picture, from_data, read_picture
from plait.app.reply import read_text, reply
from plait.cli import app
from plait.data.pairs import Pairs
from plait.inference.explanation import Attribution
from toy_engine import LABELS, SIDE, make_engine, pixels


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.transpose(1, 2, 0)).save(buffer, kind)
    return buffer.getvalue()


def test_columns_are_the_engine_with_the_other_modality_hidden() -> None:
    engine = make_engine()
    found = reply(engine, pixels(), "salad")
    alone = [engine.encode([pixels()], [None]), engine.encode([None], ["salad"])]
    both = engine.encode([pixels()], ["salad"])
    for column, features in zip(found.columns, [both, *alone], strict=True):
        expected = engine.probabilities(features)[0]
        assert [share for _, share in column.top] == pytest.approx(np.sort(expected)[::-1][:5])
        assert column.top[0][0] == LABELS[int(expected.argmax())]
    assert found.label == LABELS[found.index] == "ramen"
    assert found.sureness == found.columns[0].top[0][1]


@pytest.mark.parametrize(
    ("modalities", "shown", "text", "verdict"),
    [
        ((), pixels(), None, "By the picture alone: there is no title."),
        ((), None, "ramen", "By the title alone: there is no picture."),
        (("text",), None, "ramen", "This run reads titles only."),
        (("image",), pixels(), None, "This run reads pictures only."),
        ((), np.zeros((3, SIDE, SIDE), np.uint8), "ramen", "The title decided; the picture alone says burger."),
        ((), pixels(), "soup", "The picture decided; the title alone says burger."),
        ((), pixels(), "ramen", "Picture and title agree; the picture counted more."),
    ],
)
def test_which_modality_decided(
    modalities: tuple[str, ...], shown: np.ndarray | None, text: str | None, verdict: str
) -> None:
    assert reply(make_engine(*modalities), shown, text).verdict == verdict


def test_the_figures_are_the_engines_effects() -> None:
    engine = make_engine()
    found = reply(engine, pixels(), "ramen")
    full = engine.encode([pixels()], ["ramen"])
    without = {modality: found.sureness - float(moved[0]) for modality, moved in engine.effects(full).items()}
    shares = [int(share) for share in re.findall(r"(\d+)\u00a0%", found.detail)]
    expected = [found.sureness, without["image"], without["text"]]
    assert shares == [round(100 * share) for share in expected]


def test_texts_are_cleaned_where_the_run_cleans() -> None:
    assert read_text(make_engine(), "<b>ramen</b>") == "<b>ramen</b>"
    assert read_text(make_engine(clean=True), "<b>ramen</b>") == "ramen"
    assert read_text(make_engine(), " \n") is None


def test_everything_on_the_card_is_escaped() -> None:
    engine = make_engine()
    engine.labels[:] = [f"<i>{label}</i>" for label in LABELS]
    text = '<script>alert(1)</script> "ramen'
    answer = reply(engine, None, text)
    pulls = [(word, 1.0) for word in text.split()]
    for html in (card(answer, None, text), card(answer, None, text, Attribution(2, None, pulls))):
        assert "<script>" not in html
        assert "<i>" not in html
        assert "&lt;script&gt;" in html
    assert "<b>" not in notice("<b>")


def test_what_the_empty_card_tells_to_do() -> None:
    assert "Drop a picture, type its title, or both. Or try an example." in empty(("image", "text"), True)
    assert "example" not in empty(("image", "text"), False)
    assert "title" not in empty(("image",), True)
    assert "picture" not in empty(("text",), True)


def test_the_heat_map_is_green_for_and_purple_against() -> None:
    cells = np.zeros((7, 7), np.float32)
    cells[0, 0], cells[6, 6] = 2, -1
    content = base64.b64decode(heat(cells).partition(",")[2])
    layer = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    for corner in (layer[5, 5], layer[-6, -6]):
        assert corner[3] > 50
    assert layer[5, 5, 1] > layer[5, 5, 0]
    assert layer[-6, -6, 0] > layer[-6, -6, 1]
    assert layer[5, 5, 3] > layer[-6, -6, 3]
    assert layer[112, 112, 3] == 0
    assert place(cells) == "Most for it: the upper left. Most against it: the lower right."
    assert place(cells / 100) == "No part of the picture counted for much."


def test_words_are_tinted_by_their_pull() -> None:
    pulls = [("hot", 0.5), ("ramen", 2.0), ("no", 0.01), ("salad", -1.0)]
    assert tinted(pulls) == [("hot", "for", 25), ("ramen", "for", 100), ("no", "", 0), ("salad", "against", 50)]
    assert said(pulls) == "Most for it: ramen, hot. Most against it: salad."
    weak = [("hot", FAINT / 10)]
    assert tinted(weak) == [("hot", "for", 10)]
    assert said(weak) == "No word counted for much."


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_many_kinds(kind: str) -> None:
    engine = make_engine()
    content = encoded(pixels(), kind)
    picture = read_picture(engine, content, Limits())
    np.testing.assert_array_equal(picture.pixels, engine.decode(content))
    assert picture.shown.startswith("data:image/jpeg;base64,")


def test_what_is_shown_is_what_the_encoder_sees() -> None:
    """Of a wide picture the middle, at a larger size."""
    wide = np.concatenate([np.zeros((3, 400, 300)), np.full((3, 400, 400), 255), np.zeros((3, 400, 300))], axis=2)
    picture = read_picture(make_engine(), encoded(wide.astype(np.uint8)), Limits())
    shown = np.asarray(from_data(picture.shown))
    assert shown.shape == (448, 448, 3)
    assert picture.pixels.shape == (3, SIDE, SIDE)
    assert shown[4:-4, 4:-4].min() > 240


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(600, 200, (448, 1344)), (200, 500, (1120, 448)), (900, 100, (448, 1792))]
)
def test_what_was_squashed_is_shown_in_its_own_shape(width: int, height: int, shape: tuple[int, int]) -> None:
    engine = make_engine()
    eye: Any = engine.encoders.image
    eye.preprocess = replace(eye.preprocess, settings={**eye.settings, "crop_mode": "squash"})
    content = np.full((3, height, width), 200, np.uint8)
    content[:, :, :40] = 0
    shown = np.asarray(from_data(read_picture(engine, encoded(content), Limits()).shown))
    assert shown.shape == (*shape, 3)
    edge = round(40 / width * shape[1])
    assert shown[:, : edge - 8].max() < 40
    assert shown[:, edge + 8 :].min() > 160


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no picture that the page knows"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture that the page knows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture that the page knows"),
        (encoded(np.zeros((3, 1100, 1000), np.uint8)), "1 megapixels"),
        (encoded(np.zeros((3, 9, 9), np.uint8))[:-30], "."),
        (b"\x89PNG" + bytes(2 * 2**20), "2 MB, and 1 MB are the most"),
    ],
    ids=["empty", "postscript", "svg", "large", "cut short", "heavy"],
)
def test_pictures_that_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_picture(make_engine(), content, Limits(megabytes=1, megapixels=1))


def test_a_bomb_is_refused_by_what_its_header_says() -> None:
    """A picture of 30,000 × 30,000 pixels, of which nothing is decoded."""
    header = bytearray(encoded(np.zeros((3, 8, 8), np.uint8), "BMP"))
    header[18:26] = (30_000).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match="more than 50 megapixels"):
        read_picture(make_engine(), bytes(header), Limits())


def test_pictures_are_held_by_session() -> None:
    held, one, two = Held(most=1), *(Picture(np.zeros(1), name) for name in ("one", "two"))
    held.keep("a", one)
    held.keep("a", two)
    assert held.get("a") is two
    assert held.get("b") is None
    with pytest.raises(ValueError, match="too many people"):
        held.keep("b", one)
    held.forget("a")
    held.forget("a")
    assert len(held) == 0


def test_examples_are_readable_rows_of_different_classes() -> None:
    good = encoded(pixels())
    pairs = Pairs.from_columns(
        [b"broken", good, good, None, None, good, good, good],
        ["broken", "first", "again", "no picture", None, "third", "fourth", "fifth"],
        ["a", "a", "a", "b", "c", "d", "e", "f"],
    )
    found = find_examples(make_engine(), pairs, Limits())  # type: ignore[arg-type]
    assert [one.text for one in found] == ["first", "no picture", "third", "fourth"]
    assert len(found) == MOST
    assert [one.picture is None for one in found] == [False, True, False, False]
    titles = find_examples(make_engine("text"), pairs, Limits())  # type: ignore[arg-type]
    assert all(one.picture is None and one.thumbnail is None for one in titles)


def test_examples_without_data(drawn: Pairs) -> None:
    """Drawn dishes for a run that knows dishes, none for another."""
    assert find_examples(make_engine(), None, Limits()) == []
    engine = make_engine()
    engine.labels[:] = ["pizza", "ramen", "salad", "sushi", "tacos", "waffles"]
    found = find_examples(engine, None, Limits())
    assert len(found) == MOST
    assert all(one.picture is not None or one.text for one in found)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["app", str(tmp_path / "nothing")])
    assert isinstance(done.exception, plait.PlaitError)
    assert str(done.exception) == f"no such run folder: '{tmp_path / 'nothing'}'"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a page that was built and never served
def test_the_command_binds_to_this_machine_and_never_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Gradio's environment variables say."""
    gradio = pytest.importorskip("gradio")
    asked: dict[str, object] = {}

    def launch(self: object, **options: object) -> None:
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    monkeypatch.setattr("plait.runs.open.load", lambda folder: make_engine())
    done = CliRunner().invoke(app, ["app", "run"])
    assert done.exit_code == 0, done.output
    assert (asked["server_name"], asked["share"], asked["enable_monitoring"]) == ("127.0.0.1", False, False)


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    pytest.importorskip("gradio")
    import socket

    from plait.app.serve import served

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(plait.PlaitError, match=f"^port {port} on 127.0.0.1 cannot be had .*--port$"),
            served(make_engine(), "run", [], port=port),
        ):
            pass


def test_a_label_may_break_behind_its_underscores_and_is_escaped() -> None:
    assert str(breakable("red_velvet_<cake>")) == "red_<wbr>velvet_<wbr>&lt;cake&gt;"
