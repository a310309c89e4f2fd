"""A seeded generator of realistic traffic in the `standard` format.

First the onboarding burst: hours of every provider, then the appointments they already have. After it the days of a
clinic: bookings, moves, cancellations, no-shows, vacations, changed hours, single dates, slots, pre-calculated days,
appointments handed from provider to provider. Last, disorder and duplicates are mixed in.

The same `Params` give the same events, on every machine.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from processors import times

ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles",
)  # fmt: skip
ZONE_WEIGHTS = (40, 25, 10, 8, 17)

SERVICE_TYPES = (
    ("follow-up",), ("follow-up", "new"), ("new",), ("telehealth",), ("annual", "follow-up", "new"), ("procedure",),
)  # fmt: skip
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Days of the week and hours; the last works nights, past midnight.
PATTERNS: tuple[tuple[tuple[tuple[int, ...], str, str], ...], ...] = (
    (((0, 1, 2, 3, 4), "08:00", "12:00"), ((0, 1, 2, 3, 4), "13:00", "17:00")),
    (((0, 1, 2, 3, 4), "09:00", "12:30"), ((0, 1, 2, 3), "13:15", "17:30")),
    (((0, 2), "07:30", "15:30"), ((1, 3), "11:00", "19:00")),
    (((0, 1, 2, 3), "08:00", "18:00"),),
    (((1, 2, 3, 4, 5), "09:00", "16:00"),),
    (((3, 4, 5), "19:00", "03:00"),),
)
PATTERN_WEIGHTS = (34, 24, 14, 14, 10, 4)

GRID = 15
"""Minutes: appointments begin on the quarter of an hour."""
LENGTHS = (15, 30, 30, 30, 45, 60)
"""Minutes of an appointment."""
LONGEST_VACATION = 14
"""Dates."""
DISPLACED_BY = 300
"""Places by which an event may come late, at most."""
POOL = 20_000
"""Appointments remembered, to be moved and cancelled later: what keeps memory bounded."""
CLINIC_DAY_SECONDS = 10 * 3600

Event = dict[str, Any]


@dataclass(frozen=True)
class Params:
    """What to simulate.

    Attributes:
        providers: how many.
        days: local dates with traffic, today the first.
        events: how many in all, duplicates included.
        seed: of the random numbers.
        today: the first of the days.
        disorder: fraction of the events that come up to some hundred places late.
        duplicates: fraction of the events that are copies of an earlier one.
        handovers: fraction of the events after the onboarding that hand an appointment to another provider.
        tenant: whose events they are.
        emr: the `emr` of the events.
    """

    providers: int
    days: int
    events: int
    seed: int
    today: date
    disorder: float = 0.0
    duplicates: float = 0.0
    handovers: float = 0.02
    tenant: str = "demo"
    emr: str = "standard"

    def __post_init__(self) -> None:
        if self.providers < 1 or self.days < 1 or self.events < 0:
            raise ValueError("providers and days must be 1 or more, events 0 or more")
        if not (0 <= self.disorder <= 1 and 0 <= self.duplicates < 1 and 0 <= self.handovers <= 1):
            raise ValueError(
                "disorder, duplicates and handovers must lie between 0 and 1, duplicates below 1"
            )
        if not 1 <= len(self.tenant) <= 128:
            raise ValueError("the tenant must have between 1 and 128 characters")
        if not times.FIRST_YEAR < self.today.year < times.LAST_YEAR - self.days // 365 - 2:
            raise ValueError(f"the days must lie between {times.FIRST_YEAR + 1} and {times.LAST_YEAR - 3}")


def simulate(params: Params) -> Iterator[Event]:
    """The events, as CloudEvents in JSON values, without a `sequence`: ingress stamps that.

    A duplicate is the very object that came before; do not change what you get.
    """
    copies = round(params.events * params.duplicates)
    originals = itertools.islice(_Clinics(params).events(), params.events - copies)
    return _shuffled(originals, params.events - copies, copies, params)


def _shuffled(originals: Iterator[Event], count: int, copies: int, params: Params) -> Iterator[Event]:
    """Mix in disorder and exactly so many duplicates: each event is due at a place, some later than they came."""
    rng = random.Random(f"shuffle-{params.seed}")
    waiting: list[tuple[int, int, Event]] = []
    tie = itertools.count()
    for place, event in enumerate(originals):
        due = place
        if rng.random() < params.disorder:
            due += rng.randint(1, DISPLACED_BY)
        heapq.heappush(waiting, (due, next(tie), event))
        # As many in all as are wanted, each event with the same chance of being one of them; one event may have
        # several copies only where there are more copies than events.
        whole, rest = divmod(copies, count - place)
        number = whole + (rng.random() * (count - place) < rest)
        copies -= number
        for _ in range(number):
            heapq.heappush(waiting, (due + rng.randint(1, DISPLACED_BY), next(tie), event))
        while waiting and waiting[0][0] <= place:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Provider:
    """What the generator keeps of one provider."""

    __slots__ = ("capacity", "id", "items", "locations", "number", "offsets", "pattern", "services", "zone")

    def __init__(self, number: int, rng: random.Random, offsets: dict[str, list[str]]) -> None:
        self.number = number
        self.id = f"p{number + 1:05d}"
        # The first one is always in New York, so that one with its changes of the clock is among the fewest.
        self.zone = ZONES[0] if number == 0 else rng.choices(ZONES, ZONE_WEIGHTS)[0]
        self.offsets = offsets[self.zone]
        self.locations = [f"l{n}" for n in rng.sample(range(1, 9), rng.choices((1, 2, 3), (60, 30, 10))[0])]
        self.services = rng.choice(SERVICE_TYPES)
        self.capacity = 2 if rng.random() < 0.1 else 1
        self.pattern = rng.choices(PATTERNS, PATTERN_WEIGHTS)[0]
        self.items: dict[str, list[dict[str, Any]]] = {}

    def hours_on(self, weekday: int) -> list[tuple[int, int]]:
        """Local hours of the pattern, in minutes since midnight; what runs past midnight ends there."""
        return [
            (_minutes(start), _minutes(end) if end > start else 24 * 60)
            for days, start, end in self.pattern
            if weekday in days
        ]


@dataclass(slots=True)
class _Booking:
    """An appointment that may still change."""

    id: str
    provider: _Provider
    day: int
    minute: int
    minutes: int
    version: int = 1
    status: str = "booked"

    def mask(self) -> int:
        """The steps of the day that it takes, as bits."""
        return ((1 << self.minutes // GRID) - 1) << self.minute // GRID


class _Clinics:
    """Generates events in the order in which they happen, each item's `version` growing."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._rng = rng = random.Random(f"clinics-{params.seed}")
        self._weekday = params.today.weekday()
        days = [params.today + timedelta(days=n) for n in range(params.days + LONGEST_VACATION + 1)]
        self._dates = [day.isoformat() for day in days]
        offsets = {zone: [_offset(zone, day) for day in days] for zone in ZONES}
        self._providers = [_Provider(number, rng, offsets) for number in range(params.providers)]
        self._taken: dict[int, int] = {}
        self._pool: list[_Booking] = []
        self._items = self._number = 0
        self._now = datetime(params.today.year, params.today.month, params.today.day, 12, tzinfo=UTC)
        self._step = timedelta(microseconds=CLINIC_DAY_SECONDS * 1_000_000 // max(1, params.events))

    def events(self) -> Iterator[Event]:
        """Without end; take as many as are wanted."""
        params, rng, providers = self._params, self._rng, self._providers
        for provider in providers:
            yield from self._onboarding(provider)
        for _ in range(min(len(providers) * params.days * 4, int(params.events * 0.4))):
            if event := self._book(rng.choice(providers)):
                yield event
        kinds: tuple[Callable[[_Provider], Event | None], ...] = (
            self._book, self._move, self._cancel, self._go_on, self._vacation, self._absence, self._change_hours,
            self._override, self._slot, self._precalculate,
        )  # fmt: skip
        chances = tuple(itertools.accumulate((400, 180, 120, 110, 40, 40, 25, 35, 30, 20)))
        while True:
            provider = rng.choice(providers)
            if rng.random() < params.handovers:
                event = self._hand_over(provider)
            else:
                event = rng.choices(kinds, cum_weights=chances)[0](provider)
            # Where no place was left, somebody cancels; where there is nothing to change, a slot can always come.
            yield event or self._cancel(provider) or self._slot(provider)

    def _event(self, provider: _Provider, kind: str, data: dict[str, Any]) -> Event:
        self._number += 1
        self._now += self._step
        return {
            "specversion": "1.0",
            "id": f"sim-{self._params.seed}-{self._number}",
            "source": f"/tenants/{self._params.tenant}",
            "type": kind,
            "time": self._now.isoformat(timespec="microseconds")[:26] + "Z",
            "subject": provider.id,
            "datacontenttype": "application/json",
            "tenant": self._params.tenant,
            "emr": self._params.emr,
            "data": data,
        }

    def _new_id(self, prefix: str) -> str:
        self._items += 1
        return f"{prefix}-{self._items}"

    def _instant(self, provider: _Provider, day: int, minute: int) -> str:
        offset = provider.offsets[day]  # also for the midnight after it: clocks change later in the night
        day, minute = day + minute // 1440, minute % 1440
        return f"{self._dates[day]}T{minute // 60:02d}:{minute % 60:02d}:00{offset}"

    def _times(self, provider: _Provider, day: int, minute: int, minutes: int) -> dict[str, Any]:
        return {
            "start": self._instant(provider, day, minute),
            "end": self._instant(provider, day, minute + minutes),
        }

    def _day(self) -> int:
        return int(self._rng.random() * self._params.days)

    # Hours

    def _onboarding(self, provider: _Provider) -> Iterator[Event]:
        """The weekly hours, in one item or, for one provider in six, an item for each of its parts."""
        apart = self._rng.random() < 0.17
        for part in [[hours] for hours in provider.pattern] if apart else [list(provider.pattern)]:
            data = {
                "id": self._new_id("wh"),
                "provider_id": provider.id,
                "version": 1,
                "time_zone": provider.zone,
                "effective_from": (self._params.today - timedelta(days=30)).isoformat(),
                "effective_until": None,
                "weekly": [
                    {
                        "days": [WEEKDAYS[day] for day in days],
                        "start": start,
                        "end": end,
                        "location_id": self._rng.choice(provider.locations),
                        "service_types": list(provider.services),
                        "capacity": provider.capacity,
                    }
                    for days, start, end in part
                ],
            }
            provider.items.setdefault("working_hours", []).append(data)
            yield self._event(provider, "working_hours", dict(data))

    def _change_hours(self, provider: _Provider) -> Event:
        """Begin a little earlier or later, perhaps elsewhere."""
        data = self._rng.choice(provider.items["working_hours"])
        weekly = [dict(hours) for hours in data["weekly"]]
        changed = self._rng.choice(weekly)
        start = _minutes(changed["start"]) + self._rng.choice((-30, -15, 15, 30))
        changed["start"] = _clock(
            min(max(start, 6 * 60), _minutes(changed["end"]) - 60) if start < 1080 else start
        )
        changed["location_id"] = self._rng.choice(provider.locations)
        data.update(version=data["version"] + 1, weekly=weekly)
        return self._event(provider, "working_hours", dict(data))

    # Appointments

    def _take(self, booking: _Booking) -> bool:
        """Take the booking's place, if it is free."""
        key, mask = booking.provider.number * self._params.days + booking.day, booking.mask()
        taken = self._taken.get(key, 0)
        if taken & mask:
            return False
        self._taken[key] = taken | mask
        return True

    def _release(self, booking: _Booking) -> None:
        self._taken[booking.provider.number * self._params.days + booking.day] &= ~booking.mask()

    def _free_place(self, provider: _Provider) -> _Booking | None:
        """A place within hours where nobody is yet, taken now; None if a few tries found none."""
        random_ = self._rng.random
        for _ in range(6):
            day = self._day()
            hours = provider.hours_on((self._weekday + day) % 7)
            if not hours:
                continue
            start, end = hours[int(random_() * len(hours))]
            minutes = LENGTHS[int(random_() * len(LENGTHS))]
            place = _Booking(
                "",
                provider,
                day,
                start + int(random_() * ((end - start - minutes) // GRID + 1)) * GRID,
                minutes,
            )
            if self._take(place):
                return place
        return None

    def _appointment(self, booking: _Booking) -> Event:
        provider = booking.provider
        data = {
            "id": booking.id,
            "provider_id": provider.id,
            "version": booking.version,
            **self._times(provider, booking.day, booking.minute, booking.minutes),
            "status": booking.status,
        }
        return self._event(provider, "appointment", data)

    def _book(self, provider: _Provider) -> Event | None:
        booking = self._free_place(provider)
        if booking is None:
            return None
        booking.id = self._new_id("ap")
        booking.status = "booked" if self._rng.random() < 0.95 else "pending"
        if len(self._pool) < POOL:
            self._pool.append(booking)
        else:
            self._pool[int(self._rng.random() * POOL)] = booking
        return self._appointment(booking)

    def _pick(self) -> int | None:
        return int(self._rng.random() * len(self._pool)) if self._pool else None

    def _move(self, _: _Provider) -> Event | None:
        """Another time with the same provider."""
        if (index := self._pick()) is None:
            return None
        booking = self._pool[index]
        return self._rebook(booking, self._free_place(booking.provider))

    def _hand_over(self, provider: _Provider) -> Event | None:
        """The same appointment with another provider, half of them at the same time if that is free."""
        if len(self._providers) < 2 or (index := self._pick()) is None:
            return None
        booking = self._pool[index]
        if provider is booking.provider:
            provider = self._providers[(provider.number + 1) % len(self._providers)]
        if self._rng.random() < 0.5:
            same = _Booking("", provider, booking.day, booking.minute, booking.minutes)
            if self._take(same):
                return self._rebook(booking, same)
        return self._rebook(booking, self._free_place(provider))

    def _rebook(self, booking: _Booking, place: _Booking | None) -> Event | None:
        if place is None:
            return None
        self._release(booking)
        booking.provider, booking.day = place.provider, place.day
        booking.minute, booking.minutes = place.minute, place.minutes
        booking.version += 1
        return self._appointment(booking)

    def _cancel(self, _: _Provider) -> Event | None:
        return self._end("cancelled" if self._rng.random() < 0.95 else "entered-in-error")

    def _go_on(self, _: _Provider) -> Event | None:
        """An arrival, an end, or a no-show."""
        status = self._rng.choices(("arrived", "checked-in", "fulfilled", "noshow"), (3, 2, 3, 3))[0]
        if status in ("fulfilled", "noshow"):
            return self._end(status)
        if (index := self._pick()) is None:
            return None
        booking = self._pool[index]
        booking.status, booking.version = status, booking.version + 1
        return self._appointment(booking)

    def _end(self, status: str) -> Event | None:
        """The last event of an appointment, which is then forgotten."""
        if (index := self._pick()) is None:
            return None
        booking = self._pool[index]
        self._pool[index] = self._pool[-1]
        self._pool.pop()
        if status != "fulfilled":
            self._release(booking)
        booking.status, booking.version = status, booking.version + 1
        return self._appointment(booking)

    # The rest of a calendar

    def _keep(self, provider: _Provider, kind: str, most: int, fields: dict[str, Any]) -> Event:
        """A new item, or, now and then and where the provider has enough of them, a change of one it has."""
        rng = self._rng
        kept = provider.items.setdefault(kind, [])
        if kept and (len(kept) >= most or rng.random() < 0.25):
            data = rng.choice(kept)
            data.update(
                {"status": "cancelled"} if data["status"] != "cancelled" and rng.random() < 0.4 else fields
            )
            data["version"] += 1
        else:
            data = {"id": self._new_id(kind[:2]), "provider_id": provider.id, "version": 1, **fields}
            kept.append(data)
        return self._event(provider, kind, dict(data))

    def _vacation(self, provider: _Provider) -> Event:
        first = self._day()
        last = first + self._rng.choices((0, 1, 4, LONGEST_VACATION - 1), (50, 20, 22, 8))[0]
        fields = {"start": self._dates[first], "end": self._dates[last], "status": "active"}
        return self._keep(provider, "time_off", 1 + self._params.days // 14, fields)

    def _absence(self, provider: _Provider) -> Event:
        """An hour or two: a meeting, a doctor's own appointment."""
        minute = self._rng.randrange(8 * 60, 16 * 60, GRID)
        fields = {
            **self._times(provider, self._day(), minute, self._rng.choice((30, 60, 120))),
            "status": "active",
        }
        return self._keep(provider, "time_off", 1 + self._params.days // 7, fields)

    def _override(self, provider: _Provider) -> Event:
        hours = []
        if self._rng.random() < 0.7:
            start, length = self._rng.choice((8, 9, 10, 13)), self._rng.choice((2, 3, 4))
            hours.append(
                {
                    "start": f"{start:02d}:00",
                    "end": f"{start + length:02d}:00",
                    "location_id": self._rng.choice(provider.locations),
                    "service_types": list(provider.services),
                    "capacity": provider.capacity,
                }
            )
        fields = {"date": self._dates[self._day()], "hours": hours, "status": "active"}
        return self._keep(provider, "date_override", 1 + self._params.days // 10, fields)

    def _slot(self, provider: _Provider) -> Event:
        free = self._rng.random() < 0.6
        minute = (
            self._rng.randrange(17 * 60, 20 * 60, 30) if free else self._rng.randrange(9 * 60, 16 * 60, 30)
        )
        fields = {
            **self._times(provider, self._day(), minute, 30),
            "status": "free" if free else self._rng.choice(("busy", "busy-unavailable", "busy-tentative")),
            "location_id": self._rng.choice(provider.locations),
            "service_types": list(provider.services),
        }
        return self._keep(provider, "slot", 2 + self._params.days // 5, fields)

    def _precalculate(self, provider: _Provider) -> Event:
        """A day whose spans the source has calculated itself; one in four is withdrawn again."""
        kept = provider.items.setdefault("availability", [])
        day = self._day()
        data = next((data for data in kept if data["date"] == self._dates[day]), None)
        if data is None and len(kept) > self._params.days // 20:
            data = self._rng.choice(kept)
            day = self._dates.index(data["date"])
        if data is None:
            data = {"provider_id": provider.id, "date": self._dates[day], "version": 0}
            kept.append(data)
        withdrawn = data["version"] > 0 and self._rng.random() < 0.25
        spans = [
            {
                **self._times(provider, day, minute, self._rng.choice((30, 60, 90))),
                "location_id": provider.locations[0],
                "service_types": list(provider.services),
                "capacity": provider.capacity,
            }
            for minute in sorted(self._rng.sample(range(8 * 60, 17 * 60, 120), 2))
        ]
        data.update(
            version=data["version"] + 1,
            spans=[] if withdrawn else spans,
            status="cancelled" if withdrawn else "active",
        )
        return self._event(provider, "availability", dict(data))


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _offset(zone: str, day: date) -> str:
    """The offset of a zone at noon of a date, as RFC 3339 writes it."""
    offset = datetime(day.year, day.month, day.day, 12, tzinfo=times.zone(zone)).utcoffset()
    assert offset is not None  # an aware datetime has one
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{_clock(abs(minutes))}"
