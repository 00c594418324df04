"""Files behind URLs: fetched once a process, and kept in a folder of bounded size until it ends.

A file is read twice, for its hash and for its pixels. What was fetched is not kept from one process to the next, since
only the server of a URL knows whether it still holds the same.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from threading import Lock

LIMIT_MB = 1024
LIMIT = "PLAIT_FETCHED_MB"  # environment variable: another limit


class Fetched:
    """Contents of URLs in a folder; the oldest go where they would be more than `limit` bytes."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self.held = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def load(self, url: str) -> bytes:
        """The file's bytes. Raises OSError where it cannot be had."""
        name = hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
        if name in self._sizes:
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:  # it had to go meanwhile
                pass
        content = download(url)
        if len(content) <= self.limit:
            self._keep(name, content)
        return content

    def _keep(self, name: str, content: bytes) -> None:
        part = self.folder / f"{name}-{os.getpid()}-{id(content)}"
        part.write_bytes(content)
        with self._lock:
            part.replace(self.folder / name)
            self.held += len(content) - self._sizes.pop(name, 0)
            self._sizes[name] = len(content)
            while self.held > self.limit:
                oldest, size = self._sizes.popitem(last=False)
                (self.folder / oldest).unlink(missing_ok=True)
                self.held -= size


def download(url: str) -> bytes:
    """The bytes behind a URL of fsspec's, with the credentials of the environment.

    Raises:
        OSError: why it cannot be had; FileNotFoundError: it is not there.
    """
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            return bytes(file.read())
    except OSError:
        raise
    except Exception as error:  # each file system of fsspec has errors of its own
        raise OSError(" ".join(str(error).split())[:160] or type(error).__name__) from error


@cache
def fetched() -> Fetched:
    """Those of this process, in a folder that goes when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="plait-fetched-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Fetched(folder, int(os.environ.get(LIMIT, LIMIT_MB)) << 20)
