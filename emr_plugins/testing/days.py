"""Provider-days to ask a plugin about: its own samples' items, on their days and moved to days whose clocks jump.

Items of the standard format come along, since its event types are understood under every `emr`: a partner whose EMR
sends appointments alone sends the hours that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from emr_plugins.api import (
    Availability,
    AvailableSpan,
    Body,
    DateOverride,
    Hours,
    Item,
    Slot,
    TimeOff,
    WeeklyHours,
    WorkingHours,
)
from processors import times
from processors.calendars import Calendar
from processors.items import WEEKDAYS
from processors.keys import ItemKey
from processors.revisions import Revision

from .subject import Subject

CLOCK_CHANGES: tuple[tuple[str, str], ...] = (
    ("America/New_York", "2026-03-08"),  # a gap from 02:00 to 03:00
    ("America/New_York", "2026-11-01"),  # 01:00 to 02:00 comes twice
    ("Europe/London", "2026-03-29"),
    ("Australia/Lord_Howe", "2026-10-04"),  # a gap of half an hour
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour comes twice
    ("Africa/Cairo", "2026-04-24"),  # the day starts at 01:00
    ("Africa/Cairo", "2026-10-29"),  # its last hour comes twice
    ("America/Havana", "2026-11-01"),  # its first hour comes twice
    ("America/Sao_Paulo", "2018-11-04"),  # the day starts at 01:00
    ("America/St_Johns", "2010-11-07"),  # back over midnight: the date before comes once more
    ("Pacific/Apia", "2011-12-30"),  # a date that never was
    ("Asia/Kathmandu", "2026-07-01"),  # +05:45
    ("Pacific/Kiritimati", "2026-01-01"),  # +14:00
    ("Pacific/Pago_Pago", "2026-01-01"),  # -11:00
)
"""Days on which a day of 24 hours that begins at 00:00 of some offset is not what the wall clock shows."""

_MOST_PROVIDERS = 5
_MOST_DAYS = 8
_LOCAL_STARTS = (time(0), time(0, 45), time(1, 30), time(2, 15), time(12), time(23, 30))
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Day:
    """One question to `spans`.

    Attributes:
        provider: whose day.
        zone: of the provider's calendar.
        day: the local date.
        items: the items that can touch it.
    """

    provider: str
    zone: str
    day: date
    items: tuple[Item, ...]

    def __str__(self) -> str:
        kinds = ", ".join(f"{item.kind} {item.key.id}" for item in self.items[:6]) or "none"
        more = f" and {len(self.items) - 6} more" if len(self.items) > 6 else ""
        return f"provider {self.provider}, {self.day} in {self.zone}, with the items: {kinds}{more}"

    def within(self) -> tuple[times.Interval, ...] | None:
        """The instants that spans may lie in; None where the source's own answer for the day stands as it is."""
        given = any(
            isinstance(item.body, Availability) and item.body.counts and item.body.date == self.day
            for item in self.items
        )
        return None if given else times.day_intervals(self.zone, self.day)


def usual_days(subject: Subject) -> Iterator[Day]:
    """The samples' own days in the tenant's zone: with the plugin's items alone, and with a partner's hours."""
    yield Day("nobody", subject.options.time_zone, _FIRST.date(), ())
    for provider, items in by_provider(subject).items():
        days = _days_of(items, subject.options.time_zone)
        for more in ([], companions(subject, days[0], provider)):
            calendar = Calendar([*items, *more])
            zone = calendar.zone(subject.options.time_zone)
            for day in days:
                yield Day(provider, zone, day, tuple(calendar.on(day, zone)))


def days_of_clock_changes(subject: Subject) -> Iterator[Day]:
    """The same items, moved to begin at awkward times of days whose clocks jump."""
    for provider, items in list(by_provider(subject).items())[:2]:
        for zone, text in CLOCK_CHANGES:
            day = date.fromisoformat(text)
            for start in _LOCAL_STARTS:
                moved = [in_zone(moved_to(item, day, start, zone), zone) for item in items[:12]]
                calendar = Calendar([*moved, *companions(subject, day, provider, zone)])
                for asked in (day - timedelta(days=1), day, day + timedelta(days=1)):
                    yield Day(provider, zone, asked, tuple(calendar.on(asked, zone)))


def by_provider(subject: Subject) -> dict[str, list[Item]]:
    """The samples' items of some providers."""
    found: dict[str, list[Item]] = {}
    for item in subject.items:
        for provider in item.providers:
            found.setdefault(provider, []).append(item)
    return dict(list(found.items())[:_MOST_PROVIDERS])


def _days_of(items: Iterable[Item], zone: str) -> list[date]:
    """The dates that items begin and end on, the next ones after those, or any."""
    found: set[date] = set()
    for item in items:
        hull = item.body.hull() if item.body.counts else None
        if hull is not None and hull[0] < hull[1]:
            first, last = times.dates_read(zone, hull[0], min(hull[1], hull[0] + 7 * times.DAY))
            found.update((first, last))
    some = sorted(found)[:_MOST_DAYS] or [date(2026, 3, 9)]
    return sorted({*some, some[-1] + timedelta(days=1)})


# Items --------------------------------------------------------------------------------------------------------------


def companions(subject: Subject, day: date, provider: str, zone: str | None = None) -> list[Item]:
    """What a partner may send in the standard format beside the plugin's own messages."""
    noon = datetime.combine(day, time(17), UTC)
    long = WeeklyHours(days=WEEKDAYS, start=time(0), end=time(12), location_id="kit", capacity=2)
    night = WeeklyHours(days=WEEKDAYS, start=time(22), end=time(3))
    bodies: list[tuple[str, Body]] = [
        ("hours", WorkingHours(time_zone=zone, weekly=(long, night))),
        ("free", Slot(status="free", start=noon, end=noon + timedelta(hours=9), service_types=("kit",))),
        ("off", TimeOff(start=noon + timedelta(hours=1), end=noon + timedelta(hours=2))),
        ("holiday", TimeOff(start=day + timedelta(days=2), end=day + timedelta(days=2))),
        ("other", DateOverride(date=day + timedelta(days=1), hours=(Hours(start=time(1), end=time(5)),))),
        ("gone", TimeOff(status="cancelled")),
        (f"{provider}/{day + timedelta(days=3)}", _given(day + timedelta(days=3))),
    ]
    return [made_item(subject, body, id_, provider) for id_, body in bodies]


def _given(day: date) -> Availability:
    start = datetime.combine(day, time(17), UTC)
    return Availability(date=day, spans=(AvailableSpan(start=start, end=start + timedelta(hours=1)),))


def made_item(subject: Subject, body: Body, id_: str, provider: str, version: int = 0) -> Item:
    """An item of the kit's own."""
    tenant = next((item.key.tenant for item in subject.items), "conformance")
    key = ItemKey(tenant, subject.name, body.kind, f"kit-{id_}" if body.kind != "availability" else id_)
    return Item(key, (provider,), Revision.of(version, _FIRST, "0"), body)


def with_body(item: Item, **fields: Any) -> Item:
    """An item with some fields of its body changed, validated."""
    body = item.body
    kept = {name: getattr(body, name) for name in body.model_fields_set}
    return replace(item, body=type(body).model_validate({**kept, **fields}))


def moved(item: Item, by: timedelta) -> Item:
    """An item some time later; what has dates moves by whole days, and weekly hours stay."""
    body, days = item.body, timedelta(days=round(by / timedelta(days=1)))
    if isinstance(body, DateOverride) and body.date is not None:
        return with_body(item, date=body.date + days)
    if isinstance(body, Availability):
        later = [
            span.model_copy(update={"start": span.start + days, "end": span.end + days})
            for span in body.spans
        ]
        changed = with_body(item, date=body.date + days, spans=tuple(later))
        whose = "".join(item.providers[:1])
        return replace(changed, key=item.key._replace(id=f"{whose}/{body.date + days}"))
    start, end = getattr(body, "start", None), getattr(body, "end", None)
    if start is None or end is None:
        return item
    by = by if isinstance(start, datetime) else days
    return with_body(item, start=start + by, end=end + by)


def start_of(item: Item) -> datetime | None:
    """When an item begins, at noon of UTC where it has a date only; None for weekly hours."""
    body = item.body
    start = getattr(body, "start", None) or getattr(body, "date", None)
    if isinstance(start, datetime):
        return start
    return datetime.combine(start, time(12), UTC) if isinstance(start, date) else None


def moved_to(item: Item, day: date, start: time, zone: str) -> Item:
    """An item moved to begin at a local time of a date."""
    begins = start_of(item)
    if begins is None:
        return item
    target = times.moment(times.start_of_day(zone, day)) + timedelta(hours=start.hour, minutes=start.minute)
    if not isinstance(getattr(item.body, "start", None), datetime):
        target = datetime.combine(day, time(12), UTC)
    return moved(item, target - begins)


def in_zone(item: Item, zone: str) -> Item:
    """Weekly hours read in another zone; anything else as it is."""
    return with_body(item, time_zone=zone) if isinstance(item.body, WorkingHours) else item


def sequence_of_spans(spans: Sequence[Any]) -> list[str]:
    """Spans as short texts, for messages."""
    return [f"{span.start:%m-%d %H:%MZ} to {span.end:%m-%d %H:%MZ} ×{span.capacity}" for span in spans]
