"""Indexes as a user meets them: what is found, against NumPy; filters; rows that come and go; what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spaces import joint, rows, run, unit

import plait
from plait.config import Config
from plait.data.pairs import Pairs
from plait.errors import PlaitError
from plait.inference.engine import Item
from plait.retrieval.space import open_space

Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tmp_path_factory.mktemp


@pytest.fixture(scope="module")
def late(toy_config: Callable[..., Config], folder: Folder) -> Path:
    return run(toy_config, folder)


@pytest.fixture(scope="module")
def space(toy_config: Callable[..., Config], folder: Folder) -> Path:
    return joint(toy_config, folder)


@pytest.fixture(scope="module")
def index(space: Path, folder: Folder) -> plait.Index:
    plait.Index.build(space, rows(), folder("index") / "index")
    return plait.Index.open(folder("index").parent / "index0" / "index")


def image(row: int) -> bytes:
    ref = next(rows().images([row]))
    assert ref is not None
    return ref.load()


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(PlaitError) as caught:
        work()
    return str(caught.value)


def table(folder: Path, count: int = 40) -> Path:
    """A table of texts with columns to keep: a price, and a colour that is missing in every third row."""
    colours = ["Navy Blue", "it's red", None]
    data = {
        "id": [f"r{i}" for i in range(count)],
        "text": [f"dish number {i} of row {i}" for i in range(count)],
        "label": ["soup" if i % 2 else "salad" for i in range(count)],
        "price": [i / 4 for i in range(count)],
        "base colour": [colours[i % 3] for i in range(count)],
    }
    file = folder / "table.csv"
    pd.DataFrame(data).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def kept(toy_config: Callable[..., Config], folder: Folder) -> plait.Index:
    file = table(folder("kept"))
    model = run(toy_config, folder, "text")
    return plait.Index.build(model, file, file.parent / "index", keep=["price", "base colour"])


def centred(model: Path, pairs: Pairs) -> dict[str, np.ndarray]:
    """Features less the mean of those there are, of length 1; zeros for a missing one."""
    found = open_space(model).engine.features(pairs)
    assert not found["image"].present.all()
    return {
        s: np.where(one.present[:, None], unit(one.vectors - one.vectors[one.present].mean(0)), 0)
        for s, one in found.items()
    }


def test_a_run_is_searched_by_centred_cosine(late: Path, tmp_path: Path) -> None:
    index = plait.Index.build(late, rows(), tmp_path / "index")
    cosines = {s: x @ x[7] for s, x in centred(late, rows()).items()}
    asked = {"image": {"image": image(7)}, "text": {"text": rows().texts[7]}}
    for name, scores in {**cosines, "both": (cosines["image"] + cosines["text"]) / 2}.items():
        query = asked[name] if name in asked else {**asked["image"], **asked["text"]}
        found = index.find(**query, k=20)
        order = np.argsort(-scores, kind="stable")[:20]
        assert [one["score"] for one in found] == pytest.approx(scores[order].tolist(), abs=2e-5)
        assert found[0]["id"] == rows().ids[7]


def test_a_joint_space_is_searched_by_the_mean_of_both_sides(index: plait.Index) -> None:
    space = index.space
    sides = space._embedded(space.engine.features(rows()))
    whole = unit(sides["image"] + sides["text"])
    found = index.find(image=image(3), k=160)
    scores = {rows().ids[row]: score for row, score in enumerate(whole @ sides["image"][3])}
    assert [one["score"] for one in found] == pytest.approx([scores[one["id"]] for one in found], abs=2e-5)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


def test_a_picture_finds_texts_that_have_no_picture(space: Path, tmp_path: Path) -> None:
    texts = Pairs.from_columns(None, rows().texts, rows().labels, rows().ids)
    index = plait.Index.build(space, texts, tmp_path / "index")
    sides = index.space._embedded(index.space.engine.features(rows()))
    scores = sides["text"] @ sides["image"][5]
    found = index.find(image=image(5), k=3)
    assert [one["score"] for one in found] == pytest.approx(np.sort(scores)[::-1][:3].tolist(), abs=2e-5)


def test_huse_has_a_space_of_its_own(toy_config: Callable[..., Config], folder: Folder, tmp_path: Path) -> None:
    index = plait.Index.build(run(toy_config, folder, "early", "huse"), rows(), tmp_path / "index")
    assert (index.space.kind, index.space.dim) == ("huse", 8)
    sides = index.space._embedded(index.space.engine.features(rows()))
    whole = unit(sides["image"] + sides["text"])
    found = plait.Index.open(tmp_path / "index").find(text=rows().texts[2], k=1)
    assert found[0]["score"] == pytest.approx(float((whole @ sides["text"][2]).max()), abs=2e-5)


def test_a_server_s_features_find_the_same(index: plait.Index) -> None:
    engine = index.space.engine
    item = Item(image(9), rows().texts[9])
    assert item.image is not None
    found = index.nearest(engine.encode([engine.decode(item.image)], [engine.clean(item.text)]), 5)
    assert [one["id"] for one in found] == [one["id"] for one in index.find(item.image, item.text, 5)]


def test_filters(kept: plait.Index) -> None:
    found = kept.find(text="dish", k=40, where="price < 2 and label = soup")
    assert {one["id"] for one in found} == {"r1", "r3", "r5", "r7"}
    assert set(found[0]) >= {"id", "score", "label", "text", "price"}
    assert {one["price"] for one in found} == {0.25, 0.75, 1.25, 1.75}
    blue = kept.find(text="dish", k=40, where='"base colour" = "Navy Blue"')
    assert len(blue) == 14
    assert len(kept.find(text="dish", k=40, where='"base colour" = "it\'s red"')) == 13
    assert "base colour" not in kept.find(text="dish", where="id = r2")[0]


def test_refused_filters(kept: plait.Index) -> None:
    count = len(kept)
    assert refused(lambda: kept.find(text="x", where="colour = red")) == (
        "where: the index has no column 'colour'; keep it with keep when it is built. Did you mean 'base colour'?"
    )
    assert refused(lambda: kept.find(text="x", where="label = pizza")) == (
        "where 'label = pizza' leaves none of the 40 rows; ask for less"
    )
    for hostile in ("x' OR '1'='1", "x'; DROP TABLE rows; --", "soup\\' OR 1=1 --"):
        assert refused(lambda hostile=hostile: kept.find(text="x", where=f'label = "{hostile}"')) == (
            f"where 'label = \"{hostile}\"' leaves none of the 40 rows; ask for less"
        )
    assert len(kept) == count


def test_refused_queries(kept: plait.Index, index: plait.Index) -> None:
    nothing = "the query has neither an image nor a text; give image, text or both"
    assert refused(lambda: index.find()) == nothing
    assert refused(lambda: index.find(text="  ")) == nothing
    assert refused(lambda: kept.find(image=image(0))) == "this index reads only texts; give the query one"
    assert refused(lambda: index.find(text="x", k=0)) == "k 0: ask for 1 row or more"
    assert "no such file" in refused(lambda: index.find(image="gone.jpg"))


def test_more_than_there_are(kept: plait.Index) -> None:
    assert len(kept.find(text="dish", k=1000)) == 40
    assert len(kept.find(text="dish", k=1000, where="price >= 9")) == 4


def test_rows_come_and_go(space: Path, tmp_path: Path) -> None:
    index = plait.Index.build(space, rows().select(range(150)), tmp_path / "index")
    assert index.add(rows().select(range(150, 160))) == 10
    opened = plait.Index.open(tmp_path / "index")
    assert len(opened) == 160
    whole = plait.Index.build(space, rows(), tmp_path / "whole")
    for one in (index, opened):
        assert one.find(text="ramen", k=160) == whole.find(text="ramen", k=160)
    assert refused(lambda: opened.add(rows().select([3]))) == (
        f"{rows().source}: the index has a row of id '{rows().ids[3]}'; delete it first, or give another id"
    )
    assert opened.delete([rows().ids[3], rows().ids[3], rows().ids[4]]) == 2
    assert len(plait.Index.open(tmp_path / "index")) == 158
    assert rows().ids[3] not in {one["id"] for one in opened.find(image=image(3), k=160)}
    assert refused(lambda: opened.delete(["it's", rows().ids[5]])) == (
        "the index has no row of id 'it's' (1 such ids); give ids it has"
    )
    assert len(opened) == 158
    assert opened.add(rows().select([3])) == 1
    assert opened.find(image=image(3), text=rows().texts[3], k=1)[0]["id"] == rows().ids[3]


def test_added_rows_must_keep_to_the_columns(kept: plait.Index, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("id,text,price,base colour\nn1,soup,cheap,red\n", "utf-8")
    assert refused(lambda: kept.add(file)) == (
        f"{file}: column 'price' holds numbers in the index, and here something else, too"
    )
    file.write_text("id,text,price\nn1,soup,3\n", "utf-8")
    assert refused(lambda: kept.add(file)).startswith(f"{file}: no column 'base colour' to keep.")
    assert len(kept) == 40


def test_unknown_columns_to_keep(late: Path, tmp_path: Path) -> None:
    file = table(tmp_path)
    build = lambda *keep: plait.Index.build(late, file, tmp_path / "index", keep=keep)  # noqa: E731
    assert refused(lambda: build("prices")).startswith(f"{file}: ")
    assert refused(lambda: plait.Index.build(late, rows(), tmp_path / "index", keep=["price"])).endswith(
        "no column 'price' to keep."
    )


def test_an_index_of_another_model(late: Path, space: Path, index: plait.Index, tmp_path: Path) -> None:
    remedy = "build it again with plait index, or give the one it was built with: model"
    dim = open_space(late).dim
    assert refused(lambda: plait.Index.open(index.folder, late)) == (
        f"index '{index.folder}' holds vectors of 16 numbers, and '{late}' gives {dim}; {remedy}"
    )
    other = tmp_path / "other"
    shutil.copytree(space, other)
    from safetensors.torch import load_file, save_file

    from plait.runs.manifest import stamps_of

    weights = load_file(other / "head.safetensors")
    weights["towers.image.linear.bias"] += 1
    save_file(weights, other / "head.safetensors")
    manifest = json.loads((other / "run.json").read_text())
    (other / "run.json").unlink()
    (other / "run.json").write_text(json.dumps(manifest | {"files": stamps_of(other)}))
    assert refused(lambda: plait.Index.open(index.folder, other)) == (
        f"index '{index.folder}' was built with other encoders than '{other}' has; {remedy}"
    )


def test_a_model_that_moved(space: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(space, before)
    plait.Index.build(before, rows(), tmp_path / "index")
    before.rename(after)
    assert refused(lambda: plait.Index.open(tmp_path / "index")) == (
        f"index '{tmp_path / 'index'}' was built with '{before}', which is not there; say where: model"
    )
    assert len(plait.Index.open(tmp_path / "index", after)) == 160


def test_folders_that_are_none(late: Path, index: plait.Index, tmp_path: Path) -> None:
    give = "give a folder written by plait index"
    assert refused(lambda: plait.Index.open(tmp_path / "x")) == f"no such folder: '{tmp_path / 'x'}'; {give}"
    assert refused(lambda: plait.Index.open(late)) == f"'{late}' is no index; {give}"
    copy = tmp_path / "copy"
    shutil.copytree(index.folder, copy)
    facts = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(facts | {"format": 9, "plait": "8.0"}))
    assert refused(lambda: plait.Index.open(copy)) == (
        f"index '{copy}' has format 9, written by plait 8.0; this plait reads format 1: upgrade plait, "
        "or build it again"
    )
    del facts["columns"]
    (copy / "index.json").write_text(json.dumps(facts))
    assert refused(lambda: plait.Index.open(copy)) == f"index '{copy}': index.json lacks columns; build it again"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    assert refused(lambda: plait.Index.build(late, rows(), taken)) == (
        f"folder '{taken}' is not empty; choose another folder, or replace it with overwrite=True"
    )
    assert refused(lambda: plait.Index.build(late, rows(), tmp_path / "y", kind="ivf_flt")) == (
        "no kind of index 'ivf_flt'. Did you mean 'ivf_flat'?"
    )


def test_rows_with_nothing_are_left_out(late: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = Pairs.from_columns([image(0), None, None], ["a", "b", " "], ids=["x", "y", "z"], source="three")
    index = plait.Index.build(late, pairs, tmp_path / "index")
    assert len(index) == 2
    assert "three: 1 rows have nothing to be found by and are left out" in capsys.readouterr().err
    empty = Pairs.from_columns([None], [" "], source="one")
    assert refused(lambda: plait.Index.build(late, empty, tmp_path / "none")) == (
        "one: no row has anything to be found by (image or text); give rows that have"
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "kind", ["ivf_flat", *(pytest.param(one, marks=pytest.mark.slow) for one in ("ivf_sq", "ivf_hnsw_sq"))]
)
def test_approximate_searches(space: Path, tmp_path: Path, kind: str) -> None:
    index = plait.Index.build(space, rows(), tmp_path / "index", kind=kind)
    facts = json.loads((tmp_path / "index" / "index.json").read_text())["search"]
    assert facts["kind"] == kind
    assert set(facts["forms"]) == {"image", "text", "both"}
    assert facts["recall"] == min(facts["forms"].values())
    assert facts["recall"] >= 0.95
    assert facts["sample"] == 100
    opened = plait.Index.open(tmp_path / "index")
    assert opened.search == index.search
    assert opened.find(text=rows().texts[8], image=image(8), k=1)[0]["id"] == rows().ids[8]


def test_adding_does_not_build_again(space: Path, tmp_path: Path) -> None:
    """The vector index of before stays, and a second one of the added rows alone stands beside it."""
    index = plait.Index.build(space, rows().select(range(158)), tmp_path / "index", kind="ivf_flat")
    index.add(rows().select([158, 159]))
    import lance

    stats = lance.dataset(str(index.table.path)).stats.index_stats("vector_idx")
    assert stats["num_indexed_rows_per_delta"] == [158, 2]
    assert stats["num_unindexed_rows"] == 0
    found = plait.Index.open(tmp_path / "index").find(image=image(159), text=rows().texts[159], k=1)
    assert found[0]["id"] == rows().ids[159]


BUILD = """
import sys, time
import plait, spaces
from plait.retrieval import index
real = index.write_facts
def slow(*given):
    print("rows are written", flush=True)
    time.sleep(600)
index.write_facts = slow
plait.Index.build(sys.argv[1], spaces.rows(), sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_build_restarts_cleanly(space: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests / "retrieval"), str(tests), str(Path(plait.__file__).parents[1])])
    started = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(space), str(out)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline().strip() == "rows are written"
    started.send_signal(signal.SIGKILL)
    started.wait()
    started.stdout.close()
    assert not out.exists()
    assert [one.name for one in tmp_path.iterdir()] == [".index.building"]
    index = plait.Index.build(space, rows(), out)
    assert [one.name for one in tmp_path.iterdir()] == ["index"]
    assert len(plait.Index.open(out)) == len(index) == 160
