"""FHIR R4 resources → items: what Slot, Schedule, Appointment and PractitionerRole say about availability."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    model_validator,
)

from emr_plugins.api import (
    Appointment,
    Body,
    Context,
    Period,
    Slot,
    WeeklyHours,
    WorkingHours,
)
from processors import times
from processors.items import WEEKDAYS, WITHDRAWN, Instant, Weekday

from .datatypes import (
    ZONE_EXTENSIONS,
    CodeableConcept,
    Extension,
    FhirElement,
    FhirId,
    FhirPeriod,
    FhirTime,
    Many,
    Meta,
    Reference,
    named_in,
    wrong,
)

Actor = Literal["Practitioner", "PractitionerRole", "Device", "HealthcareService", "Location"]
"""Whom an Appointment can book; patients and related persons are not providers, so no setting can make them one."""

PEOPLE = frozenset({"Practitioner", "PractitionerRole"})

Content = tuple[Body, tuple[str, ...]]
"""A body and the providers it is about."""


class Resource(FhirElement):
    PROVIDER: ClassVar[str] = "id"
    """The field that names the provider, for reasons."""

    id: FhirId
    meta: Meta = Meta()

    @property
    def version(self) -> int:
        """The resource's versionId where it is a number that can be compared, else 0."""
        text = self.meta.version_id
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0

    def content(self, subject: str | None, context: Context) -> Content:
        """What the resource says about availability."""
        raise NotImplementedError


def _bounds(
    status: str, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime] | tuple[None, None]:
    """Start and end of an item; one that is withdrawn may do without, or have them wrong."""
    if start is not None and end is not None and start < end:
        return start, end
    if status in WITHDRAWN:
        return None, None
    if start is None or end is None:
        missing = "start" if start is None else "end"
        raise wrong(missing, "required unless the status is cancelled or entered-in-error")
    raise wrong("end", "must be after start")


class SlotResource(Resource):
    """FHIR R4 Slot."""

    PROVIDER = "schedule.reference"

    status: Literal["free", "busy", "busy-unavailable", "busy-tentative", "entered-in-error"]
    schedule: Reference = Reference()
    service_type: Many[CodeableConcept] = []
    start: Instant | None = None
    end: Instant | None = None

    def content(self, subject: str | None, context: Context) -> Content:
        codes = {coding.code for concept in self.service_type for coding in concept.coding if coding.code}
        if len(codes) > 50:
            raise wrong("serviceType", "more than 50 codes")
        start, end = _bounds(self.status, self.start, self.end)
        body = Slot(status=self.status, start=start, end=end, service_types=tuple(codes))
        provider = subject or self.schedule.id_of("Schedule")
        return body, (provider,) if provider else ()


class ScheduleResource(Resource):
    """FHIR R4 Schedule."""

    active: bool = True
    extension: Many[Extension] = []

    def content(self, subject: str | None, context: Context) -> Content:
        status: Literal["active", "cancelled"] = "active" if self.active else "cancelled"
        return WorkingHours(status=status, time_zone=_zone(self.extension)), (subject or self.id,)


def _zone(extensions: Iterable[Extension]) -> str | None:
    """The zone that a timezone extension names; without one the calendar's own, else the tenant's, is meant."""
    named = {extension.url: extension.value_code for extension in extensions}
    return next((named[url] for url in ZONE_EXTENSIONS if url in named), None)


class _Participant(FhirElement):
    actor: Reference = Reference()
    status: Literal["accepted", "declined", "tentative", "needs-action"] = "needs-action"

    def provider(self, actors: Iterable[str]) -> str | None:
        named = named_in(self.actor.reference)
        if named is None or named[0] not in actors:
            return None
        return named[1] if named[0] in PEOPLE else "/".join(named)


class AppointmentResource(Resource):
    """FHIR R4 Appointment."""

    PROVIDER = "participant"

    status: Literal[
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
        "checked-in", "waitlist",
    ]  # fmt: skip
    start: Instant | None = None
    end: Instant | None = None
    minutes_duration: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    participant: Many[_Participant] = []

    def content(self, subject: str | None, context: Context) -> Content:
        booked: list[str] = []
        declined: list[str] = []
        for participant in self.participant:
            if provider := participant.provider(context.settings.actors):
                (declined if participant.status == "declined" else booked).append(provider)
        status, providers = self.status, tuple(dict.fromkeys(booked))
        if declined and not booked:
            # Nobody is left to keep it, so it takes nobody's time; those who declined are where it would be.
            providers = tuple(dict.fromkeys(declined))
            if status not in WITHDRAWN:
                status = "cancelled"
        end = self.end
        if end is None and self.start is not None and self.minutes_duration is not None:
            end = self.start + timedelta(minutes=self.minutes_duration)
        start, end = _bounds(status, self.start, end)
        body = Appointment(status=status, start=start, end=end)
        return body, providers or ((subject,) if subject else ())


class _AvailableTime(FhirElement):
    """Days and times of a PractitionerRole.

    What is left out does not restrict: no days are all days, no times the whole day. But an entry that says nothing
    at all (only an extension) offers nothing, and one that contradicts itself is refused rather than guessed at.
    """

    days_of_week: Annotated[Many[Weekday], Field(min_length=1)] | None = None
    all_day: bool | None = None
    available_start_time: FhirTime | None = None
    available_end_time: FhirTime | None = None

    @model_validator(mode="after")
    def _whole(self) -> _AvailableTime:
        start, end = self.available_start_time, self.available_end_time
        if self.all_day:
            return self  # FHIR: the times are irrelevant then
        if (start is None) != (end is None):
            raise ValueError("availableStartTime and availableEndTime must come together")
        if start is None and self.all_day is False:
            raise ValueError("neither allDay nor times")
        if start is not None and start == end:
            raise ValueError("availableEndTime equals availableStartTime; a whole day is allDay")
        return self

    def hours(self, location_id: str | None) -> Iterable[WeeklyHours]:
        """The weekly hours; those that end at or before their start run past midnight."""
        if self.days_of_week is None and self.all_day is None and self.available_start_time is None:
            return
        start, end = self.available_start_time, self.available_end_time
        if self.all_day or start is None or end is None:
            start = end = time(0)
        days = tuple(dict.fromkeys(self.days_of_week or WEEKDAYS))
        yield WeeklyHours(days=days, start=start, end=end, location_id=location_id)


class _NotAvailable(FhirElement):
    during: FhirPeriod = FhirPeriod()

    def periods(self, path: str, zone: str) -> Iterable[Period]:
        """The time away; none where no dates are given, or only ones that no calendar of ours reaches."""
        start, end = self.during.local(path, zone)
        if start is None and end is None:
            return
        if (start and start.first.year >= times.LAST_YEAR) or (end and end.last.year <= times.FIRST_YEAR):
            return
        bounds: dict[str, Any] = {}
        if start and start.first.year > times.FIRST_YEAR:  # 1900-01-01 means since ever
            bounds |= {"start": start.instant} if start.instant else {"first": start.first}
        if end and end.last.year < times.LAST_YEAR:
            bounds |= {"end": end.instant} if end.instant else {"last": end.last}
        yield Period.model_validate(bounds)


class PractitionerRoleResource(Resource):
    """FHIR R4 PractitionerRole."""

    PROVIDER = "practitioner.reference"

    active: bool = True
    period: FhirPeriod = FhirPeriod()
    practitioner: Reference = Reference()
    location: Many[Reference] = []
    available_time: Annotated[Many[_AvailableTime], Field(max_length=1000)] = []
    not_available: Annotated[Many[_NotAvailable], Field(max_length=1000)] = []
    extension: Many[Extension] = []

    def content(self, subject: str | None, context: Context) -> Content:
        named = _zone(self.extension)
        zone = named or context.zone  # of dates that are given as instants
        start, end = self.period.local("period", zone)
        locations = {location.id_of("Location") for location in self.location}
        location_id = locations.pop() if len(locations) == 1 else None
        away = (n.periods(f"notAvailable.{i}.during", zone) for i, n in enumerate(self.not_available))
        body = WorkingHours(
            status="active" if self.active else "cancelled",
            time_zone=named,
            effective_from=start and start.first,
            effective_until=end and end.last,
            weekly=tuple(hours for entry in self.available_time for hours in entry.hours(location_id)),
            not_available=tuple(period for periods in away for period in periods),
        )
        provider = self.practitioner.id_of("Practitioner") or subject
        return body, (provider,) if provider else ()


READERS: dict[str, type[Resource]] = {
    "Slot": SlotResource,
    "Schedule": ScheduleResource,
    "Appointment": AppointmentResource,
    "PractitionerRole": PractitionerRoleResource,
}
