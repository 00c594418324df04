"""Cleaning of texts that were scraped from web pages: tags, what bad decoders left of characters, names of sites."""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

# Tokens that stand for a character once `&`, `#` and `;` are gone. Those that are words or usual numbers (reg, lt, 174,
# 160) are not among them, for want of a way to tell.
_TOKENS = {"amp": "&", "nbsp": " ", "quot": '"', "apos": "'", "x27": "'"} | {
    name: html5[f"{name};"]
    for name in [
        "laquo",
        "raquo",
        "lsaquo",
        "rsaquo",
        "lsquo",
        "rsquo",
        "ldquo",
        "rdquo",
        "sbquo",
        "bdquo",
        "ndash",
        "mdash",
        "hellip",
    ]
}
_CODES = {"034": '"', "038": "&", "039": "'", "8482": "™"} | {
    str(code): chr(code) for code in (*range(8211, 8213), *range(8216, 8223), 8226, 8230, 8242, 8243)
}
_ACCENTED = {
    name[:-1]: letter
    for name, letter in html5.items()
    if re.fullmatch("[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|slash|ring);", name) and letter.isalpha()
}
# UTF-8 read as Latin-1 or Windows-1252, for characters where the misreading means nothing by itself.
_MISREAD = {
    **{chr(code).encode().decode("latin-1"): chr(code) for code in (*range(0xA0, 0xC0), *range(0xE0, 0x100))},
    **{char.encode().decode("cp1252"): char for char in "–—‘’“•…™"},
    "â€\x9d": "”",
}

_ENTITY = re.compile(r"&(?:#\d{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)
_BYTES = re.compile(r"(?P<left> ?)(?P<bytes>(?:\\|(?<!\w))x[89a-f][0-9a-f](?:[\\ ]x[89a-f][0-9a-f])*)", re.IGNORECASE)
_DEBRIS = re.compile(
    r"(?P<left> ?)(?<![\w&'’.,$£€-])"
    rf"&?(?P<name>{'|'.join([*_TOKENS, *_ACCENTED])}|#?(?P<code>{'|'.join(_CODES)}));?(?![\w'’-])(?P<right> ?)"
)
_MISREADINGS = re.compile("|".join(map(re.escape, _MISREAD)))
_LIST = re.compile(r"""^\s*\[(?=['"])['"]|['"]\]\s*$""")
_LAST_WORD, _FIRST_WORD = re.compile(r"[^\W\d_]+$"), re.compile(r"[^\W\d_]+")
_SUFFIXES = {"s", "t", "d", "m", "re", "ve", "ll"}


def clean(text: str) -> str:
    """A text without what is not of its meaning; a text of which nothing would be left stays as it is.

    In this order: HTML entities are decoded, tags taken out, entities without their signs (``8217``, ``amp``) and UTF-8
    bytes in hexadecimal (``xc3 xa8``, ``\\xc3\\xa8``) made characters again, the brackets of a Python list and what
    follows the last ``|`` (the name of the site) taken out, white space collapsed; the result is Unicode NFC. Bytes
    that are not UTF-8 are dropped. Cleaning a clean text changes nothing.
    """
    cleaner, before = _once(text), text
    while cleaner != before:  # what one step uncovers, e.g. a tag in doubly escaped text, is for the next round
        cleaner, before = _once(cleaner), cleaner
    return cleaner or text


def _once(text: str) -> str:
    while (decoded := _ENTITY.sub(lambda match: html.unescape(match[0]), text)) != text:
        text = decoded
    text = _TAG.sub(" ", text)
    text = _BYTES.sub(_from_bytes, text)
    text = _reread(text)
    text = _DEBRIS.sub(_from_debris, text)
    text = _without_site(_LIST.sub("", text))
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _from_bytes(match: re.Match[str]) -> str:
    digits = re.findall("x(..)", match["bytes"], re.IGNORECASE)
    found = _reread(bytes.fromhex("".join(digits)).decode("utf-8", "ignore"))
    if "\\" in match["bytes"]:
        return match["left"] + found
    glued = match.string[match.end() : match.end() + 1].isalnum()
    if not found and (glued or len(digits) == 1):
        return match[0]  # x86, xfactor and the like
    alone = found in ("à", "á") and not glued
    return ("" if _ends(match, found) and not alone else match["left"]) + found


def _from_debris(match: re.Match[str]) -> str:
    name = match["code"] or match["name"]
    found = _ACCENTED.get(name) or _CODES.get(name) or _TOKENS[name]
    left = "" if _ends(match, found) else match["left"]
    return left + found + ("" if _begins(match, found) else match["right"])


def _ends(match: re.Match[str], found: str) -> bool:
    """Whether a character belongs to the word before it, and the space between them is debris too."""
    if not _last_word(match):
        return False
    return found[:1] in ("'", "’", "”") or (found[:1].islower() and "LATIN" in unicodedata.name(found[0], ""))


def _begins(match: re.Match[str], found: str) -> bool:
    """Whether a character belongs to the word after it."""
    after = _FIRST_WORD.match(match.string, match.end())
    if after is None:
        return False
    if found in "'’":
        return bool(_last_word(match)) and (after[0] in _SUFFIXES or (len(_last_word(match)) == 1 and after[0] != "n"))
    return found in "‘“" or (found.isalpha() and len(after[0]) <= 2)


def _last_word(match: re.Match[str]) -> str:
    word = _LAST_WORD.search(match.string[max(0, match.start() - 40) : match.start()])
    return word[0] if word else ""


def _reread(text: str) -> str:
    return _MISREADINGS.sub(lambda match: _MISREAD[match[0]], text)


def _without_site(text: str) -> str:
    """Without what follows the last ``|``, unless all is there; other such bars become commas."""
    *parts, last = text.split("|")
    kept = [part.strip() for part in parts if part.strip()]
    return ", ".join(kept) if kept else last
