"""The worst calendars that providers may have: what a hostile or broken feed can build up item by item."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from emr_plugins.api import (
    Appointment,
    Availability,
    AvailableSpan,
    Body,
    DateOverride,
    Hours,
    Item,
    Period,
    Slot,
    TimeOff,
    WeeklyHours,
    WorkingHours,
)
from processors.items import WEEKDAYS
from processors.keys import ItemKey
from processors.revisions import Revision

DAY = date(2026, 3, 9)
ZONE = "America/New_York"
MIDNIGHT = datetime(2026, 3, 9, 4, tzinfo=UTC)
REVISION = Revision(0, "2026-01-01T00:00:00.000000Z", "1")


def _item(number: int, body: Body) -> Item:
    return Item(ItemKey("t", "e", body.kind, str(number)), ("p",), REVISION, body)


def _at(seconds: float) -> datetime:
    return MIDNIGHT + timedelta(seconds=seconds)


def side_by_side(number: int, every: int = 4, length: int = 2) -> list[Item]:
    """Appointments one after the other."""
    return [
        _item(n, Appointment(status="booked", start=_at(n * every), end=_at(n * every + length)))
        for n in range(number)
    ]


def nested(number: int) -> list[Item]:
    """Appointments each within the one before."""
    return [_item(n, Appointment(status="booked", start=_at(n), end=_at(86_000 - n))) for n in range(number)]


def hours(items: int, lines: int, capacity: int = 1, not_available: tuple[Period, ...] = ()) -> list[Item]:
    """Working hours of whole days, each line at a place of its own."""
    midnight = time(0)
    return [
        _item(
            n,
            WorkingHours(
                time_zone=ZONE,
                not_available=not_available,
                weekly=tuple(
                    WeeklyHours(
                        days=WEEKDAYS, start=midnight, end=midnight, location_id=f"{n}/{m}", capacity=capacity
                    )
                    for m in range(lines)
                ),
            ),
        )
        for n in range(items)
    ]


def slots(number: int, status: str = "free", distinct: bool = True) -> list[Item]:
    """Slots of a whole day, each of a service type of its own."""
    return [
        _item(n, Slot.model_validate({
            "status": status, "start": _at(n % 1000), "end": _at(n % 1000 + 86_000),
            "service_types": [str(n)] if distinct else [],
        }))
        for n in range(number)
    ]  # fmt: skip


def overrides(items: int, lines: int) -> list[Item]:
    """Overrides of one date."""
    return [
        _item(n, DateOverride(date=DAY, hours=tuple(
            Hours(start=time(0), end=time(0), location_id=f"{n}/{m}") for m in range(lines))))
        for n in range(items)
    ]  # fmt: skip


def pieces(number: int) -> tuple[Period, ...]:
    """Times away of half a minute."""
    return tuple(Period(start=_at(n * 60), end=_at(n * 60 + 30)) for n in range(number))


def _all_day_off() -> Item:
    return _item(0, TimeOff(start=_at(-200_000), end=_at(200_000)))


CALENDARS: dict[str, Callable[[], list[Item]]] = {
    "10,000 nested appointments": lambda: [*nested(10_000), *hours(1, 1)],
    "10,000 appointments in a row": lambda: [*side_by_side(10_000), *hours(1, 1)],
    "20,000 working hours": lambda: hours(20_000, 1),
    "5,000 lines of working hours": lambda: hours(5, 1000),
    "5,000 lines with 1,000 times away each": lambda: hours(5, 1000, not_available=pieces(1000)),
    "10,000 appointments in 1,000 offers": lambda: [*side_by_side(10_000), *hours(1, 1000)],
    "10,000 appointments in 1,000 offers, all day off": lambda: [
        *side_by_side(10_000), *hours(1, 1000), _all_day_off(),
    ],
    "10,000 appointments in 10,000 slots": lambda: [*side_by_side(10_000), *slots(9_990)],
    "10,000 appointments, 1,000 offers of 10,000 places": lambda: [*nested(10_000), *hours(1, 1000, 10_000)],
    "appointments above what 1,000 offers have, below what another has": lambda: [
        *nested(100), *side_by_side(10_000, 8, 6), *hours(1, 1000), *hours(1, 1, 10_000),
    ],
    "20,000 slots of one offer": lambda: slots(20_000, distinct=False),
    "20,000 busy slots": lambda: [*slots(19_990, "busy"), *hours(1, 10)],
    "10,000 lines of one date": lambda: overrides(100, 100),
    "20 pre-calculated answers": lambda: [
        _item(n, Availability(date=DAY, spans=tuple(
            AvailableSpan(start=_at(m), end=_at(m + 0.5)) for m in range(1500))))
        for n in range(20)
    ],
}  # fmt: skip
"""By name: the items of a provider."""
