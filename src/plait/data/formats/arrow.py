"""Arrow columns of any usual type, cast to the two types of a pairs table: strings and ``{bytes, path}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ABSOLUTE = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:|/|\\\\)"  # a URL or an absolute path, on Windows too


def text_array(array: pa.Array, what: str, classes: list[str] | None = None) -> pa.Array:
    """(N,) values as strings; blank and NaN become null, whole floats lose their ``.0``.

    Args:
        array: (N,) strings, numbers, booleans, dates, UTF-8 bytes or class numbers.
        what: what to call the column in a message.
        classes: names of the class numbers; a negative number is a missing label.

    Raises DataError for lists and structs, and for bytes that are not UTF-8.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _decoded(array)
    if classes is not None and pa.types.is_integer(array.type):
        known = pc.if_else(pc.less(array, 0), pa.scalar(None, array.type), array)
        array = pa.array(classes, pa.string()).take(known)
    if pa.types.is_floating(array.type):
        array = _whole(array)
    if pa.types.is_nested(array.type):
        raise DataError(f"{what} holds {array.type}, not text or a label; name another column")
    try:
        strings = array.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"{what} holds {array.type} that is not UTF-8 text; name another column") from error
    blank = pc.equal(pc.utf8_trim_whitespace(strings), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), strings)


def label_array(array: pa.Array, what: str, classes: list[str] | None = None) -> pa.Array:
    """`text_array` without white space around the labels and in one Unicode form, as `plait.data.pairs.as_label`."""
    import pyarrow.compute as pc

    return pc.utf8_normalize(pc.utf8_trim_whitespace(text_array(array, what, classes)), form="NFC")


def image_array(array: pa.Array, what: str, root: str) -> pa.Array:
    """(N,) images as structs ``{bytes, path}``; a relative path without bytes is put under `root`.

    Args:
        array: (N,) paths or URLs, encoded bytes, or structs with `bytes` and/or `path`.
        what: what to call the column in a message.
        root: absolute folder or URL that relative paths start from; empty: leave them as they are.

    Raises DataError where the values can be none of these.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _decoded(array)
    kind = array.type
    content, path = pa.nulls(len(array), pa.binary()), pa.nulls(len(array), pa.string())
    if pa.types.is_struct(kind) and {"bytes", "path"} & {f.name for f in kind}:
        names = {f.name for f in kind}
        content = pc.struct_field(array, "bytes").cast(pa.binary()) if "bytes" in names else content
        path = pc.struct_field(array, "path").cast(pa.string()) if "path" in names else path
    elif _is_text(kind):
        path = array.cast(pa.string())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        content = array.cast(pa.binary())
    elif not pa.types.is_null(kind):
        raise DataError(f"{what} holds {kind}, not images; name a column of paths, URLs or bytes: data.image=COLUMN")
    empty = pc.equal(pc.binary_length(content), 0)
    if pc.any(empty).as_py():  # seldom; if_else copies all the bytes
        content = pc.if_else(empty, pa.scalar(None, pa.binary()), content)
    path = _paths(path, content, root)
    neither = pc.and_(content.is_null(), path.is_null())
    fields = [pa.field("bytes", pa.binary()), pa.field("path", pa.string())]
    return pa.StructArray.from_arrays([content, path], fields=fields, mask=neither)


def _paths(path: pa.Array, content: pa.Array, root: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    blank = pc.equal(pc.utf8_trim_whitespace(path), "")
    path = pc.if_else(blank, pa.scalar(None, pa.string()), path)
    if not root:
        return path
    stays = pc.or_(content.is_valid(), pc.match_substring_regex(path, ABSOLUTE))
    return pc.if_else(stays, path, pc.binary_join_element_wise(pa.scalar(root.rstrip("/")), path, "/"))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _decoded(array: Any) -> pa.Array:
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _whole(array: pa.Array) -> pa.Array:
    """Floats as strings: 3.0 is '3', since a column of integers with a gap is read as floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = array.cast(pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**53))
    integers = pc.if_else(whole, array, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))
