"""HL7 FHIR R4 (4.0.1) → items: Slot, Schedule, Appointment and PractitionerRole, one at a time or in a Bundle.

Only the parts of a resource that availability needs are read, into the small models below; the rest, whatever names
a patient included, is never looked at. A property that is null counts as left out. References are understood as
``Type/id``, as an absolute URL that ends so, and with a ``/_history/<version>`` behind.

What each resource becomes, and which provider it is about:

- Slot → slot. Provider: the event's subject, else the id of its Schedule, since a bookable resource need not be a
  person. Service types: the codes of all codings of `serviceType`, whatever their system; one with text only has none.
- Schedule → working hours without any hours: its provider becomes known and, by the timezone extension, gets its zone
  (without one, the tenant's). Provider: the subject, else its own id. An inactive one is a cancelled carrier of the
  zone and no more: its slots say for themselves whether they are free.
- Appointment → appointment. Providers: the actors of the types in the settings that did not decline, else the subject.
  If all of them declined it is as good as cancelled.
- PractitionerRole → working hours. Provider: the id of its `practitioner`, else the subject. Hours have a location if
  the role has exactly one, and no service types: FHIR's specialties and healthcare services are not service types.

An event whose type ends in ``delete`` or ``deleted`` withdraws the resource, and so does a Bundle's DELETE; only type,
id and version are read then.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from emr_plugins.api import (
    API_VERSION,
    Appointment,
    Body,
    Context,
    Event,
    ItemChange,
    Period,
    Reject,
    Slot,
    StandardEnginePlugin,
    WeeklyHours,
    WorkingHours,
)
from processors import times
from processors.errors import explain
from processors.items import WEEKDAYS, WITHDRAWN, Instant, Weekday, aware_instant

Actor = Literal["Practitioner", "PractitionerRole", "Device", "HealthcareService", "Location"]
"""Whom an Appointment can book; patients and related persons are not providers, so no setting can make them one."""

PEOPLE = frozenset({"Practitioner", "PractitionerRole"})
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


class FhirR4Settings(BaseModel):
    """A tenant's settings.

    Attributes:
        actors: the types of Appointment participants that are providers. The provider id of a Practitioner or
            PractitionerRole is its bare id, as in a partner's other events; of another type the reference
            (``Location/1``), so that a room never has the calendar of a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actors: tuple[Actor, ...] = ("Practitioner", "PractitionerRole")


class FhirR4Plugin(StandardEnginePlugin):
    """Understands HL7 FHIR R4 scheduling resources as JSON."""

    name = "fhir_r4"
    api_version = API_VERSION
    Settings = FhirR4Settings

    def decode(self, event: Event, context: Context) -> list[ItemChange]:
        """One change for a resource; for a Bundle, one for each item in it, other resource types ignored.

        A Bundle may hold the resources of several providers and be split into one event for each, and the copies must
        decode alike, so the subject is not looked at there: every entry names its provider itself.

        Raises:
            Reject: not one of these resources, or a field of it is wrong; says which and why.
        """
        resource = event.payload()
        if isinstance(resource, str | bytes):
            try:
                resource = _OBJECT.validate_json(resource)
            except ValueError:  # also text that is not Unicode
                resource = None
        if not isinstance(resource, dict):
            raise _wrong("data", "must be a FHIR resource as a JSON object")
        deleted = event.type.lower().endswith(("delete", "deleted"))
        if resource.get("resourceType") != "Bundle":
            return [_change(resource, event.subject, deleted, context)]

        try:
            entries = _Bundle.model_validate(resource).entry
        except ValidationError as error:
            raise Reject("invalid_data", explain(error)) from None
        latest: dict[str, ItemChange] = {}
        for index, entry in enumerate(entries):
            found, entry_deleted = entry.content()
            kind = found.get("resourceType")
            if not found or (isinstance(kind, str) and kind not in _READERS):
                continue
            try:
                change = _change(found, None, deleted or entry_deleted, context)
            except Reject as error:
                raise _wrong(f"entry.{index}.resource", error.detail) from None
            # A history Bundle holds one resource several times, the newest first.
            if change.id not in latest or change.version > latest[change.id].version:
                latest[change.id] = change
        return list(latest.values())


def _wrong(path: str, why: str) -> Reject:
    return Reject("invalid_data", f"{path}: {why}")


def _change(resource: dict[str, Any], subject: str | None, deleted: bool, context: Context) -> ItemChange:
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in _READERS:
        raise _wrong("resourceType", f"must be {', '.join(_READERS)} or Bundle")
    if deleted:
        kept = {key: resource.get(key) for key in ("id", "meta")}
        resource = {**kept, "status": "entered-in-error", "active": False}
    try:
        read = _READERS[kind].model_validate(resource)
        body, providers = read.content(subject, context)
    except ValidationError as error:
        raise Reject("invalid_data", explain(error)) from None
    if not providers and body.counts:
        raise _wrong(read.PROVIDER, "names no provider, and the event has no subject")
    return ItemChange(f"{kind}/{read.id}", body, providers, read.version)


def _named(reference: str) -> tuple[str, str] | None:
    """Type and id in a reference; None for a contained or logical one, and for what is none."""
    match = _REFERENCE.fullmatch(reference)
    return (match[1], match[2]) if match else None


def _date_time(value: object) -> _DateTime:
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
        return _DateTime(first, last, None)
    if times.FIRST_YEAR < first.year < times.LAST_YEAR:
        return _DateTime(first, last, aware_instant(match[0]))
    aware_instant(f"2000-01-01{match[4]}")  # 9999-12-31T23:59:59Z means no end; its time must still be one
    return _DateTime(first, last, None)


def _time_of_day(value: object) -> time:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a time of day with seconds, as 09:00:00")
    try:
        return time.fromisoformat(match[1])  # FHIR leaves it to the receiver to ignore parts of a second
    except ValueError:
        raise ValueError("there is no such time of day") from None


class _DateTime(NamedTuple):
    """A FHIR dateTime: the dates it covers as written, and its instant if it has a time (of a year that is real)."""

    first: date
    last: date
    instant: datetime | None

    def local(self, zone: str) -> _DateTime:
        """With the instant's date in the zone."""
        day = self.instant.astimezone(times.zone(zone)).date() if self.instant else None
        return _DateTime(day, day, self.instant) if day else self


FhirId = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
FhirCode = Annotated[str, Field(min_length=1, max_length=256)]
FhirDateTime = Annotated[_DateTime, PlainValidator(_date_time)]
FhirTime = Annotated[time, BeforeValidator(_time_of_day)]
_OBJECT = TypeAdapter(dict[str, Any])

Content = tuple[Body, tuple[str, ...]]
"""A body and the providers it is about."""


class _Fhir(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, hide_input_in_errors=True, extra="ignore", alias_generator=to_camel
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        return {name: given for name, given in value.items() if given is not None}


class _Meta(_Fhir):
    version_id: str = ""


class _Coding(_Fhir):
    code: FhirCode | None = None


class _Concept(_Fhir):
    coding: list[_Coding] = []


class _Reference(_Fhir):
    reference: str = ""

    def id_of(self, kind: str) -> str | None:
        """The id, if it is a reference to that type of resource."""
        named = _named(self.reference)
        return named[1] if named is not None and named[0] == kind else None


class _Extension(_Fhir):
    url: str = ""
    value_code: str = ""

    @model_validator(mode="after")
    def _known_zone(self) -> _Extension:
        if self.url in ZONE_EXTENSIONS:
            times.zone(self.value_code)
        return self


class _Period(_Fhir):
    start: FhirDateTime | None = None
    end: FhirDateTime | None = None

    def local(self, path: str, zone: str) -> tuple[_DateTime | None, _DateTime | None]:
        """Start and end, an instant with its date in the zone."""
        start, end = (at and at.local(zone) for at in (self.start, self.end))
        if start and end:
            exact = start.instant and end.instant and start.instant > end.instant
            if exact or start.first > end.last:
                raise _wrong(f"{path}.end", "is before start")
        return start, end


class _Resource(_Fhir):
    PROVIDER: ClassVar[str] = "id"
    """The field that names the provider, for reasons."""

    id: FhirId
    meta: _Meta = _Meta()

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
        raise _wrong(missing, "required unless the status is cancelled or entered-in-error")
    raise _wrong("end", "must be after start")


class _Slot(_Resource):
    """FHIR R4 Slot."""

    PROVIDER = "schedule.reference"

    status: Literal["free", "busy", "busy-unavailable", "busy-tentative", "entered-in-error"]
    schedule: _Reference = _Reference()
    service_type: list[_Concept] = []
    start: Instant | None = None
    end: Instant | None = None

    def content(self, subject: str | None, context: Context) -> Content:
        codes = {coding.code for concept in self.service_type for coding in concept.coding if coding.code}
        if len(codes) > 50:
            raise _wrong("serviceType", "more than 50 codes")
        start, end = _bounds(self.status, self.start, self.end)
        body = Slot(status=self.status, start=start, end=end, service_types=tuple(codes))
        provider = subject or self.schedule.id_of("Schedule")
        return body, (provider,) if provider else ()


class _Schedule(_Resource):
    """FHIR R4 Schedule."""

    active: bool = True
    extension: list[_Extension] = []

    def content(self, subject: str | None, context: Context) -> Content:
        status: Literal["active", "cancelled"] = "active" if self.active else "cancelled"
        return WorkingHours(status=status, time_zone=_zone(self.extension)), (subject or self.id,)


def _zone(extensions: Iterable[_Extension]) -> str | None:
    """The zone that a timezone extension names; without one the calendar's own, else the tenant's, is meant."""
    named = {extension.url: extension.value_code for extension in extensions}
    return next((named[url] for url in ZONE_EXTENSIONS if url in named), None)


class _Participant(_Fhir):
    actor: _Reference = _Reference()
    status: Literal["accepted", "declined", "tentative", "needs-action"] = "needs-action"

    def provider(self, actors: Iterable[str]) -> str | None:
        named = _named(self.actor.reference)
        if named is None or named[0] not in actors:
            return None
        return named[1] if named[0] in PEOPLE else "/".join(named)


class _Appointment(_Resource):
    """FHIR R4 Appointment."""

    PROVIDER = "participant"

    status: Literal[
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
        "checked-in", "waitlist",
    ]  # fmt: skip
    start: Instant | None = None
    end: Instant | None = None
    minutes_duration: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    participant: list[_Participant] = []

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


class _AvailableTime(_Fhir):
    """Days and times of a PractitionerRole.

    What is left out does not restrict: no days are all days, no times the whole day. But an entry that says nothing
    at all (only an extension) offers nothing, and one that contradicts itself is refused rather than guessed at.
    """

    days_of_week: Annotated[list[Weekday], Field(min_length=1)] | None = None
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


class _NotAvailable(_Fhir):
    during: _Period = _Period()

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


class _PractitionerRole(_Resource):
    """FHIR R4 PractitionerRole."""

    PROVIDER = "practitioner.reference"

    active: bool = True
    period: _Period = _Period()
    practitioner: _Reference = _Reference()
    location: list[_Reference] = []
    available_time: Annotated[list[_AvailableTime], Field(max_length=1000)] = []
    not_available: Annotated[list[_NotAvailable], Field(max_length=1000)] = []
    extension: list[_Extension] = []

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


class _Request(_Fhir):
    method: str = ""
    url: str = ""


class _Entry(_Fhir):
    resource: dict[str, Any] = {}
    request: _Request = _Request()

    def content(self) -> tuple[dict[str, Any], bool]:
        """The resource, and whether it is a deletion, which has a URL only; empty if there is neither."""
        named = _named(self.request.url) if self.request.method == "DELETE" else None
        if self.resource or named is None:
            return self.resource, False
        return {"resourceType": named[0], "id": named[1]}, True


class _Bundle(_Fhir):
    entry: list[_Entry] = []


_READERS: dict[str, type[_Resource]] = {
    "Slot": _Slot,
    "Schedule": _Schedule,
    "Appointment": _Appointment,
    "PractitionerRole": _PractitionerRole,
}
