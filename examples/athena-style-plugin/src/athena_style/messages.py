"""The feed's messages, as far as availability needs them. What is not named here, the patient above all, is never read.

All values are texts, numbers included, though some senders write ids and durations as JSON numbers. Dates are
``MM/DD/YYYY`` and times ``HH:MM`` on the clock on the department's wall; flags are ``Y`` and ``N``.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d)", re.ASCII)


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _date(value: object) -> date:
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a date, as 03/09/2026")
    try:
        return date(int(match[3]), int(match[1]), int(match[2]))
    except ValueError:
        raise ValueError("there is no such date") from None


def _time(value: object) -> time:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a time of day, as 09:15")
    try:
        return time(int(match[1]), int(match[2]))
    except ValueError:
        raise ValueError("there is no such time of day") from None


Id = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=100)]
Date = Annotated[date, BeforeValidator(_date)]
TimeOfDay = Annotated[time, BeforeValidator(_time)]
Minutes = Annotated[int, Field(ge=1, le=1440)]
Flag = Literal["Y", "N"]


class Message(BaseModel):
    """What all messages have in common: no values in errors, and unknown fields are left out."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")

    NEEDED: ClassVar[tuple[str, ...]] = ()
    """Fields that a message may lack only when it withdraws what it is about."""

    @property
    def withdrawn(self) -> bool:
        """Whether nothing is left of what it is about."""
        return False

    @model_validator(mode="after")
    def _complete(self) -> Message:
        missing = [name for name in self.NEEDED if getattr(self, name) is None]
        if missing and not self.withdrawn:
            raise ValueError(f"{', '.join(missing)}: required, except to withdraw it")
        return self


class WallTime(Message):
    """A time on a department's wall, and how long it lasts."""

    NEEDED = ("departmentid", "date", "starttime", "duration")

    departmentid: Id | None = None
    date: Date | None = None
    starttime: TimeOfDay | None = None
    duration: Minutes | None = None

    @property
    def starts(self) -> datetime | None:
        """The start, on the wall."""
        return datetime.combine(self.date, self.starttime) if self.date and self.starttime else None


class AppointmentChange(WallTime):
    """A slot of a provider's schedule, from when it is opened: the same id stays when it is booked."""

    appointmentid: Id
    appointmentstatus: Literal["o", "f", "2", "3", "4", "x"]
    providerid: Id
    appointmenttypeid: Id | None = None
    frozen: Flag = "N"

    @property
    def withdrawn(self) -> bool:
        return self.appointmentstatus == "x"


class ProviderBlock(WallTime):
    """Part of a day on which a provider sees nobody."""

    blockid: Id
    providerid: Id
    deleted: Flag = "N"

    @property
    def withdrawn(self) -> bool:
        return self.deleted == "Y"


class ProviderVacation(Message):
    """Whole days away, the last included."""

    NEEDED = ("firstdate", "lastdate")

    vacationid: Id
    providerid: Id
    firstdate: Date | None = None
    lastdate: Date | None = None
    deleted: Flag = "N"

    @property
    def withdrawn(self) -> bool:
        return self.deleted == "Y"


class ProviderProfile(Message):
    """Where a provider is at home: in that department's zone their days begin and end."""

    providerid: Id
    homedepartmentid: Id
    active: Flag = "Y"
