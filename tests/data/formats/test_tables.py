from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from reading import fails, paths, write

from plait.data.columns import Columns
from plait.data.pairs import features
from plait.data.read import read

# ------------------------------------------------------------------ columns


def test_csv_with_guessed_columns(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.csv", "ID,Photo,Title,Category\n07,a.jpg,Soup,soups\nx,/abs/b.jpg,,\nz,http://h/c.jpg,3,4\n"
    )
    pairs = read(str(file))
    assert pairs.ids == ["07", "x", "z"]
    assert pairs.texts == ["Soup", None, "3"]
    assert pairs.labels == ["soups", None, "4"]
    assert paths(pairs) == [f"{tmp_path}/a.jpg", "/abs/b.jpg", "http://h/c.jpg"]
    assert pairs.columns == ("ID", "Photo", "Title", "Category")
    assert pairs.splits == {}
    assert pairs.source == str(file)
    assert pairs.table.features == features()


def test_preference_among_guesses_and_no_column_twice(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "path,image,name,text,y,label\np,i,n,t,y,l\n")
    pairs = read(file)
    assert (paths(pairs), pairs.texts, pairs.labels, pairs.ids) == ([f"{tmp_path}/i"], ["t"], ["l"], ["0"])
    pairs = read(file, columns=Columns(text="image", label="y"))
    assert (paths(pairs), pairs.texts, pairs.labels) == ([f"{tmp_path}/p"], ["i"], ["y"])


def test_user_named_columns_and_root(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "k,a,b,c\n1,x.png,hello,dog\n2,,hi,cat\n")
    pairs = read(file, columns=Columns(id="k", image="a", text="b", label="c"), root=tmp_path / "pics")
    assert (pairs.ids, pairs.labels) == (["1", "2"], ["dog", "cat"])
    assert paths(pairs) == [f"{tmp_path}/pics/x.png", None]


def test_column_errors(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "photo,title\na.jpg,Soup\n")
    assert fails(file, columns=Columns(text="titel")) == (
        f"{file}: no column 'titel' for data.text. Did you mean 'title'?"
    )
    assert fails(file, columns=Columns(text="title", label="title")) == (
        f"{file}: column 'title' is named for both data.text and data.label; name two columns"
    )
    file = write(tmp_path / "b.csv", "foo,bar\n1,2\n")
    assert fails(file) == (
        f"{file}: neither an image nor a text column among foo, bar; "
        "name them with data.image=COLUMN and data.text=COLUMN"
    )


def test_ids_must_be_there_and_differ(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "id,text\na,1\nb,2\na,3\n")
    assert fails(file) == (
        f"{file}: id 'a' is in rows 0 and 2, counting from 0; "
        "make ids unique, or rename that column to have rows numbered, or name another with data.id=COLUMN"
    )
    file = write(tmp_path / "b.csv", "id,text\na,1\n,2\n")
    assert fails(file) == (
        f"{file}: column 'id' has no id in row 1, counting from 0; fill it in, or name another: data.id=COLUMN"
    )


# ------------------------------------------------------------------ text tables


def test_csv_quotes_newlines_bom_and_line_ends(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.csv",
        '\ufefftext,label\r\n"one, two",a\r\n"say ""hi""\nand go",b\r\n\r\n5" pan,c\r\nnan,naan\u2028bread\r\n',
    )
    pairs = read(file)
    assert pairs.texts == ["one, two", 'say "hi"\nand go', '5" pan', "nan"]
    assert pairs.labels == ["a", "b", "c", "naan\u2028bread"]


def test_csv_with_a_very_long_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", f"text\n{'long ' * 50_000}\n")
    assert len(read(file).texts[0] or "") == 250_000


def test_csv_of_semicolons_and_gzip(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"text;label\nx, y;1\n"))
    assert read(file).texts == ["x, y"]


def test_malformed_csv_names_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'id,text,label\n1,"two\nlines",x\n2,a,b,c\n')
    assert fails(file) == (
        f"{file}, line 4: 4 fields where the header has 3; "
        "put quotes around a field that holds the separator or a newline"
    )
    file = write(tmp_path / "b.csv", 'id,text,label\n1,ok,x\n2,"stray,x\n3,"fine",x\n')
    assert fails(file).startswith(f"{file}, line 3: malformed row (',' expected after '\"'); ")
    file = write(tmp_path / "c.csv", 'id,text,label\n1,"never closed,x\n2,b,x\n')
    assert fails(file).startswith(f"{file}, line 2: malformed row (unexpected end of data); ")
    (tmp_path / "d.csv").write_bytes(b"text,label\nok,a\ncaf\xe9,b\n")
    assert fails(tmp_path / "d.csv") == f"{tmp_path}/d.csv, line 3: not UTF-8; save the file as UTF-8"
    file = write(tmp_path / "e.csv", "text,text\n1,2\n")
    assert fails(file) == f"{file}, line 1: column 'text' is there twice; rename one"
    file = write(tmp_path / "f.csv", "\n")
    assert fails(file) == f"{file}: the file is empty; give a table whose first line names its columns"


def test_rows_joined_by_stray_quotes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.csv", 'id,image,text,label\n1,a.jpg,"big pan,pizza\n2,b.jpg,9",soup\n')
    assert len(read(file)) == 1
    assert capsys.readouterr().err == (
        f"{file}: quoted rows that span lines like rows of their own: 1, the first on line 2; "
        "look for a stray quote there\n"
    )


def test_tsv_with_quoting_and_with_plain_quotes(tmp_path: Path) -> None:
    quoted = write(tmp_path / "a.tsv", 'text\tlabel\n"a ""b""\nc"\tx\n')
    assert read(quoted).texts == ['a "b"\nc']
    plain = write(tmp_path / "b.tsv", 'text\tlabel\n"Hello" he said\tx\n"open\ty\n9" pan"\tz\n')
    assert read(plain).texts == ['"Hello" he said', '"open', '9" pan"']
    assert read(plain).labels == ["x", "y", "z"]


def test_jsonl_of_mixed_types(tmp_path: Path) -> None:
    rows = [
        {"text": 5, "label": 1},
        {"text": "five", "label": True, "image": "a.jpg"},
        {"text": None, "label": 2.5, "image": {"bytes": None, "path": "b.jpg"}},
        {"text": float("nan"), "label": 3.0, "image": ""},
    ]
    file = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    pairs = read(file)
    assert pairs.texts == ["5", "five", None, None]
    assert pairs.labels == ["1", "true", "2.5", "3"]
    assert paths(pairs) == [None, f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg", None]
    file = write(tmp_path / "a.json", json.dumps(rows[:2], indent=1))
    assert read(file).texts == ["5", "five"]


def test_malformed_jsonl_names_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": \n')
    assert fails(file).startswith(f"{file}, line 2: not JSON (Expecting value")
    file = write(tmp_path / "b.jsonl", '{"text": "a"}\n[1]\n')
    assert fails(file) == f"{file}, line 2: list where a JSON object is needed"
    file = write(tmp_path / "c.jsonl", '{"text": ["a"]}\n')
    assert fails(file) == f"{file}, line 1: 'text' is a list, not a text, a number or null"


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "a.csv", "text\nold\n")
    assert read(file).texts == read(file).texts == ["old"]
    assert len(list(cache.glob("plait/*"))) == 1
    write(file, "text\nquite new\n")
    assert read(file).texts == ["quite new"]
