"""When an HL7 v2 appointment is: which field counts, timestamps, zones, durations and units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siu_messages import aip, message, sch, segment, tq1
from test_hl7v2 import NEW_YORK, refusal, span

from emr_plugins.hl7v2.tables import UNITS
from processors.times import utc_text, zone

A, B = "20260309093000-0400", "20260309100000-0400"
AT, AT_10 = "2026-03-09T13:30:00Z", "2026-03-09T14:00:00Z"


def at(text: str) -> str:
    return f"2026-03-09T{text}:00Z"


def sch11(*repetitions: tuple[str, str, str], **more: str) -> str:
    """An SCH whose SCH-11 has durations, starts and ends; further fields by `f9="60"`."""
    fields = {int(name[1:]): value for name, value in more.items()}
    return sch({11: "~".join(f"^^{d}^{s}^{e}" for d, s, e in repetitions), **fields})


# Which field counts ---------------------------------------------------------------------------------------------------

NINE = "20260309090000-0400"


@pytest.mark.parametrize(
    ("segments", "start", "end"),
    [
        # TQ1 before SCH-11 before AIS and AIP before SCH-9
        ([sch11(("", NINE, A), f9="60", f10="s"), tq1(A, B), aip("d", {6: NINE, 9: "5", 10: "min"})], "13:30", "14:00"),
        ([sch11(("", NINE, A), f9="60", f10="s"), aip("d", {6: A, 9: "5", 10: "min"})], "13:00", "13:30"),
        ([sch({9: "60", 10: "s"}), aip("d", {6: A, 9: "5", 10: "min"})], "13:30", "13:35"),
        ([sch({9: "60", 10: "min"}), aip("d", {6: A})], "13:30", "14:30"),
        # an end before a duration of the same place
        ([sch({9: "60"}), tq1(A, B, "5^min"), aip()], "13:30", "14:00"),
        ([sch11(("M5", A, B)), aip()], "13:30", "14:00"),
        # the duration of TQ1 before what comes behind it
        ([sch11(("", A, B), f9="60"), tq1(A, "", "10^min"), aip()], "13:30", "13:40"),
        # an end that TQ1 lacks is looked for further on
        ([sch11(("", NINE, B)), tq1(A, ""), aip()], "13:30", "14:00"),
        ([sch11(("M45", "", "")), tq1(A, ""), aip()], "13:30", "14:15"),
        ([sch(), tq1(A, ""), aip("d", {9: "20", 10: "min"})], "13:30", "13:50"),
        ([sch({9: "25"}), tq1(A, ""), aip()], "13:30", "13:55"),
        # but not one that lies before the start
        ([sch11(("", NINE, A), f9="25"), tq1(A, ""), aip()], "13:30", "13:55"),
        # a TQ1 without times says nothing
        ([sch11(("", A, B)), segment("TQ1", {1: "1", 9: "R"}), aip()], "13:30", "14:00"),
        # AIS alone, offsets from the start, the longest counts
        ([sch(), segment("AIS", {4: A, 7: "30", 8: "min"}), aip()], "13:30", "14:00"),
        ([sch(), segment("AIS", {4: A, 7: "30"}), aip("d", {7: "-10", 8: "min", 9: "15"})], "13:20", "14:00"),
        ([sch11(("", A, "")), aip("d", {7: "30", 8: "min", 9: "15", 10: "MIN"})], "13:30", "14:15"),
        ([sch11(("", A, "")), aip("d", {6: A, 7: "30", 8: "min", 9: "15", 10: "MIN"})], "13:30", "13:45"),
        # a deleted resource's time does not count, nor a room's where there is another
        ([sch(), aip("d", {6: A, 9: "15"}), aip("e", {2: "D", 6: A, 9: "50"})], "13:30", "13:45"),
        ([sch(), aip("d", {6: A, 9: "15"}), segment("AIL", {6: NINE, 9: "90"})], "13:30", "13:45"),
        ([sch(), aip("d"), segment("AIL", {6: A, 9: "15"})], "13:30", "13:45"),
        ([sch(), aip("d"), segment("AIG", {8: A, 11: "15"})], "13:30", "13:45"),
        # a duration of 0 is none
        ([sch({9: "30"}), aip("d", {6: A, 9: "0", 10: "MIN"})], "13:30", "14:00"),
        # number and unit in one field
        ([sch({9: "1^HR"}), aip("d", {6: A})], "13:30", "14:30"),
        # several are taken together
        ([sch(), tq1(A, B), tq1(NINE, A), aip()], "13:00", "14:00"),
        ([sch11(("", A, B), ("M30", NINE, "")), aip()], "13:00", "14:00"),
        # HL7's null is empty
        ([sch11(("", A, B)), tq1('""', '""'), aip()], "13:30", "14:00"),
        # only what is needed is read
        ([sch11(("nonsense",) * 3, f9="x", f10="y"), tq1(A, B), aip("d", {6: "z"})], "13:30", "14:00"),
    ],
)  # fmt: skip
def test_the_first_place_that_says_it_counts(segments: list[str], start: str, end: str) -> None:
    assert span(message(*segments)) == (at(start), at(end))


@pytest.mark.parametrize(
    ("segments", "detail"),
    [
        ([sch(), aip()], "TQ1-7, SCH-11.4, AIS-4 or AIP-6: no start is given"),
        ([sch(), tq1(A, ""), aip()], "TQ1-8, TQ1-6, SCH-11.5, AIS-7, AIP-9 or SCH-9: neither an end nor a duration"),
        ([sch(), tq1(B, A), aip()], "TQ1-8: must be after the start"),
        ([sch(), tq1(A, A), aip()], "TQ1-8: must be after the start"),
        ([sch11(("", B, A)), aip()], "SCH-11.5: must be after the start"),
        ([sch(), tq1("9 o'clock"), aip()], "TQ1-7: must be a date, or date and time"),
        ([sch(), tq1(A, "2026"), aip()], "TQ1-8: must be a date, or date and time"),
        ([sch11(("", "2026-03-09T09:00", "")), aip()], "SCH-11.4: must be a date, or date and time"),
        ([sch(), tq1("20260230"), aip()], "TQ1-7: there is no such date and time"),
        ([sch(), tq1("202603092400"), aip()], "TQ1-7: there is no such date and time"),
        ([sch(), tq1("20260309093000-9900"), aip()], "TQ1-7: there is no such date and time"),
        ([sch(), tq1("19690101000000+0000"), aip()], "TQ1-7: the year must lie between 1971 and 2198"),
        ([sch(), tq1("00010101000000+1400"), aip()], "TQ1-7: the year must lie between 1971 and 2198"),
        ([sch(), tq1("99991231235959-1400"), aip()], "TQ1-7: the year must lie between 1971 and 2198"),
        ([sch(), tq1("19710101000000+0100"), aip()], "TQ1-7: the year must lie between 1971 and 2198"),
        ([sch(), tq1(A, "", "x^min"), aip()], "TQ1-6: must be a number"),
        ([sch(), tq1(A, "", "5^fortnights"), aip()], "TQ1-6.2: is not a unit of time"),
        ([sch(), tq1(A, "", "999999999^wk"), aip()], "TQ1-6.2: the duration is too long"),
        ([sch(), tq1(A, "", "99999^wk"), aip()], "TQ1-6: "),
        ([sch11(("M30M", A, "")), aip()], "SCH-11.3: must be a duration, as M30"),
        ([sch11(("Q30", A, "")), aip()], "SCH-11.3: is not a unit of time"),
        ([sch({9: "-5"}), tq1(A, ""), aip()], "SCH-9: must be a number"),
        ([sch({9: "5", 10: "units"}), tq1(A, ""), aip()], "SCH-10: is not a unit of time"),
        ([sch(), segment("AIS", {4: "x"}), aip()], "AIS-4: must be a date"),
        ([sch(), aip("d", {6: "x"})], "AIP-6: must be a date"),
        ([sch11(("", A, "")), aip("d", {7: "x"})], "AIP-7: must be a number"),
        ([sch11(("", A, "")), aip("d", {7: "1", 8: "x"})], "AIP-8: is not a unit of time"),
        ([sch11(("", A, "")), aip("d", {9: "x"})], "AIP-9: must be a number"),
        ([sch11(("", A, "")), aip("d", {9: "1", 10: "x"})], "AIP-10: is not a unit of time"),
        ([sch(), segment("AIG", {8: "x"}), aip()], "AIG-8: must be a date"),
        ([sch(), segment("AIL", {6: "x"}), aip()], "AIL-6: must be a date"),
        ([sch(), tq1(A, B), tq1("20260316093000", "20260316100000"), aip()], "TQ1-7: the times are more than a day"),
    ],
)  # fmt: skip
def test_a_wrong_time_is_refused_by_segment_and_field(segments: list[str], detail: str) -> None:
    told = refusal(message(*segments))
    assert told.startswith(detail)
    assert told.isprintable()


# Timestamps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026030909", "2026-03-09T13:00:00Z"),
        ("202603090930", "2026-03-09T13:30:00Z"),
        ("20260309093015", "2026-03-09T13:30:15Z"),
        ("20260309093015.25", "2026-03-09T13:30:15.250000Z"),
        ("20260309093015.123456789", "2026-03-09T13:30:15.123456Z"),
        ("20260309093000+0215", "2026-03-09T07:15:00Z"),
        ("202603090930+0530", "2026-03-09T04:00:00Z"),
        ("2026030909-0400", "2026-03-09T13:00:00Z"),
        ("20260309000000+1400", "2026-03-08T10:00:00Z"),
        ("202603090930^M", "2026-03-09T13:30:00Z"),
        (" 202603090930 ", "2026-03-09T13:30:00Z"),
        ("20260109093000", "2026-01-09T14:30:00Z"),
    ],
)
def test_a_timestamp_may_lack_its_offset_and_all_behind_the_hour(text: str, instant: str) -> None:
    (start, _) = span(message(sch(), tq1(text, "", "30^min"), aip()))
    assert start == instant


def test_the_tenants_zone_counts_where_there_is_no_offset_whatever_the_header_says() -> None:
    text = message(sch(), tq1("202607090930", "202607091000"), aip(), header={7: "20260302150405-0500"})
    assert span(text)[0] == "2026-07-09T13:30:00Z"
    assert span(text, "Europe/Berlin")[0] == "2026-07-09T07:30:00Z"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # the hour that comes twice is the first, unless the end would not be behind the start
        ("202611010030", "202611010130", ("2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z")),
        ("202611010130", "202611010200", ("2026-11-01T05:30:00Z", "2026-11-01T07:00:00Z")),
        ("202611010145", "202611010115", ("2026-11-01T05:45:00Z", "2026-11-01T06:15:00Z")),
        ("202611010115-0500", "202611010145", ("2026-11-01T06:15:00Z", "2026-11-01T06:45:00Z")),
        # the hour that is left out: as if clocks had not been put forward yet
        ("202603080230", "202603080330", None),
        ("202603080130", "202603080230", ("2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z")),
        ("202603080230", "202603080400", ("2026-03-08T07:30:00Z", "2026-03-08T08:00:00Z")),
    ],
)
def test_clocks_that_change_are_read_always_alike(
    start: str, end: str, expected: tuple[str, str] | None
) -> None:
    text = message(sch(), tq1(start, end), aip())
    if expected is None:
        assert refusal(text) == "TQ1-8: must be after the start"
    else:
        assert span(text) == expected


def test_a_duration_is_time_that_passes_whatever_the_clocks_do() -> None:
    text = message(sch(), tq1("202603080130", "", "1^h"), aip())
    assert span(text) == ("2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z")


@settings(deadline=None)
@given(
    st.datetimes(datetime(1972, 1, 1), datetime(2190, 1, 1)),  # noqa: DTZ001 - a zone is what they are read in
    st.sampled_from([NEW_YORK, "Asia/Kolkata", "UTC", "Pacific/Apia", "Australia/Lord_Howe"]),
    st.integers(-14 * 60, 14 * 60),
)
def test_timestamps_are_what_the_calendar_says(naive: datetime, name: str, minutes: int) -> None:
    naive = naive.replace(microsecond=naive.microsecond // 100 * 100)
    digits = f"{naive:%Y%m%d%H%M%S}".zfill(14) + f".{naive.microsecond // 100:04d}"
    local = naive.replace(tzinfo=zone(name)).astimezone(UTC)
    assert span(message(sch({9: "5"}), tq1(digits, ""), aip()), name)[0] == utc_text(local)
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    fixed = naive.replace(tzinfo=UTC) - timedelta(minutes=minutes)
    assert span(message(sch({9: "5"}), tq1(digits + offset, ""), aip()), name)[0] == utc_text(fixed)


# Durations ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [("s", 1), ("sec", 1), ("min", 60), ("m", 60), ("h", 3600), ("hr", 3600), ("d", 86400), ("wk", 604800)],
)
def test_units_are_understood_in_any_case_as_code_or_text(unit: str, seconds: int) -> None:
    assert UNITS[unit] == seconds
    for written in (
        unit,
        unit.upper(),
        unit.title(),
        f"{unit}^^ISO+",
        f"^{unit}",
        f"local^{unit}",
        f" {unit} ",
    ):
        start, end = span(message(sch({9: "2", 10: written}), tq1(A, ""), aip()))
        assert datetime.fromisoformat(end) - datetime.fromisoformat(start) == timedelta(seconds=2 * seconds)


@pytest.mark.parametrize(
    ("tq", "minutes"),
    [("M30", 30), ("m30", 30), ("S90", 1.5), ("H2", 120), ("D1", 1440), ("W1", 10080), ("30", 30), ("30 min", 30),
     ("2 hours", 120), ("45MIN", 45)],
)  # fmt: skip
def test_durations_in_sch_11_are_understood(tq: str, minutes: float) -> None:
    start, end = span(message(sch11((tq, A, "")), aip()))
    assert datetime.fromisoformat(end) - datetime.fromisoformat(start) == timedelta(minutes=minutes)


def test_a_duration_without_a_unit_is_minutes_unless_the_settings_say_seconds() -> None:
    for text in (
        message(sch({9: "1800"}), tq1(A, ""), aip()),
        message(sch(), aip("d", {6: A, 9: "1800"})),
        message(sch11(("1800", A, "")), aip()),
        message(sch(), tq1(A, "", "1800"), aip()),
    ):
        assert span(text, missing_unit="s") == (AT, AT_10)
        assert span(text)[1] == "2026-03-10T19:30:00Z"


def test_durations_may_have_parts() -> None:
    assert span(message(sch({9: "0.5", 10: "h"}), tq1(A, ""), aip())) == (AT, AT_10)
