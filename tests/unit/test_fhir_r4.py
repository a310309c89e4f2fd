"""The FHIR R4 plugin: HL7's own examples and what follows from the standard, with spans worked out by hand."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from fhir_examples import example
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from emr_plugins.api import (
    Appointment,
    Context,
    Event,
    Item,
    ItemChange,
    Period,
    Reject,
    Slot,
    Span,
    WeeklyHours,
    WorkingHours,
)
from emr_plugins.fhir_r4 import FhirR4Plugin, FhirR4Settings
from processors.items import body_from_json
from processors.keys import ItemKey
from processors.revisions import Revision

Json = Any
PLUGIN = FhirR4Plugin()
TIMEZONE = "http://hl7.org/fhir/StructureDefinition/timezone"
TZ_CODE = "http://hl7.org/fhir/StructureDefinition/tz-code"
NAMES = (
    "Slot-1", "Slot-2", "Slot-3", "Slot-example", "Schedule-example", "Schedule-exampleloc1", "Schedule-exampleloc2",
    "Appointment-example", "Appointment-2docs", "PractitionerRole-example",
)  # fmt: skip


def context(zone: str = "UTC", **settings: Any) -> Context:
    return Context("t", "fhir_r4", zone, FhirR4Settings(**settings))


def event(data: Json, subject: str | None = None, type_: str = "fhir.update") -> Event:
    envelope = {"specversion": "1.0", "id": "e1", "source": "/tenants/t", "type": type_, "tenant": "t"}
    times = {"emr": "fhir_r4", "time": "2012-01-01T00:00:00Z"}
    return Event.model_validate({**envelope, **times, "subject": subject, "data": data})


def decode(data: Json, subject: str | None = None, *, where: Context | None = None) -> list[ItemChange]:
    return PLUGIN.decode(event(data, subject), where or context())


def one(data: Json, subject: str | None = None, *, where: Context | None = None) -> ItemChange:
    (change,) = decode(data, subject, where=where)
    return change


def hours(data: Json, *, where: Context | None = None) -> WorkingHours:
    body = one(data, where=where).body
    assert isinstance(body, WorkingHours)
    return body


def refusal(data: Json, subject: str | None = None) -> str:
    with pytest.raises(Reject) as caught:
        decode(data, subject)
    assert caught.value.reason == "invalid_data"
    return caught.value.detail


def item(change: ItemChange) -> Item:
    revision = Revision.of(change.version, datetime(2012, 1, 1, tzinfo=UTC), "1")
    return Item(ItemKey("t", "fhir_r4", change.kind, change.id), change.providers, revision, change.body)


def spans(day: str, changes: list[ItemChange], zone: str = "UTC") -> list[Span]:
    return list(PLUGIN.spans(date.fromisoformat(day), [item(c) for c in changes], context(zone)))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


SLOT: dict[str, Json] = {
    "resourceType": "Slot",
    "id": "s",
    "schedule": {"reference": "Schedule/x"},
    "status": "free",
    "start": "2026-03-09T14:00:00Z",
    "end": "2026-03-09T14:30:00Z",
}
BOOKING: dict[str, Json] = {
    "resourceType": "Appointment",
    "id": "a",
    "status": "booked",
    "start": "2026-03-09T14:00:00Z",
    "end": "2026-03-09T14:30:00Z",
    "participant": [{"actor": {"reference": "Practitioner/p"}, "status": "accepted"}],
}
ROLE: dict[str, Json] = {
    "resourceType": "PractitionerRole",
    "id": "r",
    "practitioner": {"reference": "Practitioner/p"},
    "availableTime": [
        {"daysOfWeek": ["mon"], "availableStartTime": "09:00:00", "availableEndTime": "17:00:00"}
    ],
}
SCHEDULE: dict[str, Json] = {
    "resourceType": "Schedule",
    "id": "x",
    "actor": [{"reference": "Practitioner/p"}],
}


def booking(*participants: tuple[str, str]) -> dict[str, Json]:
    return {**BOOKING, "participant": [{"actor": {"reference": r}, "status": s} for r, s in participants]}


# HL7's examples, by hand


def test_free_slots_of_the_example_schedule() -> None:
    names = ["Schedule-example", "Slot-1", "Slot-2", "Slot-3", "Slot-example"]
    changes = [one(example(name)) for name in names]
    assert {change.providers for change in changes} == {("example",)}
    free = Span(at("2013-12-25T09:15:00Z"), at("2013-12-25T09:30:00Z"), None, ("57",))
    assert spans("2013-12-25", changes) == [free]
    assert spans("2013-12-24", changes) == []

    wide = {
        **SLOT,
        "schedule": {"reference": "Schedule/example"},
        "start": "2013-12-25T08:30:00Z",
        "end": "2013-12-25T10:15:00Z",
    }
    assert spans("2013-12-25", [*changes, one(wide)]) == [
        Span(at("2013-12-25T08:30:00Z"), at("2013-12-25T09:00:00Z")),
        Span(at("2013-12-25T09:15:00Z"), at("2013-12-25T09:30:00Z")),
        free,
        Span(at("2013-12-25T10:00:00Z"), at("2013-12-25T10:15:00Z")),
    ], "every busy status blocks"


@pytest.mark.parametrize(
    ("day", "clock"),
    [
        ("2012-01-01", None),  # a Sunday
        ("2012-01-02", ("09:00", "16:30")),
        ("2012-03-26", ("09:00", "16:30")),
        ("2012-03-28", ("09:00", "16:30")),
        ("2012-03-29", ("09:00", "12:00")),
        ("2012-03-30", ("09:00", "12:00")),
        ("2012-03-31", None),  # the last day of the period is a Saturday
        ("2012-04-02", None),  # a Monday after it
        ("2011-12-30", None),  # a Friday before it
    ],
)
def test_weekly_hours_of_the_example_role_within_its_period(day: str, clock: tuple[str, str] | None) -> None:
    expected = [Span(at(f"{day}T{clock[0]}Z"), at(f"{day}T{clock[1]}Z"), "1")] if clock else []
    assert spans(day, [one(example("PractitionerRole-example"))]) == expected


def test_time_of_an_appointment_is_taken_from_hours() -> None:
    weekly = (WeeklyHours(days=("tue",), start=time(8), end=time(12)),)
    changes = [
        ItemChange("wh", WorkingHours(time_zone="UTC", weekly=weekly), ("example",)),
        one(example("Appointment-example")),
    ]
    assert changes[1].providers == ("example",), "neither the patient nor the room"
    assert spans("2013-12-10", changes) == [
        Span(at("2013-12-10T08:00:00Z"), at("2013-12-10T09:00:00Z")),
        Span(at("2013-12-10T11:00:00Z"), at("2013-12-10T12:00:00Z")),
    ]


def test_an_appointment_of_two_doctors_names_both() -> None:
    assert one(example("Appointment-2docs")).providers == ("example", "f202")


def test_the_proposed_appointment_without_a_start_is_rejected() -> None:
    assert refusal(example("Appointment-examplereq")).startswith("start: required")


# All resources


@pytest.mark.parametrize("name", NAMES)
def test_an_item_is_named_by_type_and_id_and_survives_storage(name: str) -> None:
    change = one(example(name))
    assert change.id == name.replace("-", "/", 1)
    assert body_from_json(change.kind, change.body.json_text()) == change.body


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("7", 7),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("1" + "0" * 18, 0),
        ("9" * 5000, 0),
        ("v7", 0),
        ("٣", 0),
        ("", 0),
    ],
)
def test_version_is_a_numeric_version_id(text: str, version: int) -> None:
    assert one({**SLOT, "meta": {"versionId": text}}).version == version


@pytest.mark.parametrize("data", [None, 7, [], "", "text", "[1]", "\ud800", '{"a":', [SLOT], "MSH|^~\\&|"])
def test_a_message_that_is_no_object_is_rejected(data: Json) -> None:
    given = event(None).model_copy(update={"data": data})
    with pytest.raises(Reject, match="JSON object"):
        PLUGIN.decode(given, context())


def test_a_message_may_be_text_or_bytes() -> None:
    expected = decode(SLOT)
    assert decode(json.dumps(SLOT)) == expected
    encoded = base64.b64encode(json.dumps(SLOT).encode()).decode()
    assert PLUGIN.decode(event(None).model_copy(update={"data_base64": encoded}), context()) == expected


def test_deeply_nested_text_is_rejected() -> None:
    assert "JSON object" in refusal('{"a":' * 100_000 + "1" + "}" * 100_000)


@pytest.mark.parametrize("kind", [None, 7, ["Slot"], {}, "Patient", "slot", ""])
def test_other_resource_types_are_rejected(kind: Json) -> None:
    assert refusal({**SLOT, "resourceType": kind}).startswith("resourceType: must be Slot, ")


@pytest.mark.parametrize("bad", [None, "", "a b", "a/b", "x" * 65, "ä", 7, "a\n"])
@pytest.mark.parametrize("resource", [SLOT, SCHEDULE, BOOKING, ROLE], ids=lambda r: str(r["resourceType"]))
def test_an_id_is_required_and_has_fhirs_grammar(resource: dict[str, Json], bad: Json) -> None:
    assert refusal({**resource, "id": bad}).startswith("id: ")


@pytest.mark.parametrize("type_", ["fhir.deleted", "Slot.delete", "SlotDeleted"])
@pytest.mark.parametrize("kind", ["Slot", "Schedule", "Appointment", "PractitionerRole"])
def test_a_deletion_withdraws_by_type_and_id_alone(kind: str, type_: str) -> None:
    data = {"resourceType": kind, "id": "x", "meta": {"versionId": "3"}, "status": 7, "start": "nonsense"}
    (change,) = PLUGIN.decode(event(data, "p", type_), context())
    assert (change.id, change.version, change.providers) == (f"{kind}/x", 3, ("p",))
    assert not change.body.counts
    (change,) = PLUGIN.decode(event(data, None, type_), context())
    assert change.providers == (("x",) if kind == "Schedule" else ())


def test_null_counts_as_left_out() -> None:
    nulls = dict.fromkeys(("meta", "serviceType", "extension", "minutesDuration", "period"))
    for resource in (SLOT, SCHEDULE, BOOKING, ROLE):
        assert decode({**resource, **nulls}) == decode(resource)


# Slot


@pytest.mark.parametrize(
    ("reference", "provider"),
    [
        ("Schedule/x", "x"),
        ("Schedule/x/_history/2", "x"),
        ("https://ehr.example/fhir/r4/Schedule/a.b-1", "a.b-1"),
        ("http://ehr.example:8080/Schedule/x/_history/9", "x"),
    ],
)
def test_the_provider_of_a_slot_is_its_schedule(reference: str, provider: str) -> None:
    slot = {**SLOT, "schedule": {"reference": reference}}
    assert one(slot).providers == (provider,)
    assert one(slot, "room-7").providers == ("room-7",), "unless the event has a subject"


@pytest.mark.parametrize(
    "reference", ["", "#x", "urn:uuid:1", "Location/1", "Schedule/", "Schedule/a b", "x"]
)
def test_a_slot_of_no_schedule_is_rejected(reference: str) -> None:
    slot = {**SLOT, "schedule": {"reference": reference}}
    assert refusal(slot).startswith("schedule.reference: names no provider")
    assert one(slot, "p").providers == ("p",)
    assert one({**slot, "status": "entered-in-error"}).providers == ()


def test_service_types_are_the_codes_of_all_codings() -> None:
    concepts = [{"coding": [{"code": "b"}, {"code": "a"}, {"display": "none"}]}, {"text": "only text"}]
    body = one({**SLOT, "serviceType": [*concepts, {"coding": [{"code": "a", "system": "s"}]}]}).body
    assert isinstance(body, Slot)
    assert body.service_types == ("a", "b")
    assert body.location_id is None
    many = [{"coding": [{"code": str(n)} for n in range(51)]}]
    assert refusal({**SLOT, "serviceType": many}) == "serviceType: more than 50 codes"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("status", "open", "status: "),
        ("status", None, "status: "),
        ("start", None, "start: required"),
        ("end", None, "end: required"),
        ("start", "2026-03-09T14:00:00", "start: must be a date and time with seconds and an offset"),
        ("start", "2026-03-09T14:00Z", "start: must be a date and time with seconds"),
        ("start", "2026-02-30T14:00:00Z", "start: there is no such"),
        ("start", 1773064800, "start: must be"),
        ("end", "2026-03-09T14:00:00Z", "end: must be after start"),
        ("end", "9999-12-31T00:00:00Z", "end: the year must lie"),
        ("schedule", "Schedule/x", "schedule: must be an object"),
        ("serviceType", {}, "serviceType: "),
        ("serviceType", [{"coding": [{"code": ""}]}], "serviceType.0.coding.0.code: "),
    ],
)
def test_a_wrong_field_of_a_slot_is_named(field: str, value: Json, reason: str) -> None:
    assert refusal({**SLOT, field: value}).startswith(reason)


def test_a_slot_entered_in_error_counts_for_nothing() -> None:
    change = one({**SLOT, "status": "entered-in-error", "end": SLOT["start"]})
    assert spans("2026-03-09", [change]) == []


# Schedule


@pytest.mark.parametrize(
    ("extension", "zone"),
    [
        ([], None),
        ([{"url": TIMEZONE, "valueCode": "America/New_York"}], "America/New_York"),
        ([{"url": TZ_CODE, "valueCode": "America/New_York"}], "America/New_York"),
        (
            [
                {"url": TZ_CODE, "valueCode": "Asia/Kathmandu"},
                {"url": TIMEZONE, "valueCode": "America/New_York"},
            ],
            "America/New_York",
        ),
        ([{"url": "http://example.org/other", "valueCode": "x"}, {"extension": []}], None),
    ],
)
def test_the_zone_is_the_extensions_else_the_calendars_own(extension: Json, zone: str | None) -> None:
    where = context("Asia/Tokyo")
    schedule = hours({**SCHEDULE, "extension": extension}, where=where)
    assert schedule == WorkingHours(time_zone=zone)
    assert hours({**ROLE, "extension": extension}, where=where).time_zone == zone


@pytest.mark.parametrize("extension", [{"url": TIMEZONE, "valueCode": "Mars/Base"}, {"url": TZ_CODE}])
def test_an_unknown_zone_is_rejected(extension: Json) -> None:
    for resource in (SCHEDULE, ROLE):
        assert refusal({**resource, "extension": [extension]}).startswith("extension.0: not a time zone")


def test_the_provider_of_a_schedule_is_the_subject_or_itself() -> None:
    assert one(SCHEDULE).providers == ("x",)
    assert one(SCHEDULE, "p").providers == ("p",)


def test_an_inactive_schedule_is_withdrawn() -> None:
    assert hours({**SCHEDULE, "active": False}).status == "cancelled"
    assert refusal({**SCHEDULE, "active": "false"}).startswith("active: ")


# Appointment


@pytest.mark.parametrize(
    "status",
    [
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
        "checked-in", "waitlist",
    ],
)  # fmt: skip
def test_statuses_are_fhirs_and_only_withdrawn_ones_may_lack_times(status: str) -> None:
    assert one({**BOOKING, "status": status}).body.status == status
    timeless = {key: BOOKING[key] for key in ("resourceType", "id", "participant")} | {"status": status}
    if status in ("cancelled", "entered-in-error"):
        assert one(timeless).providers == ("p",)
    else:
        assert refusal(timeless).startswith("start: required")


def test_a_missing_end_follows_from_the_duration() -> None:
    open_ended = {key: value for key, value in BOOKING.items() if key != "end"}
    body = one({**open_ended, "minutesDuration": 45}).body
    assert isinstance(body, Appointment)
    assert body.end == at("2026-03-09T14:45:00Z")
    assert one({**BOOKING, "minutesDuration": 45}).body == one(BOOKING).body
    assert refusal(open_ended).startswith("end: required")
    for bad in (0, -5, 1.5, "45", True, 2**31):
        assert refusal({**open_ended, "minutesDuration": bad}).startswith("minutesDuration: ")
    assert refusal({**open_ended, "minutesDuration": 2**31 - 1}).startswith("end: the year")


def test_who_declined_is_not_booked() -> None:
    both = booking(("Practitioner/p", "declined"), ("Practitioner/q", "tentative"))
    assert one(both, "p").providers == ("q",)


def test_an_appointment_that_every_provider_declined_takes_nobodys_time() -> None:
    nobody = booking(("Practitioner/p", "declined"), ("Patient/1", "accepted"))
    change = one(nobody, "p")
    assert change.providers == ("p",)
    assert not change.body.counts


def test_patients_and_those_not_in_the_settings_are_not_providers() -> None:
    people = [("Patient/1", "accepted"), ("RelatedPerson/2", "accepted"), ("Location/1", "accepted")]
    assert refusal(booking(*people)).startswith("participant: names no provider")
    assert one(booking(*people), "p").providers == ("p",), "the subject is the provider then"
    assert one({**booking(*people), "status": "cancelled"}).providers == ()
    everyone = booking(*people, ("PractitionerRole/r", "accepted"), ("Practitioner/r", "accepted"))
    assert one(everyone).providers == ("r",)
    rooms = context(actors=("Location", "Device"))
    assert one(everyone, where=rooms).providers == ("Location/1",)
    with pytest.raises(ValidationError):
        FhirR4Settings(actors=("Patient",))


def test_participants_without_a_reference_are_passed_over() -> None:
    loose = [{}, {"actor": {"display": "Phone"}}, {"actor": {"reference": "#p"}}]
    assert one({**BOOKING, "participant": [*loose, *BOOKING["participant"]]}).providers == ("p",)
    assert refusal({**BOOKING, "participant": [7]}).startswith("participant.0: must be an object")
    assert refusal(booking(("Practitioner/p", "yes"))).startswith("participant.0.status: ")


# PractitionerRole


def test_the_example_role_in_full() -> None:
    change = one(example("PractitionerRole-example"))
    assert change.providers == ("example",)
    assert change.body == WorkingHours(
        effective_from=date(2012, 1, 1),
        effective_until=date(2012, 3, 31),
        weekly=(
            WeeklyHours(days=("mon", "tue", "wed"), start=time(9), end=time(16, 30), location_id="1"),
            WeeklyHours(days=("thu", "fri"), start=time(9), end=time(12), location_id="1"),
        ),
        not_available=(Period(first=date(2017, 5, 1), last=date(2017, 5, 20)),),
    )


WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = time(0)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"daysOfWeek": ["mon"], "allDay": True}, [(("mon",), MIDNIGHT, MIDNIGHT)]),
        (
            {"daysOfWeek": ["mon"], "allDay": True, "availableStartTime": "09:00:00"},
            [(("mon",), MIDNIGHT, MIDNIGHT)],
        ),
        ({"allDay": True}, [(WEEK, MIDNIGHT, MIDNIGHT)]),
        ({"daysOfWeek": ["sat", "mon", "sat"]}, [(("sat", "mon"), MIDNIGHT, MIDNIGHT)]),
        (
            {"availableStartTime": "09:00:00", "availableEndTime": "10:00:30.75"},
            [(WEEK, time(9), time(10, 0, 30))],
        ),
        (
            {"daysOfWeek": ["fri"], "availableStartTime": "22:00:00", "availableEndTime": "06:00:00"},
            [(("fri",), time(22), time(6))],
        ),
        ({"extension": [{"url": "http://example.org/special-times"}]}, []),
        ({}, []),
    ],
)
def test_available_times(entry: Json, expected: list[tuple[Any, time, time]]) -> None:
    weekly = hours({**ROLE, "availableTime": [entry]}).weekly
    assert [(each.days, each.start, each.end) for each in weekly] == expected


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"daysOfWeek": []}, "availableTime.0.daysOfWeek: "),
        ({"daysOfWeek": ["monday"]}, "availableTime.0.daysOfWeek.0: "),
        ({"allDay": "true"}, "availableTime.0.allDay: "),
        ({"allDay": False, "daysOfWeek": ["mon"]}, "availableTime.0: neither"),
        ({"availableStartTime": "09:00:00"}, "availableTime.0: availableStartTime and"),
        ({"availableEndTime": "09:00:00"}, "availableTime.0: availableStartTime and"),
        (
            {"availableStartTime": "09:00:00", "availableEndTime": "09:00:00"},
            "availableTime.0: availableEndTime equals",
        ),
        (
            {"availableStartTime": "09:00", "availableEndTime": "10:00"},
            "availableTime.0.availableStartTime: ",
        ),
        (
            {"availableStartTime": "24:00:00", "availableEndTime": "10:00:00"},
            "availableTime.0.availableStartTime: there is no such",
        ),
    ],
)
def test_available_times_that_are_wrong(entry: Json, reason: str) -> None:
    assert refusal({**ROLE, "availableTime": [entry]}).startswith(reason)


@pytest.mark.parametrize(
    ("during", "expected"),
    [
        (
            {"start": "2026-03-09", "end": "2026-03-10"},
            [Period(first=date(2026, 3, 9), last=date(2026, 3, 10))],
        ),
        ({"start": "2026-02", "end": "2026-02"}, [Period(first=date(2026, 2, 1), last=date(2026, 2, 28))]),
        ({"start": "2024", "end": "2024-02"}, [Period(first=date(2024, 1, 1), last=date(2024, 2, 29))]),
        ({"start": "2026", "end": "2026"}, [Period(first=date(2026, 1, 1), last=date(2026, 12, 31))]),
        ({"start": "2026-03-09"}, [Period(first=date(2026, 3, 9))]),
        ({"end": "2026-03-09"}, [Period(last=date(2026, 3, 9))]),
        (
            {"start": "2026-03-09T12:00:00-04:00", "end": "2026-03-10"},
            [Period(start=at("2026-03-09T16:00:00Z"), last=date(2026, 3, 10))],
        ),
        (
            {"start": "2026-03-09", "end": "2026-03-09T12:00:00.5Z"},
            [Period(first=date(2026, 3, 9), end=at("2026-03-09T12:00:00.5Z"))],
        ),
        ({"start": "1900-01-01", "end": "2026"}, [Period(last=date(2026, 12, 31))]),
        ({"start": "2026", "end": "9999-12-31T23:59:59Z"}, [Period(first=date(2026, 1, 1))]),
        ({"start": "1900", "end": "1901"}, []),
        ({"start": "3000"}, []),
        ({}, []),
        (None, []),
    ],
)
def test_not_available(during: Json, expected: list[Period]) -> None:
    assert list(hours({**ROLE, "notAvailable": [{"during": during}]}).not_available) == expected


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "26",
        "2026-13",
        "2026-00",
        "2026-02-30",
        "0000",
        "2026-03-09T12:00:00",
        "2026-03-09T12:00Z",
        "9999-12-31T99:00:00Z",
        "2026-03-09 12:00",
        "٢٠٢٦",
        2026,
        "2026-03-09T",
    ],
)
def test_dates_that_are_none(bad: Json) -> None:
    assert refusal({**ROLE, "period": {"start": bad}}).startswith("period.start: ")
    away = [{"during": {"end": bad}}]
    assert refusal({**ROLE, "notAvailable": away}).startswith("notAvailable.0.during.end: ")


def test_time_away_is_taken_from_the_hours() -> None:
    """A Monday in New York, away from noon: 09:00 to 12:00 there is 13:00 to 16:00 in UTC."""
    zone = {"url": TIMEZONE, "valueCode": "America/New_York"}
    away = [{"during": {"start": "2026-03-09T12:00:00-04:00"}}]
    change = one({**ROLE, "extension": [zone], "notAvailable": away})
    expected = [Span(at("2026-03-09T13:00:00Z"), at("2026-03-09T16:00:00Z"))]
    assert spans("2026-03-09", [change], "America/New_York") == expected
    assert spans("2026-03-16", [change], "America/New_York") == []


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ({}, (None, None)),
        ({"start": "2026", "end": "2026-02"}, (date(2026, 1, 1), date(2026, 2, 28))),
        ({"start": "2026-03-09T23:30:00-04:00"}, (date(2026, 3, 10), None)),
        ({"end": "2026-03-09T23:30:00Z"}, (None, date(2026, 3, 10))),
        (
            {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"},
            (date(1, 1, 1), date(9999, 12, 31)),
        ),
    ],
)
def test_the_period_bounds_the_hours(period: Json, expected: tuple[date | None, date | None]) -> None:
    """A time is taken as its date in the zone, here Tokyo."""
    body = hours({**ROLE, "period": period}, where=context("Asia/Tokyo"))
    assert (body.effective_from, body.effective_until) == expected
    assert body_from_json(body.kind, body.json_text()) == body


@pytest.mark.parametrize(
    "period",
    [
        {"start": "2026-03", "end": "2026-02"},
        {"start": "2026-03-09T12:00:00Z", "end": "2026-03-09T11:00:00Z"},
        {"start": "2026-03-09T12:00:00Z", "end": "2026-03-08"},
    ],
)
def test_a_period_that_ends_before_it_starts_is_rejected(period: Json) -> None:
    assert refusal({**ROLE, "period": period}) == "period.end: is before start"
    away = [{}, {"during": period}]
    assert refusal({**ROLE, "notAvailable": away}) == "notAvailable.1.during.end: is before start"


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        (["Location/1"], "1"),
        (["Location/1", "https://ehr.example/Location/1"], "1"),
        (["Location/1", "Location/2"], None),
        (["Location/1", "#other"], None),
        (["Organization/1"], None),
        ([], None),
    ],
)
def test_hours_have_the_roles_location_if_it_is_one(locations: list[str], expected: str | None) -> None:
    role = {**ROLE, "location": [{"reference": reference} for reference in locations]}
    assert hours(role).weekly[0].location_id == expected


def test_the_provider_of_a_role_is_its_practitioner() -> None:
    assert one(ROLE, "q").providers == ("p",)
    orphan = {**ROLE, "practitioner": {"display": "somebody"}}
    assert one(orphan, "q").providers == ("q",)
    assert refusal(orphan).startswith("practitioner.reference: names no provider")
    assert one({**orphan, "active": False}).providers == ()


def test_an_inactive_role_offers_nothing() -> None:
    change = one({**ROLE, "active": False})
    assert change.body.status == "cancelled"
    assert spans("2026-03-09", [change]) == []


# Bundle


def bundle(*entries: Json) -> dict[str, Json]:
    return {"resourceType": "Bundle", "type": "collection", "entry": list(entries)}


def test_a_bundle_gives_the_changes_of_its_entries() -> None:
    resources = [example(name) for name in NAMES]
    others = [
        {"resource": {"resourceType": "Patient", "id": "1"}},
        {"fullUrl": "urn:uuid:1"},
        {"resource": None},
    ]
    expected = [one(resource) for resource in resources]
    assert decode(bundle(*others, *({"resource": resource} for resource in resources))) == expected
    assert decode(bundle()) == []
    assert decode({"resourceType": "Bundle"}) == []


def test_copies_of_a_bundle_for_different_providers_decode_alike() -> None:
    message = bundle(
        {"resource": SLOT}, {"resource": {**SLOT, "id": "s2", "schedule": {"reference": "Schedule/y"}}}
    )
    assert decode(message, "x") == decode(message, "y") == decode(message)


def test_of_several_versions_in_a_bundle_the_newest_counts() -> None:
    versions = [{"resource": {**SLOT, "meta": {"versionId": n}, "status": s}} for n, s in
                (("2", "free"), ("3", "busy"), ("1", "free"))]  # fmt: skip
    change = one(bundle(*versions))
    assert (change.version, change.body.status) == (3, "busy")


def test_a_deletion_in_a_bundle_withdraws() -> None:
    deletion = {"request": {"method": "DELETE", "url": "Slot/s"}}
    change = one(bundle(deletion, {"request": {"method": "DELETE", "url": "Patient/1"}}))
    assert (change.id, change.providers, change.body.status) == ("Slot/s", (), "entered-in-error")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"resource": {**SLOT, "status": "x"}}, "entry.1.resource: status: "),
        ({"resource": {"id": "x"}}, "entry.1.resource: resourceType: "),
        ({"resource": bundle()}, None),
        ({"resource": []}, "entry.1.resource: "),
        (7, "entry.1: "),
    ],
)
def test_a_wrong_entry_is_named(entry: Json, reason: str | None) -> None:
    message = bundle({"resource": SLOT}, entry)
    if reason is None:
        assert decode(message) == decode(SLOT), "a Bundle in a Bundle is just another resource type"
    else:
        assert refusal(message).startswith(reason)


# Whatever comes

ODDITIES = ["\ud800", "", "0001-01-01", "9999-12-31T23:59:59-12:00", "2198-12-31T23:59:59-14:00", "Slot", "Bundle",
            "24:00:00", "Schedule/x", "9" * 5000, TIMEZONE, 10**400, float("nan"), 1e308]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODDITIES)
)
FIELDS = st.sampled_from(
    [
        "resourceType",
        "id",
        "meta",
        "versionId",
        "status",
        "start",
        "end",
        "entry",
        "resource",
        "extension",
        "period",
    ]
) | st.text(max_size=5)
JSONS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=20,
)


def places(node: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that is in a JSON value."""
    if path:
        yield path
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*path, key))


def put(resource: dict[str, Json], path: tuple[Any, ...], value: Json) -> dict[str, Json]:
    """A copy with another value at a path."""
    changed = copy.deepcopy(resource)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


RICH: list[dict[str, Json]] = [
    {
        **SLOT,
        "meta": {"versionId": "4", "lastUpdated": "2026-01-01T00:00:00Z"},
        "serviceType": [{"coding": [{"code": "c", "display": "d", "system": "s"}], "text": "t"}],
        "schedule": {"reference": "Schedule/x", "display": "d", "identifier": {"value": "v"}},
        "comment": "c",
        "text": {"status": "generated", "div": "d"},
    },
    {
        **SCHEDULE,
        "active": True,
        "extension": [{"url": TIMEZONE, "valueCode": "Asia/Kathmandu"}, {"url": "u", "valueString": "v"}],
        "comment": "c",
    },
    {
        **BOOKING,
        "minutesDuration": 30,
        "comment": "c",
        "description": "d",
        "patientInstruction": "i",
        "reasonCode": [{"text": "t"}],
        "identifier": [{"value": "v"}],
        "contained": [{"resourceType": "Patient", "id": "p1", "name": [{"family": "f", "given": ["g"]}],
                       "telecom": [{"value": "v"}]}],
        "participant": [
            {"actor": {"reference": "Patient/1", "display": "d"}, "status": "accepted"},
            {"actor": {"reference": "RelatedPerson/1", "display": "d"}, "status": "accepted"},
            {"actor": {"reference": "Practitioner/p", "display": "d"}, "status": "accepted",
             "type": [{"text": "t"}]},
        ],
    },
    {
        **ROLE,
        "period": {"start": "2026-01", "end": "2026-12-31T12:00:00Z"},
        "location": [{"reference": "Location/1", "display": "d"}],
        "notAvailable": [{"description": "d", "during": {"start": "2026-05-01", "end": "2026-05-20"}}],
        "availabilityExceptions": "e",
        "telecom": [{"value": "v"}],
    },
]  # fmt: skip


PROSE = {"display", "comment", "description", "div", "value", "patientInstruction", "family", "valueString",
         "availabilityExceptions"}  # fmt: skip
"""Fields of the resources above that are free text."""


def outcome(given_event: Event) -> list[ItemChange] | Reject:
    """What comes of an event; any other error than a Reject passes through, and fails the test."""
    try:
        return PLUGIN.decode(given_event, context())
    except Reject as reject:
        return reject


def check_whatever_comes(data: Json, subject: str | None, type_: str) -> None:
    given_event = event(None, subject, type_).model_copy(update={"data": data})
    changes = outcome(given_event)
    if isinstance(changes, Reject):
        assert changes.reason == "invalid_data"
        assert ": " in changes.detail
        return
    for change in changes:
        assert body_from_json(change.kind, change.body.json_text()) == change.body
        assert change.providers or not change.body.counts
    spans("2026-03-09", changes)


SUBJECTS = st.sampled_from([None, "p"])
TYPES = st.sampled_from(["fhir.update", "fhir.deleted"])


@settings(deadline=None)
@given(JSONS, SUBJECTS, TYPES)
def test_any_json_is_items_or_a_reject(data: Json, subject: str | None, type_: str) -> None:
    check_whatever_comes(data, subject, type_)


@settings(deadline=None, max_examples=500)
@given(st.data(), SUBJECTS, TYPES)
def test_a_mutated_resource_is_items_or_a_reject(
    data: st.DataObject, subject: str | None, type_: str
) -> None:
    resource = data.draw(st.sampled_from(RICH))
    if data.draw(st.booleans()):
        resource = bundle({"resource": resource, "request": {"method": "PUT", "url": "Slot/s"}})
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(resource))))
        resource = put(resource, path, data.draw(JSONS))
    check_whatever_comes(resource, subject, type_)


@pytest.mark.parametrize("secret", ["Jane Q. Roe", "MRN 0012345", "+1 (555) 010-4477", "Patient/MRN-0012345"])
@pytest.mark.parametrize("resource", RICH, ids=lambda r: str(r["resourceType"]))
def test_nothing_that_names_a_patient_gets_into_items_or_reasons(
    resource: dict[str, Json], secret: str
) -> None:
    """Planted in place of every part in turn, and in all free text at once; only a service's code is kept as it is."""
    for path in places(resource):
        if path[-1] == "code":
            continue
        for data in (put(resource, path, secret), bundle({"resource": put(resource, path, secret)})):
            changes = outcome(event(data))
            if isinstance(changes, Reject):
                assert secret not in str(changes)
                continue
            for change in changes:
                assert secret not in change.body.model_dump_json()
                assert secret not in (change.id, *change.providers)

    everywhere = resource
    for path in places(resource):
        if path[-1] in PROSE:
            everywhere = put(everywhere, path, secret)
    change = one(everywhere)
    assert change == one(resource)
    assert secret not in change.body.model_dump_json()
