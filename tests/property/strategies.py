"""Strategies: providers' calendars as documents of the standard format, near awkward dates.

A calendar is small, but its items crowd round one day, and that day's clock is often one that jumps.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st
from oracle import NAMES_OF_DAYS, Doc, zone_of

from processors.items import Item, body_from_json
from processors.keys import ItemKey
from processors.revisions import Revision

AWKWARD: list[tuple[str, str]] = [
    ("UTC", "2026-05-12"),
    ("America/New_York", "2026-03-08"),  # a gap from 02:00 to 03:00
    ("America/New_York", "2026-11-01"),  # a fold, 01:00 to 02:00 twice
    ("Australia/Lord_Howe", "2026-04-05"),  # a fold of half an hour
    ("Australia/Lord_Howe", "2026-10-04"),  # a gap of half an hour
    ("Asia/Kathmandu", "2026-07-01"),  # +05:45
    ("Africa/Cairo", "2026-04-24"),  # the day starts at 01:00
    ("Africa/Cairo", "2026-10-29"),  # its last hour comes twice
    ("America/Sao_Paulo", "2018-11-04"),  # the day starts at 01:00
    ("America/Sao_Paulo", "2018-02-17"),  # its last hour comes twice
    ("America/Havana", "2026-11-01"),  # its first hour comes twice
    ("Pacific/Apia", "2011-12-30"),  # a date that never was
    ("Pacific/Kiritimati", "2025-12-31"),  # +14:00, over the turn of the year
    ("Pacific/Pago_Pago", "2026-01-01"),  # -11:00
    ("Etc/GMT+12", "2025-12-31"),  # -12:00
]
TWICE_MIDNIGHT = ("America/St_Johns", "2010-11-07")
"""At 00:01 the clock went back to 23:01 of the day before: each of the two dates comes in two pieces."""

MINUTE = timedelta(minutes=1)
STATUSES_OF_APPOINTMENTS = [
    "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
    "checked-in", "waitlist",
]  # fmt: skip
STATUSES_OF_SLOTS = ["free", "busy", "busy-unavailable", "busy-tentative", "cancelled", "entered-in-error"]


class Calendar(NamedTuple):
    """A provider's items, and the day that is asked for.

    Attributes:
        zone: of the provider's calendar.
        zones: that its weekly hours may have.
        day: the local date.
        docs: the items, in the standard format.
        step: the grid that every time lies on.
    """

    zone: str
    zones: list[str]
    day: date
    docs: list[Doc]
    step: timedelta

    def items(self) -> list[Item]:
        """The documents as the engine takes them."""
        return [item_of(doc) for doc in self.docs]


def item_of(doc: Doc) -> Item:
    """A document as the engine takes it."""
    kind = doc["type"]
    key = ItemKey("t", "standard", kind, doc["id"])
    revision = Revision.of(doc["version"], datetime(2026, 1, 1, tzinfo=UTC), "1")
    return Item(key, (doc["provider_id"],), revision, body_from_json(kind, json.dumps(doc)))


@st.composite
def calendars(draw: st.DrawFn, step: timedelta | None = None, max_items: int = 7) -> Calendar:
    """A calendar near an awkward date; times on a grid of 15 minutes, now and then a finer one."""
    awkward, text = draw(st.sampled_from([*AWKWARD, TWICE_MIDNIGHT]))
    other = draw(st.sampled_from([name for name, _ in AWKWARD]))
    zone = draw(st.sampled_from([awkward, awkward, awkward, other]))
    zones = draw(st.sampled_from([[zone], [zone], [awkward], [zone, awkward, other]]))
    day = date.fromisoformat(text) + timedelta(days=draw(st.sampled_from([0, 0, 0, 0, 1, -1, 2])))
    if step is None:
        step = MINUTE * draw(st.sampled_from([15, 15, 15, 15, 5, 1]))
    if awkward == TWICE_MIDNIGHT[0]:
        step = min(step, MINUTE)
    count = draw(st.integers(1, max_items))
    docs = [draw(working_hours(zones, day, step, 0, bounded=False))]
    docs += [draw(documents(zones, day, step, number)) for number in range(1, count)]
    return Calendar(zone, zones, day, _one_answer_a_date(docs), step)


def _one_answer_a_date(docs: list[Doc]) -> list[Doc]:
    """A date has one `availability` at most: its id is the provider and the date."""
    seen: set[str] = set()
    return [doc for doc in docs if doc["id"] not in seen and not seen.add(doc["id"])]  # type: ignore[func-returns-value]


def documents(zones: list[str], day: date, step: timedelta, number: int) -> st.SearchStrategy[Doc]:
    """One item of any kind that lies near the day; hours and appointments most often.

    Args:
        zones: those that weekly hours may have; instants are written with the first one's offset, or in UTC.
        day: the day.
        step: the grid of all times.
        number: what tells the item's id from the others'.
    """
    zone = zones[0]
    return st.one_of(
        working_hours(zones, day, step, number),
        working_hours(zones, day, step, number),
        date_overrides(day, step, number),
        times_off(zone, day, step, number),
        timed("appointment", zone, day, step, number),
        timed("appointment", zone, day, step, number),
        timed("appointment", zone, day, step, number),
        timed("slot", zone, day, step, number),
        timed("slot", zone, day, step, number),
        timed("slot", zone, day, step, number),
        availabilities(zone, day, step),
    )


def _head(kind: str, number: int) -> Doc:
    return {"type": kind, "id": f"{kind}-{number}", "provider_id": "p1", "version": 1}


@st.composite
def offers(draw: st.DrawFn) -> Doc:
    """A location and service types, or the defaults."""
    doc: Doc = {}
    if draw(st.booleans()):
        doc["location_id"] = draw(st.sampled_from(["l1", "l2", None]))
    if draw(st.booleans()):
        doc["service_types"] = draw(st.sampled_from([[], ["new"], ["new", "old"], ["old", "new", "old"]]))
    return doc


@st.composite
def hours(draw: st.DrawFn, step: timedelta) -> Doc:
    """Local hours: often short, often at night, where clocks change; some run past midnight, some all round."""
    steps = timedelta(days=1) // step
    start = draw(st.one_of(st.integers(0, steps // 6), st.integers(0, steps - 1)))
    length = draw(st.one_of(st.integers(1, steps // 6), st.integers(1, steps)))
    end = (start + length) % steps
    doc = {"start": _clock(start * step), "end": _clock(end * step), **draw(offers())}
    if end == 0 and draw(st.booleans()):
        doc["end"] = "24:00"
    if draw(st.booleans()):
        doc["capacity"] = draw(st.integers(1, 3))
    return doc


def _clock(since_midnight: timedelta) -> str:
    text = (datetime(2026, 1, 1, tzinfo=UTC) + since_midnight).time().isoformat()
    return text.removesuffix(":00") if text.count(":") == 2 else text


@st.composite
def working_hours(
    draw: st.DrawFn, zones: list[str], day: date, step: timedelta, number: int, bounded: bool = True
) -> Doc:
    """Weekly hours; where `bounded`, now and then with effective dates, or withdrawn."""
    doc = {**_head("working_hours", number), "time_zone": draw(st.sampled_from(zones)), "weekly": []}
    if draw(st.integers(0, 5)) == 0:
        del doc["time_zone"]  # those of the calendar
    for entry in draw(st.lists(hours(step), min_size=1, max_size=3)):
        near = [NAMES_OF_DAYS[(day.weekday() + n) % 7] for n in (0, -1, 1, 3)]
        entry["days"] = draw(st.lists(st.sampled_from(near), min_size=1, max_size=4, unique=True))
        doc["weekly"].append(entry)
    if not bounded:
        return doc
    if draw(st.booleans()):
        first = day + timedelta(days=draw(st.integers(-3, 2)))
        until = first + timedelta(days=draw(st.integers(0, 4)))
        doc["effective_from"] = draw(st.sampled_from([first.isoformat(), None, "0001-01-01"]))
        doc["effective_until"] = draw(st.sampled_from([until.isoformat(), None, "9999-12-31"]))
    return _perhaps_withdrawn(draw, doc)


def _perhaps_withdrawn(draw: st.DrawFn, doc: Doc) -> Doc:
    status = draw(st.sampled_from([None, None, None, "active", "active", "cancelled", "entered-in-error"]))
    return doc if status is None else {**doc, "status": status}


def _date_near(draw: st.DrawFn, day: date) -> date:
    return day + timedelta(days=draw(st.sampled_from([0, 0, 0, -1, -1, 1, 2, -2])))


@st.composite
def date_overrides(draw: st.DrawFn, day: date, step: timedelta, number: int) -> Doc:
    """The hours of one date; none closes it."""
    doc = {**_head("date_override", number), "date": _date_near(draw, day).isoformat()}
    doc["hours"] = draw(st.lists(hours(step), max_size=2))
    return _perhaps_withdrawn(draw, doc)


@st.composite
def times_off(draw: st.DrawFn, zone: str, day: date, step: timedelta, number: int) -> Doc:
    """Time off by dates or by instants."""
    doc = _head("time_off", number)
    if draw(st.integers(0, 3)) == 0:
        start = _date_near(draw, day)
        doc["start"] = start.isoformat()
        doc["end"] = (start + timedelta(days=draw(st.integers(0, 2)))).isoformat()
    else:
        doc.update(draw(intervals(zone, day, step)))
    return _perhaps_withdrawn(draw, doc)


@st.composite
def intervals(draw: st.DrawFn, zone: str, day: date, step: timedelta) -> Doc:
    """Start and end as instants in or round the day, written in UTC or with an offset."""
    midnight = datetime.combine(day, time(0), zone_of(zone)).astimezone(UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    midnight = epoch + (midnight - epoch) // step * step
    low = draw(
        st.one_of(st.integers(0, timedelta(hours=5) // step), st.integers(-DAY_ // step, 2 * DAY_ // step))
    )
    length = draw(st.one_of(st.integers(1, timedelta(hours=3) // step), st.integers(1, DAY_ // step)))
    start = midnight + low * step
    return {"start": _text(draw, start, zone), "end": _text(draw, start + length * step, zone)}


DAY_ = timedelta(days=1)


def _text(draw: st.DrawFn, at: datetime, zone: str) -> str:
    if draw(st.booleans()):
        return at.astimezone(zone_of(zone)).isoformat()
    return at.isoformat().replace("+00:00", "Z")


@st.composite
def timed(draw: st.DrawFn, kind: str, zone: str, day: date, step: timedelta, number: int) -> Doc:
    """An appointment or a slot, with any of its statuses; a withdrawn one may lack its times."""
    doc: dict[str, Any] = {**_head(kind, number), **draw(intervals(zone, day, step))}
    usual, all_of_them = (
        ("booked", STATUSES_OF_APPOINTMENTS) if kind == "appointment" else ("free", STATUSES_OF_SLOTS)
    )
    doc["status"] = draw(st.one_of(st.just(usual), st.sampled_from(all_of_them)))
    if kind == "slot":
        doc.update(draw(offers()))
    if doc["status"] in ("cancelled", "entered-in-error") and draw(st.booleans()):
        del doc["start"], doc["end"]
    return doc


@st.composite
def availabilities(draw: st.DrawFn, zone: str, day: date, step: timedelta) -> Doc:
    """A day that the source has calculated: one span after another, all within the day or not."""
    date_ = _date_near(draw, day + timedelta(days=1))
    doc: dict[str, Any] = {**_head("availability", 0), "date": date_.isoformat(), "spans": []}
    doc["id"] = f"p1/{date_}"
    at = datetime.combine(date_, time(8), UTC)
    for _ in range(draw(st.integers(0, 3))):
        start = at + step * draw(st.integers(0, 4))
        at = start + step * draw(st.integers(1, 8))
        span = {"start": _text(draw, start, zone), "end": _text(draw, at, zone), **draw(offers())}
        doc["spans"].append({**span, "capacity": draw(st.integers(1, 3))})
    return _perhaps_withdrawn(draw, doc)
