"""The standard format: what each type becomes, and what is refused, by field and never by value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from emr_plugins.api import (
    Appointment,
    Availability,
    AvailableSpan,
    Body,
    Context,
    DateOverride,
    Event,
    Hours,
    ItemChange,
    NoSettings,
    Reject,
    Slot,
    TimeOff,
    WeeklyHours,
    WorkingHours,
)
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import discover
from emr_plugins.standard import RESERVED_TYPES, StandardPlugin

Json = Any
PLUGIN = StandardPlugin()
CONTEXT = Context("t", "standard", "UTC", NoSettings())
MARKER = "Zq7marker"

WEEKLY = {
    "days": ["mon", "tue"], "start": "09:00", "end": "17:00",
    "location_id": "l1", "service_types": ["new"], "capacity": 1,
}  # fmt: skip
GOOD: dict[str, dict[str, Json]] = {
    "working_hours": {
        "id": "wh-1", "provider_id": "p1", "version": 3, "time_zone": "America/New_York",
        "effective_from": "2026-01-01", "effective_until": None, "weekly": [WEEKLY],
    },
    "date_override": {
        "id": "do-1", "provider_id": "p1", "version": 1, "date": "2026-12-24",
        "hours": [{"start": "09:00", "end": "12:00"}], "status": "active",
    },
    "time_off": {
        "id": "to-1", "provider_id": "p1", "version": 1, "start": "2026-12-25", "end": "2026-12-26", "status": "active",
    },
    "appointment": {
        "id": "ap-1", "provider_id": "p1", "version": 7, "start": "2026-03-09T09:00:00-04:00",
        "end": "2026-03-09T09:30:00-04:00", "status": "booked",
    },
    "slot": {
        "id": "sl-1", "provider_id": "p1", "version": 1, "start": "2026-03-09T14:00:00Z",
        "end": "2026-03-09T14:30:00Z", "status": "free",
    },
    "availability": {
        "provider_id": "p1", "date": "2026-03-09", "version": 2,
        "spans": [{"start": "2026-03-09T14:00:00Z", "end": "2026-03-09T15:00:00Z"}],
    },
}  # fmt: skip
"""The design's example of each type."""


def event(type_: str, data: Json, **over: Json) -> Event:
    envelope = {"specversion": "1.0", "id": "e1", "source": "/tenants/t", "tenant": "t", "emr": "standard"}
    when = {"time": "2026-01-01T00:00:00Z"}
    return Event.model_validate({**envelope, **when, "type": type_, "data": data, **over})


def decode(type_: str, data: Json, **over: Json) -> ItemChange:
    (change,) = PLUGIN.decode(event(type_, data, **over), CONTEXT)
    return change


def refusal(type_: str, data: Json, **over: Json) -> str:
    with pytest.raises(Reject) as caught:
        decode(type_, data, **over)
    assert caught.value.reason == "invalid_data"
    assert MARKER not in str(caught.value)
    return caught.value.detail


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 9, hour, minute, tzinfo=UTC)


BODIES_OF_GOOD: dict[str, Body] = {
    "working_hours": WorkingHours(
        time_zone="America/New_York",
        effective_from=date(2026, 1, 1),
        weekly=(
            WeeklyHours(
                days=("mon", "tue"), start=time(9), end=time(17), location_id="l1", service_types=("new",)
            ),
        ),
    ),
    "date_override": DateOverride(date=date(2026, 12, 24), hours=(Hours(start=time(9), end=time(12)),)),
    "time_off": TimeOff(start=date(2026, 12, 25), end=date(2026, 12, 26)),
    "appointment": Appointment(status="booked", start=at(13), end=at(13, 30)),
    "slot": Slot(status="free", start=at(14), end=at(14, 30)),
    "availability": Availability(
        date=date(2026, 3, 9), spans=(AvailableSpan(start=at(14), end=at(15)),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("type_", sorted(GOOD))
def test_each_type_becomes_an_item_of_its_kind(type_: str) -> None:
    change = decode(type_, GOOD[type_])
    assert change.kind == type_
    assert change.id == GOOD[type_].get("id", "p1/2026-03-09")
    assert change.providers == ("p1",)
    assert change.version == GOOD[type_]["version"]
    assert change.body == BODIES_OF_GOOD[type_]


def test_the_examples_are_all_the_types_there_are() -> None:
    assert set(GOOD) == RESERVED_TYPES


def test_time_off_can_be_instants() -> None:
    body = decode(
        "time_off", {**GOOD["time_off"], "start": "2026-03-09T13:00:00Z", "end": "2026-03-09T15:00:00Z"}
    ).body
    assert body == TimeOff(start=at(13), end=at(15))


def test_an_override_without_hours_closes_the_day() -> None:
    assert decode("date_override", {**GOOD["date_override"], "hours": []}).body == DateOverride(
        date=date(2026, 12, 24)
    )


def test_effective_dates_may_be_sentinels() -> None:
    body = decode(
        "working_hours",
        {**GOOD["working_hours"], "effective_from": "0001-01-01", "effective_until": "9999-12-31"},
    ).body
    assert isinstance(body, WorkingHours)
    assert (body.effective_from, body.effective_until) == (date(1, 1, 1), date(9999, 12, 31))


@pytest.mark.parametrize("type_", sorted(GOOD))
def test_fields_that_nobody_asked_for_are_dropped(type_: str) -> None:
    extra = {"patient": MARKER, "reason": MARKER, "kind": MARKER, "nested": {"name": MARKER}}
    data = {**GOOD[type_], **extra}
    for name in ("weekly", "hours", "spans"):
        if name in data:
            data[name] = [{**one, **extra} for one in data[name]]
    change = decode(type_, data)
    assert change == decode(type_, GOOD[type_])
    assert MARKER not in change.body.json_text()


@pytest.mark.parametrize("type_", sorted(GOOD))
def test_without_a_provider_the_subject_is_it(type_: str) -> None:
    data = {name: value for name, value in GOOD[type_].items() if name != "provider_id"}
    assert decode(type_, data, subject="p9").providers == ("p9",)
    assert decode(type_, {**data, "provider_id": None}, subject="p9").providers == ("p9",)
    assert decode(type_, GOOD[type_], subject="p9").providers == ("p1",)
    assert refusal(type_, data) == "data.provider_id: is required where the event has no subject"


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
@pytest.mark.parametrize("type_", ["working_hours", "date_override", "time_off", "appointment", "slot"])
def test_a_withdrawn_item_needs_its_id_and_status_alone(type_: str, status: str) -> None:
    change = decode(type_, {"id": "x", "version": 8, "status": status}, subject="p9")
    assert (change.id, change.providers, change.version) == ("x", (), 8)
    assert not change.body.counts


def test_a_withdrawn_availability_says_whose_and_which_day_it_is() -> None:
    gone = {"date": "2026-03-09", "status": "cancelled"}
    assert decode("availability", gone, subject="p9").id == "p9/2026-03-09"
    assert decode("availability", {**gone, "provider_id": "p1"}).providers == ("p1",)
    assert "provider_id" in refusal("availability", gone)
    assert "date" in refusal("availability", {"provider_id": "p1", "status": "cancelled"})


def test_the_id_of_an_availability_is_its_provider_and_date_whatever_it_says() -> None:
    assert decode("availability", {**GOOD["availability"], "id": "mine"}).id == "p1/2026-03-09"


@pytest.mark.parametrize("type_", sorted(set(GOOD) - {"availability"}))
def test_an_id_is_required(type_: str) -> None:
    data = {name: value for name, value in GOOD[type_].items() if name != "id"}
    assert refusal(type_, data) == "data.id: is required"


@pytest.mark.parametrize("version", [-1, -(10**30), True, False, "7", MARKER, 1.0, 1.5, [1], {}, None])
@pytest.mark.parametrize("type_", sorted(GOOD))
def test_a_version_is_a_whole_number_from_zero(type_: str, version: Json) -> None:
    assert refusal(type_, {**GOOD[type_], "version": version}).startswith("data.version: ")


def test_a_version_left_out_is_zero() -> None:
    assert decode("slot", {k: v for k, v in GOOD["slot"].items() if k != "version"}).version == 0


def test_a_version_too_large_to_sort_is_refused_by_the_host() -> None:
    host = PluginHost(discover(), lambda name: Tenant("UTC", {}))
    with pytest.raises(Reject) as caught:
        host.decode(event("slot", {**GOOD["slot"], "version": 10**18}))
    assert (caught.value.reason, caught.value.detail[:8]) == ("invalid_data", "version:")


@pytest.mark.parametrize("type_", [MARKER, "Appointment", "working-hours", "holiday"])
def test_another_type_is_refused(type_: str) -> None:
    assert refusal(type_, GOOD["slot"]).startswith("type: must be one of appointment, availability, ")


@pytest.mark.parametrize("data", [None, MARKER, 7, True, [], [GOOD["slot"]]])
def test_data_must_be_an_object(data: Json) -> None:
    assert refusal("slot", data) == "data: must be a JSON object"


def test_binary_data_is_not_the_standard_format() -> None:
    assert refusal("slot", None, data_base64="e30=") == "data: must be a JSON object"


WRONG = [MARKER, 7, True, 1.5, [MARKER], {MARKER: MARKER}]
"""Types that no field below takes, with a value that must not come back."""

FIELDS = {
    "working_hours": ["id", "provider_id", "status", "time_zone", "effective_from", "effective_until"],
    "date_override": ["id", "provider_id", "status", "date"],
    "time_off": ["id", "provider_id", "status", "start", "end"],
    "appointment": ["id", "provider_id", "status", "start", "end"],
    "slot": ["id", "provider_id", "status", "start", "end"],
    "availability": ["provider_id", "status", "date"],
}
TEXTS = {"id", "provider_id"}


@pytest.mark.parametrize(
    ("type_", "field", "value"),
    [
        (type_, field, value)
        for type_, fields in FIELDS.items()
        for field in fields
        for value in WRONG
        if not (field in TEXTS and isinstance(value, str))
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_field(type_: str, field: str, value: Json) -> None:
    assert f"{field}: " in refusal(type_, {**GOOD[type_], field: value})


@pytest.mark.parametrize("field", ["weekly", "hours", "spans"])
@pytest.mark.parametrize("value", [None, *WRONG])
def test_a_list_must_be_one_of_objects(field: str, value: Json) -> None:
    type_ = {"weekly": "working_hours", "hours": "date_override", "spans": "availability"}[field]
    assert refusal(type_, {**GOOD[type_], field: value}).startswith(f"data.{field}")
    assert refusal(type_, {**GOOD[type_], field: [value]}).startswith(f"data.{field}.0")


BAD_WEEKLY: list[tuple[str, Json]] = [
    ("days", []), ("days", None), ("days", "mon"), ("days", ["Monday"]), ("days", [MARKER]), ("days", [1]),
    ("start", None), ("start", "9:00"), ("start", "25:00"), ("start", "09:60"), ("start", "09:00Z"), ("start", 9),
    ("end", None), ("end", "17"), ("end", "24:01"), ("end", MARKER),
    ("location_id", ""), ("location_id", 7), ("location_id", "x" * 257),
    ("service_types", MARKER), ("service_types", [7]), ("service_types", [""]),
    ("service_types", [f"s{i}" for i in range(51)]),
    ("capacity", 0), ("capacity", -1), ("capacity", 10_001), ("capacity", True), ("capacity", "1"), ("capacity", 1.0),
    ("capacity", None),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_WEEKLY)
def test_bad_weekly_hours_are_named_with_their_place(field: str, value: Json) -> None:
    data = {**GOOD["working_hours"], "weekly": [WEEKLY, {**WEEKLY, field: value}]}
    assert refusal("working_hours", data).startswith(f"data.weekly.1.{field}")


ABSURD: list[tuple[str, str, str]] = [
    ("date_override", "date", "2026-02-30"), ("date_override", "date", "1900-01-01"),
    ("date_override", "date", "9999-12-31"), ("date_override", "date", "2026-3-9"),
    ("date_override", "date", "2026-03-09T00:00:00Z"), ("date_override", "date", "20260309"),
    ("time_off", "start", "1969-12-31"), ("time_off", "end", "2199-01-01"), ("time_off", "end", "2026-13-01"),
    ("appointment", "start", "0001-01-01T00:00:00Z"), ("appointment", "end", "9999-12-31T23:59:59Z"),
    ("appointment", "start", "2026-03-09T09:00:00"), ("appointment", "start", "2026-03-09T09:00Z"),
    ("appointment", "start", "2026-03-09T24:30:00Z"), ("appointment", "start", "2026-02-29T09:00:00Z"),
    ("appointment", "start", "2026-03-09T09:00:00+25:00"), ("appointment", "start", "1773046800"),
    ("slot", "end", "2026-03-09 14:30:00Z "), ("slot", "end", "14:30:00Z"),
    ("availability", "date", "2600-01-01"), ("working_hours", "effective_from", "2026-02-31"),
    ("working_hours", "time_zone", "Mars/Olympus"), ("working_hours", "time_zone", "../../etc/passwd"),
    ("working_hours", "time_zone", "EST5EDT4"), ("working_hours", "time_zone", ""),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "field", "value"), ABSURD)
def test_dates_and_zones_that_cannot_be_are_refused(type_: str, field: str, value: str) -> None:
    detail = refusal(type_, {**GOOD[type_], field: value})
    assert detail.startswith(f"data.{field}: ")
    assert not value or value not in detail


@pytest.mark.parametrize(
    ("type_", "over"),
    [
        ("appointment", {"end": "2026-03-09T08:59:59-04:00"}),
        ("appointment", {"end": "2026-03-09T13:00:00Z"}),
        ("slot", {"start": "2026-03-09T14:30:00Z"}),
        ("slot", {"start": "2026-03-10T14:00:00Z"}),
        ("time_off", {"start": "2026-12-27"}),
        ("time_off", {"start": "2026-03-09T14:00:00Z", "end": "2026-03-09T14:00:00Z"}),
    ],
)
def test_an_end_that_is_not_after_its_start_is_refused(type_: str, over: dict[str, str]) -> None:
    assert refusal(type_, {**GOOD[type_], **over}) == "data: end is not after start"


def test_hours_end_before_they_start_when_they_run_past_midnight() -> None:
    night = {**WEEKLY, "start": "22:00", "end": "06:00"}
    body = decode("working_hours", {**GOOD["working_hours"], "weekly": [night]}).body
    assert isinstance(body, WorkingHours)
    assert (body.weekly[0].start, body.weekly[0].end) == (time(22), time(6))


def test_effective_dates_must_be_in_order() -> None:
    data = {**GOOD["working_hours"], "effective_until": "2025-12-31"}
    assert refusal("working_hours", data) == "data: effective_until is before effective_from"


def test_time_off_is_dates_or_instants_not_both() -> None:
    data = {**GOOD["time_off"], "end": "2026-12-26T00:00:00Z"}
    assert refusal("time_off", data) == "data: start and end must both be dates or both be instants"


@pytest.mark.parametrize(
    ("type_", "fields"),
    [("time_off", ["start", "end"]), ("appointment", ["start", "end"]), ("slot", ["start", "end"])],
)
def test_times_are_required_of_what_counts(type_: str, fields: list[str]) -> None:
    for field in fields:
        data = {name: value for name, value in GOOD[type_].items() if name != field}
        assert refusal(type_, data).startswith("data: start and end are required unless")


def test_a_date_is_required_of_an_override_that_counts() -> None:
    data = {name: value for name, value in GOOD["date_override"].items() if name != "date"}
    assert refusal("date_override", data).startswith("data: date is required unless")


@pytest.mark.parametrize("type_", ["appointment", "slot"])
def test_a_status_is_required_where_none_is_meant(type_: str) -> None:
    data = {name: value for name, value in GOOD[type_].items() if name != "status"}
    assert refusal(type_, data).startswith("data.status: ")


def test_pre_calculated_spans_must_be_in_order_and_apart() -> None:
    def spans(*pairs: tuple[str, str], **over: str) -> Json:
        return [{"start": f"2026-03-09T{a}:00Z", "end": f"2026-03-09T{b}:00Z", **over} for a, b in pairs]

    good = GOOD["availability"]
    assert refusal("availability", {**good, "spans": spans(("15:00", "14:00"))}) == (
        "data.spans.0: end is not after start"
    )
    assert refusal("availability", {**good, "spans": spans(("14:00", "15:00"), ("14:30", "16:00"))}) == (
        "data: spans of one location and service types overlap"
    )
    apart = spans(("14:00", "15:00")) + spans(("14:30", "16:00"), location_id="l2")
    body = decode("availability", {**good, "spans": apart}).body
    assert isinstance(body, Availability)
    assert len(body.spans) == 2


def test_every_wrong_field_is_named_up_to_five() -> None:
    data = {"id": "x", "provider_id": "p", "status": MARKER, "start": MARKER, "end": MARKER}
    detail = refusal("appointment", data)
    assert [part.split(":")[0] for part in detail.split("; ")] == ["data.status", "data.start", "data.end"]


@pytest.mark.parametrize("type_", sorted(GOOD))
def test_the_reserved_types_are_understood_under_another_emr(type_: str) -> None:
    host = PluginHost(discover(), lambda name: Tenant("UTC", {}))
    (change,) = host.decode(event(type_, GOOD[type_], emr="fhir_r4"))
    assert change == decode(type_, GOOD[type_])
    with pytest.raises(Reject) as caught:
        host.decode(event(type_, {**GOOD[type_], "version": -1}, emr="fhir_r4"))
    assert caught.value.detail.startswith("data.version: ")
