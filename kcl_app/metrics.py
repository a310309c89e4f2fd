"""Every metric is declared here, and nowhere else: name, help, labels, buckets and who exports it.

The children of the worker (one for each shard) count with `WorkerMetrics`; their supervisor adds what only it can
know with `SupervisorCollector`, and serves both on one port. Units are seconds and bytes, counters end in
``_total``, and a shard is named as the KCL names it. `docs/metrics.md` holds the same list; a test keeps it so.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from processors.errors import REASONS

Kind = Literal["counter", "gauge", "histogram", "info"]
Exporter = Literal["child", "supervisor"]

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets in seconds for work that should take milliseconds."""
SLOW = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)
"""Buckets in seconds for an event's whole way; the last is as long as the stream keeps it."""


@dataclass(frozen=True)
class Declaration:
    """One metric.

    Args:
        name: as it is exported, with prefix, unit and ``_total``.
        kind: counter, gauge, histogram or info.
        help: what one reads off it.
        labels: names of its labels.
        buckets: upper bounds of a histogram's buckets, in seconds.
        exporter: who sets it: each child for itself, or the supervisor.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    exporter: Exporter = "child"


def _counter(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(name, "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(name, "gauge", text, labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Declaration:
    return Declaration(name, "histogram", text, labels, buckets)


# What arrives, and how far behind.
LAG = _gauge("scheduling_lag_seconds", "How far behind the tip of the stream the shard is read.", "shard")
RECORDS = _counter(
    "scheduling_records_total",
    "Records of the stream that are settled: all that they cause is durable.",
    "shard",
)
RECORD_BYTES = _counter("scheduling_record_bytes_total", "Bytes of data in records settled.", "shard")
CHECKPOINT_TIMESTAMP = _gauge(
    "scheduling_checkpoint_timestamp_seconds",
    "Moment (Unix time) at which everything delivered so far was checkpointed.",
    "shard",
)
CHECKPOINTS = _counter("scheduling_checkpoints_total", "Checkpoints, by how they ended.", "outcome")
PIPELINE_AGE = _histogram(
    "scheduling_pipeline_age_seconds", "From arrival on the stream until its spans are durable.", SLOW
)
# What becomes of it.
EVENTS = _counter(
    "scheduling_events_total", "Events: applied, superseded, replayed, rejected or ignored.", "outcome"
)
ITEMS = _counter(
    "scheduling_items_total",
    "Changes of scheduling items: applied, superseded, replayed or rejected.",
    "outcome",
)
PROVIDER_DAYS = _counter(
    "scheduling_provider_days_total", "Provider-days written, fresh or stale.", "plugin", "outcome"
)
SPANS = _counter("scheduling_spans_total", "Available spans in the provider-days written.", "plugin")
DEAD_LETTERS = _counter(
    "scheduling_dead_letters_total",
    "Dead letters sent, by reason: for records, and for provider-days left stale.",
    "reason",
)
# How long it takes.
BATCH_DURATION = _histogram("scheduling_batch_duration_seconds", "One batch of records, all steps.", QUICK)
BATCH_STEP_DURATION = _histogram(
    "scheduling_batch_step_duration_seconds", "One step of a batch, by its name.", QUICK, "step"
)
PLUGIN_DURATION = _histogram(
    "scheduling_plugin_duration_seconds", "One call into a plugin.", QUICK, "plugin", "method"
)
# What stands in its way.
RETRIES = _counter("scheduling_retries_total", "Operations tried again, by operation.", "operation")
STORE_CALLS = _counter("scheduling_store_calls_total", "Calls of the stores, by operation.", "operation")
STORE_THROTTLES = _counter(
    "scheduling_store_throttles_total", "Calls that a store was too busy for, by operation.", "operation"
)
STORES_AVAILABLE = _gauge(
    "scheduling_stores_available", "1 while the shard's stores answer, 0 while they do not.", "shard"
)
PLUGIN_FAILURES = _counter(
    "scheduling_plugin_failures_total",
    "Calls into plugins that failed: raised, nonsense, timeout, or refused while suspended.",
    "plugin",
    "method",
    "outcome",
)
PLUGIN_SUSPENDED = _gauge(
    "scheduling_plugin_suspended",
    "Suspensions of plugins in force, for a provider, a tenant or all; 0 is none.",
    "plugin",
    "method",
    "scope",
)
PLUGIN_SUSPENSIONS = _counter(
    "scheduling_plugin_suspensions_total",
    "Suspensions of plugins that began, for a provider, a tenant or all.",
    "plugin",
    "method",
    "scope",
)
BATCHES_BISECTED = _counter(
    "scheduling_batches_bisected_total", "Batches halved to find a record on which the engine fails."
)
KILLER_RECORDS = _counter(
    "scheduling_killer_records_total", "Records set aside because they ended processes of the worker."
)
PLUGINS_REFUSED = _gauge("scheduling_plugins_refused", "Installed plugins that could not be loaded.")

WORKER: tuple[Declaration, ...] = (
    LAG,
    RECORDS,
    RECORD_BYTES,
    CHECKPOINT_TIMESTAMP,
    CHECKPOINTS,
    PIPELINE_AGE,
    EVENTS,
    ITEMS,
    PROVIDER_DAYS,
    SPANS,
    DEAD_LETTERS,
    BATCH_DURATION,
    BATCH_STEP_DURATION,
    PLUGIN_DURATION,
    RETRIES,
    STORE_CALLS,
    STORE_THROTTLES,
    STORES_AVAILABLE,
    PLUGIN_FAILURES,
    PLUGIN_SUSPENDED,
    PLUGIN_SUSPENSIONS,
    BATCHES_BISECTED,
    KILLER_RECORDS,
    PLUGINS_REFUSED,
)


def observe_all(histogram: Histogram, values: Collection[float]) -> None:
    """As `histogram.observe` for each value, with one write for each bucket that they fall into.

    Args:
        histogram: one without labels, or whose labels are given.
        values: in the histogram's unit; none of them NaN.
    """
    if not values:
        return
    inside: Any = histogram  # prometheus-client offers nothing for this; a test holds it to `observe`
    bounds = inside._upper_bounds
    for bucket, number in Tally([bisect_left(bounds, value) for value in values]).items():
        inside._buckets[bucket].inc(number)
    inside._sum.inc(sum(values))


class WorkerMetrics:
    """What a child counts.

    Gauges have the mode ``livemostrecent``: of several children that know a shard the last to speak is believed, and
    a dead child's word is gone; so no ``pid`` label is needed to tell them apart. Suspensions are each child's own,
    so they are added up.

    Args:
        registry: what the metrics register with; each instance needs one of its own. Where the environment names
            PROMETHEUS_MULTIPROC_DIR the values live in files there, for the supervisor to add up.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(metric: Declaration) -> Counter:
            return Counter(metric.name, metric.help, metric.labels, registry=registry)

        def gauge(
            metric: Declaration, mode: Literal["livemostrecent", "livesum"] = "livemostrecent"
        ) -> Gauge:
            return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode=mode)

        def histogram(metric: Declaration) -> Histogram:
            return Histogram(
                metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets
            )

        self.lag_seconds = gauge(LAG)
        self.records = counter(RECORDS)
        self.record_bytes = counter(RECORD_BYTES)
        self.checkpoint_timestamp = gauge(CHECKPOINT_TIMESTAMP)
        self.checkpoints = counter(CHECKPOINTS)
        self.pipeline_age = histogram(PIPELINE_AGE)
        self.events = counter(EVENTS)
        self.items = counter(ITEMS)
        self.provider_days = counter(PROVIDER_DAYS)
        self.spans = counter(SPANS)
        self.dead_letters = counter(DEAD_LETTERS)
        self.batch_duration = histogram(BATCH_DURATION)
        self.batch_step_duration = histogram(BATCH_STEP_DURATION)
        self.plugin_duration = histogram(PLUGIN_DURATION)
        self.retries = counter(RETRIES)
        self.store_calls = counter(STORE_CALLS)
        self.store_throttles = counter(STORE_THROTTLES)
        self.stores_available = gauge(STORES_AVAILABLE)
        self.plugin_failures = counter(PLUGIN_FAILURES)
        self.plugin_suspended = gauge(PLUGIN_SUSPENDED, "livesum")
        self.plugin_suspensions = counter(PLUGIN_SUSPENSIONS)
        self.batches_bisected = counter(BATCHES_BISECTED)
        self.killer_records = counter(KILLER_RECORDS)
        self.plugins_refused = gauge(PLUGINS_REFUSED)
        # Counters that are there from the start: an increase from nothing to one would go unseen.
        for outcome in ("applied", "superseded", "replayed", "rejected"):
            self.events.labels(outcome)
            self.items.labels(outcome)
        self.events.labels("ignored")
        for reason in REASONS:
            self.dead_letters.labels(reason)

    def forget(self, shard: str) -> None:
        """Say nothing more of a shard that another worker has: its gauges, which no file can lose, become no numbers.

        Args:
            shard: its id.
        """
        for gauge in (self.lag_seconds, self.checkpoint_timestamp, self.stores_available):
            gauge.labels(shard).set(math.nan)


def _supervisor(name: str, kind: Kind, text: str, *labels: str) -> Declaration:
    return Declaration(name, kind, text, labels, exporter="supervisor")


CHECKPOINT_AGE = _supervisor(
    "scheduling_checkpoint_age_seconds",
    "gauge",
    "Time since everything delivered so far was checkpointed.",
    "shard",
)
SHARDS_OWNED = _supervisor("scheduling_shards_owned", "gauge", "Shards that this worker's children process.")
WORKER_READY = _supervisor(
    "scheduling_worker_ready", "gauge", "1 while /readyz answers 200: the KCL is up and the stores answer."
)
CHILDREN_EXITED = _supervisor("scheduling_children_exited_total", "counter", "Shard children that ended.")
PROCESSES = _supervisor(
    "scheduling_processes",
    "gauge",
    "Running processes: jvm, child, plugin (isolated ones) or supervisor.",
    "process",
)
PROCESS_CPU = _supervisor(
    "scheduling_process_cpu_seconds_total",
    "counter",
    "CPU time, user and system, of these processes, those that ended included.",
    "process",
)
PROCESS_MEMORY = _supervisor(
    "scheduling_process_resident_memory_bytes", "gauge", "Resident memory of these processes.", "process"
)
BUILD_INFO = _supervisor(
    "scheduling_build_info",
    "info",
    "Versions of the application, the KCL and Python; always 1.",
    "version",
    "kcl_version",
    "python_version",
)

SUPERVISOR: tuple[Declaration, ...] = (
    CHECKPOINT_AGE,
    SHARDS_OWNED,
    WORKER_READY,
    CHILDREN_EXITED,
    PROCESSES,
    PROCESS_CPU,
    PROCESS_MEMORY,
    BUILD_INFO,
)

ALL: tuple[Declaration, ...] = WORKER + SUPERVISOR


@dataclass(frozen=True)
class SupervisorValues:
    """What the supervisor knows at one moment.

    Args:
        now: seconds since the epoch.
        checkpoint_timestamps: by shard, when everything delivered was last checkpointed; seconds since the epoch.
        shards_owned: shards with a living child.
        ready: whether /readyz answers 200.
        children_exited: children that ended since the start.
        processes: running processes by kind: ``jvm``, ``child``, ``supervisor``.
        cpu_seconds: CPU time by kind, those that ended included.
        memory_bytes: resident memory by kind.
        versions: ``version``, ``kcl_version`` and ``python_version``.
    """

    now: float
    checkpoint_timestamps: Mapping[str, float] = field(default_factory=dict)
    shards_owned: int = 0
    ready: bool = False
    children_exited: int = 0
    processes: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class SupervisorCollector(Collector):
    """The supervisor's metrics, made at each scrape.

    Args:
        values: gives what is true now.
    """

    def __init__(self, values: Callable[[], SupervisorValues]) -> None:
        self._values = values

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not ask for values before there are any."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric of `SUPERVISOR`, with the values of this moment."""
        at = self._values()
        # A checkpoint's clock may be a little ahead of ours; an age is never negative.
        ages = {shard: max(0.0, at.now - then) for shard, then in at.checkpoint_timestamps.items()}
        yield _gauge_family(CHECKPOINT_AGE, ages)
        yield GaugeMetricFamily(SHARDS_OWNED.name, SHARDS_OWNED.help, float(at.shards_owned))
        yield GaugeMetricFamily(WORKER_READY.name, WORKER_READY.help, float(at.ready))
        yield CounterMetricFamily(CHILDREN_EXITED.name, CHILDREN_EXITED.help, float(at.children_exited))
        yield _gauge_family(PROCESSES, at.processes)
        cpu = CounterMetricFamily(PROCESS_CPU.name, PROCESS_CPU.help, labels=PROCESS_CPU.labels)
        for process, seconds in sorted(at.cpu_seconds.items()):
            cpu.add_metric([process], seconds)
        yield cpu
        yield _gauge_family(PROCESS_MEMORY, at.memory_bytes)
        yield InfoMetricFamily(
            BUILD_INFO.name.removesuffix("_info"),
            BUILD_INFO.help,
            {label: at.versions.get(label, "unknown") for label in BUILD_INFO.labels},
        )


def _gauge_family(metric: Declaration, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, value in sorted(values.items()):
        family.add_metric([label], float(value))
    return family
