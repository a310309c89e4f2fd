"""Wall-clock times become instants as iCalendar says, on days when the clocks change, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import times
from processors.errors import Reject
from processors.wall_clock import from_wall_clock

ZONES = (
    "America/New_York",
    "Europe/Oslo",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "UTC",
)


def naive(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        ("America/New_York", "2026-03-09T09:00", "2026-03-09T13:00"),
        ("America/New_York", "2026-03-07T09:00", "2026-03-07T14:00"),
        (
            "America/New_York",
            "2026-03-08T02:30",
            "2026-03-08T07:30",
        ),  # skipped: as if it had not gone forward
        ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30"),  # twice: the first
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:45"),
        ("Asia/Kathmandu", "2026-01-01T00:00:30", "2025-12-31T18:15:30"),
    ],
)
def test_a_time_on_the_wall_is_an_instant_in_utc(zone: str, wall: str, instant: str) -> None:
    found = from_wall_clock(naive(wall), zone)
    assert found == datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert found.tzinfo is UTC


@given(
    st.sampled_from(ZONES),
    st.datetimes(naive("1990-01-01"), naive("2037-12-31")).map(lambda at: at.replace(microsecond=0)),
    st.integers(0, 1),
)
def test_it_is_the_first_instant_that_reads_so_or_lies_as_far_behind_the_gap(
    zone: str, wall: datetime, fold: int
) -> None:
    found = times.instant(from_wall_clock(wall.replace(fold=fold), zone))
    reading = times.instant(wall.replace(tzinfo=UTC))
    reads_so = times.instants_of_wall(zone, reading, reading + times.SECOND)
    if reads_so:
        assert found == reads_so[0][0]
    else:
        hours_before = found - 3 * times.HOUR
        assert found == reading - times.offset_at(zone, hours_before)


def test_what_is_no_real_year_is_rejected() -> None:
    for wall in ("0001-01-01", "1970-12-31", "2199-01-01", "9999-12-31"):
        with pytest.raises(Reject, match="the year must lie between 1971 and 2198"):
            from_wall_clock(naive(wall), "Asia/Tokyo")
    assert from_wall_clock(naive("1971-01-01"), "Asia/Tokyo").year == 1970


def test_a_time_with_an_offset_and_a_zone_that_there_is_not_are_wrong() -> None:
    with pytest.raises(ValueError, match="has no offset"):
        from_wall_clock(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), "UTC")
    with pytest.raises(times.UnknownZone):
        from_wall_clock(naive("2026-01-01"), "Mars/Olympus")
