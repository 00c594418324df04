from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reading import fails, paths, write

from plait.data.columns import Columns
from plait.data.images import content_hash
from plait.data.pairs import Pairs
from plait.data.read import read

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
Picture = Callable[[int], bytes]
Numbers = Callable[[Pairs], list[int]]

# ------------------------------------------------------------------ parquet and memory


def image_table(picture: Picture, rows: range, **extra: list[object]) -> pa.Table:
    return pa.table(
        {
            "image": [{"bytes": picture(n), "path": f"{n}.png"} for n in rows],
            "text": pa.array([f"number {n}" for n in rows], pa.large_string()),
            "label": [n % 3 for n in rows],
            **extra,
        }
    )


def test_pairing_survives_shards_selection_and_shuffling(tmp_path: Path, picture: Picture, numbers: Numbers) -> None:
    for shard in range(3):
        rows = range(shard * 1500, shard * 1500 + 1500)
        pq.write_table(image_table(picture, rows), tmp_path / f"train-{shard:05}-of-00003.parquet", row_group_size=400)
    pairs = read(tmp_path)
    assert len(pairs) == 4500
    assert list(pairs.splits) == ["train"]
    some = np.random.default_rng(0).choice(4500, 300, replace=False)
    for view in (pairs.select(some), Pairs(pairs.table.shuffle(seed=1)).select(range(300))):
        found = numbers(view)
        assert view.texts == [f"number {n}" for n in found]
        assert view.labels == [str(n % 3) for n in found]
        assert view.ids == [str(n) for n in found]
    assert numbers(pairs.select(some)) == some.tolist()


def test_parquet_class_names_and_stray_types(tmp_path: Path, picture: Picture) -> None:
    label = datasets.ClassLabel(names=["cat", "dog"])
    table = datasets.Dataset.from_dict(
        {"img": [picture(1), picture(2), b""], "text": [1.0, float("nan"), 2.5], "label": [1, 0, -1]},
        features=datasets.Features(
            {"img": datasets.Value("binary"), "text": datasets.Value("float32"), "label": label}
        ),
    )
    table.to_parquet(tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", table):
        pairs = read(source)
        assert pairs.labels == ["dog", "cat", None]
        assert pairs.texts == ["1", None, "2.5"]
        assert [ref and ref.bytes for ref in pairs.images()] == [picture(1), picture(2), None]
    pq.write_table(pa.table({"image": [[1], [2]], "text": ["a", "b"]}), tmp_path / "b.parquet")
    assert fails(tmp_path / "b.parquet") == (
        f"{tmp_path}/b.parquet: column 'image' holds list<element: int64>, not images; "
        "name a column of paths, URLs or bytes: data.image=COLUMN"
    )
    write(tmp_path / "c.parquet", "no parquet at all")
    assert fails(tmp_path / "c.parquet").startswith(f"{tmp_path}/c.parquet: not a whole Parquet file (")


def test_tables_in_memory(picture: Picture, numbers: Numbers) -> None:
    table = image_table(picture, range(5))
    frame = pd.DataFrame(
        {"text": ["a", None, 3], "label": [1, None, 2], "photo": [Image.new("RGB", (2, 2)), None, "x.png"]}
    )
    pairs = read(frame)
    assert (pairs.texts, pairs.labels) == (["a", None, "3"], ["1", None, "2"])
    assert [ref is not None for ref in pairs.images()] == [True, False, True]
    for source in (table, table.to_pandas(), datasets.Dataset(table)):
        pairs = read(source)
        assert numbers(pairs) == list(range(5))
        assert pairs.texts == [f"number {n}" for n in range(5)]
        assert read(pairs) is pairs
    assert fails(3) == (
        "cannot read pairs from int; give a path, URL, data frame, table, dataset, dict of columns, list of dicts, or "
        "list of (image, text)"
    )


def test_datasets_with_splits_and_saved_folders(tmp_path: Path, picture: Picture, numbers: Numbers) -> None:
    parts = {"test": range(4, 6), "train": range(3), "validation": range(3, 4)}
    sets = datasets.DatasetDict({name: datasets.Dataset(image_table(picture, rows)) for name, rows in parts.items()})
    sets.save_to_disk(tmp_path / "saved")
    before = sorted(tmp_path.rglob("*"))
    for source in (sets, str(tmp_path / "saved")):
        pairs = read(source)
        assert numbers(pairs) == [0, 1, 2, 3, 4, 5]
        assert {name: rows.tolist() for name, rows in pairs.splits.items()} == {
            "train": [0, 1, 2],
            "val": [3],
            "test": [4, 5],
        }
        assert numbers(read(source, split="validation")) == [3]
    assert sorted(tmp_path.rglob("*")) == before
    assert numbers(read(tmp_path / "saved" / "train")) == [0, 1, 2]
    assert not datasets.are_progress_bars_disabled()


# ------------------------------------------------------------------ splits, folders of tables, globs


def test_split_column(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,split\na,test\nb,train\nc,dev\nd,train\ne,\n")
    pairs = read(file)
    assert pairs.texts == ["a", "b", "c", "d", "e"]
    assert {name: rows.tolist() for name, rows in pairs.splits.items()} == {"train": [1, 3], "val": [2], "test": [0]}
    assert read(f"{file}#train").texts == ["b", "d"]
    assert read(f"{file}#train").source == f"{file}#train"
    assert read(file, split="valid").texts == ["c"]
    assert fails(f"{file}#tset") == f"{file}: no split 'tset'. Did you mean 'test'?"


def test_folder_of_tables_in_split_order_with_ids_that_collide(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", "id,text\n1,c\n2,d\n")
    write(tmp_path / "train.csv", "id,text,label\n1,a,x\n2,b,y\n")
    pairs = read(tmp_path)
    assert pairs.texts == ["a", "b", "c", "d"]
    assert pairs.ids == ["train/1", "train/2", "test/1", "test/2"]
    assert pairs.labels == ["x", "y", None, None]
    assert read(tmp_path, columns=Columns(label="label")).labels == ["x", "y", None, None]
    assert pairs.columns == ("id", "text", "label")


def test_folder_with_a_table_of_no_split_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "train.csv", "text\na\n")
    write(tmp_path / "notes.csv", "text\nb\n")
    assert read(tmp_path).texts == ["a"]
    assert capsys.readouterr().err == f"{tmp_path}: notes.csv names no split and is left out\n"


def test_glob_and_nested_folder(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.csv", "text\na\n")
    write(tmp_path / "data" / "train-00001-of-00002.csv", "text\nb\n")
    write(tmp_path / "data" / "validation-00000-of-00001.csv", "text\nc\n")
    assert read(tmp_path).texts == ["a", "b", "c"]
    assert read(f"{tmp_path}/data/train-*.csv").texts == ["a", "b"]
    assert read(f"{tmp_path}/**/*.csv#val").texts == ["c"]
    assert fails(f"{tmp_path}/*.parquet") == f"no table file matches '{tmp_path}/*.parquet'; check the pattern"
    write(tmp_path / "data" / "train.jsonl", "{}")
    assert fails(tmp_path) == f"{tmp_path}: tables of several kinds (.csv, .jsonl); give the files of one, e.g. '*.csv'"


def test_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: Picture, numbers: Numbers) -> None:
    for number, name in enumerate(("b/2.png", "a/10.PNG", "a/sub/1.jpg", "loose.png", "c/.hidden.png")):
        file = write(tmp_path / name, "")
        file.write_bytes(picture(number))
    for name in ("a/notes.txt", ".DS_Store", "a/Thumbs.db", "b/model.xyz"):
        write(tmp_path / name, "")
    pairs = read(tmp_path)
    assert pairs.ids == ["a/10.PNG", "a/sub/1.jpg", "b/2.png", "loose.png"]
    assert pairs.labels == ["a", "a", "b", None]
    assert numbers(pairs) == [1, 2, 0, 3]
    assert capsys.readouterr().err == f"{tmp_path}: files that are no images, left out: 1 (1 .xyz)\n"


def test_class_folders_in_splits_and_under_one_folder(tmp_path: Path) -> None:
    for name in ("s/test/a/1.jpg", "s/train/b/2.jpg", "s/train/a/3.jpg", "one/images/x/1.jpg", "one/images/y/2.jpg"):
        write(tmp_path / name, "")
    pairs = read(tmp_path / "s")
    assert pairs.ids == ["train/a/3.jpg", "train/b/2.jpg", "test/a/1.jpg"]
    assert pairs.labels == ["a", "b", "a"]
    assert read(f"{tmp_path}/s#test").labels == ["a"]
    assert read(tmp_path / "one").labels == ["x", "y"]
    (tmp_path / "empty").mkdir()
    assert fails(tmp_path / "empty") == (
        f"{tmp_path}/empty: neither images nor a table (.csv, .tsv, .jsonl, .parquet) in this folder"
    )


def test_image_folder_with_metadata(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/1.jpg", "train/sub/2.jpg", "test/3.jpg", "test/4.jpg"):
        write(tmp_path / name, "")
    write(tmp_path / "train" / "metadata.csv", "file_name,text,label\n1.jpg,one,a\nsub/2.jpg,two,b\n")
    write(tmp_path / "test" / "metadata.jsonl", '{"file_name": "3.jpg", "text": "three", "label": "a"}\n')
    pairs = read(tmp_path)
    assert pairs.ids == ["train/1.jpg", "train/sub/2.jpg", "test/3.jpg"]
    assert pairs.texts == ["one", "two", "three"]
    assert paths(pairs)[1] == f"{tmp_path}/train/sub/2.jpg"
    assert {name: rows.tolist() for name, rows in pairs.splits.items()} == {"train": [0, 1], "test": [2]}
    assert capsys.readouterr().err == (
        f"{tmp_path}: images that are not listed in train/metadata.csv, test/metadata.jsonl, left out: 1\n"
    )
    write(tmp_path / "twice" / "metadata.csv", "file_name,text\n1.jpg,one\n1.jpg,uno\n")
    assert read(tmp_path / "twice").ids == ["0", "1"]


# ------------------------------------------------------------------ names and addresses


def test_missing_paths(tmp_path: Path) -> None:
    write(tmp_path / "titles.csv", "text\na\n")
    assert fails(f"{tmp_path}/titels.csv") == (
        f"no such file or folder: '{tmp_path}/titels.csv'; did you mean '{tmp_path}/titles.csv'?"
    )
    assert fails("x.csv") == "no such file or folder: 'x.csv'; check the path"
    assert fails("a/b/c") == "no such file or folder: 'a/b/c'; check the path"
    assert fails("./nothing") == "no such file or folder: './nothing'; check the path"
    file = write(tmp_path / "a.docx", "")
    assert fails(file) == f"{file}: not a table plait reads; give .csv, .tsv, .jsonl or .parquet, or a folder"


def test_hub_name_without_a_network_fails_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    assert fails("someone/some-pairs") == (
        "no such file or folder: 'someone/some-pairs', and no data set of that name from the Hugging Face hub "
        "(HF_HUB_OFFLINE is set); check the path or the name"
    )
    assert time.monotonic() - start < 5


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *args: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_url_of_a_table(tmp_path: Path, site: str, picture: Picture, numbers: Numbers) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "1.png").write_bytes(picture(321))
    write(tmp_path / "a.csv", "image,text\npics/1.png,one\n")
    pq.write_table(image_table(picture, range(7)), tmp_path / "b.parquet")
    pairs = read(f"{site}/a.csv")
    assert (pairs.source, paths(pairs), numbers(pairs)) == (f"{site}/a.csv", [f"{site}/pics/1.png"], [321])
    assert numbers(read(f"{site}/b.parquet")) == list(range(7))
    assert fails(f"{site}/none.csv").startswith(f"cannot download '{site}/none.csv': ")
    assert fails(f"{site}/a") == f"{site}/a: give the URL of a .csv, .tsv, .jsonl or .parquet file"
    write(tmp_path / "bad.csv", "image,text\n1\n")
    assert fails(f"{site}/bad.csv").startswith(f"{site}/bad.csv, line 2: 1 fields where the header has 2; ")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}")
def test_shared_food_pairs() -> None:
    file = SHARED / "food_pairs_val.parquet"
    pairs = read(file)
    raw = pq.read_table(file)
    assert len(pairs) == 2525
    assert len(set(pairs.labels)) == 101
    assert pairs.texts == raw["text"].to_pylist()
    assert pairs.labels == raw["label"].to_pylist()
    read_hashes = [content_hash(ref.load()) for ref in pairs.images() if ref is not None]
    assert read_hashes == [content_hash(image["bytes"]) for image in raw["image"].to_pylist()]
