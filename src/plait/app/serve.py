"""Serving the page: to this computer alone unless told otherwise, and with nothing from elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from plait.app.pictures import MEGABYTE, Limits
from plait.errors import PlaitError
from plait.inference.explanation import attribute, require_captum

if TYPE_CHECKING:
    from plait.app.examples import Example
    from plait.app.extras import Extras
    from plait.inference.engine import Engine

WAITING = 64  # visitors in the queue
# Whatever the page is made of, browsers fetch nothing from another host.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


class Guarded:
    """ASGI middleware that sends `HEADERS` with every answer."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS.items()]}
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


@contextlib.contextmanager
def served(
    engine: Engine,
    name: str,
    examples: list[Example],
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits | None = None,
    extras: Extras | None = None,
) -> Iterator[str]:
    """Serve the page in the background; gives its address, and stops and clears up at the end.

    Args:
        name: what the page calls the run.
        port: 0 takes a free one.
        extras: what has a tab beside the answer; None: nothing.

    Raises:
        PlaitError: Gradio or Captum is missing, or the port cannot be listened on.
    """
    require_captum()
    limits, port = limits or Limits(), _port(host, port)
    with tempfile.TemporaryDirectory(prefix="plait-app-") as folder, _environment(folder):
        try:
            import gradio  # noqa: F401
        except ImportError:
            raise PlaitError("the page needs Gradio; pip install 'plait[app]'") from None
        from plait.app.page import Desk, page
        from plait.app.style import CSS, theme

        blocks = page(Desk(engine, limits, examples, extras), name)
        blocks.queue(max_size=WAITING)
        try:
            blocks.launch(
                server_name=host, server_port=port, share=False, prevent_thread_lock=True, quiet=True, inbrowser=False,
                ssr_mode=False, enable_monitoring=False, footer_links=[], run_history=False, mcp_server=False,
                pwa=False, max_file_size=limits.megabytes * MEGABYTE, app_kwargs={"middleware": [_middleware()]},
                theme=theme(), css=CSS + _thumbnails(examples),
            )  # fmt: skip
            yield str(blocks.local_url)
        finally:
            blocks.close(verbose=False)


def warm_up(engine: Engine) -> None:
    """Answer once, so that the first visitor does not wait for what is built on first use."""
    import numpy as np

    pixels = None
    if engine.encoders.image is not None:
        pixels = np.zeros((3, *engine.encoders.image.preprocess.size), np.uint8)
    attribute(engine, pixels, "one" if engine.encoders.text else None, grid=2)


@contextlib.contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Uploads in a folder of their own, which goes with the page; no analytics, and nothing taken from the outside."""
    wanted = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_NUM_WORKERS": "0"}
    # Gradio asks its own server whether it is up; a proxy must not hear of it.
    wanted["no_proxy"] = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost", "127.0.0.1"]))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _middleware() -> Any:
    from starlette.middleware import Middleware

    return Middleware(Guarded)


def _port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises PlaitError where it cannot be listened on."""
    try:
        with socket.create_server((host, port)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        reason = error.strerror or error
        raise PlaitError(f"port {port} on {host} cannot be had ({reason}); choose another with --port") from None


def _thumbnails(examples: list[Example]) -> str:
    """The small pictures of the example buttons, inside the style: there is no file to fetch, or to clear away."""
    return "".join(
        f"#example-{number}::before {{ background-image: url({example.thumbnail}); }}\n"
        for number, example in enumerate(examples)
        if example.thumbnail
    )
