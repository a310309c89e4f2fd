"""Names follow practice, docs name what exists, and files of dead children are summed without loss."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from kcl_app import metrics
from kcl_app.metrics import ALL, WorkerMetrics
from kcl_app.settings import WorkerSettings
from kcl_app.worker.metrics_directory import MetricsDirectory
from kcl_app.worker.supervisor_metrics import SupervisorCollector, SupervisorValues

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"

CHILD = """
import sys
from prometheus_client import CollectorRegistry
from kcl_app.metrics import WorkerMetrics
metrics = WorkerMetrics(CollectorRegistry())
for line in sys.stdin:
    shard, count = line.split()
    if count == "-1":
        metrics.forget(shard)
        print("done", flush=True)
        continue
    metrics.records.labels(shard).inc(int(count))
    metrics.batch_duration.observe(0.3)
    metrics.read_lag.labels(shard).set(float(count))
    print("done", flush=True)
"""


class Child:
    """A process that counts when told to, with files in the folder."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def count(self, shard: str, records: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{shard} {records}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def forget(self, shard: str) -> None:
        self.count(shard, -1)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)


def read(collector: Collector) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """All samples as a scrape shows them: by name, by labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    families: Iterable[Metric] = text_string_to_metric_families(generate_latest(registry).decode())
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_follow_prometheus_practice(metric: metrics.Declaration) -> None:
    assert re.fullmatch(r"scheduling(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert not re.search(r"milli|micro|minutes|_ms|_kb|kilo|percent", metric.name), "base units only"
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
    assert "pid" not in metric.labels


def test_the_worker_exports_exactly_what_is_declared() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    assert {name for metric in metrics.WORKER for name in [_family(metric)]} == {
        family.name for family in registry.collect()
    }


def test_the_supervisor_exports_exactly_what_is_declared() -> None:
    collector = SupervisorCollector(lambda: SupervisorValues(now=0))
    assert {_family(metric) for metric in metrics.SUPERVISOR} == {
        family.name for family in collector.collect()
    }


def _family(metric: metrics.Declaration) -> str:
    return metric.name.removesuffix("_total").removesuffix("_info")


def test_every_gauge_of_a_child_says_how_several_children_are_to_be_read() -> None:
    made = WorkerMetrics(CollectorRegistry())
    gauges = [value for value in vars(made).values() if type(value).__name__ == "Gauge"]
    assert len(gauges) == sum(metric.kind == "gauge" for metric in metrics.WORKER)
    modes = {gauge._name: gauge._multiprocess_mode for gauge in gauges}
    assert modes.pop("scheduling_plugin_suspended") == "livesum", "a suspension is each child's own"
    assert modes.pop("scheduling_tenant_last_event_timestamp_seconds") == "max", "true whoever has died since"
    assert set(modes.values()) == {"livemostrecent"}


def test_docs_have_a_row_for_each_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(scheduling_\w+)` \| (\w+) \| (.*?) \|", DOCS.read_text(encoding="utf-8"), re.M)
    shown = {(name, kind, labels.replace("`", "").replace(" ", "")) for name, kind, labels in rows}
    assert shown == {(one.name, one.kind, ",".join(one.labels) or "none") for one in ALL}
    assert len(rows) == len(ALL)


def test_supervisor_values_come_out_under_their_labels() -> None:
    values = SupervisorValues(
        now=100.0,
        checkpoint_timestamps={"shard-0": 97.5, "shard-1": 100.5},
        shards_owned=2,
        ready=True,
        children_exited=3,
        processes={"jvm": 1},
        cpu_seconds={"child": 1.5},
        memory_bytes={"child": 10},
        versions={"version": "1", "kcl_version": "2", "python_version": "3"},
    )
    found = read(SupervisorCollector(lambda: values))
    assert found["scheduling_checkpoint_age_seconds"] == {
        (("shard", "shard-0"),): 2.5,
        (("shard", "shard-1"),): 0.0,  # an age is never negative
    }
    assert found["scheduling_shards_owned"] == {(): 2}
    assert found["scheduling_worker_ready"] == {(): 1}
    assert found["scheduling_children_exited_total"] == {(): 3}
    assert found["scheduling_process_cpu_seconds_total"] == {(("process", "child"),): 1.5}
    assert found["scheduling_build_info"] == {
        (("kcl_version", "2"), ("python_version", "3"), ("version", "1")): 1
    }


def test_what_the_supervisor_makes_of_lags_states_and_the_stream() -> None:
    values = SupervisorValues(
        now=100.0,
        lags={"shard-0": 40.0, "shard-1": 10.0},
        states={"shard-0": "slow", "shard-1": "ok"},
        worker_state="slow",
        heard_timestamps={"shard-0": 99.0},
        retention_seconds=100.0,
        leases_unowned=0,
    )
    found = read(SupervisorCollector(lambda: values))
    by_state = {
        (labels["shard"], labels["state"]): value
        for labels, value in ((dict(key), value) for key, value in found["scheduling_shard_state"].items())
    }
    assert len(by_state) == 2 * len(metrics.STATES)
    assert {key for key, value in by_state.items() if value == 1} == {("shard-0", "slow"), ("shard-1", "ok")}
    assert set(by_state.values()) == {0, 1}
    worker = {dict(key)["state"]: value for key, value in found["scheduling_worker_state"].items()}
    assert worker == {state: float(state == "slow") for state in metrics.STATES}
    assert found["scheduling_worst_lag_seconds"] == {(): 40.0}
    assert found["scheduling_retention_left_seconds"] == {(): 60.0}
    assert found["scheduling_leases_unowned"] == {(): 0}
    assert found["scheduling_child_silence_seconds"] == {(("shard", "shard-0"),): 1.0}


def test_what_the_supervisor_does_not_know_has_no_sample() -> None:
    found = read(SupervisorCollector(lambda: SupervisorValues(now=100.0)))
    for name in ("worst_lag_seconds", "retention_left_seconds", "leases_unowned", "stream_open_shards"):
        assert f"scheduling_{name}" not in found
    late = SupervisorValues(now=0, lags={"a": 50.0}, retention_seconds=40.0)
    assert late.retention_left() == 0.0, "events are being lost"


def test_ages_are_resolved_from_a_tenth_of_a_second_to_ten_minutes() -> None:
    """Each bound is two and a half times the one before at most, and a minute is one of them."""
    for metric in (metrics.PIPELINE_AGE, metrics.END_TO_END_AGE):
        within = [bound for bound in metric.buckets if 0.1 <= bound <= 600]
        assert (within[0], within[-1]) == (0.1, 600)
        assert all(after <= 2.5 * before for before, after in pairwise(within))
        assert 60.0 in within


def test_docs_tell_each_verdict_and_the_window_and_the_bounds() -> None:
    text = DOCS.read_text(encoding="utf-8")
    judge = text.split("## The judge")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", judge, re.M)) == set(metrics.STATES)
    assert f"({WorkerSettings().judge_seconds:.0f} unless set)" in judge
    bounds = ", ".join(f"{bound:g}" for bound in metrics.SLOW if bound < 600)
    assert f"{bounds} and 600 seconds" in " ".join(text.split())


def test_dead_children_are_compacted_without_losing_a_count(tmp_path: Path) -> None:
    """Three rounds of children write, are killed and buried: sums stay, gauges go, files do not pile up."""
    folder = MetricsDirectory(tmp_path)
    survivor = Child(tmp_path)
    survivor.count("shard-9", 7)
    total = 0
    for round_ in range(3):
        children = [Child(tmp_path) for _ in range(2)]
        for number, child in enumerate(children):
            child.count(f"shard-{number}", 10 + round_)
            total += 10 + round_
        before = read(folder)
        assert (("shard", "shard-0"),) in before["scheduling_read_lag_seconds"]
        for child in children:
            child.kill()
        folder.bury({child.pid for child in children})
        after = read(folder)
        assert after["scheduling_records_total"] == before["scheduling_records_total"]
        assert (
            after["scheduling_batch_duration_seconds_bucket"]
            == (before["scheduling_batch_duration_seconds_bucket"])
        )
        assert after["scheduling_read_lag_seconds"] == {(("shard", "shard-9"),): 7}
        assert folder.pids() == {survivor.pid}
    by_shard = read(folder)["scheduling_records_total"]
    assert sum(by_shard.values()) == total + 7
    assert read(folder)["scheduling_batch_duration_seconds_count"] == {(): 7}
    assert not any("pid" in dict(labels) for by_labels in read(folder).values() for labels in by_labels)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"counter_of-the-dead.db", "histogram_of-the-dead.db"} <= names
    assert len(names) == 5  # and three of the survivor's
    survivor.count("shard-9", 1)
    assert read(folder)["scheduling_records_total"][(("shard", "shard-9"),)] == 8
    survivor.kill()


def test_no_scrape_sees_a_counter_go_back_while_children_are_buried(tmp_path: Path) -> None:
    folder = MetricsDirectory(tmp_path)
    children = [Child(tmp_path) for _ in range(4)]
    for child in children:
        child.count("shard-0", 5)
        child.kill()
    seen: list[float] = []
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            seen.append(sum(read(folder)["scheduling_records_total"].values()))

    scraper = threading.Thread(target=scrape)
    scraper.start()
    for child in children:
        folder.bury({child.pid})
    stop.set()
    scraper.join()
    assert set(seen) <= {20.0}


def test_a_failure_in_the_middle_of_a_burial_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = MetricsDirectory(tmp_path)
    child = Child(tmp_path)
    child.count("shard-0", 5)
    child.kill()

    def full_disk(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full_disk)
        with pytest.raises(OSError, match="No space left"):
            folder.bury({child.pid})
    assert read(folder)["scheduling_records_total"] == {(("shard", "shard-0"),): 5}
    folder.bury({child.pid})
    assert read(folder)["scheduling_records_total"] == {(("shard", "shard-0"),): 5}


def test_a_file_that_is_just_being_made_does_not_break_a_scrape(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()
    (tmp_path / "gauge_livemostrecent_1.db").touch()
    folder = MetricsDirectory(tmp_path)
    assert read(folder) == {}
    assert folder.gauges() == {}
    folder.bury({1})
    assert folder.pids() == set()


def test_gauges_are_read_by_shard(tmp_path: Path) -> None:
    child = Child(tmp_path)
    child.count("shard-0", 3)
    assert MetricsDirectory(tmp_path).gauges()["scheduling_read_lag_seconds"] == {"shard-0": 3.0}
    child.kill()


def test_a_shard_that_a_child_has_given_up_is_gone_until_another_speaks_of_it(tmp_path: Path) -> None:
    """Only its gauges: what was counted stays."""
    folder = MetricsDirectory(tmp_path)
    old, new = Child(tmp_path), Child(tmp_path)
    old.count("shard-0", 3)
    old.count("shard-1", 4)
    old.forget("shard-0")
    assert folder.gauges()["scheduling_read_lag_seconds"] == {"shard-1": 4.0}
    samples = read(folder)
    assert samples["scheduling_read_lag_seconds"] == {(("shard", "shard-1"),): 4.0}
    assert samples["scheduling_records_total"][(("shard", "shard-0"),)] == 3
    new.count("shard-0", 5)
    assert folder.gauges()["scheduling_read_lag_seconds"] == {"shard-0": 5.0, "shard-1": 4.0}
    old.kill()
    new.kill()
