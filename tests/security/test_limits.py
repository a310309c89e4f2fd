"""The worst that the limits let through costs little time and memory, and what they do not is refused clearly."""

from __future__ import annotations

import json
import time

import pytest
from pipeline_in_memory import ENVELOPE, Pipeline, host
from worst_calendars import CALENDARS, DAY, ZONE, hours, side_by_side
from worst_cases import CASES, MOST, measure

from kcl_app.stores.base import Table
from processors import times
from processors.availability import MAX_LINES, MAX_SPANS, spans_of_day
from processors.calendars import Calendar
from processors.envelope import Limits, read_event
from processors.errors import Reject
from processors.spans import Span

SECONDS = 6.0
"""Of CPU, for one record and a few days, or for one provider-day: several times what it takes."""


@pytest.mark.parametrize("name", CASES)
def test_the_worst_record_costs_little(name: str) -> None:
    """Each is one record within the limit of size, or is refused for its size at once."""
    seconds, outcome = measure(CASES[name], horizon_days=1)
    assert seconds < SECONDS
    if len(CASES[name]) > MOST:
        assert (seconds < 0.1, outcome) == (True, "rejected, too_large")


def spans(name: str) -> tuple[Span, ...] | str:
    """The spans of the worst day of a calendar, or the reason why there are none."""
    calendar = Calendar(CALENDARS[name]())
    items = calendar.on(DAY, calendar.zone("UTC"))
    began = time.process_time()
    try:
        return spans_of_day(DAY, items, ZONE)
    except Reject as reject:
        return reject.reason
    finally:
        assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("name", CALENDARS)
def test_the_worst_calendar_costs_little_a_day(name: str) -> None:
    found = spans(name)
    if isinstance(found, str):
        assert found in ("document_too_large", "too_large")
    else:
        assert len(found) <= MAX_SPANS


def test_a_day_with_more_spans_than_fit_into_a_document_is_never_made() -> None:
    """Ten million spans, and 3 GB, before there was a bound."""
    assert spans("10,000 appointments in 1,000 offers") == "document_too_large"
    assert (
        MAX_SPANS * len('{"start":"2026-03-09T14:00:00Z","end":"2026-03-09T15:00:00Z"}')
        < Limits().document_bytes
    )
    assert (
        MAX_SPANS * 115 > 390_000
    )  # the shortest span in full, and the largest document that settings allow


def test_a_calendar_finds_its_zone_however_many_items_name_one() -> None:
    items = CALENDARS["20,000 working hours"]()
    began = time.process_time()
    calendar = Calendar()
    for item in items:
        calendar.put(item)
        assert calendar.zone("UTC") == ZONE
    for item in items:
        calendar.remove(item.kind, item.key.id)
    assert calendar.zone("UTC") == "UTC"
    assert time.process_time() - began < SECONDS


def test_a_provider_day_that_is_too_much_is_stale_with_its_reason_and_the_rest_goes_on() -> None:
    pipeline = Pipeline(host())
    lines = [{"days": ["mon"], "start": "00:00", "end": "00:00", "location_id": str(n)} for n in range(1000)]
    sent = [
        json.dumps({**ENVELOPE, "type": "working_hours", "id": str(n), "sequence": str(n), "data": {
            "id": f"wh-{n}", "provider_id": "p1", "weekly": lines}}).encode()
        for n in range(MAX_LINES // 1000 + 1)
    ]  # fmt: skip
    sent.append(sent[0].replace(b'"p1"', b'"p2"').replace(b'"wh-0"', b'"wh-p2"'))
    result = pipeline.run(sent)
    assert result.events == {"applied": len(sent)}
    rows = {str(row["pk"])[-2:]: row for row in pipeline.store.scan(Table.SPANS) if row["sk"] == "2026-03-09"}
    assert rows["p1"]["status"] == "stale"
    assert str(rows["p1"]["reason"]).startswith(
        "too_large: the provider-day is made from more than 5000 lines"
    )
    assert rows["p2"]["status"] == "fresh"
    (letter,) = pipeline.store.scan(Table.DEAD_LETTERS)
    assert letter["reason"] == "too_large"


@pytest.mark.parametrize("zone", [
    "../../etc/passwd", "/etc/passwd", "posixrules", "localtime", "America/New_York/", "america/new_york", "",
    "UTC\x00", "__init__.py", "zones", "Z" * 65, "America", "..", "Étc/UTC",
])  # fmt: skip
def test_a_zone_is_one_of_the_database_and_never_a_path(zone: str) -> None:
    with pytest.raises(times.UnknownZone):
        times.zone(zone)
    data = {"id": "w", "provider_id": "p", "time_zone": zone, "weekly": []}
    pipeline = Pipeline(host())
    sent = json.dumps({**ENVELOPE, "type": "working_hours", "data": data}).encode()
    assert pipeline.run([sent]).rejects == {"invalid_data": 1}


@pytest.mark.parametrize(("over", "reason"), [
    ({"data": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}, "too_large"),
    ({"data": "x" * (256 * 1024 + 1)}, "too_large"),
    ({"data": {"x" * (256 * 1024 + 1): 1}}, "too_large"),
    ({"data": "x" * (512 * 1024)}, "too_large"),
    ({"data_base64": "QUJD" * (65 * 1024)}, "too_large"),
    ({"id": "x" * 513}, "invalid_envelope"),
    ({"tenant": "x" * 129}, "invalid_envelope"),
    ({"sequence": "x" * 129}, "invalid_envelope"),
    ({"sequence": "1\u2028"}, "invalid_envelope"),
    ({"time": "9999-12-31T23:59:59Z"}, "invalid_envelope"),
    ({"time": "0001-01-01T00:00:00Z"}, "invalid_envelope"),
    ({"time": 1e400}, "invalid_envelope"),
])  # fmt: skip
def test_past_a_limit_is_a_reject_that_says_which(over: dict[str, object], reason: str) -> None:
    with pytest.raises(Reject) as caught:
        read_event(json.dumps({**ENVELOPE, **over}).encode(), Limits())
    assert caught.value.reason == reason
    assert "xxx" not in caught.value.detail


def test_of_a_name_given_twice_the_last_counts() -> None:
    """As in Python's own reader and in most others; nothing is checked against one and used as the other."""
    text = json.dumps({**ENVELOPE, "data": 1})
    twice = text[:-1] + ', "tenant": "other"}'
    with pytest.raises(Reject, match="source names another tenant"):
        read_event(twice.encode(), Limits())


def test_providers_of_one_event_have_a_limit() -> None:
    """Each that is new gets a document for every day of the horizon: a message could ask for a million."""
    assert measure(CASES["fhir bundle of 8,000 providers"], 1)[1] == "rejected, too_large"


def test_items_of_one_provider_have_a_limit() -> None:
    pipeline = Pipeline(host(), Limits(items_per_provider=10))
    sent = [
        json.dumps({**ENVELOPE, "type": "time_off", "sequence": str(n), "data": {
            "id": f"t{n}", "provider_id": "p1", "start": "2026-03-09", "end": "2026-03-09"}}).encode()
        for n in range(15)
    ]  # fmt: skip
    assert pipeline.run(sent).rejects == {"too_many_items": 5}


def test_many_bookings_of_a_day_cost_time_in_proportion() -> None:
    """Four times as many take some four times as long, not sixteen."""

    def cost(number: int) -> float:
        items = [*side_by_side(number, 2, 3), *hours(1, 1)]
        began = time.process_time()
        for _ in range(3):
            spans_of_day(DAY, items, ZONE)
        return time.process_time() - began

    cost(1000)
    assert cost(20_000) < 10 * cost(5_000) + 0.2
