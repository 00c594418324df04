"""The OpenAPI document is valid, and the server keeps to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection
from serving import b64, fitted, opened, serving

from plait.config import Config
from plait.retrieval.index import Index
from toys import numbered, picture


@pytest.fixture(scope="module")
def run(toy_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(toy_config, tmp_path_factory.mktemp)


MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


def keeps_to(operation: Any, mode: Any, examples: int) -> None:
    """Raise where an answer to a generated request is not what the document says."""

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        # A field of a form is a string whatever was meant, so a wrong type there cannot be told.
        plain = case.media_type == "multipart/form-data" and mode == MODES[1]
        case.call_and_validate(excluded_checks=[negative_data_rejection] if plain else [])

    ask()


@pytest.mark.parametrize("examples", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_the_server_keeps_to_its_document(run: Path, examples: int) -> None:
    pictures = st.integers(0, 50).map(picture)
    schemathesis.openapi.format("base64-image", pictures.map(b64))
    schemathesis.openapi.format("binary", pictures)
    with serving(opened(run)) as client:
        schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        paths = []
        for result in schema.get_all_operations():
            operation = result.ok()
            paths.append(operation.path)
            for mode in MODES if operation.path == "/predict" else MODES[:1]:
                keeps_to(operation, mode, examples)
        assert paths == ["/predict", "/health", "/ready", "/info", "/metrics"]


@pytest.mark.parametrize("examples", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_the_server_keeps_to_it_with_an_index(run: Path, examples: int, tmp_path: Path) -> None:
    pictures = st.integers(0, 50).map(picture)
    schemathesis.openapi.format("base64-image", pictures.map(b64))
    schemathesis.openapi.format("binary", pictures)
    schemathesis.openapi.format("filter", st.sampled_from(["id != r1", "text > a and id != 'r2'"]))
    index = Index.build(run, numbered(20), tmp_path / "index")
    with serving(opened(run), index=index) as client:
        schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        (find,) = (one for one in operations if one.path == "/find")
        for mode in MODES:
            keeps_to(find, mode, examples)


@pytest.mark.parametrize("token", [None, b"token"])
def test_the_document_is_valid(run: Path, token: bytes | None) -> None:
    validator = pytest.importorskip("jsonschema_rs")
    with serving(opened(run), token) as client:
        headers = {"authorization": "Bearer token"}
        document = client.get("/openapi.json", headers=headers).json()
    assert document["openapi"].startswith("3.1")
    assert ("securitySchemes" in document["components"]) == (token is not None)
    for schema in document["components"]["schemas"].values():
        validator.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
