"""Real parts of the supervisor, and real children with files: what it says of a child that hangs, ends or moves on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kcl_app import metrics as m
from kcl_app.metrics import WorkerMetrics
from kcl_app.worker.metrics_directory import MetricsDirectory
from kcl_app.worker.progress import Progress
from kcl_app.worker.shard_watch import ShardWatch, samples

SHARD = "shardId-000000000000"
WINDOW = 60.0

CHILD = """
import sys, time
from prometheus_client import CollectorRegistry
from kcl_app.metrics import WorkerMetrics
from kcl_app.worker.progress import Progress
metrics = WorkerMetrics(CollectorRegistry(), ["acme"])
progress = Progress(metrics, time.time)
progress.begins(sys.argv[1])
metrics.tenant_last_event.labels("acme").set(float(sys.argv[2]))
print("ready", flush=True)
while True:
    progress.delivered(None, 0.0)
    progress.checkpointed(None)
    time.sleep(0.02)
"""

Start = Callable[[str, float], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a child for a shard that has seen an event at a moment, and reads an idle stream."""
    children: list[subprocess.Popen[str]] = []

    def start(shard: str, event: float) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, shard, str(event)],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate(timeout=10)


def wait_until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_frozen_child_is_stopped_and_its_lag_grows_until_it_goes_on(tmp_path: Path, start: Start) -> None:
    """SIGSTOP: the child tells nothing any more. Time is the test's, so nothing depends on the machine's speed."""
    folder = MetricsDirectory(tmp_path)
    watch = ShardWatch(WINDOW, {}, time.time())
    child = start(SHARD, 0)
    wait_until(lambda: SHARD in folder.gauges().get(m.SETTLED_TIMESTAMP.name, {}))

    def lives() -> bool:
        gauges, now = folder.gauges(), time.time()
        watch.take(gauges, now)
        return watch.values(gauges, now).states.get(SHARD) == "ok"

    wait_until(lives)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(0.1)
    frozen, at = folder.gauges(), time.time()
    told = frozen[m.SETTLED_TIMESTAMP.name][SHARD]
    for seconds in range(2, 91, 2):
        gauges, now = folder.gauges(), at + seconds
        watch.take(gauges, now)
        values = watch.values(gauges, now)
        assert values.lags[SHARD] == pytest.approx(now - told), "it grows by a second a second"
        if seconds > WINDOW + 2:
            assert (values.states[SHARD], values.worker_state) == ("stopped", "stopped")
            assert values.trends[SHARD] == pytest.approx(1)
    assert frozen == folder.gauges(), "the child has said nothing"
    os.kill(child.pid, signal.SIGCONT)
    later = ShardWatch(WINDOW, {}, at)

    def goes_on() -> bool:
        gauges, now = folder.gauges(), time.time()
        later.take(gauges, now)
        values = later.values(gauges, now)
        return values.states[SHARD] == "ok" and values.lags[SHARD] < 5

    wait_until(goes_on)


def test_a_dead_childs_shard_goes_and_what_its_tenant_sent_stays(tmp_path: Path, start: Start) -> None:
    folder = MetricsDirectory(tmp_path)
    now = time.time()
    watch = ShardWatch(WINDOW, {"acme": 600.0, "quiet": 60.0}, now - 1000)
    children = [start("a", now - 10), start("b", now - 300)]
    wait_until(lambda: len(folder.gauges().get(m.SETTLED_TIMESTAMP.name, {})) == 2)

    def silences() -> dict[str, float]:
        last = folder.gauges("tenant")[m.TENANT_LAST_EVENT.name]
        return watch.silences(folder.gauges(), last, now + 5)

    for ended in range(2):
        assert folder.gauges("tenant")[m.TENANT_LAST_EVENT.name]["acme"] == pytest.approx(now - 10)
        assert set(silences()) == {"acme", "quiet"}
        child = children[ended]
        child.kill()
        child.communicate(timeout=10)
        folder.bury({child.pid})
        watch.take(folder.gauges(), now)
        left = {"b"} if ended == 0 else set()
        assert set(watch.values(folder.gauges(), now).lags) == left
        assert set(watch.values(folder.gauges(), now).states) == left
    assert watch.values(folder.gauges(), now).worker_state == "unknown"
    assert folder.gauges("tenant")[m.TENANT_LAST_EVENT.name]["acme"] == pytest.approx(now - 10)
    assert silences() == {}, "nobody knows what is sent while no shard is read"


def test_a_feed_is_silent_for_as_long_as_the_stream_was_read_without_an_event_of_it() -> None:
    watch = ShardWatch(WINDOW, {"acme": 600.0, "new": 60.0}, started=1000.0)
    gauges = {m.SETTLED_TIMESTAMP.name: {"a": 2000.0, "b": 1900.0}}
    assert watch.silences(gauges, {"acme": 1850.0}, 2000.0) == {"acme": 50.0, "new": 900.0}
    # One shard hangs: what came there since is not known, so the feed is no more silent than before.
    assert watch.silences(gauges, {"acme": 1850.0}, 5000.0) == {"acme": 50.0, "new": 900.0}
    # A backlog from before the start says nothing yet.
    assert watch.silences({m.SETTLED_TIMESTAMP.name: {"a": 500.0}}, {}, 2000.0) == {"acme": 0.0, "new": 0.0}
    assert watch.silences({}, {"acme": 1850.0}, 2000.0) == {}


class Told:
    """One child's progress, in memory, on a clock that the test sets."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 1000.0
        self.progress = Progress(WorkerMetrics(self.registry), lambda: self.now)
        self.progress.begins(SHARD)

    def sample(self) -> tuple[float | None, bool]:
        """Lag and whether it is caught up."""
        gauges: dict[str, dict[str, float]] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                if "shard" in sample.labels:
                    gauges.setdefault(family.name, {})[sample.labels["shard"]] = sample.value
        one = samples(gauges, self.now)[SHARD]
        return one.lag, one.caught_up


def test_lag_is_unknown_until_the_first_delivery_says_where_the_shard_is_read() -> None:
    told = Told()
    assert told.sample() == (None, False)
    told.progress.delivered(400.0, 500.0)
    assert told.sample() == (600.0, False), "the first record is the oldest that is not settled"


def test_an_empty_delivery_far_behind_tells_how_far() -> None:
    """Kinesis gives empty answers on the way through a stream; how far behind the tip they are counts."""
    told = Told()
    told.progress.delivered(None, 500.0)
    told.progress.checkpointed(None)
    assert told.sample() == (500.0, False)
    told.now += 1
    told.progress.delivered(None, 0.0)
    told.progress.checkpointed(None)
    assert told.sample() == (0.0, True)


def test_an_idle_shard_that_nobody_reads_any_more_falls_behind() -> None:
    told = Told()
    told.progress.delivered(None, 0.0)
    told.progress.checkpointed(None)
    told.now += 300
    assert told.sample()[0] == 300.0


def test_a_delivery_that_waited_behind_others_is_as_old_as_its_records() -> None:
    """The KCL reads ahead: the lag that it gives is that of the moment of reading, and may say 0."""
    told = Told()
    told.progress.delivered(None, 0.0)
    told.progress.checkpointed(None)
    told.now += 60
    told.progress.delivered(1010.0, 0.0)
    assert told.sample() == (60.0, False)
    told.now += 5
    told.progress.checkpointed(1020.0)
    assert told.sample() == (45.0, True)


def test_lag_never_falls_by_a_record_that_arrived_earlier() -> None:
    told = Told()
    told.progress.delivered(None, 0.0)
    told.progress.checkpointed(None)
    told.progress.delivered(900.0, 0.0)
    told.progress.checkpointed(900.0)
    assert told.sample()[0] == 0.0
