"""What messages become, item by item."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from athena_style import AthenaStylePlugin, AthenaStyleSettings

from emr_plugins.api import Context, Event, ItemChange, Reject, Slot, TimeOff, WorkingHours

SETTINGS = AthenaStyleSettings(
    departments={"21": "America/New_York", "35": "America/Phoenix", "44": "Australia/Lord_Howe"},
    service_types={"82": "new-patient"},
)
OPEN = {
    "appointmentid": "1", "appointmentstatus": "o", "date": "03/09/2026", "starttime": "09:15", "duration": "30",
    "departmentid": "21", "providerid": "71", "appointmenttypeid": "82",
}  # fmt: skip
BLOCK = {
    "blockid": "5", "providerid": "71", "departmentid": "21", "date": "03/10/2026", "starttime": "12:00",
    "duration": "60",
}  # fmt: skip


def decoded(type_: str, data: Any, settings: AthenaStyleSettings = SETTINGS) -> ItemChange:
    envelope = {"specversion": "1.0", "id": "1", "source": "/tenants/t", "time": "2026-03-01T00:00:00Z"}
    about = {"tenant": "t", "emr": "athena_style", "type": type_, "data": data}
    event = Event.model_validate({**envelope, **about})
    (change,) = AthenaStylePlugin().decode(event, Context("t", "athena_style", "Europe/Paris", settings))
    return change


def slot(**over: Any) -> Slot:
    body = decoded("AppointmentChange", {**OPEN, **over}).body
    assert isinstance(body, Slot)
    return body


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_an_open_slot_is_free_at_the_time_on_its_departments_wall() -> None:
    change = decoded("AppointmentChange", OPEN)
    assert (change.kind, change.id, change.providers) == ("slot", "1", ("71",))
    assert change.body == Slot(
        status="free",
        start=at("2026-03-09T09:15-04:00"),
        end=at("2026-03-09T09:45-04:00"),
        location_id="21",
        service_types=("new-patient",),
    )


@pytest.mark.parametrize(
    ("code", "frozen", "status"),
    [
        ("o", "N", "free"),
        ("o", "Y", "busy-unavailable"),
        ("f", "N", "busy"),
        ("f", "Y", "busy"),
        ("2", "N", "busy"),
        ("3", "N", "busy"),
        ("4", "N", "busy"),
        ("x", "N", "cancelled"),
    ],
)
def test_each_letter_has_its_meaning(code: str, frozen: str, status: str) -> None:
    assert slot(appointmentstatus=code, frozen=frozen).status == status


def test_a_cancelled_appointment_may_come_without_a_time() -> None:
    change = decoded("AppointmentChange", {"appointmentid": 1, "appointmentstatus": "x", "providerid": 71})
    assert (change.id, change.body.status, change.providers) == ("1", "cancelled", ("71",))


@pytest.mark.parametrize(
    ("department", "day", "clock", "start", "end"),
    [
        ("21", "03/07/2026", "09:00", "2026-03-07T14:00Z", "2026-03-07T15:00Z"),
        ("21", "03/08/2026", "09:00", "2026-03-08T13:00Z", "2026-03-08T14:00Z"),
        # An hour that begins before the clocks go forward is still an hour.
        ("21", "03/08/2026", "01:30", "2026-03-08T06:30Z", "2026-03-08T07:30Z"),
        # There is no 02:30: as if they had not gone forward yet.
        ("21", "03/08/2026", "02:30", "2026-03-08T07:30Z", "2026-03-08T08:30Z"),
        # 01:30 comes twice: the first.
        ("21", "11/01/2026", "01:30", "2026-11-01T05:30Z", "2026-11-01T06:30Z"),
        ("21", "11/01/2026", "02:00", "2026-11-01T07:00Z", "2026-11-01T08:00Z"),
        # Arizona has no daylight saving time; Lord Howe's is half an hour.
        ("35", "03/09/2026", "09:00", "2026-03-09T16:00Z", "2026-03-09T17:00Z"),
        ("44", "04/05/2026", "01:45", "2026-04-04T14:45Z", "2026-04-04T15:45Z"),
        ("44", "10/04/2026", "02:15", "2026-10-03T15:45Z", "2026-10-03T16:45Z"),
    ],
)
def test_times_are_right_on_days_when_the_clocks_change(
    department: str, day: str, clock: str, start: str, end: str
) -> None:
    body = slot(departmentid=department, date=day, starttime=clock, duration="60")
    assert (body.start, body.end) == (at(start), at(end))


def test_a_block_is_time_off_from_one_instant_to_another() -> None:
    change = decoded("ProviderBlock", BLOCK)
    assert change.id == "block/5"
    assert change.body == TimeOff(start=at("2026-03-10T12:00-04:00"), end=at("2026-03-10T13:00-04:00"))
    gone = decoded("ProviderBlock", {"blockid": "5", "providerid": "71", "deleted": "Y"})
    assert (gone.id, gone.body.status) == ("block/5", "cancelled")


def test_a_vacation_is_whole_days() -> None:
    data = {"vacationid": "9", "providerid": "71", "firstdate": "12/24/2026", "lastdate": "01/02/2027"}
    assert decoded("ProviderVacation", data).body == TimeOff(start=date(2026, 12, 24), end=date(2027, 1, 2))
    assert decoded("ProviderVacation", {**data, "deleted": "Y"}).body.status == "cancelled"


def test_a_profile_gives_a_provider_the_zone_of_their_department() -> None:
    change = decoded("ProviderProfile", {"providerid": "71", "homedepartmentid": "35"})
    assert change.body == WorkingHours(time_zone="America/Phoenix")


def test_a_department_that_is_not_listed_is_read_in_the_tenants_zone_if_so_set() -> None:
    settings = AthenaStyleSettings(other_departments="tenant")
    body = decoded("AppointmentChange", OPEN, settings).body
    assert isinstance(body, Slot)
    assert body.start == at("2026-03-09T09:15+01:00")


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        ("Nonsense", {}, "type: must be AppointmentChange, "),
        ("AppointmentChange", "text", "data: must be an object"),
        ("AppointmentChange", {**OPEN, "date": "2026-03-09"}, "data.date: must be a date, as 03/09/2026"),
        ("AppointmentChange", {**OPEN, "date": "02/30/2026"}, "data.date: there is no such date"),
        ("AppointmentChange", {**OPEN, "date": "03/09/1026"}, "the year must lie between"),
        ("AppointmentChange", {**OPEN, "date": "01/01/0001"}, "the year must lie between"),
        ("AppointmentChange", {**OPEN, "date": "12/31/9999"}, "the year must lie between"),
        ("AppointmentChange", {**OPEN, "starttime": "9:15"}, "data.starttime: must be a time of day"),
        ("AppointmentChange", {**OPEN, "starttime": "24:00"}, "data.starttime: there is no such time"),
        ("AppointmentChange", {**OPEN, "duration": "0"}, "data.duration: "),
        ("AppointmentChange", {**OPEN, "appointmentstatus": "q"}, "data.appointmentstatus: "),
        ("AppointmentChange", {**OPEN, "providerid": None}, "data.providerid: "),
        (
            "AppointmentChange",
            {**OPEN, "starttime": None},
            "data: starttime: required, except to withdraw it",
        ),
        ("AppointmentChange", {**OPEN, "departmentid": "99"}, "data.departmentid: no such department"),
        ("ProviderBlock", {"blockid": "5", "providerid": "71"}, "required, except to withdraw it"),
        ("ProviderProfile", {"providerid": "71", "homedepartmentid": "9"}, "data.homedepartmentid: no such"),
    ],
)
def test_what_is_wrong_is_rejected_by_the_name_of_its_field(type_: str, data: Any, said: str) -> None:
    with pytest.raises(Reject) as caught:
        decoded(type_, data)
    assert caught.value.reason == "invalid_data"
    assert said in caught.value.detail


def test_a_zone_that_there_is_not_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="not a time zone"):
        AthenaStyleSettings(departments={"21": "Mars/Olympus"})
