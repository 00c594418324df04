"""``plait serve``: a run behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LIMITS = "Limits"


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or what `plait export` wrote.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.", min=0, max=65535)] = 8000,
    index: Annotated[
        Path | None, typer.Option(metavar="INDEX", help="What `plait index` wrote: POST /find then searches it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    token_file: Annotated[
        Path | None, typer.Option(help="File with a bearer token that requests must bear; or set PLAIT_TOKEN.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Items computed at one time.", min=1, max=1024)] = 8,
    wait_ms: Annotated[float, typer.Option(help="Milliseconds an item waits for others.", min=0, max=1000)] = 5.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    max_bytes: Annotated[int, typer.Option(help="Of one request's body.", rich_help_panel=LIMITS)] = 16 << 20,
    max_pixels: Annotated[int, typer.Option(help="Of one image.", rich_help_panel=LIMITS)] = 25_000_000,
    max_chars: Annotated[int, typer.Option(help="Of one text.", rich_help_panel=LIMITS)] = 10_000,
    max_items: Annotated[int, typer.Option(help="Of one request.", rich_help_panel=LIMITS)] = 32,
    max_queue: Annotated[int, typer.Option(help="Items at one time; then 429.", rich_help_panel=LIMITS)] = 128,
    max_seconds: Annotated[float, typer.Option(help="From request to answer.", rich_help_panel=LIMITS)] = 30.0,
    max_body_seconds: Annotated[float, typer.Option(help="For a body to come.", rich_help_panel=LIMITS)] = 10.0,
    max_connections: Annotated[int, typer.Option(help="Open at one time.", rich_help_panel=LIMITS)] = 512,
) -> None:
    """Answer over HTTP: POST /predict, with --index /find, and GET /health, /ready, /info, /metrics, /openapi.json.

    [bold]plait serve run --port 8000[/bold]
    [bold]curl -F image=@a.jpg -F text="miso ramen" http://127.0.0.1:8000/predict[/bold]
    """
    from plait.errors import ConfigError
    from plait.server.limits import Limits
    from plait.server.running import Options
    from plait.server.running import serve as start

    if log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"--log-level {log_level}: use debug, info, warning or error")
    limits = Limits(
        bytes=max_bytes,
        pixels=max_pixels,
        chars=max_chars,
        items=max_items,
        queue=max_queue,
        seconds=max_seconds,
        body_seconds=max_body_seconds,
        connections=max_connections,
    )
    start(run, Options(host, port, device, token_file, batch, wait_ms / 1000, log_level, limits, index))
