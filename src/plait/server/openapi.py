"""The OpenAPI document of the server, written by hand: what is refused is part of it."""

from __future__ import annotations

from typing import Any

from plait import __version__
from plait.inference.engine import Engine
from plait.inference.predictions import TOP
from plait.server.find import MOST, Find
from plait.server.limits import Limits

ERRORS = {
    "400": "The body is not what its Content-Type says.",
    "401": "No valid token.",
    "408": "The body came too slowly.",
    "413": "Too large: body, image, text or number of items.",
    "415": "Neither JSON nor a multipart form.",
    "422": "Values of a wrong shape, an image that cannot be read, or nothing to go by.",
    "429": "Too many at one time; see Retry-After.",
    "500": "The server failed.",
    "503": "Not answered in time; see Retry-After.",
}
ABOUT_TOP = f"How many labels an answer has, under `top`; without it {TOP}, under `top5`."
ABOUT_WHERE = "Only rows for which it holds: label = soup and price < 5."
NO_NUL = "^[^\\x00]*$"
NOT_BLANK = "^[^\\x00]*[^\\s\\x00][^\\x00]*$"


def document(engine: Engine, limits: Limits, locked: bool, find: Find | None = None) -> dict[str, Any]:
    """An OpenAPI 3.1 document for a run. `locked`: requests need a token. `find`: where there is an index."""
    modalities, token = engine.modalities, ("401",) if locked else ()
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths: dict[str, Any] = {
        "/predict": {"post": _predict(locked)},
        "/health": {"get": _get("Whether the process lives.", _json(_status()))},
        "/ready": {"get": _get("Whether requests are answered.", _json(_status()), "503")},
        "/info": {"get": _get("Labels, versions, fingerprint, limits.", _json({"type": "object"}), *token)},
        "/metrics": {"get": _get("Prometheus metrics.", text, *token)},
    }
    top = {"type": "integer", "minimum": 1, "maximum": len(engine.labels), "description": ABOUT_TOP}
    schemas = {
        "Item": _item(modalities, limits),
        "Single": _with(_item(modalities, limits), top=_or_null(top)),
        "Batch": _with(_object(items=_items(limits.items)), top=_or_null(top)),
        "Form": _with(_item(modalities, limits, form=True), top=top),
        "Answer": _answer(modalities, len(engine.labels)),
        "Answers": _object(answers={"type": "array", "items": {"anyOf": [_ref("Answer"), _ref("Error")]}}),
        "Error": _object(error={"type": "string"}),
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "plait", "version": __version__, "description": "Labels for images and their texts."},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if find is not None:
        paths["/find"] = {"post": _find(locked)}
        modalities = find.index.space.modalities
        k = {"type": "integer", "minimum": 1, "maximum": MOST, "description": "How many rows; 10 without it."}
        where = {"type": "string", "format": "filter", "description": ABOUT_WHERE}
        more = {"k": _or_null(k), "where": _or_null(where)}
        schemas |= {
            "Sought": _with(_item(modalities, limits), **more),
            "SoughtForm": _with(_item(modalities, limits, form=True), k=k, where=where),
            "Found": _object(found={"type": "array", "maxItems": MOST, "items": _found()}),
        }
    if locked:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/predict", "/find", "/info", "/metrics"):
            for operation in paths.get(path, {}).values():
                operation["security"] = [{"token": []}]
    return described


def _item(modalities: tuple[str, ...], limits: Limits, form: bool = False) -> dict[str, Any]:
    """One item, in JSON or as a form: what the run reads of it must be there."""
    file = {"type": "string", "format": "binary", "description": "A JPEG, PNG, WebP, GIF or BMP file."}
    base64 = {"type": "string", "format": "base64-image", "description": "A file's bytes as base64.", "minLength": 1}
    image = file if form else base64
    text = {"type": "string", "maxLength": limits.chars, "pattern": NO_NUL}
    needs = {
        "image": {"required": ["image"], "properties": {"image": {"type": "string"}}},
        "text": {"required": ["text"], "properties": {"text": {"type": "string", "pattern": NOT_BLANK}}},
    }
    both = _object(image=image, text=text) if form else _object(image=_or_null(image), text=_or_null(text))
    return {**both, "required": [], "anyOf": [needs[modality] for modality in modalities]}


def _predict(locked: bool) -> dict[str, Any]:
    body = {
        "application/json": {"schema": {"oneOf": [_ref("Single"), _ref("Batch")]}},
        "multipart/form-data": {"schema": _ref("Form"), "encoding": {"image": {"contentType": "image/*"}}},
    }
    codes = [code for code in ERRORS if code != "401" or locked]
    answers = _json({"oneOf": [_ref("Answer"), _ref("Answers")]})
    operation = _get("A label for one item, or for each of several.", answers, *codes)
    return {**operation, "requestBody": {"required": True, "content": body}}


def _find(locked: bool) -> dict[str, Any]:
    body = {
        "application/json": {"schema": _ref("Sought")},
        "multipart/form-data": {"schema": _ref("SoughtForm"), "encoding": {"image": {"contentType": "image/*"}}},
    }
    codes = [code for code in ERRORS if code != "401" or locked]
    operation = _get("The rows of the index most like an image, a text, or both.", _json(_ref("Found")), *codes)
    return {**operation, "requestBody": {"required": True, "content": body}}


def _found() -> dict[str, Any]:
    """A row that was found: what it has, and its score."""
    needed = _object(id={"type": "string"}, score={"type": "number"})
    return {**needed, "additionalProperties": {"type": ["string", "number"]}}


def _answer(modalities: tuple[str, ...], labels: int) -> dict[str, Any]:
    one: dict[str, Any] = {"label": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}}
    used = {"type": "array", "items": {"enum": list(modalities)}, "minItems": 1}
    best = {"type": "array", "items": _object(**one), "minItems": 1}
    answer = _with(_object(**one, modalities=used), top5={**best, "maxItems": TOP}, top={**best, "maxItems": labels})
    return {**answer, "oneOf": [{"required": ["top5"]}, {"required": ["top"]}]}


def _get(summary: str, content: dict[str, Any], *errors: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Answered.", "content": content}}
    for code in errors:
        responses[code] = {"description": ERRORS[code], "content": _json(_ref("Error"))}
        if code in ("429", "503"):
            responses[code]["headers"] = {"Retry-After": {"required": True, "schema": {"type": "string"}}}
    return {"summary": summary, "responses": responses}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _status() -> dict[str, Any]:
    return _object(status={"type": "string"})


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _with(schema: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {**schema, "properties": {**schema["properties"], **optional}}


def _items(most: int) -> dict[str, Any]:
    about = "Items; what is none gets an error of its own, and the others are answered."
    anything = {"anyOf": [_ref("Item"), {}]}
    return {"type": "array", "items": anything, "minItems": 1, "maxItems": most, "description": about}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
