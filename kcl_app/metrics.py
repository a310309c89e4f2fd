"""Every metric is declared here, and nowhere else: name, help, labels, buckets and who exports it.

The children of the worker (one for each shard) count with `WorkerMetrics`; their supervisor adds what only it can
know (`kcl_app/worker/supervisor_metrics.py`), and serves both on one port. Units are seconds and bytes, counters end in
``_total``, and a shard is named as the KCL names it. `docs/metrics.md` holds the same list; a test keeps it so.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from processors.errors import REASONS

Kind = Literal["counter", "gauge", "histogram", "info"]
Exporter = Literal["child", "supervisor"]

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets in seconds for work that should take milliseconds."""
_TO_A_MINUTE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
_FROM_A_MINUTE = (90.0, 120.0, 180.0, 300.0, 600.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)
SLOW = (*_TO_A_MINUTE, *_FROM_A_MINUTE)
"""Buckets in seconds for an event's whole way; the last is as long as the stream keeps it."""
STATES = ("ok", "slow", "stalled", "stopped", "unknown")
"""What the lag judge says of a shard (`kcl_app/lag_judge.py`): the values of the label `state`."""


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
READ_LAG = _gauge(
    "scheduling_read_lag_seconds",
    "How far behind the tip of the stream the latest delivery was when the KCL read it (MillisBehindLatest).",
    "shard",
)
DELIVERED_TIMESTAMP = _gauge(
    "scheduling_delivered_timestamp_seconds",
    "Moment (Unix time) of the latest delivery, empty ones too.",
    "shard",
)
HEARD_TIMESTAMP = _gauge(
    "scheduling_heard_timestamp_seconds",
    "Moment (Unix time) at which the shard's child last did anything.",
    "shard",
)
SETTLED_TIMESTAMP = _gauge(
    "scheduling_settled_timestamp_seconds",
    "Everything that arrived on the shard before this moment (Unix time) is settled and checkpointed.",
    "shard",
)
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
END_TO_END_AGE = _histogram(
    "scheduling_end_to_end_age_seconds",
    "From the event's own time, at its source, until its spans are durable.",
    SLOW,
)
TENANT_LAST_EVENT = _gauge(
    "scheduling_tenant_last_event_timestamp_seconds",
    "Arrival (Unix time) of the newest event of a tenant that is watched.",
    "tenant",
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
STORE_WRITE_UNITS = _counter(
    "scheduling_store_write_units_total",
    "Write units that DynamoDB says its answers cost, by table.",
    "table",
)
STORE_READ_UNITS = _counter(
    "scheduling_store_read_units_total", "Read units that DynamoDB says its answers cost, by table.", "table"
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
    READ_LAG,
    DELIVERED_TIMESTAMP,
    HEARD_TIMESTAMP,
    SETTLED_TIMESTAMP,
    RECORDS,
    RECORD_BYTES,
    CHECKPOINT_TIMESTAMP,
    CHECKPOINTS,
    PIPELINE_AGE,
    END_TO_END_AGE,
    TENANT_LAST_EVENT,
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
    STORE_WRITE_UNITS,
    STORE_READ_UNITS,
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
    so they are added up. When a tenant was last heard of stays true whoever has died since: the latest counts.

    Args:
        registry: what the metrics register with; each instance needs one of its own. Where the environment names
            PROMETHEUS_MULTIPROC_DIR the values live in files there, for the supervisor to add up.
        watched_tenants: the only ones that may be named in metrics, and whose silence is measured.
    """

    def __init__(self, registry: CollectorRegistry, watched_tenants: Collection[str] = ()) -> None:
        self.watched_tenants = frozenset(watched_tenants)

        def counter(metric: Declaration) -> Counter:
            return Counter(metric.name, metric.help, metric.labels, registry=registry)

        def gauge(
            metric: Declaration, mode: Literal["livemostrecent", "livesum", "max"] = "livemostrecent"
        ) -> Gauge:
            return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode=mode)

        def histogram(metric: Declaration) -> Histogram:
            return Histogram(
                metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets
            )

        self.read_lag = gauge(READ_LAG)
        self.delivered_timestamp = gauge(DELIVERED_TIMESTAMP)
        self.heard_timestamp = gauge(HEARD_TIMESTAMP)
        self.settled_timestamp = gauge(SETTLED_TIMESTAMP)
        self.records = counter(RECORDS)
        self.record_bytes = counter(RECORD_BYTES)
        self.checkpoint_timestamp = gauge(CHECKPOINT_TIMESTAMP)
        self.checkpoints = counter(CHECKPOINTS)
        self.pipeline_age = histogram(PIPELINE_AGE)
        self.end_to_end_age = histogram(END_TO_END_AGE)
        self.tenant_last_event = gauge(TENANT_LAST_EVENT, "max")
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
        self.store_write_units = counter(STORE_WRITE_UNITS)
        self.store_read_units = counter(STORE_READ_UNITS)
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
        self.retries.labels("batch")
        for operation in (
            "BatchExecuteStatement",
            "BatchGetItem",
            "DeleteItem",
            "Query",
            "TransactWriteItems",
        ):
            self.store_throttles.labels(operation)

    def forget(self, shard: str) -> None:
        """Say nothing more of a shard that another worker has: its gauges, which no file can lose, become no numbers.

        Args:
            shard: its id.
        """
        for gauge in (
            self.read_lag,
            self.delivered_timestamp,
            self.heard_timestamp,
            self.settled_timestamp,
            self.checkpoint_timestamp,
            self.stores_available,
        ):
            gauge.labels(shard).set(math.nan)


def _supervisor(name: str, kind: Kind, text: str, *labels: str) -> Declaration:
    return Declaration(name, kind, text, labels, exporter="supervisor")


LAG = _supervisor(
    "scheduling_lag_seconds",
    "gauge",
    "Everything that arrived on the shard longer ago than this is settled; it grows while nothing is.",
    "shard",
)
WORST_LAG = _supervisor("scheduling_worst_lag_seconds", "gauge", "The greatest lag of this worker's shards.")
LAG_TREND = _supervisor(
    "scheduling_lag_trend_ratio",
    "gauge",
    "Seconds of lag gained per second over the judge's window: 0 keeps up, 1 stands still, less than 0 catches up.",
    "shard",
)
SHARD_STATE = _supervisor(
    "scheduling_shard_state",
    "gauge",
    "The lag judge's verdict: 1 for the shard's state (ok, slow, stalled, stopped, unknown), 0 for the others.",
    "shard",
    "state",
)
WORKER_STATE = _supervisor(
    "scheduling_worker_state",
    "gauge",
    "The worst state of this worker's shards: 1 for it, 0 for the others.",
    "state",
)
CHILD_SILENCE = _supervisor(
    "scheduling_child_silence_seconds", "gauge", "Time since the shard's child last did anything.", "shard"
)
CHECKPOINT_AGE = _supervisor(
    "scheduling_checkpoint_age_seconds",
    "gauge",
    "Time since everything delivered so far was checkpointed.",
    "shard",
)
SHARDS_OWNED = _supervisor("scheduling_shards_owned", "gauge", "Shards that this worker's children process.")
LEASES_UNOWNED = _supervisor(
    "scheduling_leases_unowned",
    "gauge",
    "Shards of the application, whoever reads it, that could be read and that no worker holds.",
)
STREAM_OPEN_SHARDS = _supervisor("scheduling_stream_open_shards", "gauge", "Open shards of the stream.")
STREAM_RETENTION = _supervisor(
    "scheduling_stream_retention_seconds", "gauge", "How long the stream keeps a record."
)
RETENTION_LEFT = _supervisor(
    "scheduling_retention_left_seconds",
    "gauge",
    "Time until the stream drops the oldest record that this worker may still have to settle.",
)
TENANT_SILENCE = _supervisor(
    "scheduling_tenant_silence_seconds",
    "gauge",
    "How long a watched tenant is known to have sent nothing to this worker's shards, since its start.",
    "tenant",
)
TENANT_SILENCE_LIMIT = _supervisor(
    "scheduling_tenant_silence_limit_seconds",
    "gauge",
    "How long a watched tenant may send nothing, by its settings.",
    "tenant",
)
WORKER_START = _supervisor(
    "scheduling_worker_start_time_seconds", "gauge", "Moment (Unix time) at which the worker started."
)
MEMORY_LIMIT = _supervisor(
    "scheduling_memory_limit_bytes", "gauge", "Memory that all processes of the worker may take together."
)
DISK_FREE = _supervisor(
    "scheduling_disk_free_bytes", "gauge", "Free room on the disk of the worker's temporary folder."
)
DISK_SIZE = _supervisor("scheduling_disk_size_bytes", "gauge", "Size of that disk.")
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
    LAG,
    WORST_LAG,
    LAG_TREND,
    SHARD_STATE,
    WORKER_STATE,
    CHILD_SILENCE,
    CHECKPOINT_AGE,
    SHARDS_OWNED,
    LEASES_UNOWNED,
    STREAM_OPEN_SHARDS,
    STREAM_RETENTION,
    RETENTION_LEFT,
    TENANT_SILENCE,
    TENANT_SILENCE_LIMIT,
    WORKER_START,
    MEMORY_LIMIT,
    DISK_FREE,
    DISK_SIZE,
    WORKER_READY,
    CHILDREN_EXITED,
    PROCESSES,
    PROCESS_CPU,
    PROCESS_MEMORY,
    BUILD_INFO,
)

ALL: tuple[Declaration, ...] = WORKER + SUPERVISOR
