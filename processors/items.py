"""Scheduling items: the standard fields that every EMR's messages are turned into, and nothing that names a patient.

The bodies below are the `data` of the `standard` format as well as what is stored. Unknown fields are dropped, not
kept: an item holds what availability needs. Statuses are those of FHIR R4 Appointment and Slot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal
from weakref import WeakValueDictionary

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)

from . import times
from .keys import ItemKey
from .revisions import Revision

SCHEMA = 1
"""Number of the layout of stored rows; raised when an older worker could misread a newer one."""

SCHEMA_WRITTEN = 1
"""Number of the layout that this release writes unless it is told to write `SCHEMA`: a release that brings a new layout
only reads it, and the release after writes it, so that workers of both can run side by side."""

WITHDRAWN = frozenset({"cancelled", "entered-in-error"})
"""An item with one of these statuses counts for nothing."""

_EARLIEST = datetime(times.FIRST_YEAR + 1, 1, 1, tzinfo=UTC)
_LATEST = datetime(times.LAST_YEAR, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?P<fraction>\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)


def aware_instant(value: object) -> datetime:
    """An instant in UTC from RFC 3339 text with an offset, or from an aware datetime.

    Raises:
        ValueError: no offset, not a time, or outside the years 1971 to 2198 (in UTC, as it is stored and read again).
    """
    if isinstance(value, str):
        return _instant_of_text(value) if len(value) <= _LONGEST_INSTANT else read_instant(value)
    return _checked_instant(value)


_LONGEST_INSTANT = len("2026-03-09T14:00:00.123456789+14:00")


def read_instant(text: str) -> datetime:
    """As `aware_instant`, of a text that hardly comes again."""
    if _INSTANT.fullmatch(text) is None:
        raise ValueError("must be a date and time with seconds and an offset, as 2026-03-09T14:00:00Z")
    try:
        value = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("there is no such date and time") from None
    return _checked_instant(value)


_instant_of_text = lru_cache(maxsize=8192)(read_instant)
"""Appointments begin and end at the same times again and again."""


def _checked_instant(value: object) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError("must be a date and time with an offset, as 2026-03-09T14:00:00Z")
    if not _EARLIEST <= value < _LATEST:
        raise ValueError(f"the year must lie between {times.FIRST_YEAR + 1} and {times.LAST_YEAR - 1}")
    return value.astimezone(UTC)


def _plain_date(value: object) -> date:
    if isinstance(value, str):
        if not _DATE.fullmatch(value):
            raise ValueError("must be a date, as 2026-03-09")
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise ValueError("there is no such date") from None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("must be a date, as 2026-03-09")
    return value


def _local_date(value: object) -> date:
    day = _plain_date(value)
    if not times.FIRST_YEAR < day.year < times.LAST_YEAR:
        raise ValueError(f"the year must lie between {times.FIRST_YEAR + 1} and {times.LAST_YEAR - 1}")
    return day


def _wall_time(value: object) -> time:
    if isinstance(value, str):
        if not _TIME.fullmatch(value):
            raise ValueError("must be a time of day, as 09:00")
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise ValueError("there is no such time of day") from None
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError("must be a time of day without an offset, as 09:00")
    return value


def _wall_end(value: object) -> time:
    if value in ("24:00", "24:00:00"):
        return time(0)  # the midnight that ends the day: hours ending at 00:00 run to it
    return _wall_time(value)


def _zone_name(value: str) -> str:
    times.zone(value)
    return value


def _offer_codes(value: object) -> object:
    if isinstance(value, list | tuple) and all(isinstance(code, str) for code in value):
        return tuple(sorted(set(value)))
    raise ValueError("must be a list of texts")


Instant = Annotated[
    datetime,
    BeforeValidator(aware_instant),
    PlainSerializer(times.utc_text, return_type=str, when_used="json"),
]
LocalDate = Annotated[date, BeforeValidator(_local_date)]
BoundDate = Annotated[date, BeforeValidator(_plain_date)]
"""A date that may be a sentinel such as 9999-12-31."""
LocalTime = Annotated[time, BeforeValidator(_wall_time)]
LocalEnd = Annotated[time, BeforeValidator(_wall_end)]
ZoneName = Annotated[str, Field(max_length=64), AfterValidator(_zone_name)]
ShortText = Annotated[str, Field(min_length=1, max_length=256)]
Codes = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    Field(fail_fast=True),
    BeforeValidator(_offer_codes),
    Field(max_length=50),
]
Capacity = Annotated[int, Field(ge=1, le=10_000)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True, extra="ignore")


class Offer(_Value):
    """What a bookable time is for, and how many places it has."""

    location_id: ShortText | None = None
    service_types: Codes = ()
    capacity: Capacity = 1


class Hours(Offer):
    """Local hours of one day; an `end` at or before `start` runs past midnight."""

    start: LocalTime
    end: LocalEnd


class WeeklyHours(Hours):
    """Local hours on some days of the week."""

    days: Annotated[
        tuple[Weekday, ...],
        Field(fail_fast=True),
        BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v),
    ] = Field(min_length=1, max_length=7)


class Period(_Value):
    """A time in which hours do not hold (FHIR notAvailable): dates (the end included) or instants (not included)."""

    first: LocalDate | None = None
    last: LocalDate | None = None
    start: Instant | None = None
    end: Instant | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if (self.first and self.start) or (self.last and self.end):
            raise ValueError("either dates (first, last) or instants (start, end), not both")
        if self.first and self.last and self.last < self.first:
            raise ValueError("last is before first")
        if self.start and self.end and self.end <= self.start:
            raise ValueError("end is not after start")
        return self


def _list(value: object) -> object:
    """For a strict tuple. Each list is validated up to its first fault (`fail_fast`): one may have 100,000 of them."""
    return tuple(value) if isinstance(value, list) else value


class Body(_Value):
    """The fields of one kind of item."""

    kind: ClassVar[str]
    status: str = "active"

    @property
    def counts(self) -> bool:
        """Whether the item has any effect."""
        return self.status not in WITHDRAWN

    def hull(self) -> times.Interval | None:
        """An interval that holds all that the item can touch, whatever the zone; None where it has no bounds.

        A withdrawn item without times has the empty interval.
        """
        raise NotImplementedError

    def json_text(self) -> str:
        """The body as it is stored: the same text for equal bodies, and no other's."""
        return self._text

    @cached_property
    def _text(self) -> str:
        return self.model_dump_json(exclude_defaults=True)


ActiveStatus = Literal["active", "cancelled", "entered-in-error"]


class WorkingHours(Body):
    """Weekly hours in a time zone, between two dates (both included).

    Attributes:
        time_zone: IANA name; None reads the hours in the zone of the provider's calendar, which is that of its first
            working_hours item (by id) that names one, else the tenant's.
        not_available: times in which these hours, and only these, do not hold.
    """

    kind: ClassVar[str] = "working_hours"
    status: ActiveStatus = "active"
    time_zone: ZoneName | None = None
    effective_from: BoundDate | None = None
    effective_until: BoundDate | None = None
    weekly: Annotated[tuple[WeeklyHours, ...], Field(fail_fast=True), BeforeValidator(_list)] = Field(
        default=(), max_length=1000
    )
    not_available: Annotated[tuple[Period, ...], Field(fail_fast=True), BeforeValidator(_list)] = Field(
        default=(), max_length=1000
    )

    @model_validator(mode="after")
    def _ordered(self) -> WorkingHours:
        if self.effective_from and self.effective_until and self.effective_until < self.effective_from:
            raise ValueError("effective_until is before effective_from")
        return self

    @cached_property
    def on_weekdays(self) -> tuple[tuple[WeeklyHours, ...], ...]:
        """The hours of each day of the week, Monday first."""
        return tuple(tuple(one for one in self.weekly if day in one.days) for day in WEEKDAYS)

    def hull(self) -> times.Interval | None:
        return None


class DateOverride(Body):
    """The hours of one date, in place of the weekly ones; none closes the day."""

    kind: ClassVar[str] = "date_override"
    status: ActiveStatus = "active"
    date: LocalDate | None = None
    hours: Annotated[tuple[Hours, ...], Field(fail_fast=True), BeforeValidator(_list)] = Field(
        default=(), max_length=1000
    )

    @model_validator(mode="after")
    def _dated(self) -> DateOverride:
        if self.date is None and self.counts:
            raise ValueError("date is required unless the status is cancelled or entered-in-error")
        return self

    def hull(self) -> times.Interval | None:
        return (0, 0) if self.date is None else times.hull_of_dates(self.date, self.date)


class _Timed(Body):
    """An item from one instant to another; only a withdrawn one may lack them."""

    start: Instant | None = None
    end: Instant | None = None

    @model_validator(mode="after")
    def _ordered(self) -> _Timed:
        if (self.start is None or self.end is None) and self.counts:
            raise ValueError("start and end are required unless the status is cancelled or entered-in-error")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end is not after start")
        return self

    @cached_property
    def interval(self) -> times.Interval:
        """Start and end in microseconds; empty where there are none."""
        if self.start is None or self.end is None:
            return (0, 0)
        return times.instant(self.start), times.instant(self.end)

    def hull(self) -> times.Interval | None:
        return self.interval


class Appointment(_Timed):
    """One place taken from `start` to `end`, unless the status says that it takes none (FHIR R4 Appointment)."""

    FREE_STATUSES: ClassVar[frozenset[str]] = WITHDRAWN | {"noshow", "proposed", "waitlist"}

    kind: ClassVar[str] = "appointment"
    status: Literal[
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
        "checked-in", "waitlist",
    ]  # fmt: skip

    @property
    def takes_place(self) -> bool:
        """Whether it takes a place of its provider's time."""
        return self.status not in self.FREE_STATUSES


class Slot(_Timed):
    """An open or blocked time (FHIR R4 Slot)."""

    kind: ClassVar[str] = "slot"
    status: Literal["free", "busy", "busy-unavailable", "busy-tentative", "cancelled", "entered-in-error"]
    location_id: ShortText | None = None
    service_types: Codes = ()


def _date_or_instant(value: object) -> date | datetime:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return _local_date(value)
    if isinstance(value, datetime | str):
        return aware_instant(value)
    return _local_date(value)


def _date_or_instant_text(value: date | datetime) -> str:
    return times.utc_text(value) if isinstance(value, datetime) else value.isoformat()


DateOrInstant = Annotated[
    date | datetime,
    BeforeValidator(_date_or_instant),
    PlainSerializer(_date_or_instant_text, return_type=str, when_used="json"),
]


class TimeOff(Body):
    """Time taken away: dates (the end is included) or instants (the end is not)."""

    kind: ClassVar[str] = "time_off"
    status: ActiveStatus = "active"
    start: DateOrInstant | None = None
    end: DateOrInstant | None = None

    @model_validator(mode="after")
    def _ordered(self) -> TimeOff:
        start, end = self.start, self.end
        if start is None or end is None:
            if self.counts:
                raise ValueError(
                    "start and end are required unless the status is cancelled or entered-in-error"
                )
        elif isinstance(start, datetime) != isinstance(end, datetime):
            raise ValueError("start and end must both be dates or both be instants")
        elif end < start or (isinstance(end, datetime) and end == start):
            raise ValueError("end is not after start")
        return self

    @cached_property
    def dates(self) -> tuple[date, date] | None:
        """First and last date, where it is whole days."""
        if self.start is None or self.end is None or isinstance(self.start, datetime):
            return None
        return self.start, self.end

    @cached_property
    def interval(self) -> times.Interval | None:
        """Start and end in microseconds, where it is instants."""
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            return times.instant(self.start), times.instant(self.end)
        return None

    def hull(self) -> times.Interval | None:
        if self.dates is not None:
            return times.hull_of_dates(*self.dates)
        return self.interval or (0, 0)


class AvailableSpan(Offer):
    """One span of a pre-calculated day."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _ordered(self) -> AvailableSpan:
        if self.end <= self.start:
            raise ValueError("end is not after start")
        return self


class Availability(Body):
    """A provider-day that the source has calculated itself: its spans are the answer as they are."""

    kind: ClassVar[str] = "availability"
    status: ActiveStatus = "active"
    date: LocalDate
    spans: Annotated[tuple[AvailableSpan, ...], Field(fail_fast=True), BeforeValidator(_list)] = Field(
        default=(), max_length=5000
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Availability:
        ends: dict[tuple[str | None, tuple[str, ...]], datetime] = {}
        for span in sorted(self.spans, key=lambda s: s.start):
            offer = (span.location_id, span.service_types)
            if offer in ends and span.start < ends[offer]:
                raise ValueError("spans of one location and service types overlap")
            ends[offer] = span.end
        return self

    def hull(self) -> times.Interval | None:
        return times.hull_of_dates(self.date, self.date)


BODIES: dict[str, type[Body]] = {
    body.kind: body for body in (WorkingHours, DateOverride, TimeOff, Appointment, Slot, Availability)
}
"""Every kind of item, by name."""

_READERS: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(body) for kind, body in BODIES.items()}


_SHARED: WeakValueDictionary[tuple[str, str], Body] = WeakValueDictionary()
"""Bodies by kind and text. Many appointments begin and end at the same times: in memory they are one."""


def shared(body: Body) -> Body:
    """The body that stands for all that say the same."""
    return _SHARED.setdefault((body.kind, body.json_text()), body)


@lru_cache(maxsize=4096)
def body_from_json(kind: str, text: str) -> Body:
    """A stored body. `kind` must be one of `BODIES`."""
    known = _SHARED.get((kind, text))
    if known is not None:
        return known
    body: Body = _READERS[kind].validate_json(text)
    return shared(body)


@dataclass(frozen=True, slots=True)
class Item:
    """One scheduling item as it stands: what plugins compute spans from.

    Attributes:
        key: tenant, emr, kind and id: what it is, whatever provider it names.
        providers: the providers that it names now.
        revision: which change of it this is.
        body: its fields.
    """

    key: ItemKey
    providers: tuple[str, ...]
    revision: Revision
    body: Body

    @property
    def kind(self) -> str:
        """The kind of item, as ``appointment``."""
        return self.key.kind


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What a plugin's `decode` makes of an event: an item as it is from now on.

    Args:
        id: the item's id at its source, unique among the kind's items of the tenant and EMR.
        body: its fields; their class says its kind.
        providers: every provider that the message names. Empty only for a withdrawn item (status ``cancelled`` or
            ``entered-in-error``): it then stays with whoever has it.
        version: the source's own integer, 0 for a source that has none (always or never).
    """

    id: str
    body: Body
    providers: tuple[str, ...]
    version: int = 0
    kind: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.body.kind)
