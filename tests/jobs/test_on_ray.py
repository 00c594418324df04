"""The same jobs by Ray's workers. Ray is real here: processes, object stores, kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plait.jobs.run import run_job
from plait.jobs.work import Work
from toys import Run

pytest.importorskip("ray", reason="Ray is not installed (the extra 'scale')")

ENVIRONMENT = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "OMP_NUM_THREADS": "1"}


def answers(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])


def plait_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "plait", *map(str, arguments)]


@pytest.fixture(scope="module")
def local(fitted: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What the local engine answers."""
    out = tmp_path_factory.mktemp("local") / "out"
    run_job(Work(str(fitted), str(table), "predict", str(out)), range_rows=10)
    return answers(out)


@pytest.mark.slow
def test_ray_answers_as_this_process_does(local: pa.Table, fitted: Path, table: Path, tmp_path: Path) -> None:
    command = plait_command("predict", fitted, table, "--out", tmp_path, "--range-rows", 10, "--engine", "ray")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}\n"), done.stderr
    own = [line for line in done.stderr.splitlines() if not line.startswith("[20")]  # Ray says its log level
    assert own == [f"{table}: image from 'image', text from 'text'; ignored: label"]
    assert answers(tmp_path) == local


def test_no_cluster_there(run: Run, fitted: Path, table: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("predict", fitted, table, "--out", tmp_path / "out", "--engine", "ray", "--address")
    code, _, err = run(*command, f"127.0.0.1:{port}")
    assert code == 2
    assert f"error: no Ray cluster at --address '127.0.0.1:{port}' (Connection refused)" in err
    code, _, err = run(*command, "somewhere")
    assert code == 2
    assert "error: --address 'somewhere' is no HOST:PORT of a Ray head, nor 'auto'" in err


@pytest.fixture
def many(table: Path, tmp_path: Path) -> Path:
    """The table 40 times, under other ids: enough that something can happen on the way."""
    one = pq.read_table(table)
    whole = (
        pa.concat_tables([one] * 40).drop_columns("id").append_column("id", pa.array([f"r{i}" for i in range(4000)]))
    )
    pq.write_table(whole, tmp_path / "many.parquet")
    return tmp_path / "many.parquet"


def wait_for(out: Path, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while len(list(out.glob("*.parquet"))) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers() -> list[int]:
    """Processes of Ray's that run our actors."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and "ray::MapWorker" in (place / "cmdline").read_text():
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_killed_worker_costs_only_time(fitted: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = plait_command("predict", fitted, many, "--out", out, "--range-rows", 50, "--engine", "ray")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for(out, 5, process)
    found = workers()
    assert found
    os.kill(found[0], signal.SIGKILL)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert answers(out)["id"].to_pylist() == [f"r{i}" for i in range(4000)]


@pytest.mark.slow
def test_a_killed_driver_loses_no_range(fitted: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = plait_command("predict", fitted, many, "--out", out, "--range-rows", 50, "--engine", "ray")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for(out, 5, process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers()  # Ray's processes go with the driver that started them
    kept = {file.name: file.stat().st_mtime_ns for file in out.glob("*.parquet")}
    assert 5 <= len(kept) < 80
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=400)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept) * 50:,} of 4,000 rows are there already" in done.stderr
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert answers(out)["id"].to_pylist() == [f"r{i}" for i in range(4000)]


@pytest.fixture
def two_nodes() -> Iterator[str]:
    """A cluster of two raylets on this machine, each with one CPU."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
def test_two_nodes_share_a_job(two_nodes: str, local: pa.Table, fitted: Path, table: Path, tmp_path: Path) -> None:
    command = plait_command("predict", fitted, table, "--out", tmp_path, "--range-rows", 10, "--engine", "ray")
    process = subprocess.Popen(
        [*command, "--address", two_nodes], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    most = 0
    while process.poll() is None:
        most = max(most, len(workers()))
        time.sleep(0.1)
    assert process.returncode == 0, process.communicate()
    assert most == 2  # one worker a node
    assert answers(tmp_path) == local
