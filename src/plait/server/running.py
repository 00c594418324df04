"""From options to a server that runs until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import ConfigError, RunError
from plait.server.limits import Limits

if TYPE_CHECKING:
    import uvicorn

    from plait.inference.engine import Engine
    from plait.retrieval.index import Index

BACKLOG = 2048  # connections that wait to be accepted


@dataclass(frozen=True)
class Options:
    """How to serve; see `plait serve --help`."""

    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    token_file: Path | None = None
    batch: int = 8
    wait: float = 0.005
    log_level: str = "info"
    limits: Limits = field(default_factory=Limits)
    index: Path | None = None


def serve(run: Path, options: Options) -> None:
    """Serve a run until SIGTERM or SIGINT; then finish what was accepted and return.

    Raises:
        RunError: not a run, a package is missing, or the address is taken. ConfigError: a token that cannot be.
    """
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise RunError(f"serving needs {error.name}; pip install 'plait[serve]'") from None
    from PIL import Image

    from plait.runs.open import load
    from plait.server.logs import log, set_up

    token = read_token(options.token_file)
    listener = bind(options.host, options.port)
    engine = load(run, options.device)
    engine.without_captions("the server")
    index = _open_index(options.index, run, options.device) if options.index is not None else None
    Image.MAX_IMAGE_PIXELS = options.limits.pixels
    set_up(options.log_level)
    server = build(engine, options, token, index)
    # uvicorn raises the signal again once it has stopped; without handlers that would end the process with an error.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # another server was bound to it at the same time, and was quicker
        raise _taken(host, port, error) from None
    if token is None and not _is_loopback(host):
        log("open_to_all", level=30, remedy="set PLAIT_TOKEN or --token-file: whoever reaches this address may ask")
    log(
        "serving", host=host, port=port, model=engine.model, modalities=list(engine.modalities), token=token is not None
    )
    server.run(sockets=[listener])


def _open_index(index: Path, run: Path, device: str) -> Index:
    """An index, with what it was built with where that still is, else with the run that is served.

    With encoders of its own in any case: a tokenizer takes one thread at a time.
    """
    from plait.retrieval.folder import read_facts
    from plait.retrieval.index import Index

    there = Path(read_facts(index)["space"]["folder"]).is_dir()
    return Index.open(index, None if there else run, device)


def build(engine: Engine, options: Options, token: bytes | None = None, index: Index | None = None) -> uvicorn.Server:
    """A server of an engine; ``run(sockets=[...])`` of it answers until it is told to stop."""
    import uvicorn

    from plait.server.connections import connection
    from plait.server.find import Find
    from plait.server.metrics import Metrics
    from plait.server.predict import Predict
    from plait.server.routes import application

    limits, metrics = options.limits, Metrics()
    predict = Predict(engine, limits, metrics, options.batch, options.wait)
    config = uvicorn.Config(
        application(predict, token, Find(index, limits, metrics) if index is not None else None),
        http=connection(limits, metrics, lambda: server.should_exit),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds + limits.body_seconds) + 1,
    )
    server = uvicorn.Server(config)
    return server


def read_token(file: Path | None) -> bytes | None:
    """The bearer token from a file or from PLAIT_TOKEN, which then leaves the environment; None where there is none.

    Raises:
        ConfigError: both are given, or the token is empty, unreadable or not of visible ASCII characters.
    """
    variable = os.environ.pop("PLAIT_TOKEN", None)
    if file is None and variable is None:
        return None
    if file is not None and variable is not None:
        raise ConfigError("both PLAIT_TOKEN and --token-file are given; leave one away")
    source = "PLAIT_TOKEN" if file is None else f"--token-file '{file}'"
    try:
        text = (file.read_text("ascii") if file is not None else variable or "").strip()
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror}); give a readable file") from None
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(f"{source}: no token in it; give one of visible ASCII characters without spaces")
    return text.encode()


def bind(host: str, port: int) -> socket.socket:
    """A socket of an address, before any weights are read. Raises RunError where that cannot be."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise _taken(host, port, error) from None
    return listener


def _taken(host: str, port: int, error: OSError) -> RunError:
    return RunError(f"cannot listen on {host}:{port} ({error.strerror}); give another --host or --port")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
