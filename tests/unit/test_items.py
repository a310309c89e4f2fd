"""The bodies of items: what is accepted, what is refused by which field, and that what is stored can be read again."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from processors import times
from processors.errors import explain
from processors.items import (
    BODIES,
    Appointment,
    Body,
    DateOverride,
    Hours,
    ItemChange,
    Slot,
    TimeOff,
    WeeklyHours,
    WorkingHours,
    body_from_json,
)

START, END = "2026-03-09T14:00:00Z", "2026-03-09T15:00:00Z"
ENTRY = {"days": ["mon"], "start": "09:00", "end": "17:00"}
GOOD: dict[str, dict[str, Any]] = {
    "working_hours": {"time_zone": "America/New_York", "weekly": [ENTRY]},
    "date_override": {"date": "2026-12-24", "hours": [{"start": "09:00", "end": "12:00"}]},
    "time_off": {"start": "2026-12-25", "end": "2026-12-26"},
    "appointment": {"start": START, "end": END, "status": "booked"},
    "slot": {"start": START, "end": END, "status": "free"},
    "availability": {"date": "2026-03-09", "spans": [{"start": START, "end": END}]},
}


def both_ways(kind: str, fields: dict[str, Any]) -> Body:
    """The body of a JSON text, which is that of the same JSON as Python values."""
    body = body_from_json(kind, json.dumps(fields))
    assert BODIES[kind].model_validate(fields) == body
    return body


def refusal(kind: str, **fields: Any) -> str:
    """What is wrong with the good body of a kind after some fields were changed."""
    document = {**GOOD[kind], **fields}
    with pytest.raises(ValidationError) as from_text:
        body_from_json(kind, json.dumps(document))
    with pytest.raises(ValidationError) as from_values:
        BODIES[kind].model_validate(document)
    reason = explain(from_text.value)
    assert explain(from_values.value).split(": ")[0] == reason.split(": ")[0]
    return reason


@pytest.mark.parametrize("kind", GOOD)
def test_the_documented_form_of_each_kind_is_read(kind: str) -> None:
    body = both_ways(kind, {**GOOD[kind], "id": "x", "provider_id": "p1", "version": 3, "patient": "nobody"})
    assert body.kind == kind
    assert body.counts
    assert "nobody" not in body.json_text()


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
@pytest.mark.parametrize("kind", GOOD)
def test_withdrawn_items_count_for_nothing_and_may_lack_their_times(kind: str, status: str) -> None:
    body = both_ways(kind, {**GOOD[kind], "status": status})
    assert not body.counts
    if kind in ("time_off", "appointment", "slot"):
        bare = both_ways(kind, {"status": status})
        assert not bare.counts
        assert bare.hull() == (0, 0)
        assert refusal(kind, start=None).startswith("start and end are required")


def test_defaults() -> None:
    (hours,) = DateOverride.model_validate(GOOD["date_override"]).hours
    assert (hours.location_id, hours.service_types, hours.capacity) == (None, (), 1)
    assert DateOverride.model_validate({"date": "2026-01-01"}).hours == ()


@pytest.mark.parametrize(
    ("kind", "status", "takes"),
    [
        ("appointment", "proposed", False),
        ("appointment", "pending", True),
        ("appointment", "booked", True),
        ("appointment", "arrived", True),
        ("appointment", "fulfilled", True),
        ("appointment", "cancelled", False),
        ("appointment", "noshow", False),
        ("appointment", "entered-in-error", False),
        ("appointment", "checked-in", True),
        ("appointment", "waitlist", False),
    ],
)
def test_which_appointments_take_a_place(kind: str, status: str, takes: bool) -> None:
    body = both_ways(kind, {**GOOD[kind], "status": status})
    assert isinstance(body, Appointment)
    assert body.takes_place == takes


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        # times of day
        ("date_override", {"hours": [{"start": "9:00", "end": "12:00"}]}, "hours.0.start: must be a time of day"),
        ("date_override", {"hours": [{"start": "09:00Z", "end": "12:00"}]}, "hours.0.start: must be a time of day"),
        ("date_override", {"hours": [{"start": "T09:00", "end": "12:00"}]}, "hours.0.start: must be a time of day"),
        ("date_override", {"hours": [{"start": 9, "end": "12:00"}]}, "hours.0.start: must be a time of day"),
        ("date_override", {"hours": [{"start": "25:00", "end": "12:00"}]}, "hours.0.start: there is no such time"),
        ("date_override", {"hours": [{"start": "24:00", "end": "12:00"}]}, "hours.0.start: there is no such time"),
        ("date_override", {"hours": [{"start": "09:00", "end": "24:01"}]}, "hours.0.end: there is no such time"),
        ("date_override", {"hours": [{"start": "09:60", "end": "12:00"}]}, "hours.0.start: there is no such time"),
        ("date_override", {"hours": [{"end": "12:00"}]}, "hours.0.start: is required"),
        ("date_override", {"hours": {"start": "09:00"}}, "hours: "),
        ("date_override", {"hours": ["09:00"]}, "hours.0: "),
        # dates
        ("date_override", {"date": "2026-2-1"}, "date: must be a date"),
        ("date_override", {"date": "20260201"}, "date: must be a date"),
        ("date_override", {"date": "2026-02-29"}, "date: there is no such date"),
        ("date_override", {"date": "2026-02-01T00:00:00Z"}, "date: must be a date"),
        ("date_override", {"date": 20260201}, "date: must be a date"),
        ("date_override", {"date": "1970-12-31"}, "date: the year must lie between 1971 and 2198"),
        ("date_override", {"date": "9999-12-31"}, "date: the year must lie between 1971 and 2198"),
        # instants
        ("appointment", {"start": "2026-03-09T14:00:00"}, "start: must be a date and time"),
        ("appointment", {"start": "2026-03-09"}, "start: must be a date and time"),
        ("appointment", {"start": 1773064800}, "start: must be a date and time"),
        ("appointment", {"start": "2198-12-31T23:00:00-05:00"}, "start: the year must lie between 1971 and 2198"),
        ("appointment", {"start": "1971-01-01T00:00:00+05:00"}, "start: the year must lie between 1971 and 2198"),
        ("appointment", {"start": END, "end": END}, "end is not after start"),
        ("slot", {"start": END, "end": START}, "end is not after start"),
        ("slot", {"status": "cancelled", "start": END, "end": START}, "end is not after start"),
        # time off
        ("time_off", {"end": "2026-12-24"}, "end is not after start"),
        ("time_off", {"end": END}, "start and end must both be dates or both be instants"),
        ("time_off", {"start": START, "end": START}, "end is not after start"),
        ("time_off", {"start": "2026-12-25T00:00:00"}, "start: must be a date and time"),
        ("time_off", {"start": ["2026-12-25"]}, "start: must be a date"),
        # statuses
        ("appointment", {"status": "Booked"}, "status: "),
        ("appointment", {"status": None}, "status: "),
        ("appointment", {"status": "active"}, "status: "),
        ("slot", {"status": "booked"}, "status: "),
        ("time_off", {"status": "booked"}, "status: "),
        # zones, days of the week, bounds
        ("working_hours", {"time_zone": "Mars/Base"}, "time_zone: not a time zone"),
        ("working_hours", {"time_zone": "../../etc/passwd"}, "time_zone: not a time zone"),
        ("working_hours", {"time_zone": "x" * 65}, "time_zone: "),
        ("working_hours", {"time_zone": 5}, "time_zone: "),
        ("working_hours", {"weekly": [{**ENTRY, "days": []}]}, "weekly.0.days: "),
        ("working_hours", {"weekly": [{**ENTRY, "days": ["Mon"]}]}, "weekly.0.days.0: "),
        ("working_hours", {"weekly": [{**ENTRY, "days": "mon"}]}, "weekly.0.days: "),
        ("working_hours", {"weekly": [ENTRY] * 1001}, "weekly: "),
        ("working_hours", {"weekly": None}, "weekly: "),
        (
            "working_hours",
            {"effective_from": "2026-01-02", "effective_until": "2026-01-01"},
            "effective_until is before effective_from",
        ),
        # offers
        ("slot", {"location_id": ""}, "location_id: "),
        ("slot", {"location_id": "x" * 257}, "location_id: "),
        ("slot", {"location_id": 5}, "location_id: "),
        ("slot", {"service_types": "new"}, "service_types: must be a list of texts"),
        ("slot", {"service_types": ["new", 5]}, "service_types: must be a list of texts"),
        ("slot", {"service_types": [""]}, "service_types.0: "),
        ("slot", {"service_types": [f"s{n}" for n in range(51)]}, "service_types: "),
        ("working_hours", {"weekly": [{**ENTRY, "capacity": 0}]}, "weekly.0.capacity: "),
        ("working_hours", {"weekly": [{**ENTRY, "capacity": 10_001}]}, "weekly.0.capacity: "),
        ("working_hours", {"weekly": [{**ENTRY, "capacity": 1.0}]}, "weekly.0.capacity: "),
        ("working_hours", {"weekly": [{**ENTRY, "capacity": True}]}, "weekly.0.capacity: "),
        ("working_hours", {"weekly": [{**ENTRY, "capacity": "1"}]}, "weekly.0.capacity: "),
        # availability
        ("availability", {"spans": [{"start": END, "end": START}]}, "spans.0: end is not after start"),
        (
            "availability",
            {"spans": [{"start": START, "end": END}, {"start": "2026-03-09T14:59:59Z", "end": "2026-03-09T16:00:00Z"}]},
            "spans of one location and service types overlap",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_the_name_of_its_field(
    kind: str, fields: dict[str, Any], reason: str
) -> None:
    assert refusal(kind, **fields).startswith(reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("09:00", time(9)),
        ("09:00:30", time(9, 0, 30)),
        ("09:00:30.25", time(9, 0, 30, 250_000)),
        ("00:00", time(0)),
        ("24:00", time(0)),
        ("24:00:00", time(0)),
    ],
)
def test_hours_end_at_a_wall_time_or_at_the_midnight_that_ends_the_day(text: str, expected: time) -> None:
    body = both_ways("date_override", {"date": "2026-12-24", "hours": [{"start": "08:00", "end": text}]})
    assert isinstance(body, DateOverride)
    assert body.hours[0].end == expected


def test_service_types_are_a_sorted_set() -> None:
    body = both_ways("slot", {**GOOD["slot"], "service_types": ["b", "a", "b"]})
    assert isinstance(body, Slot)
    assert body.service_types == ("a", "b")


def test_spans_that_meet_or_belong_to_other_offers_do_not_overlap() -> None:
    span = {"start": START, "end": END}
    after = {"start": END, "end": "2026-03-09T16:00:00Z"}
    elsewhere = {**span, "location_id": "l1"}
    both_ways("availability", {"date": "2026-03-09", "spans": [after, span, elsewhere]})


@pytest.mark.parametrize("end", ["2026-12-25", "2026-12-27"])
def test_time_off_by_dates_includes_its_end(end: str) -> None:
    body = both_ways("time_off", {"start": "2026-12-25", "end": end})
    assert isinstance(body, TimeOff)
    assert body.dates == (date(2026, 12, 25), date.fromisoformat(end))
    assert body.interval is None
    assert body.hull() == times.hull_of_dates(date(2026, 12, 25), date.fromisoformat(end))


@pytest.mark.parametrize("offset", ["Z", "+00:00", "-05:00"])
def test_midnights_with_an_offset_are_instants_not_dates(offset: str) -> None:
    body = both_ways(
        "time_off", {"start": f"2026-12-25T00:00:00{offset}", "end": f"2026-12-26T00:00:00{offset}"}
    )
    assert isinstance(body, TimeOff)
    assert body.dates is None
    assert body.interval is not None
    assert body.interval[1] - body.interval[0] == times.DAY
    assert body_from_json("time_off", body.json_text()) == body


def test_equal_bodies_have_the_same_text_however_they_were_written() -> None:
    one = both_ways("slot", {**GOOD["slot"], "service_types": ["b", "a"], "location_id": None})
    other = both_ways(
        "slot",
        {
            "service_types": ["a", "b", "a"],
            "status": "free",
            "end": "2026-03-09T11:00:00-04:00",
            "start": START,
        },
    )
    assert one == other
    assert one.json_text() == other.json_text()
    one.hull()
    assert one == other, "what was worked out does not count"
    assert hash(one) == hash(other)


CLOCKS = st.times() | st.times().map(lambda clock: clock.replace(microsecond=0))
LOWEST, HIGHEST = datetime.fromisoformat("1970-12-30"), datetime.fromisoformat("2199-01-02")
INSTANTS = st.datetimes(
    LOWEST, HIGHEST, timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))])
) | st.datetimes(
    HIGHEST - timedelta(days=3), HIGHEST, timezones=st.sampled_from([UTC, timezone(-timedelta(hours=12))])
) | st.datetimes(
    LOWEST, LOWEST + timedelta(days=3), timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))])
)  # fmt: skip


@settings(max_examples=300)
@given(INSTANTS, INSTANTS, st.sampled_from([Appointment, Slot, TimeOff]))
def test_whatever_instants_are_accepted_can_be_stored_and_read_again(
    start: datetime, end: datetime, kind: type[Appointment] | type[Slot] | type[TimeOff]
) -> None:
    status = {Appointment: "booked", Slot: "free", TimeOff: "active"}[kind]
    try:
        body = kind.model_validate({"start": start, "end": end, "status": status})
    except ValidationError:
        return
    assert body_from_json(kind.kind, body.json_text()) == body


@given(CLOCKS, CLOCKS)
def test_whatever_hours_are_accepted_can_be_stored_and_read_again(start: time, end: time) -> None:
    override = DateOverride(date=date(2026, 12, 24), hours=(Hours(start=start, end=end),))
    assert body_from_json("date_override", override.json_text()) == override
    weekly = WorkingHours(time_zone="UTC", weekly=(WeeklyHours(days=("mon",), start=start, end=end),))
    assert body_from_json("working_hours", weekly.json_text()) == weekly


@given(st.dates(), st.dates())
def test_effective_dates_may_be_sentinels_and_are_stored_as_they_are(one: date, other: date) -> None:
    first, last = sorted([one, other])
    body = WorkingHours(time_zone="UTC", effective_from=first, effective_until=last)
    assert body_from_json("working_hours", body.json_text()) == body


SECRET = "SECRET"
FIELDS = ["status", "start", "end", "date", "hours", "spans", "time_zone", "weekly", "effective_from",
          "effective_until", "location_id", "service_types", "capacity", "not_available", "days"]  # fmt: skip
LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [SECRET, f"2026-{SECRET}", SECRET * 99, f"{SECRET}\ud800", 1, 2.5, None, True, "2026-01-01", "09:00"]
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([SECRET, *FIELDS]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(list(BODIES)), st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=5), st.booleans()
)
def test_no_refusal_repeats_a_value(kind: str, fields: dict[str, Any], complete: bool) -> None:
    document = {**GOOD[kind], **fields} if complete else fields
    if (error := mistake(kind, document)) is not None:
        assert SECRET not in explain(error)
        assert SECRET not in str(error)


def mistake(kind: str, document: dict[str, Any]) -> ValidationError | None:
    """What is wrong with a document, if anything."""
    try:
        BODIES[kind].model_validate(document)
    except ValidationError as error:
        return error
    return None


def test_a_change_knows_its_kind() -> None:
    change = ItemChange("ap-1", Appointment(status="cancelled"), ())
    assert (change.kind, change.version) == ("appointment", 0)


def test_a_long_list_of_mistakes_is_cut_short() -> None:
    """Of a list only the first element that is wrong is told; of the rest, five mistakes."""
    wrong: dict[str, Any] = dict.fromkeys(("effective_from", "effective_until", "time_zone", "status"), 7)
    reason = refusal("working_hours", weekly=[{}, {}, {}], **wrong)
    assert reason.count("; ") == 5
    assert reason.endswith("; and 2 more")
    assert "weekly.1" not in reason
