"""Ranges of a job on Ray Data: actors hold the run, and take ranges as fast as they answer them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from plait.errors import PlaitError, RunError, option, spoken_by_flags
from plait.jobs.folder import Range
from plait.jobs.work import Done, Work, Worker

WAIT_S = 5.0  # for a cluster to take a connection
WAYS = "start it with 'ray start --head', give its HOST:PORT"


@dataclass(frozen=True)
class Cluster:
    """Which Ray cluster, and how much of it.

    Attributes:
        address: ``HOST:PORT`` of its head, or ``auto`` for the one of this machine; None: start one here, for this job.
        workers: how many processes answer; None: one for each GPU with `gpus`, else one a node.
        gpus: GPUs a worker, 0 for none.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0


def on_ray(work: Work, left: list[Range], cluster: Cluster) -> Iterator[Done]:
    """Do the ranges on a cluster and yield each when it is done, in no order.

    A worker that dies is started again, and its range done again: what Ray Data does by itself.

    Raises:
        RunError: Ray is not installed, or no cluster at the address; PlaitError: what a worker met.
    """
    if not left:
        return
    with _connected(cluster) as ray:
        workers, cpus = _share(ray, cluster, len(left))
        found = ray.data.from_items(
            [{"start": part.start, "stop": part.stop} for part in left], override_num_blocks=len(left)
        )
        found = found.map_batches(
            _Actor, fn_constructor_args=(work,), batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus, num_gpus=cluster.gpus or None,
        )  # fmt: skip
        for row in found.iter_rows():
            if row["error"]:
                raise RunError(row["error"])
            yield Done(Range(int(row["start"]), int(row["stop"])), [one for one in row["problems"].split("\n") if one])


class _Actor:
    """A worker in a process of Ray's. What the user can mend is a value and no exception: Ray would try it again."""

    def __init__(self, work: Work):
        self.work = work
        self.worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        part = Range(int(batch["start"][0]), int(batch["stop"][0]))
        problems, error = list[str](), ""
        try:
            with spoken_by_flags():
                self.worker = self.worker or Worker(self.work)
                problems = self.worker.do(part).problems
        except PlaitError as failure:
            error = f"{socket.gethostname()}: {failure}"
        return {"start": [part.start], "stop": [part.stop], "problems": ["\n".join(problems)], "error": [error]}


def _share(ray: Any, cluster: Cluster, ranges: int) -> tuple[int, float]:
    """How many workers, and the CPUs of each.

    Raises:
        RunError: the cluster has no node that can hold one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if cluster.gpus:
        nodes = [node for node in nodes if node.get("GPU", 0) >= cluster.gpus]
        if not nodes:
            raise RunError(
                f"no node of the Ray cluster has {cluster.gpus:g} GPUs; leave {option('--gpus', 'gpus')} away"
            )
    each = [int(node.get("GPU", 0) / cluster.gpus) if cluster.gpus else 1 for node in nodes]
    workers = min(cluster.workers or sum(each), ranges)
    a_node = -(-workers // len(nodes))
    return workers, max(1.0, min(node.get("CPU", 1) for node in nodes) // a_node)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, joined to the cluster or started on this machine, and left again."""
    # Else it warns of its own future, and of what it does itself.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RunError("Ray is not installed; install it with pip install 'plait[scale]'") from error
    if cluster.address:
        _require_reachable(cluster.address)
    own: dict[str, Any] = {} if cluster.address else {"include_dashboard": False}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(
            f"{option('--address', 'address')} {cluster.address or ''}: {reason}; {WAYS}, or leave it away"
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Raise RunError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    if address == "auto":
        return
    flag = option("--address", "address")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise RunError(f"{flag} '{address}' is no HOST:PORT of a Ray head, nor 'auto'")
    try:
        socket.create_connection((host, int(port)), WAIT_S).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster at {flag} '{address}' ({error.strerror or error}); {WAYS}, or leave it away"
        ) from error
