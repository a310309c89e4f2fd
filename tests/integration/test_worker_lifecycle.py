"""The worker's life with the real Java daemon and a local cloud: it starts, tells how it is, and ends as it should."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from faulty_cloud import FaultyCloud
from pipelines import (
    KCL_APP,
    PipelineWorker,
    differences,
    environment,
    kcl_app,
    processed,
    said_by_try,
    wait_until,
)

from kcl_app import wiring
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

StartWorker = Callable[..., PipelineWorker]

WITH_CHILD = """
import sys
from kcl_app.worker import daemon
daemon.CHILD_COMMAND = (sys.executable, "-P", *sys.argv.pop(1).split())
from kcl_app.cli.main import main
main()
"""
NONSENSE = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("good morning", flush=True)
print('{"action": "status", "responseFor": ', flush=True)
print('{"action": "sing"}', flush=True)
time.sleep(3600)
"""


def with_child(arguments: str) -> list[str]:
    """`kcl-app` with other children: Python with these arguments, split at spaces."""
    return [sys.executable, "-c", WITH_CHILD, arguments]


COUNTING = with_child(str(Path(__file__).parents[1] / "kcl_child.py"))
"""With children that only count."""
READY_SECONDS = 150.0
AGAIN = "what was not checkpointed will be read again"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers, and sees to it that nothing of them is left."""
    started: list[PipelineWorker] = []

    def start(settings: Settings, command: list[str] = KCL_APP) -> PipelineWorker:
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(PipelineWorker(environment(settings, tmp_path), log, command))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def wait_for_shards(one: PipelineWorker, number: int) -> None:
    def owned() -> bool:
        return one.samples().sum("scheduling_shards_owned") == number

    wait_until(f"{number} shards", owned, [one], READY_SECONDS)


def ended(one: PipelineWorker, seconds: float) -> int:
    """Exit status of a worker that ends within a time, with all that was below it."""
    below = one.below()
    status = one.process.wait(seconds)
    assert gone(below, 5), f"outlived by {below}"
    return status


def child_of(one: PipelineWorker) -> list[psutil.Process]:
    """The worker's children, once it has one."""

    def children() -> list[psutil.Process]:
        return [child for jvm in one.below()[:1] for child in jvm.children()]

    wait_until("a child", lambda: bool(children()), [one], READY_SECONDS)
    return children()


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, left = psutil.wait_procs(processes, timeout=seconds)
    return not left


def judged(one: PipelineWorker) -> dict[str, int]:
    """How many shards are in which state, as the worker's judge says."""
    found = [labels["state"] for labels, value in one.samples().all("scheduling_shard_state") if value == 1]
    return {state: found.count(state) for state in sorted(set(found))}


def test_a_worker_starts_tells_how_it_is_and_hands_over_on_sigterm(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    settings = cloud(shards=2, worker={"judge_seconds": 10})
    one = worker(settings, COUNTING)
    wait_until("answering", lambda: one.get("healthz")[0] == 200, [one], READY_SECONDS)
    assert one.get("readyz")[0] == 503
    wait_for_shards(one, 2)
    status, body = one.get("readyz")
    assert (status, json.loads(body)["status"]) == (200, "ready")

    kinesis = wiring.kinesis(settings)
    for number in range(20):
        kinesis.put_record(StreamName=settings.stream.name, Data=b"x", PartitionKey=str(number))

    def counted() -> bool:
        return one.samples().sum("scheduling_records_total") == 20

    wait_until("all counted", counted, [one], 60)
    wait_until("measured", lambda: 'process="child"} 2.0' in one.get("metrics")[1], [one], 30)
    shown = one.get("metrics")[1]
    assert len(re.findall(r"^scheduling_lag_seconds\{shard=", shown, re.M)) == 2
    assert len(re.findall(r"^scheduling_checkpoint_age_seconds\{shard=", shown, re.M)) == 2
    assert re.search(r'^scheduling_build_info\{kcl_version="3\.', shown, re.M)
    assert re.search(r'^scheduling_process_resident_memory_bytes\{process="jvm"\} \d', shown, re.M)
    assert "pid=" not in shown

    frozen = child_of(one)[0]
    wait_until("judged", lambda: judged(one) == {"ok": 2}, [one], 60)
    frozen.suspend()
    wait_until("seen as stopped", lambda: judged(one) == {"ok": 1, "stopped": 1}, [one], 60)
    assert one.samples().max("scheduling_worst_lag_seconds") >= 8, "it grows though nobody tells it"
    assert one.samples().sum("scheduling_worker_state", state="stopped") == 1
    frozen.resume()
    wait_until("judged anew", lambda: judged(one) == {"ok": 2}, [one], 60)

    def looked() -> bool:
        return one.samples().sum("scheduling_stream_open_shards") == 2

    wait_until("the stream was looked at", looked, [one], 100)
    shown_now = one.samples()
    assert shown_now.sum("scheduling_stream_retention_seconds") >= 86_400
    assert (
        0
        < shown_now.sum("scheduling_retention_left_seconds")
        <= shown_now.sum("scheduling_stream_retention_seconds")
    )

    def none_unowned() -> bool:  # told from the second look on
        return one.samples().all("scheduling_leases_unowned") == [({}, 0.0)]

    wait_until("the leases were looked at", none_unowned, [one], 200)
    for name in ("memory_limit_bytes", "disk_free_bytes", "disk_size_bytes", "worker_start_time_seconds"):
        assert shown_now.sum(f"scheduling_{name}") > 0, name

    kinesis.put_record(StreamName=settings.stream.name, Data=b"unavailable", PartitionKey="0")
    wait_until("unready", lambda: one.get("readyz")[0] == 503, [one], 60)
    assert "stores do not answer" in one.get("readyz")[1]

    one.process.send_signal(signal.SIGTERM)
    assert ended(one, settings.worker.grace_seconds) == 0, one.output()[-3000:]
    assert list(tmp_path.glob("kcl-app-worker-*")) == []
    for line in one.output().splitlines()[1:]:
        assert {"timestamp", "level", "event"} <= json.loads(line).keys()


def test_every_way_to_end_leaves_no_process_and_lets_another_take_over_soon(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    """Workers, one after the other, on the same leases: only the first start of an application is slow."""
    settings = cloud(shards=1)
    one = worker(settings)
    # Asked before the KCL has set up anything, it has nothing to hand over, and does not wait for its grace.
    wait_until("starting", lambda: "Initializing LeaseCoordinator" in one.output(), [one], READY_SECONDS)
    one.process.send_signal(signal.SIGTERM)
    assert ended(one, 15) == 0
    one = worker(settings)
    wait_for_shards(one, 1)

    # The daemon is killed. It was the leader: unless its lock is released, nobody gets a shard for two minutes.
    one.jvm().kill()
    assert ended(one, 30) == 1
    assert one.last_line() == "kcl-app: the Kinesis Client Library ended by itself (killed by SIGKILL)"

    # A child is killed: the worker says so at once, and does not wait out the daemon's grace.
    one = next_worker(worker, settings)
    (child,) = one.jvm().children()
    child.kill()

    def unhealthy() -> bool:
        return one.process.poll() is not None or "ended with status 137 (SIGKILL)" in one.get("healthz")[1]

    wait_until("unhealthy", unhealthy, [], 30)
    assert ended(one, 15) == 1, "sooner than the daemon's grace"
    assert one.last_line() == f"kcl-app: a shard's child ended with status 137 (SIGKILL); {AGAIN}"

    # A child cannot start.
    one = worker(settings, with_child("-m kcl_app.no_such_module"))
    assert ended(one, READY_SECONDS) == 1
    assert "No module named kcl_app.no_such_module" in one.last_line()

    # A child writes nonsense, answers nothing, and minds neither signals nor the end of its input.
    nonsense = tmp_path / "nonsense.py"
    nonsense.write_text(NONSENSE)
    impatient = settings.worker.model_copy(update={"child_timeout_seconds": 5})
    one = worker(settings.model_copy(update={"worker": impatient}), with_child(str(nonsense)))
    children = child_of(one)
    assert ended(one, 60) == 1
    assert one.last_line() == (
        f"kcl-app: the child of shardId-000000000000 answered nothing for too long; {AGAIN}"
    )
    assert gone(children, 5)

    # The supervisor is killed: the kernel tells the daemon.
    one = next_worker(worker, settings)
    below = one.below()
    one.process.kill()
    one.process.wait(10)
    assert gone(below, 30)

    # Ctrl-C in a terminal goes to the whole group, and a second one hurries.
    one = next_worker(worker, settings)
    os.killpg(one.process.pid, signal.SIGINT)
    wait_until("stopping", lambda: '"event": "stopping"' in one.output(), [one], 30)
    os.killpg(one.process.pid, signal.SIGINT)
    assert ended(one, 10) == 130
    assert one.last_line() == f"kcl-app: stopped at once, since SIGINT came a second time; {AGAIN}"

    # Supervisor and daemon are killed: the child ends with its input, also one that waits for its tables.
    one = next_worker(worker, settings)
    below = one.below()
    jvm = one.jvm()
    one.process.kill()
    jvm.kill()
    one.process.wait(10)
    assert gone(below, 10)


def next_worker(worker: StartWorker, settings: Settings) -> PipelineWorker:
    """One that takes the shard over from one that has ended."""
    began = time.monotonic()
    one = worker(settings)
    wait_for_shards(one, 1)
    assert time.monotonic() - began < 75
    return one


def test_sigterm_to_all_processes_under_load_checkpoints_and_nothing_is_lost(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    """As systemd does it: every process gets the signal, the daemon and the children as well."""
    settings = cloud(shards=2, stream={"failover_milliseconds": 3000})
    env = environment(settings, tmp_path)
    file = tmp_path / "events.ndjson"
    arguments = ["--providers", "150", "--days", "15", "--events", "7000", "--seed", "3"]
    file.write_text(kcl_app("simulate", *arguments, env=env))
    kcl_app("put", str(file), env=env)
    first = worker(settings)
    # A thousand records a delivery and ninety days for each provider: more than there is time for after the signal.
    wait_until("at work", lambda: processed([first]) >= 500, [first], READY_SECONDS)
    for pid in [first.process.pid, *(process.pid for process in first.below())]:
        os.kill(pid, signal.SIGTERM)
    before = processed([first])
    assert ended(first, settings.worker.grace_seconds) == 0, first.output()[-3000:]
    assert 0 < before < 7000, "it was stopped under load"
    assert '"event": "shutting down"' in first.output()

    second = worker(settings)
    wanted = said_by_try(file, env, 90)

    def through() -> bool:
        return processed([second]) > 0 and not differences(settings, wanted)

    wait_until("equal to what try says", through, [second], 300)
    # The first one's checkpoints held: the second did not begin at the beginning.
    assert processed([second]) < 7000
    assert second.stop() == 0


def test_what_aws_does_to_a_running_worker_is_told_and_ends_it_only_where_there_is_no_hope(
    cloud: StartCloud, worker: StartWorker
) -> None:
    settings = cloud(shards=1)
    with FaultyCloud(settings.aws.endpoint_url or "").open() as door:
        aws = settings.aws.model_copy(update={"endpoint_url": door.url})
        through_door = settings.model_copy(update={"aws": aws})
        where = f"the local cloud at {door.url}, region us-east-1"
        one = worker(through_door)
        # An application of its own, so that neither waits for the other's leases.
        stream = settings.stream.model_copy(update={"application": "another"})
        other = worker(settings.model_copy(update={"stream": stream}))
        wait_for_shards(one, 1)

        # No answer: it waits, and says for what.
        door.silence()
        wait_until("unready", lambda: f"cannot reach {where}" in one.get("readyz")[1], [one], 120)
        assert one.get("healthz")[0] == 200
        door.let_through()
        wait_until("ready again", lambda: one.get("readyz")[0] == 200, [one], 120)

        # Credentials that expired do not come back in this process.
        wait_for_shards(one, 1)
        door.refuse("ExpiredTokenException")
        assert ended(one, 120) == 1
        assert one.last_line() == (
            f"kcl-app: AWS refuses the credentials (ExpiredTokenException) for {where}; "
            "check the role, profile or keys"
        )

    # The KCL takes the shards of a stream that was deleted for ended, and would stay for ever with nothing to do.
    wait_for_shards(other, 1)
    wiring.kinesis(settings).delete_stream(StreamName=settings.stream.name)
    assert ended(other, 180) == 1
    assert other.last_line().startswith(
        f"kcl-app: there is no stream {settings.stream.name} in the local cloud"
    )
