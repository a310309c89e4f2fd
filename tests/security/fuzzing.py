"""What is fuzzed, and what must hold for any input at all: shared by Hypothesis' tests and `fuzz_with_coverage.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from fhir_examples import FOLDER, example
from pipeline_in_memory import ENVELOPE, HORIZON_DAYS, TODAY, Pipeline, host, records
from siu_messages import DIALECTS
from test_patient_data import STANDARD

from emr_plugins.testing.mutants import paths, replaced
from kcl_app.engine.clean_pass import CleanPass
from kcl_app.stores.base import Table
from processors.availability import spans_of_day
from processors.decoding import Decoded, decode
from processors.envelope import Limits, Record
from processors.errors import Reject
from processors.items import Item, body_from_json
from processors.revisions import Revision
from processors.spans import encode_spans

LIMITS = Limits()
HOST = host()

OF_INPUT = frozenset({"not_json", "invalid_envelope", "invalid_data", "unknown_emr", "too_large"})
"""Reasons that blame the input: a built-in plugin never fails."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 1e308, -0.0, 0.1, "", " ", "0", "null", "a" * 300, "\u0000",
    "\u2028", "\U0001f9a2", "a\u0301", [], {}, [[]], [{}], [None], {"": None}, {"a": {"b": {}}}, [[[[[[]]]]]], ["mon"],
    ["a", "b", 1], "1970-01-01", "1971-01-01", "2198-12-31", "9999-12-31", "0001-01-01", "2026-02-29", "2024-02-29",
    "2026-3-9",
    "1971-01-01T00:00:00Z", "2198-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "2026-03-08T02:30:00-05:00", "2026-11-01T01:30:00-04:00", "2026-03-09T10:00:00.123456789Z", "2026-03-09T10:00:60Z",
    "2026-03-09T24:00:00Z", "2026-03-09t10:00:00z", "2026-03-09T10:00:00", "2026-03-09T10:00:00+25:00",
    "00:00", "24:00", "24:00:00", "23:59:59.999999", "09:00", "12:60", "UTC", "America/New_York", "Pacific/Apia",
    "../../etc/passwd", "posixrules", "localtime", "Etc/GMT+12", "Pacific/Kiritimati", "america/new_york", "Z" * 65,
    "booked", "free", "busy", "cancelled", "entered-in-error", "active", "declined", "Practitioner/p1", "Schedule/p1",
    "Location/l1", "#c", "urn:uuid:1", "http://a/Practitioner/p2/_history/3", "Practitioner/" + "x" * 65, "Bundle",
    "Slot",
)  # fmt: skip
"""Values to put anywhere."""


def seeds() -> list[tuple[str, str, Any]]:
    """Event type, emr and data of good messages: HL7's examples, Bundles of them, HL7 v2, the standard format."""
    names = [
        p.stem
        for kind in ("Appointment", "Slot", "Schedule", "PractitionerRole")
        for p in FOLDER.glob(f"{kind}-*")
    ]
    resources = [example(name) for name in sorted(names)]
    found: list[tuple[str, str, Any]] = [("fhir", "fhir_r4", resource) for resource in resources]
    entries = [{"resource": resource} for resource in resources]
    deleted = {"request": {"method": "DELETE", "url": "Slot/example"}}
    found.append(("fhir", "fhir_r4", {"resourceType": "Bundle", "entry": [*entries, deleted]}))
    found.append(("fhir.deleted", "fhir_r4", resources[0]))
    found += [("SIU^S12", "hl7v2", dialect.text) for dialect in DIALECTS.values()]
    found += [(kind, "standard", data) for kind, data in STANDARD.items()]
    found += [(kind, "fhir_r4", data) for kind, data in STANDARD.items()]
    return found


Mutation = tuple[int, int, int]
"""Which place, what to do there, with which odd value."""


def mutated(message: Any, mutations: Sequence[Mutation]) -> Any:
    """A message with some places changed: another value, no value, a value of another place, or twice as much."""
    for at, what, which in mutations:
        places = list(paths(message))
        if not places:
            return ODD[which % len(ODD)]
        path = places[at % len(places)]
        value: Any = ODD[which % len(ODD)]
        match what % 5:
            case 0 | 1:
                pass
            case 2:
                value = _at(message, places[which % len(places)])
            case 3:
                value = [_at(message, path)] * 2
            case 4:
                message = _without(message, path)
                continue
        message = replaced(message, path, value)
    return message


def _at(node: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def _without(node: Any, path: tuple[str | int, ...]) -> Any:
    first, rest = path[0], path[1:]
    if isinstance(node, dict):
        return {k: _without(v, rest) if k == first else v for k, v in node.items() if rest or k != first}
    return [_without(v, rest) if at == first else v for at, v in enumerate(node) if rest or at != first]


def envelope(type_: str, emr: str, data: Any, **over: Any) -> bytes:
    """An event; what JSON does not have (NaN) is written all the same."""
    return json.dumps({**ENVELOPE, "type": type_, "emr": emr, "data": data, **over}).encode()


def check_decoding(data: bytes) -> Decoded | None:
    """Any bytes decode to items that can be stored and computed, or to a reject that says why and quotes nothing."""
    one = decode(Record(data), HOST.decode, LIMITS)
    if not isinstance(one, Decoded):
        assert one.reason in OF_INPUT, (one.reason, one.detail)
        assert one.detail.isprintable(), one.detail
        assert len(one.detail) < 2000
        return None
    for item in one.items:
        check_item(item)
    return one


def check_item(item: Item) -> None:
    """It reads back as it was stored, and its days can be computed."""
    text = item.body.json_text()
    assert body_from_json(item.kind, text) == item.body
    assert Revision.decode(item.revision.encode()) == item.revision
    assert all(len(key.encode()) <= 1024 for key in (item.key.sk(),))
    assert len(item.key.owner_pk().encode()) <= 2048
    hull = item.body.hull()
    days = {TODAY, TODAY - timedelta(days=1)}
    if hull is not None and hull[0] < hull[1]:
        days |= {date(1970, 1, 1) + timedelta(days=at // 86_400_000_000) for at in (hull[0], hull[1] - 1)}
    for day in days:
        try:
            encode_spans(spans_of_day(day, [item], "America/New_York"), LIMITS.document_bytes)
        except Reject as reject:
            assert reject.reason in ("document_too_large", "too_large")  # noqa: PT017 - any other is a failure


def check_engine(sent: Sequence[bytes], batch: int) -> Pipeline:
    """Any records go through: each counts once, none is a fault of ours, and the tables are those of a clean pass."""
    pipeline = Pipeline(HOST)
    result = pipeline.run(sent, batch)
    assert result.events.total() == len(sent)
    assert set(result.rejects) <= OF_INPUT, result.rejects
    letters = list(pipeline.store.scan(Table.DEAD_LETTERS))
    assert {str(row["reason"]) for row in letters} <= OF_INPUT | {"document_too_large"}
    assert dict(stored(pipeline)) == dict(clean(sent)), sent
    return pipeline


Day = tuple[str, str]


def clean(sent: Sequence[bytes]) -> Iterator[tuple[Day, tuple[str, str]]]:
    """Status and spans of each provider-day by one clean pass."""
    one = CleanPass(HOST, LIMITS)
    for record in records(sent):
        one.take(record)
    for day in one.days(lambda zone: TODAY, HORIZON_DAYS):
        text = "[]" if day.stale else encode_spans(day.spans, LIMITS.document_bytes)
        yield (day.provider.pk(), day.day.isoformat()), ("stale" if day.stale else "fresh", text)


def stored(pipeline: Pipeline) -> Iterator[tuple[Day, tuple[str, str]]]:
    """The same from the tables, the days past the horizon left out."""
    last = (TODAY + timedelta(days=HORIZON_DAYS - 1)).isoformat()
    for row in pipeline.store.scan(Table.SPANS):
        if TODAY.isoformat() <= str(row["sk"]) <= last:
            yield (str(row["pk"]), str(row["sk"])), (str(row["status"]), str(row["spans"]))
