"""The whole engine on tables in memory, as a worker's child has it: with real metrics and logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from emr_plugins.api import EmrPlugin
from emr_plugins.fhir_r4 import FhirR4Plugin
from emr_plugins.hl7v2 import Hl7V2Plugin
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app.clock import Clock
from kcl_app.engine.batch import BatchEngine, BatchResult
from kcl_app.engine.observing import MetricsObserver
from kcl_app.metrics import WorkerMetrics
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from processors.envelope import Limits, Record

TODAY = date(2026, 3, 9)
HORIZON_DAYS, HISTORY_DAYS = 2, 1

ENVELOPE: dict[str, Any] = {
    "specversion": "1.0", "id": "e-1", "source": "/tenants/acme", "type": "x", "time": "2026-03-02T00:00:00Z",
    "tenant": "acme", "emr": "standard", "subject": "p1", "sequence": "00000001", "data": None,
}  # fmt: skip


def host(*plugins: EmrPlugin, settings: dict[str, dict[str, Any]] | None = None) -> PluginHost:
    """The built-in plugins and others, for every tenant."""
    registry = Registry()
    for plugin in (StandardPlugin(), FhirR4Plugin(), Hl7V2Plugin(), *plugins):
        registry.add(plugin, "tests", "1")
    assert not registry.refused
    tenant = Tenant("America/New_York", settings or {})
    return PluginHost(registry, lambda name: tenant)


def records(data: Iterable[bytes], first: int = 1) -> list[Record]:
    """Records of one shard, in order."""
    return [
        Record(one, f"{number:056d}", 0, "partition", 1_700_000_000.0)
        for number, one in enumerate(data, first)
    ]


@dataclass
class Pipeline:
    """An engine and its tables.

    Args:
        plugins: what decodes and computes.
        limits: the engine's.
        horizon_days: days of spans, today the first.
    """

    plugins: PluginHost
    limits: Limits = field(default_factory=Limits)
    horizon_days: int = HORIZON_DAYS

    def __post_init__(self) -> None:
        self.store, self.blobs = MemoryStore(), MemoryBlobs()
        self.registry = CollectorRegistry()
        self._observer = MetricsObserver(WorkerMetrics(self.registry))
        self._taken = 0
        self.engine = BatchEngine(
            self.store,
            self.blobs,
            self.plugins,
            Clock(TODAY),
            self.limits,
            self._observer,
            history_days=HISTORY_DAYS,
            horizon_days=self.horizon_days,
            step=self._observer.step,
        )

    def run(self, data: Iterable[bytes], batch: int = 500) -> BatchResult:
        """Run records through, some at a time."""
        given = records(data, self._taken + 1)
        self._taken += len(given)
        total = BatchResult()
        for start in range(0, len(given), batch):
            result = self.engine.run(given[start : start + batch], "shardId-000000000000")
            self._observer.result(result)
            total.add(result)
        return total

    def metrics(self) -> str:
        """What a scrape would get."""
        return generate_latest(self.registry).decode()
