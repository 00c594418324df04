"""A request's body as what it asks: JSON with base64, or a multipart form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from plait.errors import and_more, did_you_mean
from plait.server.items import Raw
from plait.server.limits import Limits, RefusedError

KEYS = ("image", "text")
SHAPE = 'send {"image": BASE64, "text": "..."}, or {"items": [...]} for several'


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        items: an item that cannot be one is the reason why.
        batch: they came as a list.
        top: how many labels each answer is to have; None: it was not said.
    """

    items: list[Raw | RefusedError]
    batch: bool
    top: int | None


def parse(content_type: str, body: bytes, limits: Limits, labels: int) -> Asked:
    """Read a whole body. `labels`: how many the run knows.

    Raises:
        RefusedError: 415 for another media type, 400 for a body that is not what its type says, 413 for too many items,
            422 for values of a wrong shape.
    """
    media = require_media_type(content_type)
    if not body:
        raise RefusedError(400, "empty", f"the body is empty; {SHAPE}")
    if media == "application/json":
        return _from_json(body, limits, labels)
    form = asyncio.run(form_values(content_type, body, limits, (*KEYS, "top")))
    return Asked([Raw(form.get("image"), form.get("text"))], batch=False, top=_top(as_number(form.get("top")), labels))


def require_media_type(content_type: str) -> str:
    """The media type, without its parameters. Raises RefusedError where it is none that is read."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in ("application/json", "multipart/form-data"):
        raise RefusedError(415, "media_type", "wrong Content-Type; send application/json or multipart/form-data")
    return media


def json_object(body: bytes, limits: Limits, shape: str = SHAPE) -> dict[str, Any]:
    """The JSON object of a body; `shape` says what to send. Raises RefusedError where it is none."""
    value = _load(body, limits, shape)
    if not isinstance(value, dict):
        raise RefusedError(422, "shape", f"the body is a JSON {_kind(value)}; {shape}")
    return value


def _from_json(body: bytes, limits: Limits, labels: int) -> Asked:
    value = json_object(body, limits)
    if "items" not in value:
        return Asked([one_item(value, (*KEYS, "top"))], batch=False, top=_top(value.get("top"), labels))
    _require_keys(value, ("items", "top"))
    items = value["items"]
    if not isinstance(items, list) or not items:
        raise RefusedError(422, "shape", f"items is a JSON {_kind(items) if items != [] else 'list of none'}; {SHAPE}")
    limits.require("items", len(items))
    return Asked([_item(item, KEYS) for item in items], batch=True, top=_top(value.get("top"), labels))


def one_item(value: dict[str, Any], known: tuple[str, ...]) -> Raw:
    """The item that an object is, with no other keys than `known`. Raises RefusedError."""
    raw = _item(value, known)
    if isinstance(raw, RefusedError):
        raise raw
    return raw


def whole_number(value: Any, most: int) -> int | None:
    """A whole number from 1 to `most`, None for anything else; 3.0 is whole, true is no number."""
    return int(value) if type(value) in (int, float) and 1 <= value <= most and value == int(value) else None


def as_number(value: Any) -> Any:
    """A form's field as the number it is, if it is one."""
    return int(value[:9]) if isinstance(value, str) and value.isdecimal() else value


def _top(value: Any, labels: int) -> int | None:
    if value is None:
        return None
    if (number := whole_number(value, labels)) is not None:
        return number
    raise RefusedError(422, "top", f"top is no whole number from 1 to {labels}, the number of labels; send one that is")


def _load(body: bytes, limits: Limits, shape: str) -> Any:
    # Each bracket and comma may become an object of some 64 bytes: refuse what cannot be a request before it does.
    if body.count(b"{") + body.count(b"[") + body.count(b",") > (limits.items + 1) * (limits.chars + 8):
        raise RefusedError(400, "json", f"JSON of too many parts; {shape}")
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError:
        raise RefusedError(400, "json", "the body is not UTF-8; send JSON in UTF-8") from None
    except RecursionError:
        raise RefusedError(400, "json", f"JSON nested too deeply; {shape}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RefusedError(400, "json", f"the body is not JSON ({error.msg} at {where}); {shape}") from None
    except ValueError:
        raise RefusedError(400, "json", f"JSON with a number of too many digits; {shape}") from None


def _item(value: Any, known: tuple[str, ...]) -> Raw | RefusedError:
    if not isinstance(value, dict):
        return RefusedError(422, "shape", f"an item is a JSON {_kind(value)}; send an object with image, text or both")
    try:
        _require_keys(value, known)
    except RefusedError as refusal:
        return refusal
    for key in KEYS:
        if not isinstance(value.get(key), str | None):
            remedy = "base64" if key == "image" else "it as a string"
            return RefusedError(422, "shape", f"{key} is a JSON {_kind(value[key])}; send {remedy}")
    return Raw(value.get("image"), value.get("text"))


def _require_keys(value: dict[str, Any], known: tuple[str, ...]) -> None:
    if unknown := [key for key in value if key not in known]:
        names = and_more([repr(key[:40]) for key in unknown])
        raise RefusedError(422, "unknown_key", f"unknown key {names}.{did_you_mean(unknown[0][:40], known)}")


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


async def form_values(content_type: str, body: bytes, limits: Limits, known: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a form, at most one of each name of `known`: bytes of ``image``, else strings.

    Raises:
        RefusedError: as `parse`.
    """
    _, options = parse_options_header(content_type)
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise RefusedError(415, "media_type", "a form in another charset; send it in UTF-8")

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        Headers({"content-type": content_type}),
        whole(),
        max_files=2,
        max_fields=len(known),
        max_part_size=4 * limits.chars,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "Invalid multipart data"
        if reason.startswith("Part exceeded"):
            limits.require("chars", parser.max_part_size)
        message = f"the body is no multipart form ({reason.rstrip('.')}); send fields image (a file) and text"
        raise RefusedError(400, "multipart", message) from None
    try:
        return await _fields(form, known)
    finally:
        await form.close()


async def _fields(form: FormData, known: tuple[str, ...]) -> dict[str, Any]:
    _require_keys({name: None for name, _ in form.multi_items()}, known)
    if len(form.multi_items()) > len(form) or not form:
        raise RefusedError(422, "shape", "give one image, one text or one of each; send several items as JSON")
    image = form.get("image")
    if isinstance(image, str):
        raise RefusedError(422, "shape", "image is a form field without a file; send the file's bytes with a filename")
    if isinstance(form.get("text"), UploadFile):
        raise RefusedError(422, "shape", "text is a file; send it as a plain form field")
    values = dict(form)
    return values if image is None else {**values, "image": await image.read()}
