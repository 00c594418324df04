"""Dynamic batches: LitServe's interface and loop, in a thread of this process.

LitServe's own worker processes are not used: a signal to the process group (Ctrl-C, systemd) ends them and the queue's
process at once, and what they had accepted is lost.
"""

# No `from __future__ import annotations` here: LitServe reads the annotation of `decode_request` as it stands.

import asyncio
import queue
import threading
import time
from typing import Annotated, Any

from fastapi import Depends
from litserve import LitAPI
from litserve.loops import inference_worker
from litserve.loops.simple_loops import BatchedLoop
from litserve.transport.base import MessageTransport
from starlette.responses import JSONResponse, Response

from plait.server.answers import answer
from plait.server.asking import Asked, ask
from plait.server.limits import late
from plait.server.logs import log
from plait.server.service import Service

Queued = tuple[int, str, float, Asked]  # what LitServe puts into its queue: consumer, request id, clock, payload
PATH = "/predict"


class StoppedError(Exception):
    """Nothing more will come."""


class Classify(LitAPI):  # type: ignore[misc]  # LitServe is untyped
    """Requests in, responses out; a request is one element of LitServe's batches."""

    def __init__(self, service: Service) -> None:
        super().__init__(max_batch_size=service.batch, batch_timeout=service.wait, api_path=PATH, loop=Collect())
        self.service = service

    def setup(self, device: str) -> None:
        """The engine is there already."""

    def decode_request(self, request: Annotated[Asked, Depends(ask)]) -> Asked:
        """What `ask` made of it in other threads, while the batch before was computed."""
        return request

    def batch(self, inputs: list[Asked]) -> list[Asked]:
        """Requests stay apart; `answer` puts their items together."""
        return inputs

    def predict(self, x: list[Asked]) -> list[Response]:
        """One response a request."""
        now = time.monotonic()
        service = self.service
        for asked in x:
            service.metrics.stages.observe(now - asked.since, stage="wait")
        in_time = [asked.exchange.deadline >= now for asked in x]
        found = iter(answer(service, [asked.items for asked, ok in zip(x, in_time, strict=True) if ok]))
        service.metrics.stages.observe(time.monotonic() - now, stage="compute")
        return [_response(asked, next(found) if ok else None, service) for asked, ok in zip(x, in_time, strict=True)]

    def unbatch(self, output: list[Response]) -> list[Response]:
        """As they are."""
        return output

    def encode_response(self, output: Response) -> Response:
        """As it is."""
        return output


def _response(asked: Asked, answers: list[dict[str, Any]] | None, service: Service) -> Response:
    if answers is None:
        refusal = late(service.limits.seconds)
        return JSONResponse({"error": refusal.message}, refusal.status, refusal.headers)
    if asked.batch:
        return JSONResponse({"answers": answers})
    return JSONResponse(answers[0], 500 if "error" in answers[0] else 200)


class Collect(BatchedLoop):  # type: ignore[misc]
    """LitServe's loop over batches, without its polling: it sleeps until a request comes."""

    def get_batch_requests(
        self, lit_api: Classify, request_queue: "queue.SimpleQueue[Queued | None]", transport: MessageTransport
    ) -> tuple[list[tuple[int, str, Asked]], list[tuple[int, str]]]:
        """At least one request; more until their items fill a batch or the first has waited long enough."""
        taken = [_take(request_queue, None)]
        until = time.monotonic() + lit_api.batch_timeout
        while sum(len(asked.items) for *_, asked in taken) < lit_api.max_batch_size:
            try:
                taken.append(_take(request_queue, max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
            except StoppedError:
                request_queue.put(None)
                break
        return [(consumer, key, asked) for consumer, key, _, asked in taken], []


def _take(request_queue: "queue.SimpleQueue[Queued | None]", timeout: float | None) -> Queued:
    taken = request_queue.get(timeout=timeout) if timeout != 0 else request_queue.get_nowait()
    if taken is None:
        raise StoppedError
    return taken


class Answers(MessageTransport):  # type: ignore[misc]
    """Carries responses from the batches' thread to the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()

    def send(self, item: Any, consumer_id: int) -> None:
        """Called in the batches' thread."""
        self.loop.call_soon_threadsafe(self.sent.put_nowait, item)

    async def areceive(self, consumer_id: int | None = None, timeout: int | None = None) -> Any:
        """The next response."""
        return await self.sent.get()


class Batches:
    """The thread that computes."""

    def __init__(self, api: Classify, requests: "queue.SimpleQueue[Queued | None]", server: Any) -> None:
        self.requests, self.transport = requests, Answers()
        self.thread = threading.Thread(target=self._work, args=(api, server), name="plait-batches", daemon=True)
        self.thread.start()

    def _work(self, api: Classify, server: Any) -> None:
        try:
            inference_worker(api, "cpu", 0, self.requests, self.transport, {}, server._callback_runner, False)
        except StoppedError:
            return
        except BaseException as error:
            api.service.ready = False
            log("batches_ended", level=50, error=error)

    async def stop(self) -> None:
        """End after what was put before."""
        self.requests.put(None)
        await asyncio.to_thread(self.thread.join)
