"""A table and a run for jobs, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import plait
from plait.config import Config
from plait.pipeline.classifier import Classifier
from plait.report.write import write_pairs


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("jobs") / "dishes.parquet"
    write_pairs(plait.draw(rows=100, seed=2, size=32), file)
    return file


@pytest.fixture(scope="session")
def fitted(
    table: Path, toy_config: Callable[..., Config], light_image_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("jobs-run") / "run"
    Classifier(toy_config("model=late", f"image.model=local-dir:{light_image_folder}")).fit(table).save(folder)
    return folder
