"""The supervisor's metrics: what only it can know of its children, its machine and the stream, made at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from kcl_app import metrics as m


@dataclass(frozen=True)
class SupervisorValues:
    """What the supervisor knows at one moment. Of what is None there is no sample: it is not known.

    Args:
        now: seconds since the epoch.
        started: when the worker did, in seconds since the epoch.
        lags: by shard, how long ago the oldest record may have arrived that is not settled; seconds.
        trends: by shard, seconds of lag gained per second.
        states: by shard, what the lag judge says: one of `kcl_app.metrics.STATES`.
        worker_state: the worst of them.
        heard_timestamps: by shard, when its child last did anything; seconds since the epoch.
        checkpoint_timestamps: by shard, when everything delivered was last checkpointed; seconds since the epoch.
        shards_owned: shards with a living child.
        leases_unowned: shards of the application that could be read and that no worker holds.
        open_shards: of the stream.
        retention_seconds: how long the stream keeps a record.
        tenant_silences: by watched tenant, how long it is known to have sent nothing; seconds.
        tenant_silence_limits: by watched tenant, how long it may; seconds.
        ready: whether /readyz answers 200.
        children_exited: children that ended since the start.
        processes: running processes by kind: ``jvm``, ``child``, ``plugin``, ``supervisor``.
        cpu_seconds: CPU time by kind, those that ended included.
        memory_bytes: resident memory by kind.
        memory_limit_bytes: what all of them may take together.
        disk_free_bytes: room left on the disk of the temporary folder.
        disk_size_bytes: size of that disk.
        versions: ``version``, ``kcl_version`` and ``python_version``.
    """

    now: float
    started: float = 0.0
    lags: Mapping[str, float] = field(default_factory=dict)
    trends: Mapping[str, float] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    worker_state: str = "unknown"
    heard_timestamps: Mapping[str, float] = field(default_factory=dict)
    checkpoint_timestamps: Mapping[str, float] = field(default_factory=dict)
    shards_owned: int = 0
    leases_unowned: int | None = None
    open_shards: int | None = None
    retention_seconds: float | None = None
    tenant_silences: Mapping[str, float] = field(default_factory=dict)
    tenant_silence_limits: Mapping[str, float] = field(default_factory=dict)
    ready: bool = False
    children_exited: int = 0
    processes: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    disk_free_bytes: int | None = None
    disk_size_bytes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def worst_lag(self) -> float | None:
        """The greatest lag of all shards, in seconds; None where no shard's is known."""
        return max(self.lags.values(), default=None)

    def retention_left(self) -> float | None:
        """Seconds until the stream drops what may still have to be settled; None where that is not known."""
        lag = self.worst_lag()
        if self.retention_seconds is None or lag is None:
            return None
        return max(0.0, self.retention_seconds - lag)


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
        """Every metric of `kcl_app.metrics.SUPERVISOR`, with the values of this moment."""
        at = self._values()
        yield _labelled(m.LAG, at.lags)
        yield _single(m.WORST_LAG, at.worst_lag())
        yield _labelled(m.LAG_TREND, at.trends)
        states = GaugeMetricFamily(m.SHARD_STATE.name, m.SHARD_STATE.help, labels=m.SHARD_STATE.labels)
        for shard, verdict in sorted(at.states.items()):
            for state in m.STATES:
                states.add_metric([shard, state], float(state == verdict))
        yield states
        yield _labelled(m.WORKER_STATE, {state: float(state == at.worker_state) for state in m.STATES})
        yield _labelled(m.CHILD_SILENCE, _ages(at.now, at.heard_timestamps))
        yield _labelled(m.CHECKPOINT_AGE, _ages(at.now, at.checkpoint_timestamps))
        yield _single(m.SHARDS_OWNED, at.shards_owned)
        yield _single(m.LEASES_UNOWNED, at.leases_unowned)
        yield _single(m.STREAM_OPEN_SHARDS, at.open_shards)
        yield _single(m.STREAM_RETENTION, at.retention_seconds)
        yield _single(m.RETENTION_LEFT, at.retention_left())
        yield _labelled(m.TENANT_SILENCE, at.tenant_silences)
        yield _labelled(m.TENANT_SILENCE_LIMIT, at.tenant_silence_limits)
        yield _single(m.WORKER_START, at.started)
        yield _single(m.MEMORY_LIMIT, at.memory_limit_bytes)
        yield _single(m.DISK_FREE, at.disk_free_bytes)
        yield _single(m.DISK_SIZE, at.disk_size_bytes)
        yield _single(m.WORKER_READY, at.ready)
        yield CounterMetricFamily(m.CHILDREN_EXITED.name, m.CHILDREN_EXITED.help, float(at.children_exited))
        yield _labelled(m.PROCESSES, at.processes)
        cpu = CounterMetricFamily(m.PROCESS_CPU.name, m.PROCESS_CPU.help, labels=m.PROCESS_CPU.labels)
        for process, seconds in sorted(at.cpu_seconds.items()):
            cpu.add_metric([process], seconds)
        yield cpu
        yield _labelled(m.PROCESS_MEMORY, at.memory_bytes)
        yield InfoMetricFamily(
            m.BUILD_INFO.name.removesuffix("_info"),
            m.BUILD_INFO.help,
            {label: at.versions.get(label, "unknown") for label in m.BUILD_INFO.labels},
        )


def _ages(now: float, moments: Mapping[str, float]) -> dict[str, float]:
    # Another process' clock may be a little ahead of ours; an age is never negative.
    return {key: max(0.0, now - then) for key, then in moments.items()}


def _labelled(metric: m.Declaration, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, value in sorted(values.items()):
        family.add_metric([label], float(value))
    return family


def _single(metric: m.Declaration, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    if value is not None:
        family.add_metric([], float(value))
    return family
