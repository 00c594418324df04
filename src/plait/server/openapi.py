"""The OpenAPI document of the server, written by hand: what is refused is part of it."""

from __future__ import annotations

from typing import Any

from plait import __version__
from plait.server.limits import Limits
from plait.server.service import Service

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
NO_NUL = "^[^\\x00]*$"
NOT_BLANK = "^[^\\x00]*[^\\s\\x00][^\\x00]*$"


def document(service: Service) -> dict[str, Any]:
    """An OpenAPI 3.1 document for a run."""
    modalities = service.engine.modalities
    paths: dict[str, Any] = {
        "/predict": {"post": _predict(service)},
        "/health": {"get": _get("Whether the process lives.", _json(_status()))},
        "/ready": {"get": _get("Whether requests are answered.", _json(_status()), "503")},
        "/info": {"get": _get("Labels, versions, fingerprint, limits.", _json({"type": "object"}), *_locked(service))},
        "/metrics": {
            "get": _get("Prometheus metrics.", {"text/plain": {"schema": {"type": "string"}}}, *_locked(service))
        },
    }
    schemas = {
        "Item": item(modalities, service.limits),
        "Batch": _object({"items": _items(service.limits.items)}),
        "Form": form(modalities, service.limits),
        "Answer": _answer(modalities),
        "Answers": _object({"answers": {"type": "array", "items": {"anyOf": [_ref("Answer"), _ref("Error")]}}}),
        "Error": _object({"error": {"type": "string"}}),
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "plait", "version": __version__, "description": "Labels for images and their texts."},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if service.token is not None:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/predict", "/info", "/metrics"):
            for operation in paths[path].values():
                operation["security"] = [{"token": []}]
    return described


def item(modalities: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """The schema of one item: what the run reads of it must be there."""
    image = {"type": ["string", "null"], "format": "base64-image", "description": "A file's bytes as base64."}
    text = {"type": ["string", "null"], "maxLength": limits.chars, "pattern": NO_NUL}
    needs = {
        "image": {"required": ["image"], "properties": {"image": {"type": "string", "minLength": 1}}},
        "text": {"required": ["text"], "properties": {"text": {"type": "string", "pattern": NOT_BLANK}}},
    }
    schema = _object({"image": image, "text": text})
    return {**schema, "required": [], "anyOf": [needs[modality] for modality in modalities]}


def form(modalities: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """The schema of a multipart form."""
    image = {"type": "string", "format": "binary", "description": "A JPEG, PNG, WebP, GIF or BMP file."}
    schema = _object({"image": image, "text": {"type": "string", "maxLength": limits.chars, "pattern": NO_NUL}})
    needs = {
        "image": {"required": ["image"]},
        "text": {"required": ["text"], "properties": {"text": {"pattern": NOT_BLANK}}},
    }
    return {**schema, "required": [], "anyOf": [needs[modality] for modality in modalities]}


def _predict(service: Service) -> dict[str, Any]:
    body = {
        "application/json": {"schema": {"oneOf": [_ref("Item"), _ref("Batch")]}},
        "multipart/form-data": {"schema": _ref("Form"), "encoding": {"image": {"contentType": "image/*"}}},
    }
    codes = [code for code in ERRORS if code != "401" or service.token is not None]
    answers = _json({"oneOf": [_ref("Answer"), _ref("Answers")]})
    operation = _get("A label for one item, or for each of several.", answers, *codes)
    return {**operation, "requestBody": {"required": True, "content": body}}


def _answer(modalities: tuple[str, ...]) -> dict[str, Any]:
    one: dict[str, Any] = {"label": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}}
    used = {"type": "array", "items": {"enum": list(modalities)}, "minItems": 1}
    return _object({**one, "top5": {"type": "array", "items": _object(one), "maxItems": 5}, "modalities": used})


def _get(summary: str, content: dict[str, Any], *errors: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Answered.", "content": content}}
    for code in errors:
        responses[code] = {"description": ERRORS[code], "content": _json(_ref("Error"))}
        if code in ("429", "503"):
            responses[code]["headers"] = {"Retry-After": {"required": True, "schema": {"type": "string"}}}
    return {"summary": summary, "responses": responses}


def _locked(service: Service) -> tuple[str, ...]:
    return ("401",) if service.token is not None else ()


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _status() -> dict[str, Any]:
    return _object({"status": {"type": "string"}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _items(most: int) -> dict[str, Any]:
    about = "Items; what is none gets an error of its own, and the others are answered."
    return {
        "type": "array",
        "items": {"anyOf": [_ref("Item"), {}]},
        "minItems": 1,
        "maxItems": most,
        "description": about,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
