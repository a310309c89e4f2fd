"""FHIR R4 data types, as far as scheduling resources use them: references, dates, times, periods, extensions."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, time
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from emr_plugins.api import (
    Reject,
)
from processors import times
from processors.items import aware_instant

ZONE_EXTENSIONS = (
    "http://hl7.org/fhir/StructureDefinition/timezone",
    "http://hl7.org/fhir/StructureDefinition/tz-code",
)
"""By precedence: the current extension, and the older one."""

_REFERENCE = re.compile(
    r"(?:https?://[^\s?#]+/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_DATE_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(T.+)?)?)?", re.ASCII)
_TIME = re.compile(r"(\d\d:\d\d:\d\d)(?:\.\d+)?", re.ASCII)


def named_in(reference: str) -> tuple[str, str] | None:
    """Type and id in a reference; None for a contained or logical one, and for what is none."""
    match = _REFERENCE.fullmatch(reference)
    return (match[1], match[2]) if match else None


def _date_time(value: object) -> DateTime:
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a date, as 2026, 2026-03 or 2026-03-09, or a date and time with an offset")
    try:
        first = date(int(match[1]), int(match[2] or 1), int(match[3] or 1))
    except ValueError:
        raise ValueError("there is no such date") from None
    last = first
    if match[3] is None:
        month = first.month if match[2] else 12
        last = date(first.year, month, calendar.monthrange(first.year, month)[1])
    if match[4] is None:
        return DateTime(first, last, None)
    if times.FIRST_YEAR < first.year < times.LAST_YEAR:
        return DateTime(first, last, aware_instant(match[0]))
    aware_instant(f"2000-01-01{match[4]}")  # 9999-12-31T23:59:59Z means no end; its time must still be one
    return DateTime(first, last, None)


def _time_of_day(value: object) -> time:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a time of day with seconds, as 09:00:00")
    try:
        return time.fromisoformat(match[1])  # FHIR leaves it to the receiver to ignore parts of a second
    except ValueError:
        raise ValueError("there is no such time of day") from None


class DateTime(NamedTuple):
    """A FHIR dateTime: the dates it covers as written, and its instant if it has a time (of a year that is real)."""

    first: date
    last: date
    instant: datetime | None

    def local(self, zone: str) -> DateTime:
        """With the instant's date in the zone."""
        day = self.instant.astimezone(times.zone(zone)).date() if self.instant else None
        return DateTime(day, day, self.instant) if day else self


T = TypeVar("T")

Many = Annotated[list[T], Field(fail_fast=True)]
"""A list, validated up to its first fault: there may be 100,000 of them."""

FhirId = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
FhirCode = Annotated[str, Field(min_length=1, max_length=256)]
FhirDateTime = Annotated[DateTime, PlainValidator(_date_time)]
FhirTime = Annotated[time, BeforeValidator(_time_of_day)]


def wrong(path: str, why: str) -> Reject:
    return Reject("invalid_data", f"{path}: {why}")


class FhirElement(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, hide_input_in_errors=True, extra="ignore", alias_generator=to_camel
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        return {name: given for name, given in value.items() if given is not None}


class Meta(FhirElement):
    version_id: str = ""


class Coding(FhirElement):
    code: FhirCode | None = None


class CodeableConcept(FhirElement):
    coding: Many[Coding] = []


class Reference(FhirElement):
    reference: str = ""

    def id_of(self, kind: str) -> str | None:
        """The id, if it is a reference to that type of resource."""
        named = named_in(self.reference)
        return named[1] if named is not None and named[0] == kind else None


class Extension(FhirElement):
    url: str = ""
    value_code: str = ""

    @model_validator(mode="after")
    def _known_zone(self) -> Extension:
        if self.url in ZONE_EXTENSIONS:
            times.zone(self.value_code)
        return self


class FhirPeriod(FhirElement):
    start: FhirDateTime | None = None
    end: FhirDateTime | None = None

    def local(self, path: str, zone: str) -> tuple[DateTime | None, DateTime | None]:
        """Start and end, an instant with its date in the zone."""
        start, end = (at and at.local(zone) for at in (self.start, self.end))
        if start and end:
            exact = start.instant and end.instant and start.instant > end.instant
            if exact or start.first > end.last:
                raise wrong(f"{path}.end", "is before start")
        return start, end
