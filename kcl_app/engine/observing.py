"""What the engine tells of its work, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kcl_app.engine.batch import BatchResult
from kcl_app.engine.settling import Observer
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

    def result(self, result: BatchResult) -> None:
        """A batch is done: every event is counted once."""
        for outcome, count in result.events.items():
            self._metrics.events.labels(outcome).inc(count)
        for outcome, count in result.items.items():
            self._metrics.items.labels(outcome).inc(count)
