"""Mixed load on `plait serve`: rows a second and waiting times at rising concurrency, then a long run.

``python -m benchmarks.serve RUN --seconds 600 --clients 32`` starts a server, finds the most rows a second it gives
(saturation), keeps the clients at 70 % of that rate for the given time, and prints status codes, percentiles and the
server's memory. One request in eight is huge, corrupt, empty or slow.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

KINDS = ["good"] * 28 + ["huge", "corrupt", "empty", "slow"]
WANTED = {"good": {200, 429}, "huge": {413, 429}, "corrupt": {422, 429}, "empty": {400, 429}, "slow": {200, 408, 429}}
SLOW_SECONDS = 1.0


@dataclass
class Tally:
    """What came back."""

    times: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    sent: int = 0


def picture(side: int, seed: int) -> bytes:
    """A JPEG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


GOOD = [
    json.dumps({"image": base64.b64encode(picture(256, i)).decode(), "text": f"soup number {i} with bread"}).encode()
    for i in range(20)
]
HUGE = json.dumps({"text": "a" * 2_000_000}).encode()
CORRUPT = json.dumps({"image": base64.b64encode(picture(256, 0)[:3000]).decode()}).encode()


def slow(port: int) -> int:
    """A good request whose body comes in small pieces; the status of its answer."""
    body = GOOD[0]
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"  # noqa: E501
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.encode())
        for start in range(0, len(body), len(body) // 10 + 1):
            connection.sendall(body[start : start + len(body) // 10 + 1])
            time.sleep(SLOW_SECONDS / 10)
        return int(connection.recv(65536).split()[1])


def ask(client: httpx.Client, kind: str, port: int, rng: random.Random) -> int:
    """One request; its status."""
    if kind == "slow":
        return slow(port)
    body = {"good": rng.choice(GOOD), "huge": HUGE, "corrupt": CORRUPT, "empty": b""}[kind]
    return client.post("/predict", content=body, headers={"content-type": "application/json"}).status_code


def load(port: int, clients: int, seconds: float, rate: float | None = None, kinds: list[str] = KINDS) -> Tally:
    """Clients asking one after another, as fast as they are answered or at a rate of all together."""
    tally, lock, end = Tally(), threading.Lock(), time.monotonic() + seconds

    def work(number: int) -> None:
        rng = random.Random(number)
        due = time.monotonic() + (rng.random() * clients / rate if rate else 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while (now := time.monotonic()) < end:
                if rate:
                    time.sleep(max(0.0, min(due, end) - now))
                    due += clients / rate
                kind = rng.choice(kinds)
                start = time.monotonic()
                with lock:
                    tally.sent += 1
                try:
                    status = ask(client, kind, port, rng)
                    known = f"{kind} {status}" + ("" if status in WANTED[kind] else " UNWANTED")
                except (httpx.TransportError, OSError, IndexError) as error:
                    known = f"{kind} LOST {type(error).__name__}"
                with lock:
                    tally.statuses[known] += 1
                    if kind != "slow":
                        tally.times.append(time.monotonic() - start)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def show(name: str, tally: Tally, seconds: float) -> float:
    """One line; returns answered good rows a second."""
    rows = tally.statuses["good 200"] / seconds
    p50, p95, p99 = np.percentile(tally.times, [50, 95, 99]) * 1000
    answered = sum(count for status, count in tally.statuses.items() if "LOST" not in status)
    print(f"{name:<28}{rows:8.1f} rows/s   p50 {p50:6.0f}   p95 {p95:6.0f}   p99 {p99:6.0f} ms   "
          f"{answered} of {tally.sent} answered", flush=True)  # fmt: skip
    return rows


def memory(port: int) -> float:
    """The server's resident megabytes."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes")) / 2**20


def start(run: Path, options: list[str]) -> tuple[subprocess.Popen[str], int]:
    """A server on a free port."""
    command = [sys.executable, "-m", "plait", "serve", str(run), "--port", "0", "--log-level", "info", *options]
    server = subprocess.Popen(  # noqa: S603
        command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("{") and json.loads(line)["event"] == "serving":
            threading.Thread(target=lambda: [None for _ in server.stderr or []], daemon=True).start()
            return server, int(json.loads(line)["port"])
    raise SystemExit("the server did not start")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("options", nargs="*", help="options of plait serve, after --")
    given = parser.parse_args()
    server, port = start(given.run, given.options)
    try:
        print(f"{os.cpu_count()} cores, shared with the clients; {memory(port):.0f} MB resident at the start")
        best = 0.0
        for clients in (1, 2, 4, 8, 16, given.clients):
            best = max(best, show(f"{clients} clients, good only", load(port, clients, 8, kinds=["good"]), 8))
        show(f"{given.clients} clients, mixed, full", load(port, given.clients, 15), 15)
        rate, parts = 0.7 * best, max(1, round(given.seconds / 60))
        total: Counter[str] = Counter()
        for part in range(parts):
            tally = load(port, given.clients, given.seconds / parts, rate)
            show(f"70 % of {best:.0f}/s, part {part + 1} of {parts}", tally, given.seconds / parts)
            print(f"{'':<28}{memory(port):.0f} MB resident", flush=True)
            total += tally.statuses
        for status, count in sorted(total.items()):
            print(f"{status:<28}{count:>8}")
    finally:
        server.send_signal(signal.SIGTERM)
        print(f"exit code after SIGTERM: {server.wait(60)}")


if __name__ == "__main__":
    main()
