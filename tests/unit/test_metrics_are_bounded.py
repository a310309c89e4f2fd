"""However many tenants, providers and senders there are, there are no more time series; and what calls cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kcl_app import wiring
from kcl_app.engine.observing import MetricsObserver
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings
from kcl_app.stores.base import Put, Table
from kcl_app.stores.dynamodb import DynamoDBStore
from kcl_app.stores.memory import MemoryStore
from processors.envelope import Record

LABELS = {
    "method",
    "operation",
    "outcome",
    "plugin",
    "reason",
    "scope",
    "shard",
    "step",
    "table",
    "tenant",
    "le",
}


def event(number: int, tenant: str, emr: str = "standard") -> Record:
    """A day off of a provider of its own."""
    data = {"id": f"t{number}", "provider_id": f"provider-{number}", "version": 1}
    data |= {"start": "2026-01-05", "end": "2026-01-05"}
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": f"/tenants/{tenant}",
        "type": "time_off",
    }
    envelope |= {"time": "2026-01-01T00:00:00Z", "tenant": tenant, "emr": emr, "data": data}
    return Record(json.dumps(envelope).encode(), f"{number:056d}", 0, "p", 1_767_225_600.0 + number)


def counted(monkeypatch: pytest.MonkeyPatch, events: list[Record], **tenants: Any) -> CollectorRegistry:
    """What a child counts of some events."""
    monkeypatch.setattr(wiring, "store", lambda settings, *_: MemoryStore())
    settings = Settings.model_validate({"today": "2026-01-01", "horizon": {"days": 7}, "tenants": tenants})
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, settings.watched_tenants())
    engine, observer = wiring.engine(settings, metrics), MetricsObserver(metrics)
    observer.result(engine.run(events, "shardId-000000000000"))
    return registry


def series(registry: CollectorRegistry) -> list[Mapping[str, str]]:
    """The labels of every sample."""
    return [sample.labels for family in registry.collect() for sample in family.samples]


def test_no_sender_can_make_time_series(monkeypatch: pytest.MonkeyPatch) -> None:
    few = counted(monkeypatch, [event(0, "one"), event(1, "one", "no-such-emr"), Record(b"not json")])
    many = counted(
        monkeypatch,
        [
            *(event(number, f"tenant-{number}") for number in range(60)),
            *(event(100 + number, f"tenant-{number}", f"emr-{number}") for number in range(60)),
            *(Record(b"not json %d" % number) for number in range(10)),
        ],
    )
    assert len(series(many)) == len(series(few))
    for labels in series(many):
        assert labels.keys() <= LABELS
        assert not any(
            value.startswith(("tenant-", "provider-", "emr-", "e1")) for value in labels.values()
        ), labels


def test_only_tenants_that_are_watched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(number, f"tenant-{number % 3}") for number in range(9)]
    events.append(event(20, "tenant-1", "no-such-emr"))
    registry = counted(
        monkeypatch, events, **{"tenant-1": {"silent_after_seconds": 600}, "tenant-2": {}, "quiet": {}}
    )
    named = {labels["tenant"] for labels in series(registry) if "tenant" in labels}
    assert named == {"tenant-1"}
    newest = registry.get_sample_value(
        "scheduling_tenant_last_event_timestamp_seconds", {"tenant": "tenant-1"}
    )
    assert newest == 1_767_225_620.0, "a feed that sends what is not understood is not silent"


class Told:
    """Answers as DynamoDB does, with what a call has cost."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, operation: str, body: bytes) -> Any:
        """The next answer."""
        self.asked.append(json.loads(body))
        return self.answers.pop(0)


def cost(table: str, units: float) -> dict[str, Any]:
    """As DynamoDB tells it."""
    return {"TableName": table, "CapacityUnits": units}


def test_units_are_counted_by_table_as_the_answers_tell_them() -> None:
    settings = Settings()
    items, spans = settings.tables.items, settings.tables.spans
    registry = CollectorRegistry()
    observer = MetricsObserver(WorkerMetrics(registry))
    calls = Told(
        {"Responses": [{}, {}, {}], "ConsumedCapacity": [cost(items, 2), cost(spans, 7.5), cost(items, 1)]},
        {"ConsumedCapacity": [cost(f"arn:aws:dynamodb:us-east-1:1:table/{items}", 4)]},
        {"Items": [], "ConsumedCapacity": cost(items, 3.5)},
        {"Responses": {}, "ConsumedCapacity": [cost(spans, 1)]},
        {"ConsumedCapacity": cost(spans, 1)},
        {"Items": []},
        {"Items": [], "ConsumedCapacity": cost("someone-elses", 9)},
    )
    store = DynamoDBStore(calls, settings.tables.names(), units=observer.store_units)
    row: dict[str, Any] = {"pk": "p", "sk": "s", "revision": "1", "write_version": "1"}
    puts = [Put(table, {**row, "sk": table.setting}, None) for table in (Table.ITEMS, Table.SPANS)]
    store.write([*puts, Put(Table.ITEMS, row, None)])
    store.transact([Put(Table.ITEMS, row, None)])
    store.query(Table.ITEMS, "p")
    store.get(Table.SPANS, [("p", "s")])
    store.delete(Table.SPANS, ("p", "s"), "1")
    store.query(Table.ITEMS, "p")  # a local cloud may not tell
    store.query(Table.ITEMS, "p")
    assert all(asked["ReturnConsumedCapacity"] == "TOTAL" for asked in calls.asked)

    def units(kind: str, table: str) -> float | None:
        return registry.get_sample_value(f"scheduling_store_{kind}_units_total", {"table": table})

    assert (units("write", "items"), units("write", "spans")) == (7, 8.5)
    assert (units("read", "items"), units("read", "spans")) == (3.5, 1)
    tables = {labels["table"] for labels in series(registry) if "table" in labels}
    assert tables == {"items", "spans"}
