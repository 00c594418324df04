"""Requests that no honest client sends, as bytes on a socket."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from serving import b64

JSON = "application/json"


HEADS = {
    "HTML": b"<!doctype html><script>",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PDF": b"%PDF-1.7\n",
    "ZIP": b"PK\x03\x04",
    "ELF": b"\x7fELF",
    "TIFF": b"II*\0\x08\0\0\0",
    "ICO": b"\0\0\1\0\1\0",
    "PSD": b"8BPS\0\1",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "pickle": b"\x80\x04\x95",
    "gzip": b"\x1f\x8b\x08",
}
START = f"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {JSON}\r\n"


@dataclass(frozen=True)
class Hostile:
    """What is sent, and the statuses that answer it (200: several items, each refused).

    `stalls`: the client then waits and sends no more.
    """

    name: str
    sent: bytes
    wanted: tuple[int, ...]
    stalls: bool = False


def post(body: bytes, kind: str = JSON, extra: str = "", path: str = "/predict") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n{extra}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def item(**values: object) -> bytes:
    return post(json.dumps(values).encode())


def form(content: bytes, name: str = "a.png") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    return post(head.encode() + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")


def noise(kind: str, side: int = 64) -> bytes:
    """An image whose every byte matters."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def images() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Files that are no whole image within the limits."""
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        whole = noise(kind)
        for cut in np.linspace(1, 0.85 * len(whole), 90).astype(int):
            yield f"{kind} cut at {cut}", whole[:cut], (422,)
    bomb = zlib.compress(bytes(10_000_000), 9)
    for i in range(60):
        width, height = 6000 + 997 * i, 6000 + 499 * i
        yield f"bomb {width}x{height}", png(width, height, chunk(b"IDAT", bomb)), (413,)
        yield (
            f"GIF screen {width}",
            b"GIF89a" + struct.pack("<HH", min(width, 65535), min(height, 65535)) + bytes(60),
            (413, 422),
        )
        bmp = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"BMP {width}", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + bmp + bytes(90), (413,)
    yield "text chunk bomb", png(9, 9, *[chunk(b"zTXt", b"a\0\0" + bomb)] * 3), (422,)
    yield "colour profile bomb", png(9, 9, chunk(b"iCCP", b"a\0\0" + bomb), chunk(b"IDAT", b"")), (422,)
    yield "EXIF bomb", png(9, 9, chunk(b"eXIf", b"MM\0*" + bytes(3 << 20)), chunk(b"IDAT", b"x")), (413, 422)
    yield "no data", png(9, 9, chunk(b"IDAT", b"")), (422,)
    jpeg = noise("JPEG")
    yield "JPEG of many scans", jpeg[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 30_000, (422,)
    for i in range(40):
        ifd = struct.pack(">H", 40000) + struct.pack(">HHII", 0x8769, 4, 1, 8) * (20 + i)
        exif = b"Exif\0\0MM\0*\0\0\0\x08" + ifd
        yield (
            f"EXIF circle {i}",
            jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2 : 200 + i],
            (422,),
        )
    for name, head in HEADS.items():
        for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
            yield f"{name} before {kind}", head + noise(kind), (422,)
            yield f"{kind} head before {name}", noise(kind)[:20] + head * 9, (413, 422)
    rng = random.Random(0)
    for size in range(1, 240):
        yield f"{size} random bytes", rng.randbytes(size), (422,)
        yield f"signature and {size} random bytes", b"\x89PNG\r\n\x1a\n" + rng.randbytes(size), (413, 422)


def values() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """JSON bodies."""
    wrong: list[object] = [0, -1, 1.5, True, [], {}, ["a"], {"a": 1}, 10**30, [[[]]], float("nan"), float("inf")]
    for i, one in enumerate(wrong):
        for key in ("text", "image", "items"):
            yield f"{key} of wrong type {i}", json.dumps({key: one}).encode(), (422, 200)
        yield f"top of wrong type {i}", json.dumps({"text": "a", "top": one}).encode(), (422,)
        yield f"body of wrong type {i}", json.dumps(one).encode(), (422,)
    for depth in (10, 100, 900, 5000, 50_000, 300_000, 900_000):
        for opened in (b"[", b'{"text":', b'{"items":['):
            yield f"{depth} deep", opened * depth, (400,)
            closed = {b"[": b"]", b'{"text":': b"}", b'{"items":[': b"]}"}[opened]
            yield f"{depth} deep, closed", opened * depth + b"1" + closed * depth, (400, 422, 200)
    for size in (10_001, 100_000, 1_000_000, 10_000_000):
        for sign in ("a", " ", "é", "\U0001f35c", "\\", "[", "\u202e"):
            if len(sign.encode()) * size < 16 << 20:
                text = json.dumps({"text": sign * size}, ensure_ascii=False).encode()
                yield f"text of {size} times {sign!r}", text, (400, 413)
    for i in range(60):
        yield f"NUL at {i}", json.dumps({"text": "a" * i + "\0" + "b"}).encode(), (422,)
        yield f"surrogate at {i}", b'{"text": "' + b"a" * i + b'\\udc00"}', (422,)
        yield f"raw byte {i}", b'{"text": "a' + bytes([i % 32]) + b'"}', (400,)
        yield f"bad UTF-8 {i}", b'{"text": "' + bytes([0xC0 + i % 64, 0x20]) + b'"}', (400,)
        yield f"no base64 {i}", json.dumps({"image": b64(noise("PNG"))[: 4 * i] + "!*_-"[i % 4]}).encode(), (422,)
        yield f"unknown key {i}", json.dumps({"text": "a", "../" * i + "x": 1}).encode(), (422,)
    paths = ["/etc/passwd", "../../../../etc/shadow", "file:///etc/passwd", "C:\\boot.ini", "\\\\host\\share\\a.png"]
    paths += [
        "http://127.0.0.1:22/",
        "http://169.254.169.254/latest/meta-data",
        "data:image/png;base64,AAAA",
        "s3://b/k",
    ]
    paths += [
        "|id",
        "$(id)",
        "`id`",
        "%00",
        "a.png\0.jpg",
        "//host/a.png",
        "~root/.ssh/id_rsa",
        "gopher://x",
        "ftp://x/y",
    ]
    for path in paths:
        for body in ({"image": path}, {"image": path, "text": "soup"}, {"image_url": path}, {"path": path}):
            yield f"path {path}", json.dumps(body).encode(), (422,)
    for digits in (5000, 100_000, 1_000_000):
        yield f"{digits} digits", b'{"text": ' + b"9" * digits + b"}", (400,)
    yield "many empty objects", b'{"items": [' + b"{}," * 3_000_000 + b"{}]}", (400, 413)
    yield "many items", b'{"items": [' + b"1," * 5000 + b"1]}", (413,)
    for cut in range(60):
        yield f"JSON cut at {cut}", b'{"items": [{"text": "soup", "image": null}, {"text": "red"}]}'[:cut], (400,)


def forms() -> Iterator[Hostile]:
    """Multipart bodies."""
    kind = "multipart/form-data; boundary=x"
    good = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nsoup\r\n--x--\r\n'
    for cut in range(50):
        yield Hostile(f"form cut at {cut}", post(good[:cut], kind), (400, 422))
    for boundary in ("", "; boundary=", "; boundary=y", '; boundary="', "; boundary=" + "x" * 9000, "; boundary=\xe9"):
        yield Hostile(f"boundary {boundary[:20]}", post(good, f"multipart/form-data{boundary}"), (400, 422))
    for charset in ("punycode", "idna", "zlib", "rot13", "utf-7", "utf-16", "unicode_escape", "nothing"):
        yield Hostile(f"charset {charset}", post(good, f"{kind}; charset={charset}"), (415,))
    for field in ("", "Text", "label", "image[]", "../image", "text\0", "a" * 5000, "__proto__"):
        part = good.replace(b'"text"', f'"{field}"'.encode())
        yield Hostile(f"field {field[:20]}", post(part, kind), (400, 422))
    for count in (3, 50, 5000):
        yield Hostile(f"{count} fields", post(good[:-7] * count + b"--x--", kind), (400, 422))
    yield Hostile("long header", post(b"--x\r\nA: " + b"a" * 9_000_000 + b"\r\n\r\nb\r\n--x--", kind), (400, 413))
    yield Hostile("many headers", post(b"--x\r\n" + b"A: b\r\n" * 900_000 + b"\r\nb\r\n--x--", kind), (400, 413))
    yield Hostile("near boundaries", post(good[:-9] + b"\r\n--" * 2_000_000 + b"\r\n--x--", kind), (400, 413))
    yield Hostile("long text", post(good.replace(b"soup", b"s" * 10_000_000), kind), (413,))
    for name in ("../../etc/passwd", "a\\..\\b", "a.php", "%00.png", "x" * 3000):
        yield Hostile(f"file name {name[:20]}", form(b"<?php system('id'); ?>", name), (400, 422))


def wires() -> Iterator[Hostile]:
    """HTTP itself."""
    for kind in (
        "text/plain",
        "application/xml",
        "image/png",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
        "*/*",
        "application/octet-stream",
        "text/html",
        "application/json-patch+json",
        "\xff",
    ):
        yield Hostile(f"type {kind}", post(b'{"text": "a"}', kind), (400, 415))
    for size in ("-1", "abc", "1e3", "0x10", "9" * 30, str(10**12), "16777217", "+5", "5, 6"):
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {size}\r\n\r\n"
        yield Hostile(f"length {size}", head.encode() + b"{}", (400, 413))
    chunked = f"{START}transfer-encoding: chunked\r\n\r\n"
    for name, body, wanted in [
        ("too large", b"10000\r\n" + b"a" * 65536 + b"\r\n", (413,)),
        ("bad size", b"zz\r\n{}\r\n0\r\n\r\n", (400,)),
        ("huge size", b"f" * 60 + b"\r\n", (400,)),
        ("negative", b"-5\r\n{}\r\n", (400,)),
        ("no end of line", b"2\r\n{}0\r\n\r\n", (400,)),
        ("empty", b"0\r\n\r\n", (400,)),
    ]:
        whole = body * 300 + b"0\r\n\r\n" if name == "too large" else body
        yield Hostile(f"chunked, {name}", chunked.encode() + whole, wanted)
    yield Hostile("both lengths", post(b"{}", extra="transfer-encoding: chunked\r\n"), (400,))
    yield Hostile("encoded twice", post(b"{}", extra="transfer-encoding: gzip, chunked\r\n"), (400, 501))
    for path in (
        "/predict/",
        "/predict/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/predict%00",
        "//predict",
        "/docs",
        "/static/../../x",
        "/" + "a" * 5000,
        "/predict;x",
        "/..%2f..%2f",
        "/redoc",
        "/shutdown",
        "/PREDICT",
    ):
        yield Hostile(f"path {path[:20]}", post(b'{"text": "a"}', path=path), (404,))
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "X" * 50):
        yield Hostile(
            f"method {method[:9]}",
            f"{method} /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode(),
            (405,),
        )
    for head in (
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"hello\r\n\r\n",
        b"GET /predict HTTP/1.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"b" * 200_000,
        b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        yield Hostile(f"head {head[:12]!r}", head, (400, 404))
    start = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: 99\r\n\r\n".encode()
    for cut in (0, 1, 7, 30, len(start) - 1, len(start)):
        yield Hostile(f"stalls after {cut}", start[:cut], (408,), stalls=True)
    yield Hostile("stalls in the body", start + b'{"text":', (408,), stalls=True)
    yield Hostile("stalls in a chunk", chunked.encode() + b"ff\r\n{", (408,), stalls=True)


def inputs() -> list[Hostile]:
    """All of them, more than 2,000."""
    found = []
    for name, content, wanted in images():
        found += [
            Hostile(f"{name}, JSON", item(image=b64(content), text="soup"), wanted),
            Hostile(f"{name}, form", form(content), wanted),
        ]
    found += [Hostile(name, post(body), wanted) for name, body, wanted in values()]
    return [*found, *forms(), *wires()]
