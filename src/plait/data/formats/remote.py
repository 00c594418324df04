"""Sources behind URLs of fsspec's (``s3://``, ``gs://``, ``https://``): tables, folders of tables, folders of images.

Tables are downloaded one after another and become one local Arrow file; images stay where they are until they are
encoded. Credentials are those of the environment, as each file system of fsspec finds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plait.data.columns import Columns
from plait.data.formats.folders import class_folders, is_image
from plait.data.formats.lance import LANCE, read_lance
from plait.data.formats.parts import Part, assemble, cache_folder
from plait.data.formats.tables import open_file, table_suffix
from plait.data.pairs import Pairs
from plait.errors import DataError
from plait.files import digest

_BLOCK = 1 << 22
_WEB = ("http", "https")  # lists no folders, and tells no state of a file that could be trusted


def read_url(url: str, columns: Columns, root: str | None) -> Pairs:
    """Read a table, a glob of tables, a folder of tables, or a folder of class folders behind a URL.

    Raises:
        DataError: it is not there or not allowed; what is there is none of these; or as `assemble` does.
    """
    bare = url.split("?")[0].rstrip("/")
    if bare.endswith(LANCE):
        return read_lance(bare, url, columns, _beside(bare, root))
    if table_suffix(bare) and "*" not in bare:
        return _tables(url, [url], columns, root)
    if url.startswith(tuple(f"{one}://" for one in _WEB)):
        raise DataError(f"{url}: give the URL of a .csv, .tsv, .jsonl or .parquet file")
    found = _listed(url, bare)
    tables = [one for one in found if table_suffix(one) and not one.rsplit("/", 1)[-1].startswith(("_", "."))]
    images = [one for one in found if is_image(one.rsplit("/", 1)[-1])]
    if tables and ("*" in bare or not images or any("/" not in one[len(bare) + 1 :] for one in tables)):
        return _tables(url, tables, columns, root)
    return class_folders([tuple(one[len(bare) + 1 :].split("/")) for one in found], bare, url)


def _listed(url: str, bare: str) -> list[str]:
    """The URLs of all files below a folder, or of a glob, sorted."""
    import fsspec

    with _blamed_on(url):
        system, path = fsspec.core.url_to_fs(bare)
        found = system.glob(path) if "*" in bare else system.find(path)
        names = sorted(system.unstrip_protocol(name) for name in found)
    if not names:
        raise DataError(f"nothing at '{url}'; check the address")
    return names


def _tables(source: str, urls: list[str], columns: Columns, root: str | None) -> Pairs:
    """Download the tables and read them as one; where their state is known and was read before, neither."""
    kinds = sorted({table_suffix(url.split("?")[0]) for url in urls})
    if len(kinds) > 1:
        raise DataError(
            f"{source}: tables of several kinds ({', '.join(kinds)}); give the files of one, as '*{kinds[0]}'"
        )
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        files = {url: Path(folder) / f"{i:05d}-{url.split('?')[0].rsplit('/', 1)[-1]}" for i, url in enumerate(urls)}

        def part(url: str) -> Part:
            if not files[url].exists():
                _download(url, files[url])
            where = source if len(urls) == 1 else url
            return open_file(files[url], where, _beside(url.split("?")[0], root))

        key = [source, root, *([url, _state(url, files[url])] for url in urls)]
        return assemble(lambda: [part(url) for url in urls], columns, source, key)


def _beside(url: str, root: str | None) -> str:
    """What relative image paths start from."""
    return root if root is not None else url.rsplit("/", 1)[0]


def _state(url: str, file: Path) -> str:
    """What tells one state of a file from another: what its store says, else its content, which is then downloaded."""
    import fsspec

    if not url.startswith(tuple(f"{one}://" for one in _WEB)):
        with _blamed_on(url):
            system, path = fsspec.core.url_to_fs(url)
            return str(system.checksum(path))
    _download(url, file)
    return digest(file)


def _download(url: str, file: Path) -> None:
    import fsspec

    with _blamed_on(url), fsspec.open(url, "rb") as remote, file.open("wb") as local:
        while block := remote.read(_BLOCK):
            local.write(block)


@contextmanager
def _blamed_on(url: str) -> Iterator[None]:
    """Turn whatever a file system of fsspec raises into one clear DataError."""
    try:
        yield
    except Exception as error:
        told = str(error).splitlines()[0] if str(error) not in ("", url) else type(error.__cause__ or error).__name__
        remedy = "check the address and the network"
        if isinstance(error, PermissionError) or "credentials" in told.lower():
            remedy = "check the credentials in the environment, and what they may read"
        if isinstance(error, ImportError):
            remedy = "install what it needs: pip install 'plait[scale]' for s3://"
        raise DataError(f"cannot download '{url}': {told}; {remedy}") from error
