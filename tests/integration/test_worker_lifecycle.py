"""The worker's life with the real Java daemon and a local cloud: it starts, tells how it is, and ends as it should."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from kcl_app import wiring
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Environment = Callable[[Settings], dict[str, str]]

RUN_WITH_COUNTING_CHILD = """
import sys
from kcl_app.worker import daemon
daemon.CHILD_COMMAND = (sys.executable, "-P", sys.argv.pop(1))
from kcl_app.cli.main import main
main()
"""
COUNTING_CHILD = Path(__file__).parents[1] / "kcl_child.py"
READY_SECONDS = 120.0


class Worker:
    """A `kcl-app worker` with children that only count."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN_WITH_COUNTING_CHILD, str(COUNTING_CHILD), "worker", "--port", "0"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def get(self, path: str) -> tuple[int, str]:
        found = re.search(r"^kcl-app worker: metrics on (http://\S+)/metrics$", self.output(), re.M)
        if found is None:
            return 0, ""
        try:
            with urllib.request.urlopen(found.group(1) + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_for(self, what: str, is_so: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output()[-3000:]}"
            assert time.monotonic() < end, f"not {what} in {seconds} s:\n{self.output()[-3000:]}"
            time.sleep(0.2)

    def wait_for_shards(self, number: int) -> None:
        self.wait_for(
            f"{number} shards", lambda: f"scheduling_shards_owned {number}.0" in self.get("/metrics")[1]
        )

    def jvm(self) -> psutil.Process:
        (jvm,) = psutil.Process(self.process.pid).children()
        return jvm

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def last_line(self) -> str:
        return self.output().splitlines()[-1]


@pytest.fixture
def worker(environment_of: Environment, tmp_path: Path) -> Iterator[Callable[[Settings], Worker]]:
    """Starts workers, and sees to it that nothing of them is left."""
    started: list[Worker] = []

    def start(settings: Settings) -> Worker:
        environment = {**environment_of(settings), "TMPDIR": str(tmp_path)}
        started.append(Worker(environment, tmp_path / f"worker-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        with nothing_left(one):
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait(10)


@contextmanager
def nothing_left(worker: Worker) -> Iterator[None]:
    """Kills what is still there at the end, whatever happened."""
    try:
        below = worker.below()
    except psutil.Error:
        below = []
    yield
    for process in below:
        try:
            process.kill()
        except psutil.Error:
            continue


def wait_until_gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    _, left = psutil.wait_procs(processes, timeout=seconds)
    return left


def test_a_worker_starts_tells_how_it_is_and_hands_over_on_sigterm(
    cloud: StartCloud, worker: Callable[[Settings], Worker], tmp_path: Path
) -> None:
    settings = cloud(shards=2)
    one = worker(settings)
    one.wait_for("answering", lambda: one.get("/healthz")[0] == 200)
    assert one.get("/readyz")[0] == 503
    one.wait_for_shards(2)
    status, body = one.get("/readyz")
    assert (status, json.loads(body)["status"]) == (200, "ready")

    kinesis = wiring.kinesis(settings)
    for number in range(20):
        kinesis.put_record(StreamName=settings.stream.name, Data=b"x", PartitionKey=str(number))

    def records() -> float:
        return sum(
            float(value) for value in re.findall(r"^scheduling_records_total\{.*\} (\S+)$", page(), re.M)
        )

    def page() -> str:
        return one.get("/metrics")[1]

    one.wait_for("all counted", lambda: records() == 20, 30)
    one.wait_for("measured", lambda: 'scheduling_processes{process="child"} 2.0' in page(), 10)
    shown = page()
    assert len(re.findall(r"^scheduling_lag_seconds\{shard=", shown, re.M)) == 2
    assert len(re.findall(r"^scheduling_checkpoint_age_seconds\{shard=", shown, re.M)) == 2
    assert re.search(r'^scheduling_build_info\{kcl_version="3\.', shown, re.M)
    assert re.search(r'^scheduling_process_resident_memory_bytes\{process="jvm"\} \d', shown, re.M)
    assert "pid=" not in shown

    kinesis.put_record(StreamName=settings.stream.name, Data=b"unavailable", PartitionKey="0")
    one.wait_for("unready", lambda: one.get("/readyz")[0] == 503, 30)
    assert "stores do not answer" in one.get("/readyz")[1]

    below = one.below()
    began = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(settings.worker.grace_seconds + 5) == 0, one.output()[-3000:]
    assert time.monotonic() - began < settings.worker.grace_seconds
    assert wait_until_gone(below, 5) == []
    assert list(tmp_path.glob("kcl-app-worker-*")) == []
    for line in one.output().splitlines()[1:]:
        assert {"timestamp", "level", "event"} <= json.loads(line).keys()


def test_every_way_to_end_leaves_no_process_and_lets_another_take_over_soon(
    cloud: StartCloud, worker: Callable[[Settings], Worker]
) -> None:
    """Five workers, one after the other, on the same leases: only the first start of an application is slow."""
    settings = cloud(shards=1, worker={"grace_seconds": 5})
    one = worker(settings)
    one.wait_for_shards(1)

    # The daemon is killed. It was the leader: unless its lock is released, nobody gets a shard for two minutes.
    below = one.below()
    one.jvm().kill()
    assert one.process.wait(30) == 1
    assert one.last_line() == "kcl-app: the Kinesis Client Library ended by itself (killed by SIGKILL)"
    assert wait_until_gone(below, 5) == []

    # A child is killed: the daemon ends itself.
    one = next_worker(worker, settings)
    below = one.below()
    (child,) = one.jvm().children()
    child.kill()
    assert one.process.wait(60) == 1
    assert "a shard's child ended with status 137 (SIGKILL)" in one.last_line()
    assert wait_until_gone(below, 5) == []

    # The supervisor is killed: the kernel tells the daemon.
    one = next_worker(worker, settings)
    below = one.below()
    assert len(below) == 2
    one.process.kill()
    one.process.wait(10)
    assert wait_until_gone(below, 30) == []

    # Asked twice to stop.
    one = next_worker(worker, settings)
    below = one.below()
    one.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == 1
    assert "stopped at once" in one.last_line()
    assert wait_until_gone(below, 10) == []

    next_worker(worker, settings)


def next_worker(worker: Callable[[Settings], Worker], settings: Settings) -> Worker:
    """One that takes the shard over from one that has ended."""
    began = time.monotonic()
    one = worker(settings)
    one.wait_for_shards(1)
    assert time.monotonic() - began < 60
    return one


def once(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A worker that cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "kcl_app.cli.main", "worker", "--port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_missing_stream_table_or_bucket_is_one_line_and_status_1(
    cloud: StartCloud, environment_of: Environment
) -> None:
    settings = cloud(shards=1)
    endpoint = settings.aws.endpoint_url
    for change, missing in (
        ({"stream": settings.stream.model_copy(update={"name": "other"})}, "there is no stream other"),
        ({"tables": settings.tables.model_copy(update={"spans": "other"})}, "there is no table other"),
        (
            {"tables": settings.tables.model_copy(update={"dead_letter_bucket": "other"})},
            "there is no bucket other",
        ),
    ):
        done = once(environment_of(settings.model_copy(update=change)))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"kcl-app: {missing} in the local cloud at {endpoint}, region us-east-1; "
            "make it with `kcl-app local start`\n"
        )


def test_a_taken_port_is_one_line(cloud: StartCloud, environment_of: Environment) -> None:
    settings = cloud(shards=1)
    port = (settings.aws.endpoint_url or "").rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "kcl_app.cli.main", "worker", "--port", port],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"kcl-app: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --port\n"
    )


def test_no_java_is_one_line(tmp_path: Path) -> None:
    done = once({**os.environ, "JAVA_HOME": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == f"kcl-app: JAVA_HOME has no bin/java: {tmp_path}; correct or unset it\n"
