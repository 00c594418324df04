from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import lance
import numpy as np
import pytest

from plait.data.images import content_hash
from plait.errors import StoreError
from plait.features import hashes
from plait.features import store as features
from plait.features.store import FeatureStore, FeatureTable

DIM = 5


def keys(*numbers: int) -> list[bytes]:
    return [content_hash(str(number).encode()) for number in numbers]


def rows(*numbers: int, dim: int = DIM) -> np.ndarray:
    """One row for each number, which tells the number."""
    return np.array([[number + column / 16 for column in range(dim)] for number in numbers], np.float32)


def fill(table: FeatureTable, *numbers: int, dim: int = DIM) -> None:
    table.append(keys(*numbers), rows(*numbers, dim=dim), [None] * len(numbers))


def has(table: FeatureTable, *numbers: int) -> bool:
    """Whether the inputs of these numbers, and no other, have features."""
    return not table.missing(keys(*numbers)) and len(table) == len(numbers)


def test_read_in_any_order_with_duplicates(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "READ_ROWS", 7)  # so that one read takes several turns
    table = store.table("a")
    fill(table, 3, 1, 4)
    fill(table, *range(10, 40))
    asked = [17, 1, 39, 1, 3, 10, 4, 17, 17, *range(39, 9, -1), 3]
    vectors = table.read(keys(*asked), DIM)
    np.testing.assert_array_equal(vectors, rows(*asked))
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert table.read([], DIM).shape == (0, DIM)


def test_two_that_make_a_table_at_the_same_time_lose_no_row(store: FeatureStore) -> None:
    """Lance itself lets the later one replace the other."""
    ready = Barrier(2)

    def add(name: str, *numbers: int) -> None:
        table = store.table(name)
        ready.wait()
        fill(table, *numbers)

    with ThreadPoolExecutor(2) as pool:
        for turn in range(25):
            parts = [pool.submit(add, str(turn), *numbers) for numbers in ((1, 2, 3), (4, 5))]
            for part in parts:
                part.result()
            assert has(store.table(str(turn)), 1, 2, 3, 4, 5)
    assert not list(store.folder.glob("features/.*"))


def test_index_survives_reopening(store: FeatureStore) -> None:
    assert len(store.table("a")) == 0
    fill(store.table("a"), 8, 2, 5)
    fresh = FeatureStore(store.folder).table("a")
    assert has(fresh, 8, 2, 5)
    assert store.table("another").missing(keys(8)) == keys(8)
    np.testing.assert_array_equal(fresh.read(keys(5, 8), DIM), rows(5, 8))


def test_appends_update_an_open_index(store: FeatureStore) -> None:
    table = store.table("a")
    fill(table, 1)
    assert has(table, 1)
    fill(table, 2, 3)
    assert has(table, 1, 2, 3)
    np.testing.assert_array_equal(table.read(keys(3, 1), DIM), rows(3, 1))


def test_two_tables_append_to_one_folder(store: FeatureStore) -> None:
    first, second = store.table("a"), store.table("a")
    fill(first, 1, 2)
    fill(second, 3)
    fill(first, 4)
    fresh = store.table("a")
    assert has(fresh, 1, 2, 3, 4)
    np.testing.assert_array_equal(fresh.read(keys(4, 3, 2, 1), DIM), rows(4, 3, 2, 1))


def test_two_open_tables_read_what_each_appended(store: FeatureStore) -> None:
    first, second = store.table("a"), store.table("a")
    assert first.missing(keys(1)) == second.missing(keys(1)) == keys(1)
    fill(first, 1, 2)
    fill(second, 3)
    fill(first, 4)
    np.testing.assert_array_equal(first.read(keys(4, 2, 1), DIM), rows(4, 2, 1))
    np.testing.assert_array_equal(second.read(keys(3), DIM), rows(3))


def test_an_input_appended_twice_is_read_right(store: FeatureStore) -> None:
    fill(store.table("a"), 1, 2)
    fill(store.table("a"), 2, 3)
    fresh = store.table("a")
    np.testing.assert_array_equal(fresh.read(keys(3, 2, 1), DIM), rows(3, 2, 1))
    fill(fresh, 7)
    np.testing.assert_array_equal(fresh.read(keys(7, 1), DIM), rows(7, 1))


def test_problems_are_kept(store: FeatureStore) -> None:
    assert store.table("a").problems() == {}
    store.table("a").append(keys(1, 2, 3), rows(1, 2, 3), [None, "not an image", None])
    assert store.table("a").problems() == {keys(2)[0]: "not an image"}


def test_store_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "mine"))
    fill(FeatureStore().table("a"), 1)
    assert (tmp_path / "mine" / "features" / "a.lance").is_dir()
    assert has(FeatureStore(tmp_path / "mine").table("a"), 1)


@pytest.mark.parametrize("part", ["data", "_versions"])
def test_a_damaged_table_is_named(store: FeatureStore, part: str) -> None:
    table = store.table("a")
    fill(table, 1, 2)
    for file in (table.path / part).rglob("*"):
        if file.is_file():
            file.write_bytes(b"nothing of use")
    with pytest.raises(StoreError) as caught:
        store.table("a").missing(keys(1))
    message = str(caught.value)
    assert message.startswith(f"feature table '{table.path}' cannot be read (")
    assert message.endswith("); delete that folder")
    assert "\n" not in message
    shutil.rmtree(table.path)
    fill(store.table("a"), 1)
    assert has(store.table("a"), 1)


def test_a_file_where_the_store_should_be(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StoreError) as caught:
        fill(FeatureStore(tmp_path / "store").table("a"), 1)
    message = str(caught.value)
    assert message.startswith(f"features cannot be written to '{tmp_path}/store/features': ")
    assert message.endswith(
        "; free space there or choose another folder with store=FOLDER (what was encoded so far is kept)"
    )
    assert "\n" not in message
    assert (tmp_path / "store").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=32m", str(folder)], check=True)


def full(folder: Path) -> str:
    return (
        f"features cannot be written to '{folder}/features': no space left on the device; free space there or choose "
        "another folder with store=FOLDER (what was encoded so far is kept)"
    )


def test_a_full_disk_keeps_earlier_rows(small_disk: Path) -> None:
    table = FeatureStore(small_disk).table("a")
    fill(table, *range(50), dim=512)
    fill(table, *range(50, 100), dim=512)
    with pytest.raises(StoreError) as caught:
        fill(table, *range(100, 1100), dim=512)
    assert str(caught.value) == full(small_disk)
    fresh = FeatureStore(small_disk).table("a")
    assert has(fresh, *range(100))
    np.testing.assert_array_equal(fresh.read(keys(99, 0, 51), 512), rows(99, 0, 51, dim=512))
    enlarge(small_disk)
    fill(table, *range(100, 1100), dim=512)  # the same object goes on
    assert has(table, *range(1100))
    assert has(FeatureStore(small_disk).table("a"), *range(1100))
    np.testing.assert_array_equal(table.read(keys(1099, 7), 512), rows(1099, 7, dim=512))


def test_a_disk_full_at_the_first_append(small_disk: Path) -> None:
    table = FeatureStore(small_disk).table("a")
    with pytest.raises(StoreError) as caught:
        fill(table, *range(1000), dim=512)
    assert str(caught.value) == full(small_disk)
    enlarge(small_disk)
    fresh = FeatureStore(small_disk).table("a")
    assert len(fresh) == 0
    fill(fresh, *range(1000), dim=512)
    assert len(FeatureStore(small_disk).table("a")) == 1000


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of hashes on disk for a few rows, and chunks that are soon many."""
    monkeypatch.setattr(hashes, "RUN", 64)
    monkeypatch.setattr(features, "MANY", 5)
    monkeypatch.setattr(features, "MERGED", 100)


@pytest.mark.usefixtures("short_runs")
def test_many_chunks_are_merged_and_found_through_lists_on_disk(store: FeatureStore) -> None:
    table = store.table("a")
    for first in range(0, 640, 10):
        fill(table, *range(first, first + 10))
        if first == 300:
            assert not table.missing(keys(*range(310)))  # so that lists are there when chunks are merged
    assert len(lance.dataset(str(table.path)).get_fragments()) < 20
    fill(table, 640)
    asked = np.random.default_rng(0).permutation(641).tolist()
    np.testing.assert_array_equal(table.read(keys(*asked), DIM), rows(*asked))
    assert table.missing(keys(*range(600, 700))) == keys(*range(641, 700))
    assert len(list((table.path / "_hashes").iterdir())) == 10
    before = sum(file.stat().st_size for file in table.path.rglob("*"))
    table.compact(timedelta(0))
    assert sum(file.stat().st_size for file in table.path.rglob("*")) < before
    np.testing.assert_array_equal(store.table("a").read(keys(*asked), DIM), rows(*asked))


@pytest.mark.usefixtures("short_runs")
def test_a_list_of_another_table_is_made_anew(store: FeatureStore) -> None:
    table = store.table("a")
    fill(table, *range(70))
    assert has(table, *range(70))
    (file,) = (table.path / "_hashes").iterdir()
    kept = file.read_bytes()
    places = np.frombuffer(kept[64 * 16 :], np.int32)[::-1]
    file.write_bytes(kept[: 64 * 16] + places.tobytes())
    with pytest.raises(StoreError, match="its rows are not where its list of them says"):
        store.table("a").read(keys(1, 2, 3), DIM)
    np.testing.assert_array_equal(store.table("a").read(keys(1, 2, 3), DIM), rows(1, 2, 3))
