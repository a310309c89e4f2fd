"""Times as messages have them that come without an offset: what the clock on somebody's wall reads."""

from __future__ import annotations

from datetime import UTC, datetime

from . import times
from .errors import Reject


def from_wall_clock(wall: datetime, zone: str) -> datetime:
    """The instant at which a clock on the wall reads a time.

    A time that the clock skips when it goes forward counts as if it had not gone forward yet, and of a time that it
    shows twice when it goes back the first counts (iCalendar, RFC 5545, 3.3.5).

    Args:
        wall: what it reads, without an offset.
        zone: the IANA time zone in which it hangs.

    Returns:
        the instant in UTC, so that adding a duration to it adds elapsed time.

    Raises:
        Reject: its year is outside 1971 to 2198.
        UnknownZone: there is no such zone; a ValueError.
        ValueError: `wall` has an offset, and needs no zone.
    """
    if wall.tzinfo is not None:
        raise ValueError("a wall-clock time has no offset")
    if not times.FIRST_YEAR < wall.year < times.LAST_YEAR:
        why = f"the year must lie between {times.FIRST_YEAR + 1} and {times.LAST_YEAR - 1}"
        raise Reject("invalid_data", f"a date and time: {why}")
    return wall.replace(tzinfo=times.zone(zone), fold=0).astimezone(UTC)
