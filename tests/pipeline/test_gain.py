"""What tuning gained: measured on test rows, said in one line, kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import plait
from plait.config import Config, configure
from plait.data.partition import divide
from plait.pipeline.gain import Gain, measure_gain, with_tuned
from plait.report.uncertainty import Paired

ToyConfig = Callable[..., Config]


def gain(points: float, p: float) -> str:
    low, high = points - 0.02, points + 0.02
    return Gain("image", 2525, 0.4186, 0.4186 + points, Paired(points, (low, high), p, 300, 100)).line()


def test_the_line_says_whether_it_is_more_than_chance() -> None:
    start = "image alone, 2,525 test rows: 41.86 % frozen, "
    assert gain(0.09, 1e-9) == start + "50.86 % tuned, +9.00 points [+7.00, +11.00], p < 0.001"
    assert gain(0.01, 0.3) == (
        start + "42.86 % tuned, +1.00 points [-1.00, +3.00], p 0.300: no gain that is not chance; the frozen encoder "
        "does as well"
    )
    assert gain(-0.05, 0.01) == (
        start + "36.86 % tuned, -5.00 points [-7.00, -3.00], p 0.010: tuning lost; keep the frozen encoder"
    )


def test_only_the_network_is_replaced(tmp_path: Path) -> None:
    config = configure(overrides=["image.size=96", "image.tune=true"])
    text = with_tuned(config, "text", tmp_path).text
    assert (text.model, text.tune) == (f"{tmp_path}+tfidf+tfidf-char", False)
    image = with_tuned(config, "image", tmp_path).image
    assert (image.model, image.size, image.tune) == (f"local-dir:{tmp_path}", None, False)


def test_an_encoder_against_itself_gains_nothing(toy_config: ToyConfig, image_folder: Path, tmp_path: Path) -> None:
    config = toy_config("text.model=tfidf")
    parts = divide(plait.draw(rows=320, seed=3, size=32), config)
    (tmp_path / "tuned").symlink_to(image_folder)
    found = measure_gain(parts, config, "image", tmp_path / "tuned")
    assert found is not None
    assert parts.test is not None
    assert (found.rows, found.paired.difference, found.paired.p) == (len(parts.test), 0.0, 1.0)
    kept = json.loads((tmp_path / "tuned" / "gain.json").read_text())
    (image_folder / "gain.json").unlink()
    assert kept == found.facts()
    assert kept["frozen"] == kept["tuned"]


def test_nothing_to_measure(toy_config: ToyConfig, image_folder: Path) -> None:
    config = toy_config("data.test_fraction=0")
    parts = divide(plait.draw(rows=160, seed=3, size=32), config)
    assert measure_gain(parts, config, "image", image_folder) is None
    config = toy_config("image.pretrained=false")
    assert measure_gain(divide(parts.train, config), config, "image", image_folder) is None
