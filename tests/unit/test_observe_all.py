"""Many values counted at once come out as if each had been observed by itself."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kcl_app.engine.observing import MOST_NOTED, MetricsObserver
from kcl_app.metrics import SLOW, WorkerMetrics, observe_all

# Binary fractions, so that sums do not depend on the order.
VALUES = [0.0, 0.0625, 0.125, 0.5, 0.5, 5.0, 5.5, 60.0, 604_800.0, 604_801.0, 1e9]


@pytest.mark.parametrize("values", [[], list(SLOW[3:]), VALUES, VALUES[::-1]])
def test_observe_all_is_observe_for_each(values: list[float]) -> None:
    one_by_one, at_once = CollectorRegistry(), CollectorRegistry()
    each = WorkerMetrics(one_by_one).pipeline_age
    for value in values:
        each.observe(value)
    observe_all(WorkerMetrics(at_once).pipeline_age, values)
    assert _ages(at_once) == _ages(one_by_one)


def test_what_is_noted_is_counted_with_the_step() -> None:
    registry = CollectorRegistry()
    observer = MetricsObserver(WorkerMetrics(registry))
    observer.provider_day("standard", "fresh", 3)
    observer.provider_day("standard", "stale", 0)
    with pytest.raises(ValueError, match="bad"), observer.plugin_call("standard", "spans"):
        raise ValueError("bad")
    observer.step("settle", 0.5)
    observer.step("dead_letters", 0.5)  # nothing is counted twice
    value = registry.get_sample_value
    days = "scheduling_provider_days_total"
    assert value(days, {"plugin": "standard", "outcome": "fresh"}) == 1
    assert value(days, {"plugin": "standard", "outcome": "stale"}) == 1
    assert value("scheduling_spans_total", {"plugin": "standard"}) == 3
    calls = {"plugin": "standard", "method": "spans"}
    assert value("scheduling_plugin_duration_seconds_count", calls) == 1


def test_a_long_step_is_counted_while_it_lasts() -> None:
    registry = CollectorRegistry()
    observer = MetricsObserver(WorkerMetrics(registry))
    for _ in range(MOST_NOTED):
        observer.provider_day("standard", "fresh", 1)
    assert registry.get_sample_value("scheduling_spans_total", {"plugin": "standard"}) == MOST_NOTED


def _ages(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [
        line
        for line in lines
        if line.startswith("scheduling_pipeline_age_seconds") and "_created" not in line
    ]
