"""A brute-force answer to "when is this provider free?", to check the engine against.

It takes the plain JSON objects of the standard format and applies its rules one instant at a time: read the clock on
the wall, ask each item what it says of that reading. It shares no code with the engine, so that the two cannot be
wrong together, and it favours the words of the rules over speed.

Two ways to choose the instants: every step of a grid (`spans_on_grid`, where all times lie on it), or every place
where anything could change (`spans_between_edges`, for times with seconds and fractions).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Doc = dict[str, Any]
"""One item: the `data` of the standard format, with its event type under ``type``."""

OfferOf = tuple[str | None, tuple[str, ...]]

DAY = timedelta(days=1)
REACH = timedelta(hours=27)
"""A local date lies within this of the same date in UTC, whatever the zone."""

TAKES_NO_PLACE = {"cancelled", "noshow", "entered-in-error", "proposed", "waitlist"}
NAMES_OF_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Free(NamedTuple):
    """One bookable span."""

    start: datetime
    end: datetime
    location_id: str | None
    service_types: tuple[str, ...]
    capacity: int


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone as the `tzdata` package has it, not the machine."""
    folder, _, last = name.rpartition("/")
    package = ".".join(["tzdata.zoneinfo", *filter(None, folder.split("/"))])
    with (importlib.resources.files(package) / last).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def wall(name: str, at: datetime) -> datetime:
    """What the clock on the wall reads at an instant: a naive datetime."""
    return at.astimezone(zone_of(name)).replace(tzinfo=None, fold=0)


def spans_on_grid(docs: list[Doc], day: date, zone: str, step: timedelta) -> list[Free]:
    """The spans of a day, one look at each step; every time of the documents must lie on the grid."""
    return _runs(docs, day, zone, _grid(day, step))


@cache
def _grid(day: date, step: timedelta) -> list[datetime]:
    low = datetime.combine(day, time(0), UTC) - REACH
    return [low + n * step for n in range((DAY + 2 * REACH) // step + 1)]


def spans_between_edges(docs: list[Doc], day: date, zone: str) -> list[Free]:
    """The spans of a day, one look between any two instants at which anything could change."""
    low = datetime.combine(day, time(0), UTC) - REACH
    high = low + DAY + 2 * REACH
    edges = {low, high}
    clocks: dict[str, set[time]] = {zone: {time(0)}}
    for doc in docs:
        for name in ("start", "end"):
            if "T" in (doc.get(name) or ""):
                edges.add(datetime.fromisoformat(doc[name]).astimezone(UTC))
        hours_zone = doc.get("time_zone") or zone
        for hours in [*doc.get("weekly", ()), *doc.get("hours", ())]:
            clocks.setdefault(hours_zone, {time(0)}).update({_clock(hours["start"]), _clock(hours["end"])})
    for name, readings in clocks.items():
        edges.update(_edges_of_clocks(name, readings, low, high))
    return _runs(docs, day, zone, sorted(edge for edge in edges if low <= edge <= high))


def _edges_of_clocks(name: str, readings: set[time], low: datetime, high: datetime) -> set[datetime]:
    """Every instant at which the wall clock jumps, or may read one of `readings`."""
    jumps, offsets = _jumps_and_offsets(name, low, high)
    dates = [low.date() + n * DAY for n in range(-1, (high - low) // DAY + 3)]
    return jumps | {
        (datetime.combine(date_, reading) - offset).replace(tzinfo=UTC)
        for date_ in dates
        for reading in readings
        for offset in offsets
    }


@cache
def _jumps_and_offsets(name: str, low: datetime, high: datetime) -> tuple[set[datetime], set[timedelta]]:
    minutes = [low + timedelta(minutes=n) for n in range((high - low) // timedelta(minutes=1) + 1)]
    offsets = [wall(name, at) - at.replace(tzinfo=None) for at in minutes]
    jumps = {at for at, (old, new) in zip(minutes[1:], pairwise(offsets), strict=True) if old != new}
    return jumps, set(offsets)


def _runs(docs: list[Doc], day: date, zone: str, instants: list[datetime]) -> list[Free]:
    """Maximal runs of time with the same places left, offer by offer."""
    if not any(wall(zone, at).date() == day for at in instants):
        return []  # a date that the zone skipped
    for doc in docs:
        if doc["type"] == "availability" and _counts(doc) and doc["date"] == day.isoformat():
            return sorted(_as_they_are(doc), key=_order)
    found: list[Free] = []
    running: dict[OfferOf, tuple[datetime, int]] = {}
    for at, until in [*pairwise(instants), (instants[-1], instants[-1])]:
        left = places_left(docs, day, zone, at) if at < until else {}
        for offer, (since, places) in list(running.items()):
            if left.get(offer) != places:
                found.append(Free(since, at, *offer, places))
                del running[offer]
        for offer, places in left.items():
            running.setdefault(offer, (at, places))
    return sorted(found, key=_order)


def _order(span: Free) -> tuple[Any, ...]:
    return (span.start, span.end, span.location_id or "", span.service_types, span.capacity)


def _as_they_are(doc: Doc) -> Iterable[Free]:
    for span in doc["spans"]:
        start, end = (datetime.fromisoformat(span[name]).astimezone(UTC) for name in ("start", "end"))
        yield Free(start, end, *_offer(span), span.get("capacity", 1))


def _counts(doc: Doc) -> bool:
    return doc.get("status") not in ("cancelled", "entered-in-error")


def _offer(doc: Doc) -> OfferOf:
    return doc.get("location_id"), tuple(sorted(set(doc.get("service_types", ()))))


def _clock(text: str) -> time:
    return time.fromisoformat("00:00" if text.startswith("24:00") else text)


def places_left(docs: list[Doc], day: date, zone: str, at: datetime) -> dict[OfferOf, int]:
    """The offers that can be booked at one instant, each with its places left."""
    if wall(zone, at).date() != day:
        return {}
    docs = [doc for doc in docs if _counts(doc)]
    if any(_takes_all(doc, day, at) for doc in docs):
        return {}
    overridden = {doc["date"] for doc in docs if doc["type"] == "date_override"}
    places: dict[OfferOf, int] = {}
    for doc in docs:
        for offer, capacity in _offered(doc, zone, at, overridden):
            places[offer] = max(capacity, places.get(offer, 0))
    taken = sum(_takes_place(doc, at) for doc in docs)
    return {offer: capacity - taken for offer, capacity in places.items() if taken < capacity}


def _offered(doc: Doc, zone: str, at: datetime, overridden: set[str]) -> Iterable[tuple[OfferOf, int]]:
    """What one item offers at one instant."""
    if doc["type"] == "slot" and doc["status"] == "free" and _over(doc, at):
        yield _offer(doc), 1
    elif doc["type"] == "working_hours":
        reading = wall(doc.get("time_zone") or zone, at)
        for started in (reading.date(), reading.date() - DAY):
            if started.isoformat() in overridden:
                continue
            if not (doc.get("effective_from") or "0001-01-01") <= started.isoformat():
                continue
            if not started.isoformat() <= (doc.get("effective_until") or "9999-12-31"):
                continue
            for hours in doc["weekly"]:
                if NAMES_OF_DAYS[started.weekday()] in hours["days"] and _reads(hours, started, reading):
                    yield _offer(hours), hours.get("capacity", 1)
    elif doc["type"] == "date_override":
        started = date.fromisoformat(doc["date"])
        for hours in doc["hours"]:
            if _reads(hours, started, wall(zone, at)):
                yield _offer(hours), hours.get("capacity", 1)


def _reads(hours: Doc, started: date, reading: datetime) -> bool:
    """Whether a wall clock that shows `reading` is inside the hours that start on a date."""
    start, end = (datetime.combine(started, _clock(hours[name])) for name in ("start", "end"))
    return start <= reading < (end if start < end else end + DAY)


def _over(doc: Doc, at: datetime) -> bool:
    return _instant(doc["start"]) <= at < _instant(doc["end"])


@cache
def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _takes_all(doc: Doc, day: date, at: datetime) -> bool:
    """Whether an item takes the instant away, whatever is offered."""
    if doc["type"] == "slot":
        return doc["status"].startswith("busy") and _over(doc, at)
    if doc["type"] != "time_off":
        return False
    if "T" in doc["start"]:
        return _over(doc, at)
    return bool(doc["start"] <= day.isoformat() <= doc["end"])


def _takes_place(doc: Doc, at: datetime) -> bool:
    return doc["type"] == "appointment" and doc["status"] not in TAKES_NO_PLACE and _over(doc, at)
