"""The Hugging Face hub: used where it answers, its local cache alone where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

WAIT = 5.0  # seconds for a first answer


@contextmanager
def reached(needed: bool = True) -> Iterator[str]:
    """Inside the block the hub's client looks in its cache only, unless one request shows that the hub answers.

    Args:
        needed: False for what lies in a local folder: then nothing is asked of the network.

    Yields why the hub cannot be reached, empty where it can. Without this the client retries for a minute.
    """
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    reason = "HF_HUB_OFFLINE is set" if was or not needed else _unreachable(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = bool(reason)
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = was


def _unreachable(endpoint: str) -> str:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=WAIT)
    except Exception as error:  # the client's own classes differ between its versions
        return str(error) or type(error).__name__
    return ""
