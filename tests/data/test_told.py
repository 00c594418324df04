"""Which columns are taken, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from reading import fails, paths, write

from plait.config import configure
from plait.data.columns import Columns
from plait.data.pairs import Pairs
from plait.data.read import read, read_as, read_beside
from plait.data.told import columns_of
from plait.errors import DataError

LISTINGS = "id,photo,title,category,price,sku\n1,a.jpg,soup,food,3,x\n"


def told(capsys: pytest.CaptureFixture[str], source: object, *overrides: str) -> str:
    capsys.readouterr()
    read_as(source, configure(overrides=overrides))
    return capsys.readouterr().err


@pytest.mark.parametrize("again", [False, True], ids=["read", "from the cache"])
def test_a_source_knows_its_columns(tmp_path: Path, again: bool) -> None:
    file = write(tmp_path / "listings.csv", LISTINGS)
    pairs = [read(file) for _ in range(1 + again)][-1].select([0])
    assert pairs.taken == {"id": "id", "image": "photo", "text": "title", "label": "category"}
    assert pairs.ignored == ("price", "sku")
    assert pairs.root == str(tmp_path)
    assert read(file, root="/pics").root == "/pics"
    facts = {"taken": pairs.taken, "ignored": ["price", "sku"]}
    assert columns_of(pairs, None, Pairs.from_columns(texts=["a"])) == {str(file): facts}


def test_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "listings.csv", LISTINGS)
    line = f"{file}: image from 'photo', text from 'title', label from 'category'"
    assert told(capsys, file) == f"{line}; ignored: price, sku\n"
    assert told(capsys, file, "data.text=sku", "data.id=price") == (
        f"{file}: image from 'photo', text from 'sku', label from 'category'; ignored: id, title\n"
    )
    assert told(capsys, pd.DataFrame({"sku": ["a"], "photo": ["a.jpg"]})) == (
        "data frame: image from 'photo'; ignored: sku\n"
    )


def test_columns_that_speak_for_themselves_are_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, write(tmp_path / "plain.csv", "id,image,Text,label,split\n1,a.jpg,soup,food,train\n")) == ""
    named = ("data.text=t", "data.label=l", "data.id=key")
    assert told(capsys, write(tmp_path / "named.csv", "key,t,l\n1,soup,food\n"), *named) == ""
    assert told(capsys, Pairs.from_columns(texts=["soup"])) == ""
    assert told(capsys, write(tmp_path / "folder" / "soup" / "1.jpg", "").parent.parent) == ""


def test_both_candidates_for_a_role_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.csv", "text,label,category\na,0,soup\nb,1,cake\nc,,tea\n")
    assert told(capsys, file) == (
        f"{file}: text from 'text', label from 'label' (numbers), not from 'category'; data.label=category for that\n"
    )
    assert (
        told(capsys, file, "data.label=label") == f"{file}: text from 'text', label from 'label'; ignored: category\n"
    )
    file = write(tmp_path / "b.csv", "image,url,title,description,class,category\na,b,c,d,e,f\n")
    assert told(capsys, file) == (
        f"{file}: image from 'image', not from 'url', text from 'title', not from 'description', label from 'class', "
        "not from 'category'; data.image=url, data.text=description, data.label=category for those\n"
    )


def test_there_is_none_on_purpose(tmp_path: Path) -> None:
    file = write(tmp_path / "listings.csv", LISTINGS)
    pairs = read(file, columns=Columns(text="none", label="none", id="none"))
    assert (pairs.texts, pairs.labels, pairs.ids) == ([None], [None], ["0"])
    assert pairs.taken == {"image": "photo"}
    assert fails(file, columns=Columns(text="none", image="none")).startswith(f"{file}: neither an image nor a text ")


def test_a_known_name_wins_over_a_guess_and_yields_to_the_user(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,blurb,photo,label,kind\nno,yes,a.jpg,0,soup\n")
    known = (("text", "blurb"), ("label", "kind"), ("image", "pic"))
    pairs = read(file, columns=Columns(known=known))
    assert (pairs.texts, pairs.labels, paths(pairs)) == (["yes"], ["soup"], [f"{tmp_path}/a.jpg"])
    assert read(file, columns=Columns(text="text", known=known)).texts == ["no"]


def test_a_needed_column(tmp_path: Path) -> None:
    file = write(tmp_path / "new.csv", "id,photo,titel\n1,a.jpg,soup\n")
    known = (("text", "title"), ("image", "photo"))
    why = f"{file}: the run reads a text from column 'title', and this table has no such column"
    assert fails(file, columns=Columns(known=known, needed=("image", "text"))) == (
        f"{why} (columns: id, photo, titel); name it with data.text=COLUMN, "
        "or say that there is none with data.text=none. Did you mean 'titel'?"
    )
    file = write(tmp_path / "old.csv", "id,title\n1,soup\n")
    assert fails(file, columns=Columns(needed=("image", "text"))) == (
        f"{file}: the run reads an image, and no column of this table has a usual name for it (columns: id, title); "
        "name it with data.image=COLUMN, or say that there is none with data.image=none"
    )
    assert read(file, columns=Columns(image="none", needed=("image", "text"))).texts == ["soup"]
    assert read(file).texts == ["soup"]  # what was read without need is no answer where there is need
    assert fails(file, columns=Columns(needed=("image",))).startswith(f"{file}: the run reads an image, ")


def test_a_test_table_without_what_the_training_table_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, config = read(write(tmp_path / "train.csv", "blurb,photo,label\nsoup,a.jpg,x\n"), root="/r"), configure()
    assert train.taken == {"image": "photo", "label": "label"}
    train = read(tmp_path / "train.csv", columns=Columns(text="blurb"))
    file = write(tmp_path / "test.csv", "title,photo,label,blurb\nno,a.jpg,x,yes\n")
    assert read_beside(train, file, config).texts == ["yes"]
    file = write(tmp_path / "lacks.csv", "photo,label\na.jpg,x\n")
    with pytest.raises(DataError) as caught:
        read_beside(train, file, config)
    assert str(caught.value) == (
        f"{file}: the training rows have a text from column 'blurb', and this table has no such column "
        "(columns: photo, label); rename its column, or add one, which may be empty"
    )
    assert read_beside(train, file, config, ("image",)).texts == [None]
    capsys.readouterr()
    folder = write(tmp_path / "folder" / "x" / "1.jpg", "").parent.parent
    assert len(read_beside(train, folder, config)) == 1
    assert capsys.readouterr().err == f"warning: {folder}: no row has a text; training rows have\n"


def test_tables_of_one_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a" / "train.csv", "photo,caption,label\na.jpg,one,x\n")
    write(tmp_path / "a" / "test.csv", "photo,caption,title\na.jpg,two,no\n")
    pairs = read(tmp_path / "a")
    assert pairs.texts == ["one", "two"]
    assert pairs.taken == {"image": "photo", "text": "caption", "label": "label"}
    assert pairs.ignored == ("title",)
    write(tmp_path / "c" / "train.csv", "photo,text,label,price\na.jpg,one,x,1\n")
    write(tmp_path / "c" / "test.csv", "text,img,label\ntwo,b.jpg,y\n")
    assert told(capsys, tmp_path / "c") == (
        f"{tmp_path}/c: image from 'photo', text from 'text', label from 'label', in some of its tables from 'img'; "
        "ignored: price\n"
    )
    write(tmp_path / "b" / "train.csv", "photo,title,label\na.jpg,one,x\n")
    write(tmp_path / "b" / "test.csv", "photo,words,label\na.jpg,two,x\n")
    assert fails(tmp_path / "b") == (
        f"{tmp_path}/b/test.csv: no text column, where {tmp_path}/b/train.csv has 'title' "
        "(columns: photo, words, label); add that column, which may be empty, "
        "or say that there is none at all with data.text=none"
    )
    assert read(tmp_path / "b", columns=Columns(text="none")).texts == [None, None]


def test_labels_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    nfd, nfc = "cafe\u0301", "caf\u00e9"
    file = write(tmp_path / "a.csv", f"text,label\na, ramen\nb,ramen\u00a0\nc,{nfd}\nd,{nfc}\ne,  \n")
    expected = ["ramen", "ramen", nfc, nfc, None]
    assert read(file).labels == expected
    labels = [" ramen", "ramen\u00a0", nfd, nfc, "  "]
    assert Pairs.from_columns(texts="abcde", labels=labels).labels == expected
    assert read(pd.DataFrame({"text": list("abcde"), "label": pd.Categorical(labels)})).labels == expected
    for name in (nfd, nfc):
        write(tmp_path / "folder" / name / f"{len(name)}.jpg", "")
    assert set(read(tmp_path / "folder").labels) == {nfc}
