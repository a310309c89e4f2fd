"""What changes touch, and the local days that this comes to; where in doubt more, never less."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import times
from processors.impacts import (
    ALL,
    EVERY_DAY,
    MAX_INTERVALS,
    Change,
    Impacts,
    Instants,
    LocalDates,
    Touched,
    days_touched,
    intervals_of,
    merge,
    rezones,
    touched_by,
)
from processors.items import Item, body_from_json
from processors.keys import ItemKey
from processors.revisions import Revision
from processors.times import Interval

NINE, TEN, ELEVEN = (datetime(2026, 3, 9, hour, tzinfo=UTC) for hour in (9, 10, 11))
TIMES = {"start": "2026-03-09T09:00:00Z", "end": "2026-03-09T10:00:00Z"}
MOVED = {"start": "2026-03-09T10:00:00Z", "end": "2026-03-09T11:00:00Z"}


def item(kind: str, **fields: Any) -> Item:
    """An item of a kind."""
    body = body_from_json(kind, json.dumps(fields))
    return Item(ItemKey("t", "standard", kind, "1"), ("p1",), Revision(1, "", ""), body)


def hull(first: str, last: str) -> Instants:
    """Dates in whatever zone."""
    low, high = times.hull_of_dates(date.fromisoformat(first), date.fromisoformat(last))
    return Instants(times.moment(low), times.moment(high))


BOOKED = item("appointment", status="booked", **TIMES)
LATER = item("appointment", status="booked", **MOVED)
GONE = item("appointment", status="cancelled", **TIMES)
BARE = item("appointment", status="cancelled")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, BOOKED, [Instants(NINE, TEN)]),
        (BOOKED, None, [Instants(NINE, TEN)]),
        (BOOKED, LATER, [Instants(NINE, TEN), Instants(TEN, ELEVEN)]),
        (BOOKED, GONE, [Instants(NINE, TEN)]),
        (BOOKED, BARE, [Instants(NINE, TEN)]),
        (GONE, BOOKED, [Instants(NINE, TEN)]),
        (None, GONE, []),
        (BARE, None, []),
        (None, item("slot", status="busy", **TIMES), [Instants(NINE, TEN)]),
        (None, item("time_off", **TIMES), [Instants(NINE, TEN)]),
        (None, item("time_off", start="2026-03-09", end="2026-03-11"), [hull("2026-03-09", "2026-03-11")]),
        (None, item("date_override", date="2026-03-09"), [hull("2026-03-09", "2026-03-09")]),
        (None, item("availability", date="2026-03-09", spans=[]), [hull("2026-03-09", "2026-03-09")]),
        (None, item("working_hours", time_zone="UTC"), [EVERY_DAY]),
        (None, item("working_hours", time_zone="UTC", effective_from="2026-03-09"), [EVERY_DAY]),
        (None, item("working_hours", time_zone="UTC", effective_until="2026-03-09"), [EVERY_DAY]),
        (
            None,
            item("working_hours", time_zone="UTC", effective_from="2026-03-09", effective_until="2026-03-10"),
            [LocalDates(date(2026, 3, 9), date(2026, 3, 10))],
        ),
        (
            None,
            item("working_hours", time_zone="UTC", effective_from="2026-03-09", effective_until="9999-12-31"),
            [EVERY_DAY],
        ),
        (
            None,
            item("working_hours", time_zone="UTC", effective_from="0001-01-01", effective_until="2026-03-09"),
            [EVERY_DAY],
        ),
    ],
)
def test_a_change_touches_the_old_and_the_new_time(
    old: Item | None, new: Item | None, expected: list[Touched]
) -> None:
    assert touched_by(Change(old, new)) == expected


HOURS = item("working_hours", time_zone="UTC")
ELSEWHERE = item("working_hours", time_zone="Asia/Kathmandu")
CLOSED = item("working_hours", time_zone="UTC", status="cancelled")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, HOURS, True),
        (HOURS, None, True),
        (HOURS, ELSEWHERE, True),
        (HOURS, CLOSED, True),
        (CLOSED, HOURS, True),
        (HOURS, item("working_hours", time_zone="UTC", effective_from="2026-03-09"), False),
        (CLOSED, None, False),
        (None, BOOKED, False),
        (BOOKED, LATER, False),
    ],
)
def test_the_zone_can_move_where_working_hours_come_go_or_name_another(
    old: Item | None, new: Item | None, expected: bool
) -> None:
    assert rezones(Change(old, new)) is expected


def test_intervals_of_what_a_plugin_returned() -> None:
    assert intervals_of([]) == ()
    assert intervals_of([Instants(NINE, TEN), EVERY_DAY]) is ALL
    first, last = date(2026, 3, 9), date(2026, 3, 11)
    assert intervals_of([Instants(NINE, TEN), LocalDates(first, last)]) == (
        (times.instant(NINE), times.instant(TEN)),
        times.hull_of_dates(first, last),
    )
    with pytest.raises(TypeError):
        intervals_of([(NINE, TEN)])  # type: ignore[list-item]


@pytest.mark.parametrize("day", [date.min, date.max])
def test_dates_at_the_ends_of_the_calendar_can_be_impacts(day: date) -> None:
    intervals = intervals_of([LocalDates(date.min, day)])
    today = date(2026, 3, 9)
    touched = days_touched(intervals, "Asia/Kathmandu", today, today)
    assert touched == ([] if day == date.min else [today])


INTERVAL = st.tuples(st.integers(0, 60), st.integers(0, 60))
INTERVALS = st.lists(INTERVAL, max_size=6) | st.lists(INTERVAL.map(lambda i: (i[0], i[0] + 1)), max_size=60)


def covered(intervals: tuple[Interval, ...] | list[Interval] | None) -> set[int]:
    """The whole numbers inside."""
    if intervals is None:
        return set(range(100))
    return {n for low, high in intervals for n in range(low, high)}


@given(INTERVALS)
def test_merging_keeps_all_in_few_sorted_disjoint_intervals(intervals: list[Interval]) -> None:
    merged = merge(intervals)
    assert covered(merged) >= covered(intervals)
    assert len(merged) <= MAX_INTERVALS
    assert all(low < high for low, high in merged)
    assert all(one[1] < other[0] for one, other in pairwise(merged))
    if len(merged) > 1:
        assert covered(merged) == covered(intervals)
    assert merge(merged) == merged


def test_too_many_intervals_become_the_one_that_holds_them() -> None:
    few = [(10 * n, 10 * n + 1) for n in range(MAX_INTERVALS)]
    assert merge(few) == tuple(few)
    assert merge([*few, (1000, 1001)]) == ((0, 1001),)


PROVIDERS = st.sampled_from(["p1", "p2", "p#3", "é\U0001f600", ""])
ADDITIONS = st.lists(st.tuples(PROVIDERS, st.none() | INTERVALS), max_size=8)


def impacts_of(additions: list[tuple[str, list[Interval] | None]]) -> Impacts:
    """Impacts that were added one after another."""
    impacts = Impacts()
    for provider, intervals in additions:
        impacts.add(provider, intervals)
    return impacts


@given(ADDITIONS)
def test_impacts_turn_back_from_what_is_stored(additions: list[tuple[str, list[Interval] | None]]) -> None:
    impacts = impacts_of(additions)
    assert Impacts.decode(impacts.encode()) == impacts
    assert bool(impacts) == bool(impacts.encode())


@given(ADDITIONS, ADDITIONS)
def test_impacts_only_grow(
    before: list[tuple[str, list[Interval] | None]], after: list[tuple[str, list[Interval] | None]]
) -> None:
    one, other = impacts_of(before), impacts_of(after)
    both = impacts_of(before)
    both.update(other)
    for part in (one, other):
        for provider, intervals in part.items():
            grown = dict(both.items())[provider]
            assert grown is None or intervals is not None
            assert covered(grown) >= covered(intervals)
    assert set(both.providers()) == {*one.providers(), *other.providers()}
    again = Impacts.decode(both.encode())
    again.update(both)
    assert again == both, "adding what is there changes nothing"


def test_updating_one_leaves_the_other_alone() -> None:
    one, other = Impacts(), Impacts({"p": ((0, 1),)})
    one.update(other)
    one.add("p", [(5, 6)])
    assert other == Impacts({"p": ((0, 1),)})


def test_nothing_is_stored_as_nothing() -> None:
    assert Impacts().encode() == ""
    assert not Impacts.decode("")
    impacts = Impacts()
    impacts.add("p", [])
    impacts.add("p", [(5, 5)])
    assert not impacts


CASES = [
    ("UTC", "2026-05-12"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Africa/Cairo", "2026-10-29"),
    ("Asia/Kathmandu", "2026-07-01"),
    ("Pacific/Apia", "2011-12-30"),
    ("America/St_Johns", "2010-11-07"),
    ("Pacific/Kiritimati", "2025-12-31"),
    ("Etc/GMT+12", "2026-01-01"),
]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(CASES),
    st.lists(st.tuples(st.integers(-4000, 4000), st.integers(-60, 3000)), max_size=4),
    st.integers(-3, 3),
    st.integers(-3, 3),
)
def test_days_touched_are_those_that_a_wall_clock_reads_minute_by_minute(
    case: tuple[str, str], minutes: list[tuple[int, int]], one: int, other: int
) -> None:
    zone, text = case
    day = date.fromisoformat(text)
    first, last = sorted(day + timedelta(days=n) for n in (one, other))
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    moments = [
        (noon + timedelta(minutes=low), noon + timedelta(minutes=low + length)) for low, length in minutes
    ]
    read = {
        (start + timedelta(minutes=n)).astimezone(times.zone(zone)).date()
        for start, end in moments
        for n in range((end - start) // timedelta(minutes=1))
    }
    touched = days_touched(
        tuple((times.instant(start), times.instant(end)) for start, end in moments), zone, first, last
    )
    skipped = date(2011, 12, 30)
    assert set(touched) - {skipped} == {day for day in read if first <= day <= last}
    assert touched == sorted(set(touched))
    assert all(first <= day <= last for day in touched)


def test_every_day_is_every_day() -> None:
    first, last = date(2026, 2, 27), date(2026, 3, 2)
    assert days_touched(ALL, "UTC", first, last) == times.days_between(first, last)
    assert days_touched((), "UTC", first, last) == []


def test_an_interval_up_to_midnight_does_not_touch_the_next_day() -> None:
    day = date(2026, 3, 8)
    low, high = times.day_intervals("America/New_York", day)[0]
    first, last = day - timedelta(days=1), day + timedelta(days=1)
    assert days_touched(((low, high),), "America/New_York", first, last) == [day]
    assert days_touched(((low - 1, high),), "America/New_York", first, last) == [first, day]
    assert days_touched(((low, high + 1),), "America/New_York", first, last) == [day, last]


def test_impacts_are_written_as_json_whatever_providers_are_called() -> None:
    by_provider = {"p1": ((0, 5), (7, 9)), 'a"\\\n\u2028é\ud800': None, "": ((-3, -1),)}
    text = Impacts(by_provider).encode()
    assert text == json.dumps(by_provider, separators=(",", ":"))
    assert Impacts.decode(text) == Impacts(by_provider)


def test_packed_impacts_say_what_they_said() -> None:
    impacts, same = Impacts({"p1": ((0, 5),), "p2": None}), Impacts({"p1": ((0, 5),), "p2": None})
    impacts.pack()
    assert impacts == same
    assert bool(impacts)
    assert impacts.providers() == ["p1", "p2"]
    impacts.pack()
    impacts.add("p1", [(3, 8)])
    assert Impacts.decode(impacts.encode()) == Impacts({"p1": ((0, 8),), "p2": None})
    nothing = Impacts()
    nothing.pack()
    assert not nothing
    assert nothing.encode() == ""
