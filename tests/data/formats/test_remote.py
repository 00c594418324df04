"""Sources in object storage, from a real S3 server on this machine."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import plait
from plait.data import fetched as fetching
from plait.data.fetched import Fetched
from plait.data.images import ImageRef
from plait.data.read import read
from plait.errors import DataError
from plait.report.write import write_pairs
from toys import Run, picture

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed (the extra 'scale')")
moto = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"http://{host}:{port}"
    serving.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """An empty bucket ``shop``, with credentials in the environment as a user has them."""
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT": server,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).read()
    fetching.fetched.cache_clear()
    system = s3fs.S3FileSystem()
    system.mkdir("shop")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()


def fails(source: str) -> str:
    with pytest.raises(DataError) as caught:
        read(source)
    return str(caught.value)


def numbers(pairs: plait.Pairs) -> list[bytes]:
    return [ref.load() for ref in pairs.images() if ref is not None]


def test_tables_and_the_images_they_name(bucket: s3fs.S3FileSystem) -> None:
    for i in range(4):
        bucket.pipe_file(f"shop/pics/{i}.png", picture(i))
    bucket.pipe_file("shop/a.csv", b"image,text,label\npics/0.png,one,x\npics/1.png,two,y\n")
    pairs = read("s3://shop/a.csv")
    assert pairs.texts == ["one", "two"]
    assert [ref.path for ref in pairs.images() if ref] == ["s3://shop/pics/0.png", "s3://shop/pics/1.png"]
    assert numbers(pairs) == [picture(0), picture(1)]
    hashes, reasons = pairs.image_hashes
    assert None not in hashes
    assert reasons == {}
    # Another state of the same file is another table.
    bucket.pipe_file("shop/a.csv", b"image,text,label\npics/3.png,three,x\n")
    bucket.invalidate_cache()
    assert read("s3://shop/a.csv").texts == ["three"]


def test_folders_and_globs_of_tables(bucket: s3fs.S3FileSystem, tmp_path: Path) -> None:
    for name, rows in {"a": [0, 1], "b": [2]}.items():
        table = pa.table({"image": [picture(i) for i in rows], "text": [f"t{i}" for i in rows]})
        pq.write_table(table, tmp_path / "one.parquet")
        bucket.put_file(tmp_path / "one.parquet", f"shop/many/{name}.parquet")
    bucket.pipe_file("shop/many/_job.json", b"{}")
    for source in ("s3://shop/many", "s3://shop/many/", "s3://shop/many/*.parquet"):
        assert read(source).texts == ["t0", "t1", "t2"]
        assert numbers(read(source)) == [picture(0), picture(1), picture(2)]


def test_folders_of_images(bucket: s3fs.S3FileSystem) -> None:
    for label, i in (("soup", 1), ("soup", 2), ("pie", 3)):
        bucket.pipe_file(f"shop/photos/{label}/{i}.png", picture(i))
    pairs = read("s3://shop/photos")
    assert pairs.labels == ["pie", "soup", "soup"]
    assert pairs.ids == ["pie/3.png", "soup/1.png", "soup/2.png"]
    assert numbers(pairs) == [picture(3), picture(1), picture(2)]


def test_lance(bucket: s3fs.S3FileSystem, tmp_path: Path) -> None:
    import lance

    table = pa.table({"image": [picture(i) for i in range(3)], "text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    for uri in (str(tmp_path / "dishes.lance"), "s3://shop/dishes.lance"):
        lance.write_dataset(table, uri)
        pairs = read(uri)
        assert (pairs.texts, pairs.labels, numbers(pairs)) == (
            ["a", "b", "c"],
            ["x", "y", "x"],
            [picture(i) for i in range(3)],
        )
        lance.write_dataset(table.slice(0, 1), uri, mode="append")
        assert len(read(uri)) == 4
    (tmp_path / "no.lance").mkdir()
    assert fails(str(tmp_path / "no.lance")).startswith(f"{tmp_path}/no.lance: cannot be read as a Lance dataset (")


def test_what_is_not_there_or_not_allowed(bucket: s3fs.S3FileSystem, server: str) -> None:
    assert fails("s3://shop/none.csv").startswith("cannot download 's3://shop/none.csv': ")
    assert fails("s3://shop/none/") == "nothing at 's3://shop/none/'; check the address"
    bucket.pipe_file("shop/a.csv", b"image,text\n,one\n")
    try:  # from the first request on, the server asks who is there
        ask(server, b"0")
        s3fs.S3FileSystem.clear_instance_cache()
        assert fails("s3://shop/a.csv").endswith("; check the credentials in the environment, and what they may read")
    finally:
        ask(server, b"inf")


def ask(server: str, number: bytes) -> None:
    """Let the server ask for known credentials after a number of requests."""
    kind = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", number, kind, method="POST")).read()


def test_a_job_from_a_bucket_into_a_bucket(
    bucket: s3fs.S3FileSystem, run: Run, quick: list[str], tmp_path: Path
) -> None:
    from plait.config import configure
    from plait.pipeline.classifier import Classifier

    pairs = plait.draw(rows=64, seed=1, size=32)
    Classifier(configure(overrides=quick[1::2])).fit(pairs).save(tmp_path / "run")
    write_pairs(pairs, tmp_path / "dishes.parquet")
    bucket.put_file(tmp_path / "dishes.parquet", "shop/dishes.parquet")
    command = ("predict", tmp_path / "run", "s3://shop/dishes.parquet", "--out", "s3://shop/labels", "--range-rows", 20)
    code, printed, err = run(*command)
    assert (code, printed) == (0, "s3://shop/labels\n"), err
    assert sum(name.endswith(".parquet") for name in bucket.ls("shop/labels")) == 4
    code, _, err = run(*command)
    assert code == 0
    assert "64 of 64 rows are there already" in err
    with bucket.open(sorted(bucket.glob("shop/labels/*.parquet"))[0]) as file:
        assert pq.read_table(file)["id"].to_pylist() == pairs.ids[:20]
    code, _, err = run(*command[:4], "s3://nobodys/labels")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: --out 's3://nobodys/labels' cannot be used (")


def test_images_are_fetched_once_and_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        return bytes([int(url[-1])]) * 400

    monkeypatch.setattr(fetching, "download", download)
    held = Fetched(tmp_path, limit=1000)
    urls = [f"s3://shop/{i}" for i in range(5)]
    threads = [threading.Thread(target=lambda url=url: [held.load(url) for _ in range(3)]) for url in urls[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == urls[:2]
    for url in urls:
        assert held.load(url) == bytes([int(url[-1])]) * 400
    assert sorted(asked) == urls
    assert held.held == sum(file.stat().st_size for file in tmp_path.iterdir()) == 800
    held.load(urls[4])
    assert len(asked) == 5
    held.load(urls[0])  # which had to go
    assert len(asked) == 6


def test_a_store_that_fails_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def broken(*_: object) -> None:
        raise RuntimeError("Could not connect\nto the endpoint")

    monkeypatch.setattr(fsspec, "open", broken)
    fetching.fetched.cache_clear()
    with pytest.raises(OSError, match=r"^Could not connect to the endpoint$"):
        ImageRef(path="s3://shop/1.png").load()
    pairs = plait.Pairs.from_columns(images=["s3://shop/1.png", None], texts=["a", "b"])
    assert pairs.image_hashes == ([None, None], {0: "Could not connect to the endpoint"})
    assert np.array_equal(pairs.has_image, [True, False])
