"""The availability engine against a brute-force reading of its rules, over generated calendars."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import Any

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from oracle import Doc, Free, spans_between_edges, spans_on_grid
from strategies import MINUTE, TWICE_MIDNIGHT, Calendar, calendars, documents, item_of

from processors import calendars as indexed
from processors.availability import spans_of_day
from processors.impacts import Change, days_touched, intervals_of, touched_by
from processors.items import Availability, Item, body_from_json
from processors.spans import check_spans
from processors.times import day_intervals


def engine(calendar: Calendar) -> list[Free]:
    """The engine's answer, in the oracle's terms."""
    return [Free(*span) for span in spans_of_day(calendar.day, calendar.items(), calendar.zone)]


@settings(deadline=None, max_examples=400)
@given(calendars())
def test_spans_are_those_of_the_rules_read_minute_by_minute(calendar: Calendar) -> None:
    note(json.dumps(calendar.docs, indent=1))
    assert engine(calendar) == spans_on_grid(calendar.docs, calendar.day, calendar.zone, calendar.step)


@settings(deadline=None, max_examples=150)
@given(calendars(step=timedelta(seconds=61)))
def test_times_with_seconds_are_exact(calendar: Calendar) -> None:
    note(json.dumps(calendar.docs, indent=1))
    assert engine(calendar) == spans_between_edges(calendar.docs, calendar.day, calendar.zone)


@settings(deadline=None, max_examples=40)
@given(calendars(step=15 * MINUTE))
def test_both_ways_to_read_the_rules_agree(calendar: Calendar) -> None:
    by_minutes = spans_on_grid(calendar.docs, calendar.day, calendar.zone, calendar.step)
    assert by_minutes == spans_between_edges(calendar.docs, calendar.day, calendar.zone)


@settings(deadline=None, max_examples=100)
@given(calendars(), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(calendar: Calendar, chance: random.Random) -> None:
    docs = list(calendar.docs)
    chance.shuffle(docs)
    assert engine(calendar) == engine(calendar._replace(docs=docs))


@settings(deadline=None, max_examples=100)
@given(calendars())
def test_withdrawn_items_count_for_nothing(calendar: Calendar) -> None:
    docs = [doc for doc in calendar.docs if doc.get("status") not in ("cancelled", "entered-in-error")]
    assert engine(calendar) == engine(calendar._replace(docs=docs))


@settings(deadline=None, max_examples=100)
@given(calendars())
def test_items_that_were_stored_and_read_again_give_the_same_spans(calendar: Calendar) -> None:
    items = calendar.items()
    again = [
        Item(item.key, item.providers, item.revision, body_from_json(item.kind, item.body.json_text()))
        for item in items
    ]
    assert again == items
    assert [item.body.json_text() for item in again] == [item.body.json_text() for item in items]
    answer = spans_of_day(calendar.day, items, calendar.zone)
    assert spans_of_day(calendar.day, again, calendar.zone) == answer


@settings(deadline=None, max_examples=150)
@given(calendars())
def test_computed_spans_pass_the_check_that_plugins_must_pass(calendar: Calendar) -> None:
    items = [item for item in calendar.items() if not isinstance(item.body, Availability)]
    spans = spans_of_day(calendar.day, items, calendar.zone)
    assert check_spans(spans, day_intervals(calendar.zone, calendar.day)) == spans
    for one in spans:
        for other in spans:
            meet = one.end == other.start and one[2:] == other[2:]
            assert not meet, "two spans of one run"


@settings(deadline=None, max_examples=150)
@given(calendars())
def test_the_items_indexed_under_a_day_are_all_that_it_needs(calendar: Calendar) -> None:
    index = indexed.Calendar(calendar.items())
    for day in days_round(calendar.day):
        some = spans_of_day(day, index.on(day, calendar.zone), calendar.zone)
        assert some == spans_of_day(day, calendar.items(), calendar.zone)


@settings(deadline=None, max_examples=250)
@given(calendars(max_items=5), st.data())
def test_a_day_that_a_change_does_not_touch_stays_as_it_is(calendar: Calendar, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(calendar.docs) - 1))
    old = calendar.docs[number]
    new: Doc | None = data.draw(st.none() | documents(calendar.zones, calendar.day, calendar.step, number))
    assume(new is None or not is_other_answer_of_a_date(new, calendar.docs, old))
    after = [doc for doc in calendar.docs if doc is not old] + ([] if new is None else [new])
    intervals = intervals_of(touched_by(Change(item_of(old), None if new is None else item_of(new))))
    days = days_round(calendar.day)
    touched = days_touched(intervals, calendar.zone, days[0], days[-1])
    for day in days:
        if day not in touched:
            note(f"{day} is not touched")
            changed = calendar._replace(day=day, docs=after)
            assert engine(changed) == engine(calendar._replace(day=day))


def is_other_answer_of_a_date(new: Doc, docs: list[Doc], old: Doc) -> bool:
    """Whether another of the documents is the `availability` of the same date, which cannot be."""
    return any(doc["id"] == new["id"] for doc in docs if doc is not old)


def days_round(day: date) -> list[date]:
    """The days that a calendar's items can lie on, and more."""
    return [day + timedelta(days=n) for n in range(-6, 7)]


@pytest.mark.parametrize("start", ["00:00", "23:00", "23:30"])
@pytest.mark.parametrize(
    "zone", ["America/St_Johns", "America/Argentina/Buenos_Aires", "UTC", "America/Noronha"]
)
def test_a_fold_just_after_midnight(zone: str, start: str) -> None:
    """Hours in a zone whose midnight came twice, at a provider whose day may end between the two."""
    name, text = TWICE_MIDNIGHT
    weekly = [{"days": ["sat", "sun"], "start": start, "end": "00:30"}]
    docs = [weekly_hours(0, time_zone=name, weekly=weekly)]
    for day in days_round(date.fromisoformat(text)):
        answer = [Free(*span) for span in spans_of_day(day, map(item_of, docs), zone)]
        assert answer == spans_on_grid(docs, day, zone, MINUTE)


def test_a_date_that_never_was_has_no_spans_whatever_a_source_says() -> None:
    span = {"start": "2011-12-30T09:00:00Z", "end": "2011-12-30T11:00:00Z"}
    doc: Doc = {"type": "availability", "id": "1", "provider_id": "p1", "version": 1, "date": "2011-12-30"}
    assert spans_of_day(date(2011, 12, 30), [item_of({**doc, "spans": [span]})], "Pacific/Apia") == ()


def test_of_two_answers_for_one_date_the_newer_revision_wins_in_any_order() -> None:
    docs = [
        {"type": "availability", "id": str(version), "provider_id": "p1", "version": version, "date": "2026-03-09",
         "spans": [{"start": f"2026-03-09T{hour}:00:00Z", "end": "2026-03-09T20:00:00Z"}]}
        for version, hour in [(1, 14), (3, 15), (2, 16)]
    ]  # fmt: skip
    for order in (docs, docs[::-1]):
        (span,) = spans_of_day(date(2026, 3, 9), map(item_of, order), "America/New_York")
        assert span.start == datetime(2026, 3, 9, 15, tzinfo=UTC)


def weekly_hours(number: int, **fields: Any) -> Doc:
    """A working_hours document."""
    return {"type": "working_hours", "id": f"wh-{number}", "provider_id": "p1", "version": 1, **fields}


BUSY_DAY = date(2026, 3, 9)
ALL_DAY = weekly_hours(
    0,
    time_zone="America/New_York",
    weekly=[{"days": ["mon"], "start": "00:00", "end": "24:00", "capacity": 5}],
)


def timed(kind: str, number: int, seconds: int, length: int, **fields: Any) -> Doc:
    """A short document on the busy day, `seconds` after its midnight."""
    start = datetime(2026, 3, 9, 4, tzinfo=UTC) + timedelta(seconds=seconds)
    end = start + timedelta(seconds=length)
    doc = {"type": kind, "id": f"{kind}-{number}", "provider_id": "p1", "version": 1, **fields}
    return {**doc, "start": start.isoformat(), "end": end.isoformat()}


def side_by_side(count: int) -> list[Doc]:
    """Appointments one after another."""
    step = 80_000 // count
    return [ALL_DAY, *(timed("appointment", n, n * step, step - 1, status="booked") for n in range(count))]


def nested(count: int) -> list[Doc]:
    """Appointments each inside the one before."""
    docs = (timed("appointment", n, n, 80_000 - 2 * n, status="booked") for n in range(count))
    return [ALL_DAY, *docs]


def open_and_busy_slots(count: int) -> list[Doc]:
    """Free slots over each other, every second one blocked in the middle."""
    docs = []
    for n in range(count // 2):
        docs.append(timed("slot", n, n * 40, 60, status="free", service_types=["new"]))
        docs.append(timed("slot", count + n, n * 40 + 10, 20, status="busy"))
    return docs


def offers_of_their_own(count: int) -> list[Doc]:
    """Every slot is an offer of its own in the morning and in the evening; the appointments lie between."""
    docs = []
    for n in range(count // 3):
        offer = {"status": "free", "location_id": f"l{n}"}
        docs.append(timed("slot", n, n, 1, **offer))
        docs.append(timed("slot", count + n, 80_000 + n, 1, **offer))
        docs.append(timed("appointment", n, 20_000 + 2 * n, 1, status="booked"))
    return docs


def many_hours(count: int) -> list[Doc]:
    """Hours over hours, each with another capacity."""
    weekly = [
        {
            "days": ["mon"],
            "start": f"00:{n // 60 % 60:02}:{n % 60:02}",
            "end": "23:00",
            "capacity": n % 100 + 1,
        }
        for n in range(count)
    ]
    return [weekly_hours(0, time_zone="America/New_York", weekly=weekly[:1000])]


@pytest.mark.parametrize(
    "shape", [side_by_side, nested, open_and_busy_slots, offers_of_their_own, many_hours]
)
def test_ten_times_the_items_of_a_day_take_about_ten_times_the_work(
    shape: Callable[[int], list[Doc]],
) -> None:
    """Work is counted in bytecodes, so that the test does not depend on the machine: n log n passes, n² does not."""
    few, many = (bytecodes(shape(count)) for count in (100, 1000))
    assert many < 20 * few


def bytecodes(docs: list[Doc]) -> int:
    """How many bytecodes the engine runs for the busy day."""
    items = [item_of(doc) for doc in docs]
    spans_of_day(BUSY_DAY, items, "America/New_York")  # fills the caches of time zones and intervals
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        spans_of_day(BUSY_DAY, items, "America/New_York")
    finally:
        sys.settrace(before)
    assert count > 10 * len(docs), "nothing was counted"
    return count
