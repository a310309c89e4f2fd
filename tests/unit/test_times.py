"""Instants and wall clocks, against transitions worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import times
from processors.times import DAY, HOUR, MINUTE, SECOND


def at(text: str) -> int:
    """The instant of RFC 3339 text."""
    return times.instant(datetime.fromisoformat(text))


def wall(text: str) -> int:
    """What a wall clock reads, as microseconds."""
    return times.instant(datetime.fromisoformat(text).replace(tzinfo=UTC))


def utc(intervals: list[times.Interval] | tuple[times.Interval, ...]) -> list[tuple[str, str]]:
    """Intervals as text."""
    return [(times.utc_text(times.moment(a)), times.utc_text(times.moment(b))) for a, b in intervals]


IN_UTC: st.SearchStrategy[tzinfo | None] = st.just(UTC)


def moments(
    first: str, last: str, zones: st.SearchStrategy[tzinfo | None] = IN_UTC
) -> st.SearchStrategy[datetime]:
    """Aware datetimes from one year to another."""
    low, high = (
        datetime.fromisoformat(f"{first}-01-01"),
        datetime.fromisoformat(f"{last}-12-31T23:59:59.999999"),
    )
    return st.datetimes(low, high, timezones=zones)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "start", "end", "expected"),
    [
        # New York, an ordinary day: UTC-5.
        ("America/New_York", "2026-03-02T09:00", "2026-03-02T17:00", [("2026-03-02T14:00", "2026-03-02T22:00")]),
        # 2026-03-08, 02:00 EST -> 03:00 EDT at 07:00Z: the missing hour offers nothing.
        ("America/New_York", "2026-03-08T02:00", "2026-03-08T03:00", []),
        ("America/New_York", "2026-03-08T02:15", "2026-03-08T02:45", []),
        ("America/New_York", "2026-03-08T01:30", "2026-03-08T03:30", [("2026-03-08T06:30", "2026-03-08T07:30")]),
        ("America/New_York", "2026-03-08T02:30", "2026-03-08T04:00", [("2026-03-08T07:00", "2026-03-08T08:00")]),
        ("America/New_York", "2026-03-08T01:00", "2026-03-08T02:30", [("2026-03-08T06:00", "2026-03-08T07:00")]),
        # 2026-11-01, 02:00 EDT -> 01:00 EST at 06:00Z: the repeated hour is offered twice.
        ("America/New_York", "2026-11-01T01:00", "2026-11-01T02:00", [("2026-11-01T05:00", "2026-11-01T07:00")]),
        (
            "America/New_York",
            "2026-11-01T01:15",
            "2026-11-01T01:45",
            [("2026-11-01T05:15", "2026-11-01T05:45"), ("2026-11-01T06:15", "2026-11-01T06:45")],
        ),
        (
            "America/New_York",
            "2026-11-01T00:30",
            "2026-11-01T01:30",
            [("2026-11-01T04:30", "2026-11-01T05:30"), ("2026-11-01T06:00", "2026-11-01T06:30")],
        ),
        (
            "America/New_York",
            "2026-11-01T01:30",
            "2026-11-01T03:00",
            [("2026-11-01T05:30", "2026-11-01T06:00"), ("2026-11-01T06:30", "2026-11-01T08:00")],
        ),
        # Past midnight into the fold, and all round the clock: 25 hours.
        ("America/New_York", "2026-10-31T22:00", "2026-11-01T06:00", [("2026-11-01T02:00", "2026-11-01T11:00")]),
        ("America/New_York", "2026-11-01T00:00", "2026-11-02T00:00", [("2026-11-01T04:00", "2026-11-02T05:00")]),
        # Lord Howe, 2026-04-05: 02:00 (+11:00) -> 01:30 (+10:30) at 15:00Z the day before.
        ("Australia/Lord_Howe", "2026-04-05T01:30", "2026-04-05T02:00", [("2026-04-04T14:30", "2026-04-04T15:30")]),
        (
            "Australia/Lord_Howe",
            "2026-04-05T01:00",
            "2026-04-05T01:45",
            [("2026-04-04T14:00", "2026-04-04T14:45"), ("2026-04-04T15:00", "2026-04-04T15:15")],
        ),
        # Lord Howe, 2026-10-04: 02:00 (+10:30) -> 02:30 (+11:00) at 15:30Z the day before.
        ("Australia/Lord_Howe", "2026-10-04T02:00", "2026-10-04T02:30", []),
        ("Australia/Lord_Howe", "2026-10-04T01:45", "2026-10-04T02:45", [("2026-10-03T15:15", "2026-10-03T15:45")]),
        # Kathmandu: +05:45 all year.
        ("Asia/Kathmandu", "2026-07-01T09:00", "2026-07-01T17:00", [("2026-07-01T03:15", "2026-07-01T11:15")]),
        # Over the turn of the year, in the zones furthest from UTC.
        ("Pacific/Kiritimati", "2026-01-01T00:00", "2026-01-02T00:00", [("2025-12-31T10:00", "2026-01-01T10:00")]),
        ("Etc/GMT+12", "2025-12-31T00:00", "2026-01-01T00:00", [("2025-12-31T12:00", "2026-01-01T12:00")]),
        ("Etc/GMT+12", "2025-12-31T23:59", "2026-01-02T23:59", [("2026-01-01T11:59", "2026-01-03T11:59")]),
        # Seconds and fractions are kept.
        ("UTC", "2026-01-01T09:00:01.5", "2026-01-01T09:02", [("2026-01-01T09:00:01.500000", "2026-01-01T09:02")]),
    ],
)  # fmt: skip
def test_instants_at_which_a_wall_clock_reads_between_two_times(
    zone: str, start: str, end: str, expected: list[tuple[str, str]]
) -> None:
    wanted = [(at(f"{a}+00:00"), at(f"{b}+00:00")) for a, b in expected]
    assert utc(times.instants_of_wall(zone, wall(start), wall(end))) == utc(wanted)


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", "2026-05-12", [("2026-05-12T00:00:00Z", "2026-05-13T00:00:00Z")]),
        ("America/New_York", "2026-03-08", [("2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z")]),
        ("America/New_York", "2026-11-01", [("2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z")]),
        ("Australia/Lord_Howe", "2026-10-04", [("2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z")]),
        # Cairo: Friday starts at 01:00 in spring; Thursday's last hour comes twice in autumn.
        ("Africa/Cairo", "2026-04-24", [("2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z")]),
        ("Africa/Cairo", "2026-10-29", [("2026-10-28T21:00:00Z", "2026-10-29T22:00:00Z")]),
        # Apia went from the 29th to the 31st of December 2011.
        ("Pacific/Apia", "2011-12-29", [("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z")]),
        ("Pacific/Apia", "2011-12-30", []),
        ("Pacific/Apia", "2011-12-31", [("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z")]),
        # St John's, 2010-11-07: 00:01 -> 23:01 of the day before, at 02:31Z.
        (
            "America/St_Johns",
            "2010-11-06",
            [
                ("2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z"),
                ("2010-11-07T02:31:00Z", "2010-11-07T03:30:00Z"),
            ],
        ),
        (
            "America/St_Johns",
            "2010-11-07",
            [
                ("2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z"),
                ("2010-11-07T03:30:00Z", "2010-11-08T03:30:00Z"),
            ],
        ),
    ],
)
def test_the_instants_of_a_local_date(zone: str, day: str, expected: list[tuple[str, str]]) -> None:
    assert utc(times.day_intervals(zone, date.fromisoformat(day))) == expected


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("America/New_York", "2026-03-08", "2026-03-08T05:00:00Z"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
    ],
)
def test_the_first_instant_of_a_local_date(zone: str, day: str, expected: str) -> None:
    assert times.utc_text(times.moment(times.start_of_day(zone, date.fromisoformat(day)))) == expected


@pytest.mark.parametrize(
    ("zone", "instant", "expected"),
    [
        ("America/New_York", "2026-03-08T04:59:59.999999Z", "2026-03-07"),
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-08"),
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
        ("Etc/GMT+12", "2026-01-01T11:59:59Z", "2025-12-31"),
        ("Pacific/Kiritimati", "2025-12-31T10:00:00Z", "2026-01-01"),
        ("America/St_Johns", "2010-11-07T02:30:59Z", "2010-11-07"),
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06"),
    ],
)
def test_the_local_date_of_an_instant(zone: str, instant: str, expected: str) -> None:
    assert times.local_date(zone, at(instant)) == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("zone", "start", "end", "expected"),
    [
        ("UTC", "2026-05-12T00:00:00Z", "2026-05-13T00:00:00Z", ("2026-05-12", "2026-05-12")),
        ("UTC", "2026-05-12T00:00:00Z", "2026-05-13T00:00:01Z", ("2026-05-12", "2026-05-13")),
        ("Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-30T11:00:00Z", ("2011-12-29", "2011-12-31")),
        # Both ends read the 7th and the 6th: the fold shows the earlier date after the later one.
        ("America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-07T02:45:00Z", ("2010-11-06", "2010-11-07")),
        ("America/St_Johns", "2010-11-07T02:00:00Z", "2010-11-07T03:00:00Z", ("2010-11-06", "2010-11-07")),
        ("America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-07T04:00:00Z", ("2010-11-06", "2010-11-07")),
    ],
)
def test_the_dates_that_a_wall_clock_reads(
    zone: str, start: str, end: str, expected: tuple[str, str]
) -> None:
    first, last = times.dates_read(zone, at(start), at(end))
    assert (first.isoformat(), last.isoformat()) == expected


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(times.zone_names())), moments("2011", "2011") | moments("2026", "2027"))
def test_offsets_are_those_of_the_time_zone_database(name: str, moment: datetime) -> None:
    local = moment.astimezone(times.zone(name))
    offset = local.utcoffset()
    assert offset is not None
    assert times.offset_at(name, times.instant(moment)) == offset / timedelta(microseconds=1)
    assert times.local_date(name, times.instant(moment)) == local.date()


@given(moments("1970", "2199", zones=st.timezones()))
def test_an_instant_is_exact_and_turns_back_into_its_moment(moment: datetime) -> None:
    at_ = times.instant(moment)
    assert times.moment(at_) == moment.astimezone(UTC)
    assert datetime.fromisoformat(times.utc_text(moment)) == moment.astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-09T09:00:00-04:00", "2026-03-09T13:00:00Z"),
        ("2026-03-09T13:00:00+00:00", "2026-03-09T13:00:00Z"),
        ("2026-03-09T18:45:00.000001+05:45", "2026-03-09T13:00:00.000001Z"),
    ],
)
def test_utc_text_has_a_fraction_only_where_there_is_one(moment: str, expected: str) -> None:
    assert times.utc_text(datetime.fromisoformat(moment)) == expected


@pytest.mark.parametrize(
    "name", ["America/Springfield", "", "../UTC", "EST5", "utc", "/etc/passwd", "New_York"]
)
def test_an_unknown_zone_is_refused_without_repeating_its_name(name: str) -> None:
    with pytest.raises(times.UnknownZone) as refusal:
        times.zone(name)
    assert not name or name not in str(refusal.value).replace("America/New_York", "")


def test_every_zone_of_the_database_can_be_read() -> None:
    assert len(times.zone_names()) > 400
    for name in times.zone_names():
        assert times.zone(name).key == name


@pytest.mark.parametrize("day", ["2026-03-08", "2026-11-01", "2011-12-30", "2018-11-04", "1995-01-01"])
def test_the_hull_of_a_date_holds_it_and_the_next_in_every_zone(day: str) -> None:
    """The next as well, since hours of the date may run past its midnight."""
    first = date.fromisoformat(day)
    dates = {first, first + timedelta(days=1)}
    low, high = times.hull_of_dates(first, first)
    outside = [low - 1 - n * HOUR for n in range(48)] + [high + n * HOUR for n in range(48)]
    for name in times.zone_names():
        for when in outside:
            assert times.moment(when).astimezone(times.zone(name)).date() not in dates, name


def test_the_hull_reaches_as_far_as_zones_do_and_no_further() -> None:
    low, high = times.hull_of_dates(date(2026, 7, 1), date(2026, 7, 1))
    assert times.start_of_day("Pacific/Kiritimati", date(2026, 7, 1)) == low
    assert times.start_of_day("Etc/GMT+12", date(2026, 7, 3)) == high


def test_units() -> None:
    assert (DAY, HOUR, MINUTE) == (24 * HOUR, 60 * MINUTE, 60 * SECOND)
    assert at("1970-01-01T00:00:01Z") == SECOND
    assert times.wall_midnight(date(1970, 1, 2)) == DAY
    assert times.wall_date(DAY - 1) == date(1970, 1, 1)
    assert times.days_between(date(2026, 2, 28), date(2026, 3, 1)) == [date(2026, 2, 28), date(2026, 3, 1)]
    assert times.days_between(date(2026, 3, 1), date(2026, 2, 28)) == []
