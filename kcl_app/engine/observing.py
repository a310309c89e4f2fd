"""What the engine tells of its work, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emr_plugins.breaker import Call, Scope
from kcl_app.engine.batch import BatchResult
from kcl_app.engine.settling import Observer
from kcl_app.logs import get_logger
from kcl_app.metrics import WorkerMetrics


class MetricsObserver(Observer):
    """Counts with the worker's metrics.

    Args:
        metrics: of this process.
    """

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def provider_day(self, plugin: str, status: str, spans: int) -> None:
        """One provider-day was written."""
        self._metrics.provider_days.labels(plugin, status).inc()
        self._metrics.spans.labels(plugin).inc(spans)

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
        self._metrics.batch_step_duration.labels(name).observe(seconds)

    @contextmanager
    def plugin_call(self, plugin: str, method: str) -> Iterator[None]:
        """Measures a call into a plugin."""
        with self._metrics.plugin_duration.labels(plugin, method).time():
            yield

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
