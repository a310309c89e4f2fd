"""Instants, local dates and wall clocks.

Inside the engine an instant is an integer: microseconds since 1970-01-01T00:00:00Z, so that times are exact and
comparisons cheap. A *wall time* is the same integer for what the clock on the wall reads.

Time zones come from the `tzdata` package rather than from the machine, so that every worker, whatever image it
runs on, gives the same answer (the IANA time zone database).
"""

from __future__ import annotations

import importlib.resources
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)

Interval = tuple[int, int]
"""Start (included) and end (not included), in microseconds."""

FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Dates outside these years are typing errors or sentinels, never appointments."""


class UnknownZone(ValueError):  # noqa: N818
    """No such time zone in the IANA database."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The names of all IANA time zones."""
    text = (importlib.resources.files("tzdata") / "zones").read_text(encoding="ascii")
    return frozenset(text.split())


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The time zone called `name`, for example ``America/New_York``.

    Raises:
        UnknownZone: there is none of that name.
    """
    if name not in zone_names():
        raise UnknownZone("not a time zone of the IANA database (for example America/New_York)")
    path = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def instant(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - EPOCH) // _MICROSECOND


@lru_cache(maxsize=8192)
def moment(at: int) -> datetime:
    """The UTC datetime of an instant; the same ones come again and again."""
    return EPOCH + timedelta(microseconds=at)


def utc_text(at: datetime) -> str:
    """RFC 3339 in UTC with a Z: ``2026-03-09T14:00:00Z``, with a fraction only where there is one."""
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def wall_midnight(day: date) -> int:
    """What a wall clock reads as `day` begins."""
    return (day.toordinal() - _EPOCH_ORDINAL) * DAY


def wall_date(wall: int) -> date:
    """The date that a wall clock shows."""
    return date.fromordinal(wall // DAY + _EPOCH_ORDINAL)


def _offset(name: str, at: int) -> int:
    offset = moment(at).astimezone(zone(name)).utcoffset()
    assert offset is not None  # an aware datetime has one
    return offset // _MICROSECOND


@lru_cache(maxsize=4096)
def _year(name: str, year: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the zone's offset changes in `year` and some days either side: starts of segments, and their offsets.

    Sampled every three hours and then bisected: no zone has ever changed twice within that.
    """
    first = wall_midnight(date(year, 1, 1)) - 2 * DAY
    last = wall_midnight(date(year, 12, 31)) + 4 * DAY
    starts, offsets = [first], [_offset(name, first)]
    for at in range(first + 3 * HOUR, last + 1, 3 * HOUR):
        if (new := _offset(name, at)) != offsets[-1]:
            low, high = at - 3 * HOUR, at
            while high - low > SECOND:
                middle = (low + high) // 2 // SECOND * SECOND
                if _offset(name, middle) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            starts.append(high)
            offsets.append(new)
    starts.append(last)
    return tuple(starts), tuple(offsets)


def instants_of_wall(name: str, start: int, end: int) -> list[Interval]:
    """The instants at which a wall clock in the zone reads between `start` (included) and `end` (not included).

    One interval on most days. Hours in a daylight-saving gap do not exist, so they give nothing; hours in a fold
    happen twice, so they give their time twice (two intervals where another hour lies between).

    Args:
        name: the IANA time zone.
        start: wall time; its year chooses the transitions looked at.
        end: wall time, at most two days after `start`.
    """
    starts, offsets = _year(name, wall_date(start).year)
    found: list[Interval] = []
    for index, offset in enumerate(offsets):
        low, high = max(start - offset, starts[index]), min(end - offset, starts[index + 1])
        if low < high:
            if found and found[-1][1] == low:
                found[-1] = (found[-1][0], high)
            else:
                found.append((low, high))
    return found


@lru_cache(maxsize=65536)
def day_intervals(name: str, day: date) -> tuple[Interval, ...]:
    """The instants of a local date, midnight to midnight: one interval, none for a date that the zone skipped."""
    start = wall_midnight(day)
    return tuple(instants_of_wall(name, start, start + DAY))


def start_of_day(name: str, day: date) -> int:
    """The first instant of a local date; of a date that the zone skipped, the instant at which it was skipped."""
    for _ in range(3):
        if intervals := day_intervals(name, day):
            return intervals[0][0]
        day += timedelta(days=1)
    raise AssertionError("no zone has ever skipped three days")


def local_date(name: str, at: int) -> date:
    """The date on a wall clock in the zone at an instant."""
    return wall_date(at + offset_at(name, at))


def dates_read(name: str, start: int, end: int) -> tuple[date, date]:
    """The first and the last date that a wall clock in the zone reads from `start` to `end` (not included).

    They need not be those at the two ends: a fold just after midnight shows the day before once more.
    """
    first, last = local_date(name, start), local_date(name, end - 1)
    before, after = first - timedelta(days=1), last + timedelta(days=1)
    if any(low < end and start < high for low, high in day_intervals(name, before)):
        first = before
    if any(low < end and start < high for low, high in day_intervals(name, after)):
        last = after
    return first, last


def offset_at(name: str, at: int) -> int:
    """The zone's offset from UTC at an instant, in microseconds."""
    starts, offsets = _year(name, wall_date(at).year)
    return offsets[min(bisect_right(starts, at), len(offsets)) - 1]


def hull_of_dates(first: date, last: date) -> Interval:
    """An interval that holds the dates `first` to `last` in every time zone, and hours that run past midnight.

    UTC offsets go from -12:00 to +14:00.
    """
    return wall_midnight(first) - 14 * HOUR, wall_midnight(last) + 2 * DAY + 12 * HOUR


def days_between(first: date, last: date) -> list[date]:
    """All dates from `first` to `last`, both included."""
    return [date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)]
