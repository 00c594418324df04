"""What is kept of the rows that an encoder or a run has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from plait.data import sketch
from plait.data.pairs import Pairs
from plait.data.sketch import EVERY, Sketch, same_rows, seen_rows
from plait.errors import DataError, EncoderError


def rows(first: int, last: int, texts: bool = True, images: bool = True) -> Pairs:
    numbers = range(first, last)
    return Pairs.from_columns(
        [b"picture %d" % n for n in numbers] if images else None, [f"text {n}" for n in numbers] if texts else None
    )


def test_rows_are_known_exactly_and_survive_the_disk(tmp_path: Path) -> None:
    made = Sketch.of(rows(0, 50), [rows(50, 60), rows(60, 65)])
    made.save(tmp_path)
    arrays = load_file(tmp_path / "seen.safetensors")
    assert all(array.dtype == np.uint64 and (np.diff(array) > 0).all() for array in arrays.values())
    found = Sketch.load(tmp_path)
    assert found is not None
    for one in (made, found):
        assert one.limit == EVERY
        assert np.flatnonzero(one.learnt_from(rows(40, 80))).tolist() == [*range(10)]
        assert np.flatnonzero(one.seen(rows(40, 80))).tolist() == [*range(25)]
        assert one.share_learnt(rows(40, 80)) == 0.25
        assert one.share_seen(rows(40, 80)) == 25 / 40
        assert one.share_seen(rows(40, 40)) == 0


def test_pairs_are_known_as_pairs() -> None:
    """Of a picture with another title, or a title with another picture, nothing is said."""
    made = Sketch.of(rows(0, 20))
    swapped = Pairs.from_columns([b"picture %d" % n for n in range(20)], [f"text {19 - n}" for n in range(20)])
    assert not made.seen(swapped).any()
    assert not same_rows(swapped, rows(0, 20)).any()
    blank = Pairs.from_columns([None, b"picture 1"], [" ", "text 1"])
    assert made.seen(blank).tolist() == [False, True]
    assert not Sketch.of(blank).seen(Pairs.from_columns(None, [None, " "])).any()


@pytest.mark.parametrize("known", [rows(0, 20, texts=False), rows(0, 20)])
@pytest.mark.parametrize("asked", [rows(10, 30, texts=False), rows(10, 30)])
def test_one_modality_is_enough_where_the_other_is_nowhere(known: Pairs, asked: Pairs) -> None:
    expected = [n < 10 for n in range(20)]
    assert Sketch.of(known).seen(asked).tolist() == expected
    assert Sketch.of(known, (), ["image"]).seen(asked).tolist() == expected
    assert same_rows(asked, known).tolist() == expected
    # An encoder of texts learns nothing from pictures.
    both = known.has_text.any() and asked.has_text.any()
    assert Sketch.of(known, (), ["text"]).seen(asked).tolist() == [both and n < 10 for n in range(20)]


def test_texts_that_belong_to_no_pairs() -> None:
    made = Sketch.of_texts(["text 3 ", "text 4"], ["text 5"])
    for asked in (rows(0, 10), rows(0, 10, images=False)):
        assert np.flatnonzero(made.seen(asked)).tolist() == [3, 4, 5]
        assert np.flatnonzero(made.learnt_from(asked)).tolist() == [3, 4]
    assert not made.seen(rows(0, 10, texts=False)).any()


def test_sketches_unite() -> None:
    united = Sketch.of(rows(0, 10), [rows(10, 20)]) | Sketch.of_texts(["text 25"], ["text 26"])
    assert np.flatnonzero(united.learnt_from(rows(0, 40))).tolist() == [*range(10), 25]
    assert np.flatnonzero(united.seen(rows(0, 40))).tolist() == [*range(20), 25, 26]


@pytest.mark.parametrize("united", [False, True])
def test_of_many_rows_a_sample_is_kept(united: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sketch, "MOST", 1000)
    if united:
        made = Sketch.of(rows(0, 100)) | Sketch.of(rows(100, 4000))
    else:
        made = Sketch.of(rows(0, 4000))
    made.save(tmp_path)
    found = Sketch.load(tmp_path)
    assert found is not None
    assert found.limit == made.limit == EVERY // 16  # 12,000 keys: of rows, pictures and texts
    kept = [len(array) for name, array in load_file(tmp_path / "seen.safetensors").items() if name != "largest"]
    assert 500 < sum(kept) <= 1000
    assert found.share_seen(rows(0, 4000)) == 1
    assert found.share_seen(rows(4000, 8000)) == 0
    assert found.share_seen(rows(2000, 6000)) == pytest.approx(0.5, abs=0.1)
    assert not found.seen(rows(4000, 8000)).any()
    assert found.seen(rows(0, 4000)).mean() == pytest.approx(1 / 16, abs=0.02)


def test_the_refusal_names_who_has_seen_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"one": Sketch.of(rows(0, 10)), "two": Sketch.of(None, [rows(0, 30)]), "three": Sketch.of(rows(90, 99))}
    with pytest.raises(DataError) as caught:
        seen_rows(known, rows(5, 45), False, "test rows", "give others")
    assert str(caught.value) == "two has seen 25 of 40 test rows (62.5 %) in its training; give others"
    marked = seen_rows(known, rows(5, 45), True, "test rows", "give others")
    assert marked is not None
    assert marked.tolist() == [n < 25 for n in range(40)]
    assert seen_rows(known, rows(50, 60), False, "test rows", "give others") is None
    assert seen_rows({}, rows(50, 60), False, "test rows", "give others") is None
    monkeypatch.setattr(sketch, "MOST", 1000)
    many = {"many": Sketch.of(rows(0, 4000))}
    with pytest.raises(DataError, match=r"^many has seen about 2,000 of 2,000 test rows \(100\.0 %\) in its"):
        seen_rows(many, rows(0, 2000), False, "test rows", "give others")
    assert seen_rows(many, rows(0, 2000), True, "test rows", "") is not None
    assert capsys.readouterr().err == (
        "warning: many keeps a sample of the rows it has seen; others of its rows count as unseen here\n"
    )


def test_a_folder_without_a_sketch_and_one_with_a_damaged_one(tmp_path: Path) -> None:
    assert Sketch.load(tmp_path) is None
    (tmp_path / "seen.safetensors").write_bytes(b"no")
    with pytest.raises(EncoderError, match=r"seen\.safetensors' is damaged \(.*\); copy the folder again, or tune"):
        Sketch.load(tmp_path)
