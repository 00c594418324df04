"""Which columns of a source were taken and which ignored: one line for the user, and facts for ``inputs.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plait.data.columns import KEPT, Columns, rivals
from plait.data.pairs import Pairs
from plait.errors import and_more, setting
from plait.progress import say

SHOWN = ("image", "text", "label")
MOST = 8  # names of ignored columns


def tell_columns(pairs: Pairs, columns: Columns, shown: Sequence[str] = SHOWN) -> None:
    """Say which columns were taken and which ignored, in one line; nothing where every name speaks for itself.

    Args:
        columns: what was asked for.
        shown: the roles that are of use; columns of the others among image, text and label count as ignored.
    """
    if not pairs.taken:
        return
    kept = {name for role, name in pairs.taken.items() if role.startswith(KEPT)}
    roles_of = {role: name for role, name in pairs.taken.items() if not role.startswith(KEPT)}
    used = {role: name for role, name in roles_of.items() if role in shown or role not in SHOWN}
    losers = {role: rivals(role, pairs.taken, pairs.ignored) for role in used if _guessed(role, used[role], columns)}
    named = {name for names in losers.values() for name in names}
    unused = {*pairs.ignored, *pairs.taken.values()} - {*used.values(), *named, *kept, ""}
    ignored = [name for name in pairs.columns if name in unused]
    # Tables of one source may call a column by different names.
    others = [name for name in pairs.columns if name not in {*pairs.ignored, *pairs.taken.values()}]
    strange = [
        role for role, name in used.items() if _guessed(role, name, columns) and name.lower() not in (role, f"_{role}")
    ]
    if not (strange or named or ignored or others):
        return
    roles = sorted(used, key=lambda role: (*SHOWN, *used).index(role))
    words = [_words(role, pairs, columns, losers.get(role, [])) for role in roles if role in {*SHOWN, *strange}]
    line = f"{pairs.source}: {', '.join(words)}"
    if others:
        line += f", in some of its tables from {', '.join(repr(name) for name in others)}"
    if named:
        keys = [setting(f"data.{role}={names[0]}") for role, names in losers.items() if names]
        line += f"; {', '.join(keys)} for {'that' if len(keys) == 1 else 'those'}"
    say(f"{line}; ignored: {and_more(ignored, MOST)}" if ignored else line)


def columns_of(*tables: Pairs | None) -> dict[str, Any]:
    """Of each source that has columns: which was ``taken`` for which role, and the ``ignored`` ones."""
    found = {pairs.source: pairs for pairs in tables if pairs is not None and pairs.taken}
    return {name: {"taken": pairs.taken, "ignored": list(pairs.ignored)} for name, pairs in found.items()}


def _guessed(role: str, name: str, columns: Columns) -> bool:
    return role not in columns.named and (role, name) not in columns.known


def _words(role: str, pairs: Pairs, columns: Columns, losers: list[str]) -> str:
    """What was taken for a role, and what it won against."""
    name = pairs.taken[role]
    words = f"{role} from '{name}'"
    before = [known for other, known in columns.known if other == role]
    if before and role not in columns.named and name not in before:
        words += f" (in training from '{before[0]}')"
    if losers:
        numbers = role == "label" and all(_is_number(label) for label in set(pairs.labels) if label)
        words += f"{' (numbers)' if numbers else ''}, not from {' or '.join(repr(loser) for loser in losers)}"
    return words


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
