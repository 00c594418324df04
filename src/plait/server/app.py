"""The application: LitServe's, with the paths and errors of `plait serve`."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
from collections.abc import AsyncIterator
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from litserve import LitServer
from litserve.server import response_queue_to_buffer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from plait import __version__
from plait.server.batching import PATH, Batches, Classify
from plait.server.gate import Gate
from plait.server.limits import RefusedError
from plait.server.logs import log
from plait.server.openapi import document
from plait.server.service import Service

PACKAGES = ("litserve", "numpy", "pillow", "torch", "onnxruntime")


class Server(LitServer):  # type: ignore[misc]  # LitServe is untyped
    """A LitServer whose batches are computed in a thread, so that stopping can wait for them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.api = Classify(service)
        # LitServe's own clock answers 504 and looks only at what leaves the queue; `Gate` watches the whole request.
        super().__init__(
            self.api, accelerator="cpu", devices=1, timeout=False, middlewares=[(Gate, {"service": service})]
        )
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()  # `Service.admit` bounds it
        self.litapi_request_queues[PATH] = self.requests
        app: FastAPI = self.app
        app.response_queue_id = 0  # type: ignore[attr-defined]
        app.state.service = service
        _routes(app, service)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Compute from the first request to the last accepted one."""
        batches = Batches(self.api, self.requests, self)
        answers = response_queue_to_buffer(batches.transport, self.response_buffer, 0, self.litapi_connector)
        task = asyncio.create_task(answers)
        self.service.ready = True
        try:
            yield
        finally:
            self.service.ready = False
            await batches.stop()
            task.cancel()
            self.service.close()
            log("stopped", accepted=self.service.accepted, answered=self.service.answered)


def _routes(app: FastAPI, service: Service) -> None:
    """Replace LitServe's paths but for the one that answers, and put every error into one shape."""
    keep = (PATH, "/openapi.json")
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") in keep]
    app.router.redirect_slashes = False
    described = document(service)
    app.openapi = lambda: described  # type: ignore[method-assign]
    facts = info(service)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"error": "not ready; try again in a second"}, 503, {"retry-after": "1"})

    @app.get("/info")
    async def show_info() -> Response:
        return JSONResponse(facts)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        messages = {
            404: "no such path; there are POST /predict and GET /health, /ready, /info, /metrics, /openapi.json",
            405: f"this path takes only {(error.headers or {}).get('Allow', 'another method')}",
            500: "the server failed; its log says where",
        }
        return JSONResponse({"error": messages.get(error.status_code, error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> Response:
        service.metrics.refused.add(reason=refusal.kind)
        return JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)


def info(service: Service) -> dict[str, Any]:
    """What ``GET /info`` tells."""
    engine = service.engine
    versions = {"plait": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        if package in sys.modules or package == "pillow":
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
    facts: dict[str, Any] = {"labels": engine.labels, "model": engine.model, "modalities": list(engine.modalities)}
    if len(engine.modalities) == 1:
        facts["note"] = f"this run reads only the {engine.modalities[0]}; an item without it is refused"
    return {**facts, "fingerprint": engine.fingerprint, "versions": versions, "limits": service.limits.described()}
