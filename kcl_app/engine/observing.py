"""What the engine tells of its work, as metrics."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal

from emr_plugins.breaker import Call, Scope
from kcl_app.engine.batch import BatchResult
from kcl_app.engine.settling import Observer
from kcl_app.logs import get_logger
from kcl_app.metrics import WorkerMetrics, observe_all

MOST_NOTED = 500
"""What is noted of days and calls until it is counted even within a step, which can be long."""


class MetricsObserver(Observer):
    """Counts with the worker's metrics.

    A metric is a place in a file, and each write to it takes microseconds. So what happens for each event or day is
    noted, and counted at the end of the step.

    Args:
        metrics: of this process.
    """

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._days: Counter[tuple[str, str]] = Counter()
        self._spans: Counter[str] = Counter()
        self._calls: dict[tuple[str, str], list[float]] = {}
        self._noted = 0

    def provider_day(self, plugin: str, status: str, spans: int) -> None:
        """One provider-day was written."""
        self._days[plugin, status] += 1
        self._spans[plugin] += spans
        self._note()

    def dead_letter(self, reason: str) -> None:
        """One dead letter was sent."""
        self._metrics.dead_letters.labels(reason).inc()

    def bisected(self) -> None:
        """A batch on which the engine failed was halved."""
        self._metrics.batches_bisected.inc()

    def killed(self) -> None:
        """A record was set aside because it ended processes."""
        self._metrics.killer_records.inc()

    def store_call(self, operation: str, outcome: str) -> None:
        """A store was called: `ok`, `throttled`, `conflict` or `lost`."""
        self._metrics.store_calls.labels(operation).inc()
        if outcome == "throttled":
            self._metrics.store_throttles.labels(operation).inc()

    def step(self, name: str, seconds: float) -> None:
        """A step of a batch is done."""
        self._count()
        self._metrics.batch_step_duration.labels(name).observe(seconds)

    def plugin_call(self, plugin: str, method: str) -> AbstractContextManager[None]:
        """Measures a call into a plugin, also one that raises."""
        return _Call(self, plugin, method)

    def took(self, plugin: str, method: str, seconds: float) -> None:
        """A call into a plugin took so long."""
        self._calls.setdefault((plugin, method), []).append(seconds)
        self._note()

    def plugin_failed(self, plugin: str, method: str, outcome: str) -> None:
        """A call into a plugin failed: `raised`, `nonsense`, `timeout` or `refused`."""
        self._metrics.plugin_failures.labels(plugin, method, outcome).inc()

    def plugin_suspended(self, call: Call, scope: Scope, number: int, begins: bool) -> None:
        """A suspension of a plugin began or ended; `number` of its method and scope are in force now."""
        plugin, method = call.plugin, call.method
        self._metrics.plugin_suspended.labels(plugin, method, scope).set(number)
        tenant = None if scope == "all" else call.tenant
        if begins:
            self._metrics.plugin_suspensions.labels(plugin, method, scope).inc()
            get_logger().warning("plugin suspended", plugin=plugin, method=method, scope=scope, tenant=tenant)
        else:
            get_logger().info("plugin works again", plugin=plugin, method=method, scope=scope, tenant=tenant)

    def result(self, result: BatchResult) -> None:
        """A batch is done: every event is counted once."""
        for outcome, count in result.events.items():
            self._metrics.events.labels(outcome).inc(count)
        for outcome, count in result.items.items():
            self._metrics.items.labels(outcome).inc(count)
        for tenant in self._metrics.watched_tenants & result.tenants.keys():
            self._metrics.tenant_last_event.labels(tenant).set(result.tenants[tenant])

    def store_units(self, table: str, kind: Literal["read", "write"], units: float) -> None:
        """A store's answer said what it cost: units of a table, by the table's name in the settings."""
        of = self._metrics.store_write_units if kind == "write" else self._metrics.store_read_units
        of.labels(table).inc(units)

    def _note(self) -> None:
        self._noted += 1
        if self._noted >= MOST_NOTED:
            self._count()

    def _count(self) -> None:
        """Count what was noted since the last time."""
        if not self._noted:
            return
        days, spans, calls = self._days, self._spans, self._calls
        self._days, self._spans, self._calls, self._noted = Counter(), Counter(), {}, 0
        for (plugin, status), number in days.items():
            self._metrics.provider_days.labels(plugin, status).inc(number)
        for plugin, number in spans.items():
            self._metrics.spans.labels(plugin).inc(number)
        for (plugin, method), seconds in calls.items():
            observe_all(self._metrics.plugin_duration.labels(plugin, method), seconds)


class _Call(AbstractContextManager[None]):
    __slots__ = ("_method", "_observer", "_plugin", "_start")

    def __init__(self, observer: MetricsObserver, plugin: str, method: str) -> None:
        self._observer, self._plugin, self._method = observer, plugin, method

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.took(self._plugin, self._method, time.perf_counter() - self._start)
