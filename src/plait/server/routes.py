"""The application: what each path answers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from plait import __version__
from plait.inference.engine import Engine
from plait.server.find import MOST, Find
from plait.server.gate import Gate
from plait.server.limits import Limits
from plait.server.logs import log
from plait.server.openapi import document
from plait.server.predict import Predict

PACKAGES = ("starlette", "uvicorn", "numpy", "pillow", "torch", "onnxruntime")


def application(predict: Predict, token: bytes | None, find: Find | None = None) -> Starlette:
    """The ASGI application. `token`: what a request must bear; None asks for nothing. `find`: None without an index."""
    engine, limits, metrics = predict.engine, predict.limits, predict.metrics
    facts, described = info(engine, limits), document(engine, limits, token is not None, find)
    answers: dict[str, Callable[[], Response]] = {
        "/health": lambda: JSONResponse({"status": "ok"}),
        "/ready": lambda: _ready(predict),
        "/info": lambda: JSONResponse(facts),
        "/metrics": lambda: PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4"),
        "/openapi.json": lambda: JSONResponse(described),
    }
    routes = [Route("/predict", predict.respond, methods=["POST"])]
    if find is not None:
        facts["index"] = {"rows": len(find.index), "columns": list(find.index.columns), "k": MOST}
        routes.append(Route("/find", find.respond, methods=["POST"]))
    asked = ", ".join(route.path for route in routes)
    app = Starlette(
        routes=[*routes, *(_get(path, answer) for path, answer in answers.items())],
        middleware=[Middleware(Gate, limits=limits, token=token, metrics=metrics)],
        exception_handlers={HTTPException: _no_route(asked)},
        lifespan=lambda app: _lifespan(predict, find),
    )
    app.router.redirect_slashes = False
    return app


@contextlib.asynccontextmanager
async def _lifespan(predict: Predict, find: Find | None) -> AsyncIterator[None]:
    """Compute from the first request to the last accepted one."""
    async with predict.running(), find.running() if find is not None else contextlib.nullcontext():
        yield
    log("stopped", accepted=predict.metrics.accepted.total(), answered=predict.metrics.answered.total())


def _get(path: str, answer: Callable[[], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        return answer()

    route = Route(path, endpoint)
    route.methods = {"GET"}  # Starlette adds HEAD, which the OpenAPI document does not know
    return route


def _ready(predict: Predict) -> Response:
    if predict.is_running:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"error": "not ready; try again in a second"}, 503, {"retry-after": "1"})


def _no_route(asked: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """404 and 405. `asked`: the paths that are posted to."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        messages = {
            404: f"no such path; there are POST {asked} and GET /health, /ready, /info, /metrics, /openapi.json",
            405: f"this path takes only {(error.headers or {}).get('Allow', 'another method')}",
        }
        return JSONResponse({"error": messages.get(error.status_code, error.detail)}, error.status_code, error.headers)

    return answer


def info(engine: Engine, limits: Limits) -> dict[str, Any]:
    """What ``GET /info`` tells."""
    versions = {"plait": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        if package in sys.modules or package == "pillow":
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
    facts: dict[str, Any] = {"labels": engine.labels, "model": engine.model, "modalities": list(engine.modalities)}
    if len(engine.modalities) == 1:
        facts["note"] = f"this run reads only the {engine.modalities[0]}; an item without it is refused"
    return {**facts, "fingerprint": engine.fingerprint, "versions": versions, "limits": asdict(limits)}
