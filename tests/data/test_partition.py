"""Which rows train, validate and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import write
from sklearn.model_selection import StratifiedGroupKFold

from plait.config import Config, configure
from plait.data.draws import folds
from plait.data.pairs import Pairs
from plait.data.partition import Partition, divide, groups_of
from plait.data.read import read
from plait.errors import DataError

GROUPS = ("pair", "text", "image", "text+image", "shop")


def shop(rows: int = 400, seed: int = 0, labels: bool = True) -> dict[str, list[Any]]:
    """Rows of five classes, many of which share a picture, a text or a shop; some lack one or the other."""
    rng = np.random.default_rng(seed)
    some: Callable[[str, int], list[Any]] = lambda what, kinds: [  # noqa: E731
        f"{what} {n}" if n else None for n in rng.integers(0, kinds, rows)
    ]
    return {
        "image": [None if name is None else name.encode() for name in some("picture", rows)],
        "text": some("text", rows),
        "shop": some("shop", 80),
        "label": [f"c{n}" if labels else None for n in np.minimum(4, rng.geometric(0.4, rows) - 1)],
    }


def table(columns: dict[str, list[Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


def as_rows(file: Path, header: list[str], rows: list[list[str]]) -> Path:
    return write(file, "".join(f"{','.join(row)}\n" for row in [header, *rows]))


def config(*overrides: str) -> Config:
    return configure(overrides=list(overrides))


def ids(part: Partition) -> tuple[list[str], list[str], list[str] | None]:
    return part.train.ids, part.val.ids, part.test.ids if part.test is not None else None


def fails(*given: Any, **named: Any) -> str:
    with pytest.raises(DataError) as caught:
        divide(*given, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def linked(columns: dict[str, list[Any]], group: str) -> list[set[int]]:
    """Groups of rows, found by merging sets of rows until nothing changes."""
    parts = ["pair", "image", "text"] if group == "text+image" else ["pair", group]
    found = [{row} for row in range(len(columns["text"]))]
    for part in parts:
        of = [
            columns[part][row] if part != "pair" else (columns["image"][row], columns["text"][row])
            for row in range(len(found))
        ]
        for row, value in enumerate(of):
            if value in (None, (None, None)):
                continue
            first = next(other for other, one in enumerate(of) if one == value)
            if found[row] is not found[first]:
                found[first] |= found[row]
                for other in found[row]:
                    found[other] = found[first]
    return found


# ------------------------------------------------------------------ where rows come from


def test_given_else_own_else_drawn(tmp_path: Path) -> None:
    splits = ["test"] * 3 + ["dev"] * 3 + ["train"] * 34
    lines = [f"{i},text {i},{'ab'[i % 2]},{split}" for i, split in enumerate(splits)]
    own = write(tmp_path / "own.csv", "\n".join(["id,text,label,split", *lines]))
    plain = write(tmp_path / "plain.csv", "\n".join(["id,text,label", *(line.rpartition(",")[0] for line in lines)]))
    other = write(tmp_path / "other.csv", "id,text,label\nx,other x,a\ny,other y,b\n")

    train, val, test = ids(divide(own, config()))
    assert (test, val) == (["0", "1", "2"], ["3", "4", "5"])
    assert train == [str(i) for i in range(6, 40)]
    train, val, test = ids(divide(plain, config()))
    assert (len(train), len(val), len(test or [])) == (28, 4, 8)
    assert sorted([*train, *val, *(test or [])], key=int) == [str(i) for i in range(40)]
    assert ids(divide(own, config("data.test_fraction=0")))[2] == ["0", "1", "2"]
    for none in (divide(plain, config("data.test_fraction=0")), divide(plain, config(), hold_test=False)):
        assert none.test is None
        assert (len(none.train), len(none.val), none.notes) == (36, 4, [])
    another = write(tmp_path / "another.csv", "id,text,label\nv,another v,a\nw,another w,b\n")
    given = divide(own, config(), test=other, val=another)
    assert given.test is not None
    assert given.test.ids == ["x", "y"]
    assert given.val.ids == ["v", "w"]
    assert given.notes == [
        f"{own}: its test split (3 rows) is left out: test is given",
        f"{own}: its val split (3 rows) is left out: val is given",
    ]


def test_it_says_whether_validation_rows_were_drawn(tmp_path: Path) -> None:
    rows = [[f"{split}{i}", f"text {split} {i}", f"c{i % 2}", split] for split in ("train", "val") for i in range(20)]
    own = as_rows(tmp_path / "own.csv", ["id", "text", "label", "split"], rows)
    assert divide(table(shop()), config()).val_drawn
    assert not divide(table(shop()), config(), val=table(shop(40, seed=1))).val_drawn
    assert not divide(own, config()).val_drawn


def test_a_drawn_test_set_has_no_row_of_the_sources_own_validation_split(tmp_path: Path) -> None:
    lines = [f"{i},text {i},{'ab'[i % 2]},{'val' if i < 10 else 'train'}" for i in range(50)]
    source = write(tmp_path / "a.csv", "\n".join(["id,text,label,split", *lines]))
    train, val, test = ids(divide(source, config()))
    assert val == [str(i) for i in range(10)]
    assert len(test or []) == 8
    assert not set(test or []) & set(val)
    assert len(train) == 32


def test_the_same_rows_whatever_is_done_with_them() -> None:
    """Clean or not, with labels needed or not, and whichever encoders there are."""
    source = table(shop())
    first = ids(divide(source, config()))
    assert first == ids(divide(source, config("text.clean=true", "text.model=tfidf", "image.pretrained=false")))
    assert first == ids(divide(source, config(), labelled=False))
    assert first == ids(divide(source, config(), learnt=lambda pairs: np.zeros(len(pairs), bool)))
    assert first != ids(divide(source, config("seed=1")))


def test_rows_without_a_label_are_divided_too() -> None:
    columns = shop()
    columns["label"][::3] = [None] * len(columns["label"][::3])
    parts = divide(table(columns), config(), labelled=False)
    assert parts.test is not None
    share = sum(label is None for label in parts.test.labels) / len(parts.test)
    assert share == pytest.approx(1 / 3, abs=0.05)
    assert fails(table(columns), config()).startswith("data frame: 134 rows have no label (first: id '0')")
    only = divide(table(shop(labels=False)), config(), labelled=False)
    assert (len(only.train), len(only.val), len(only.test or [])) == (288, 32, 80)


# ------------------------------------------------------------------ nothing stands on two sides


def test_rows_that_are_given_twice_are_left_out_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "id,text,label"
    rows = [f"{i},text {i},{'ab'[i % 2]}" for i in range(40)]
    data = write(tmp_path / "data.csv", "\n".join([head, *rows]))
    test = write(tmp_path / "test.csv", "\n".join([head, "x, text 3 ,b", "y,text 4,a", "z,new,a", "w,newer,b"]))
    val = write(tmp_path / "val.csv", "\n".join([head, "v,text 4,a", "u,text 9,b", "t,text 50,a"]))
    parts = divide(data, config(), test=test, val=val)
    assert parts.val.ids == ["u", "t"]
    assert parts.train.ids == [str(i) for i in range(40) if i not in (3, 4, 9)]
    assert parts.notes == capsys.readouterr().err.splitlines()
    assert parts.notes == [
        f"{val}: 1 validation row is also a test row and is left out of validation",
        f"{data}: 2 training rows are also test rows and are left out of training",
        f"{data}: 1 training row is also a validation row and is left out of training",
    ]
    assert fails(data, config(), test=data) == f"{data}: every training row is also a test row; give other rows"
    assert fails(data, config(), test=test, val=test) == (
        f"{test}: every validation row is also a test row; give other rows"
    )


@pytest.mark.parametrize("group", ["text", "shop"])
def test_rows_that_share_a_group_with_test_rows_are_left_out(group: str) -> None:
    columns, others = shop(seed=1), shop(rows=12, seed=2)
    for one in (columns, others):  # no chains of equal pairs
        one["image"] = [b"%d of %d" % (row, len(one["image"])) for row in range(len(one["image"]))]
    parts = divide(table(columns), config(f"data.group={group}"), test=table(others))
    shared = {value for value in others[group] if value is not None}
    away = [str(row) for row, value in enumerate(columns[group]) if value in shared]
    assert away
    assert not set(away) & {*parts.train.ids, *parts.val.ids}
    assert 400 - len(parts.train) - len(parts.val) == len(away)
    rows = f"{len(away)} training rows are of one group ({group}) with test rows and are left out of training"
    assert parts.notes == [f"data frame: {rows}"]


def test_one_modality_is_enough_where_the_other_is_nowhere() -> None:
    """Photos without titles, and the same photos with titles."""
    photos = [f"picture {i}".encode() for i in range(20)]
    labels = ["a", "b"] * 10
    bare = Pairs.from_columns(images=photos, labels=labels)
    titled = Pairs.from_columns(images=photos, texts=[f"t{i}" for i in range(20)], labels=labels)
    for data, test in ((bare, titled.select([4, 5])), (titled, bare.select([4, 5]))):
        parts = divide(data, config(), test=test)
        assert len(parts.train) + len(parts.val) == 18
        assert not {"4", "5"} & {*parts.train.ids, *parts.val.ids}
    # Other titles on both sides are other pairs.
    renamed = Pairs.from_columns(images=photos[4:6], texts=["x", "y"], labels=labels[:2])
    assert divide(titled, config(), test=renamed).notes == []


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_groups_stay_on_one_side_as_those_of_scikit_learn_do(group: str, seed: int) -> None:
    columns = shop(seed=seed)
    parts = divide(table(columns), config(f"data.group={group}", f"seed={seed}"))
    assert parts.test is not None
    side = np.empty(400, object)
    for name, pairs in (("train", parts.train), ("val", parts.val), ("test", parts.test)):
        side[[int(one) for one in pairs.ids]] = name
    groups = linked(columns, group)
    assert max(len(members) for members in groups) > 1
    assert all(side[row] == side[other] for row, members in enumerate(groups) for other in members)
    if group != "text+image":  # one large component there
        assert (side == "test").mean() == pytest.approx(0.2, abs=0.06)

    pairs = divide(table(columns), config(f"data.group={group}", "data.test_fraction=0")).train
    (numbers,) = groups_of([pairs], group)
    fold = folds(pairs, numbers, 3, seed)
    labels = np.array(pairs.labels)
    theirs = np.zeros(len(pairs), int)
    dealt = StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(labels, labels, numbers)
    for k, (_, held) in enumerate(dealt):
        theirs[held] = k
    for one in (fold, theirs):
        for k in range(3):
            assert not set(numbers[one == k]) & set(numbers[one != k])
    if group != "pair":  # others have rows of several classes
        return
    largest = np.unique(numbers, return_counts=True)[1].max()
    worst = [
        max(np.ptp(np.bincount(one[labels == label], minlength=3)) for label in set(labels)) for one in (fold, theirs)
    ]
    assert worst[0] <= worst[1] + largest


def test_groups_are_told_apart_as_they_should_be() -> None:
    columns = shop(seed=3)
    for group in GROUPS:
        pairs = divide(table(columns), config(f"data.group={group}", "data.test_fraction=0"), labelled=False)
        whole = [*pairs.train.ids, *pairs.val.ids]
        found = np.concatenate(groups_of([pairs.train, pairs.val], group))
        expected = linked(columns, group)
        for at, row in enumerate(whole):
            same = {int(whole[other]) for other in np.flatnonzero(found == found[at])}
            assert same == expected[int(row)], group


def test_a_group_that_is_no_column(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "text,label,recipe\na,x,1\nb,y,2\n")
    assert fails(source, config("data.group=recipie")) == (
        f"{source}: no column 'recipie' for data.group. Did you mean 'recipe'?"
    )
    pairs = Pairs.from_columns(texts=["a", "b"], labels=["x", "y"])
    assert fails(pairs, config("data.group=pairs")) == ("pairs: no column 'pairs' for data.group. Did you mean 'pair'?")
    # Runs keep the key, but new rows to predict need no such column.
    assert read(source).table.column_names == ["id", "image", "text", "label"]


def test_given_rows_are_read_with_the_columns_of_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[f"soup {i}", "ab"[i % 2], f"s{i // 4}"] for i in range(40)]
    source = as_rows(tmp_path / "a.csv", ["caption", "label", "shop"], rows)
    # The usual names would take "text", and the group of training rows is read where it is asked for alone.
    given = [[f"stew {i}", "no", "ab"[i % 2], f"s{i}"] for i in range(4)]
    test = as_rows(tmp_path / "b.csv", ["caption", "text", "label", "shop"], given)
    parts = divide(source, config("data.group=shop"), test=test)
    assert parts.test is not None
    assert parts.test.texts == [f"stew {i}" for i in range(4)]
    assert parts.test.taken == parts.train.taken == {"text": "caption", "label": "label", "group": "shop"}
    assert sorted({*range(40)} - {int(text.split()[1]) for text in (parts.train.texts + parts.val.texts) if text}) == (
        [*range(16)]
    )
    assert "text" not in (divide(source, config(), test=test).test or parts.test).taken.values()
    assert capsys.readouterr().err.splitlines()[:2] == [
        f"{source}: text from 'caption', label from 'label'",
        f"{test}: text from 'caption', label from 'label'; ignored: text",
    ]
    bare = as_rows(tmp_path / "c.csv", ["text", "caption", "label"], [["no", "stew", "a"]])
    assert fails(source, config("data.group=shop"), test=bare) == (
        f"{bare}: no column 'shop' for data.group. Known: caption, image, label, pair, text, text."
    )
    other = as_rows(tmp_path / "d.csv", ["words", "image", "label", "shop"], [["stew", "", "a", "s"]])
    assert fails(source, config("data.group=shop"), val=other) == (
        f"{other}: the training rows have a text from column 'caption', and this table has no such column "
        "(columns: words, image, label, shop); rename its column, or add one, which may be empty"
    )
    assert len(divide(source, config(), val=other, modalities=("image",)).val) == 1


def test_a_column_may_be_the_group_and_something_else(tmp_path: Path) -> None:
    lines = [f"{i},text {i},{'ab'[i % 2]}" for i in range(40)]
    source = write(tmp_path / "a.csv", "\n".join(["id,text,label", *lines]))
    assert ids(divide(source, config("data.group=id")))[0] == ids(divide(source, config()))[0]


# ------------------------------------------------------------------ validation rows that are new to the encoders


def learnt_from(rows: range) -> Callable[[Pairs], np.ndarray]:
    return lambda pairs: np.isin(np.array(pairs.ids, int), rows)


def test_validation_rows_are_drawn_from_those_that_no_encoder_has_learnt_from() -> None:
    pairs = Pairs.from_columns(texts=[f"t{i}" for i in range(400)], labels=["a", "b", "c", "d"] * 100)
    usual = ids(divide(pairs, config()))
    parts = divide(pairs, config(), learnt=learnt_from(range(200)))
    assert ids(parts)[2] == usual[2]
    numbers = [int(one) for one in parts.val.ids]
    assert len(numbers) == pytest.approx(32, abs=2)
    assert min(numbers) >= 200
    new = sum(int(one) >= 200 for one in (*usual[0], *usual[1]))
    assert parts.notes == [f"pairs: validation rows are drawn from the {new} that no encoder has learnt from"]
    assert len(parts.train) + len(numbers) == 320
    few = divide(pairs, config(), learnt=learnt_from(range(395)))
    assert ids(few) == usual
    assert few.notes == []


# ------------------------------------------------------------------ keys


def test_images_are_read_once_and_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(b"%d" % (i // 2))
    images = [*(str(tmp_path / f"{i}.png") for i in range(40)), "http://nowhere.example/a.png", str(tmp_path / "gone")]
    pairs = Pairs.from_columns(images=images, texts=["t"] * 42, labels=["a", "b"] * 21)
    opened: list[str] = []
    real = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.append(path.name)
        return real(path)

    def refuse(*_: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(Path, "read_bytes", counted)
    monkeypatch.setattr(fsspec, "open", refuse)
    parts = divide(pairs, config())
    assert parts.test is not None
    for part in (parts.train, parts.val, parts.test):
        assert len(part.row_keys) == len(part)
    assert sorted(opened) == sorted([*(f"{i}.png" for i in range(40)), "gone"])
    keys = pairs.row_keys
    assert [keys[row] == keys[row + 1] for row in range(0, 40, 2)] == [True] * 20
    assert len(set(keys)) == 22
    monkeypatch.setattr(fsspec, "open", lambda *_: (tmp_path / "0.png").open("rb"))
    hashes, reasons = pairs.image_hashes
    assert len(opened) == 41
    assert hashes[40] == hashes[0]
    assert reasons == {41: "no such file"}
    chosen = pairs.select([41, 3, 40])
    assert chosen.image_hashes == ([None, hashes[3], hashes[0]], {0: "no such file"})
    assert chosen.row_keys == [keys[41], keys[3], keys[40]]
    split = replace(pairs, splits={"odd": np.array([1, 3])})
    split.row_keys  # noqa: B018
    assert split.split("odd").row_keys == [keys[1], keys[3]]
    assert len(opened) == 82  # those of another table


def test_keys_are_of_the_text_as_it_came() -> None:
    pairs = Pairs.from_columns(texts=["<b>fish</b>", " <b>fish</b>\n", "fish", " ", None])
    assert pairs.as_cleaned().text_hashes != pairs.text_hashes
    for one in (pairs, pairs.as_cleaned()):
        assert one.row_keys[0] == one.row_keys[1] != one.row_keys[2]
        assert one.row_keys[3:] == [None, None]


def test_too_few_rows() -> None:
    two = Pairs.from_columns(texts=["a", "b"], labels=["x", "y"])
    none = "pairs: no class has two different rows, so none can be held out; give"
    assert fails(two, config()) == f"{none} test or set data.test_fraction=0"
    assert fails(two, config(), hold_test=False) == f"{none} val"
    assert fails(Pairs.from_columns(texts=[], labels=[]), config()) == "pairs: no rows; give data with at least one"
