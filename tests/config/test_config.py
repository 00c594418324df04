from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from plait.config import Config, configure, presets
from plait.errors import ConfigError, PlaitError
from plait.training.encoders.stages import plan
from plait.training.heads.descent import SMOOTHING


def refusal(**sources: object) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(**sources)  # type: ignore[arg-type]
    assert isinstance(caught.value, PlaitError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    return path


def test_every_preset_is_listed_and_loads() -> None:
    files = {f.name for f in resources.files("plait.config").joinpath("presets").iterdir() if f.name.endswith(".yaml")}
    found = presets()
    assert {f"{name}.yaml" for name in found} == files
    assert {"demo", "quick"} <= set(found)
    for name, preset in found.items():
        assert preset.line
        assert not preset.line.startswith("#")
        assert isinstance(configure(name), Config)
    demo, quick, plain = configure("demo"), configure("quick"), configure()
    assert demo.image.model == quick.image.model == plain.image.model == "lite0"
    assert demo.text.model == quick.text.model == plain.text.model == "minilm+tfidf+tfidf-char"


def test_presets_after_a_source_say_how_they_differ() -> None:
    assert presets()["huse-2019"].facts[:3] == (
        (
            "source",
            "Narayana et al. 2019, HUSE: Hierarchical Universal Semantic Embeddings (there on Graph-RISE and BERT)",
        ),
        ("published", "early 92.3 %"),
        ("differs", "image features of EfficientNetV2-S, ImageNet-21k (there Graph-RISE, which is not public)"),
    )
    for preset in presets().values():
        words = [word for word, _ in preset.facts]
        assert set(words) <= {"source", "published", "differs"}
        assert all(fact for _, fact in preset.facts)
        assert ("source" in words) == ("differs" in words)


def test_what_presets_say_of_their_numbers() -> None:
    """The figures on this side of each difference are those of the configuration."""
    gallo, early, huse, study = map(
        configure, ("gallo-2020-late", "gallo-2020-early", "huse-2019", "efficientnetv2-angle")
    )
    for config in (gallo, early):
        assert (config.image.train.lr, config.image.train.batch, config.image.train.label_smoothing) == (1e-4, 32, 0.1)
        assert (config.text.train.epochs, config.text.train.batch, config.text.train.label_smoothing) == (10, 32, 0.1)
        assert (config.text.train.tower, config.text.train.layers, config.text.clean) == ("lstm", "frozen", False)
    assert (early.head.towers.image, early.head.towers.text) == ((256,), (256,))
    assert (early.joint.epochs, early.joint.batch, early.joint.lr, early.joint.text) == (5, 32, 1e-5, "frozen")
    assert (huse.train.lr, huse.train.epochs, huse.train.label_smoothing or SMOOTHING) == (1e-3, 60, 0.1)
    assert (huse.head.huse.graph, huse.head.huse.gap, huse.train.batch) == (1, 1, 1024)
    train = study.image.train
    assert (train.epochs, train.batch, train.lr, train.ema, train.batch_stats) == (12, 32, None, 0, False)
    stages = plan(train, study.image.size or 0, pretrained=True)
    assert [stage.size for stage in stages] == [144, 192, 256, 299]
    assert [config.head.modality_dropout for config in (early, huse, study)] == [0.2] * 3


def test_nothing_given_is_the_defaults() -> None:
    assert configure() == Config()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "unknown key 'sed'. Did you mean 'seed'?"),
        ({"imgae": {"size": 3}}, "unknown key 'imgae'. Did you mean 'image'?"),
        ({"train": {"epoch": 1}}, "unknown key 'train.epoch'. Did you mean 'train.epochs'?"),
        ({"image": {"train": {"lrr": 1}}}, "unknown key 'image.train.lrr'. Did you mean 'image.train.lr'?"),
        (
            {"head": {"towers": {"zzz": 1}}},
            "unknown key 'head.towers.zzz'. Known: image, text.",
        ),
        (
            {"image": {"train": {"stages": [{"size": 32, "epochs": 1}, {"size": 64, "epoch": 1}]}}},
            "image.train.stages.1.epochs: field required (got {'size': 64, 'epoch': 1}); "
            "unknown key 'image.train.stages.1.epoch'. Did you mean 'image.train.stages.1.epochs'?",
        ),
    ],
)
def test_unknown_key(values: dict[str, object], message: str) -> None:
    assert refusal(values=values) == message


def test_stages_that_shrink() -> None:
    stages = [{"size": 64, "epochs": 1}, {"size": 32, "epochs": 1}]
    assert refusal(values={"image": {"train": {"stages": stages}}}) == (
        "image.train.stages: stage 2 has 32 px after 64 px; sizes must not shrink: reorder them"
    )
    assert refusal(overrides=["image.train.stages=[]"]) == (
        "image.train.stages: no stage; give at least one, or null for stages made from size and epochs"
    )


def test_unknown_preset() -> None:
    assert refusal(preset="quik") == "unknown preset 'quik'. Did you mean 'quick'?"
    assert refusal(preset="zzz") == f"unknown preset 'zzz'. Known: {', '.join(presets())}."


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "train.epochs: input should be greater than 0 (got 0)"),
        ("data.val_fraction=1", "data.val_fraction: input should be less than 1 (got 1)"),
        ("head.folds=1", "head.folds: input should be greater than or equal to 2 (got 1)"),
        ("head.folds=21", "head.folds: input should be less than or equal to 20 (got 21)"),
        ("train.lr=.nan", "train.lr: input should be greater than 0 (got nan)"),
        (
            "head.late=meen",
            "head.late: input should be 'auto', 'mean', 'product', 'weighted' or 'stacking' (got 'meen')",
        ),
        ("train.label_smoothing=1", "train.label_smoothing: input should be less than 1 (got 1)"),
        ("text.tfidf_terms=0", "text.tfidf_terms: input should be greater than 0 (got 0)"),
        ("head.modality_dropout=0.51", "head.modality_dropout: input should be less than or equal to 0.5 (got 0.51)"),
        ("train.epochs.x=5", "train.epochs: input should be a valid integer (got {'x': 5})"),
        ("train.epochs", "override 'train.epochs': expected key.path=value, e.g. train.epochs=10"),
        ("=3", "override '=3': expected key.path=value, e.g. train.epochs=10"),
    ],
)
def test_refused_override(override: str, message: str) -> None:
    assert refusal(overrides=[override]) == message


def test_all_mistakes_at_once() -> None:
    assert refusal(overrides=["train.epochs=0", "head.kind=mpl", "sede=3"]) == (
        "head.kind: input should be 'linear' or 'mlp' (got 'mpl'); "
        "train.epochs: input should be greater than 0 (got 0); "
        "unknown key 'sede'. Did you mean 'seed'?"
    )


def test_values_of_an_override() -> None:
    config = configure(
        overrides=["train.lr=1e-2", "train.batch=null", "image.pretrained=no", "text.prompt=[CLS", "seed = 7"]
    )
    assert (config.train.lr, config.train.batch, config.image.pretrained) == (0.01, None, False)
    assert (config.text.prompt, config.seed) == ("[CLS", 7)
    assert configure(overrides=["text.model=a=b"]).text.model == "a=b"


def test_a_prompt_that_ends_in_a_colon_stays_text() -> None:
    assert configure(overrides=["text.prompt=query: "]).text.prompt == "query: "
    assert configure(overrides=["train={epochs: 3, lr: 0.5}"]).train.epochs == 3


def test_later_sources_win(tmp_path: Path) -> None:
    file = written(tmp_path, "image: {size: 96, batch: 5}\ntrain: {epochs: 7, lr: 0.5}\n")
    config = configure("best", file, ["image.batch=9", "train.epochs=8", "train.epochs=9"])
    assert configure("best").image.size == 384
    assert config.image.model == "tf_efficientnetv2_l.in21k_ft_in1k"  # the preset's, over the default
    assert config.image.size == 96  # the file's, over the preset's
    assert config.image.batch == 9  # the override's, over the file's
    assert (config.train.lr, config.train.epochs) == (0.5, 9)  # the last override's
    assert config.train.patience == Config().train.patience


def test_values_stand_between_file_and_overrides(tmp_path: Path) -> None:
    file = written(tmp_path, "train: {epochs: 7, lr: 0.5, patience: 2}\n")
    train = configure(file=file, values={"train": {"epochs": 8, "lr": 0.25}}, overrides=["train.epochs=9"]).train
    assert (train.epochs, train.lr, train.patience) == (9, 0.25, 2)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert refusal(file=path) == f"no such config file: '{path}'"
    assert refusal(file=tmp_path) == f"no such config file: '{tmp_path}'"
    written(tmp_path, "- a\n- b\n")
    assert refusal(file=path) == f"{path}: expected keys and values at the top, found a list"
    written(tmp_path, "just words\n")
    assert refusal(file=path) == f"{path}: expected keys and values at the top, found a str"
    written(tmp_path, "seed: [1\n")
    assert refusal(file=path).startswith(f"{path}: not valid YAML: while parsing a flow sequence")
    path.write_bytes("seed: 3".encode("utf-16"))
    assert refusal(file=path) == f"{path}: not UTF-8 text"


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert configure(file=written(tmp_path, "# nothing\n")) == Config()


def test_json_is_yaml_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(configure("demo", overrides=["seed=5"]).model_dump_json(), "utf-8")
    assert configure(file=path) == configure("demo", overrides=["seed=5"])


@pytest.mark.parametrize("name", ["demo", "quick"])
def test_round_trip(name: str) -> None:
    config = configure(name, overrides=["seed=5", "data.image=photo", "train.class_weights=balanced"])
    assert configure(values=config.model_dump()) == config
    assert config != configure(name)


def test_values_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="Instance is frozen"):
        configure().train.epochs = 3  # type: ignore[misc]
