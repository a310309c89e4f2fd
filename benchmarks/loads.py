"""The loads of the benchmark: which events, at what pace, on how many shards. The same seed gives the same events.

Among the events of every load are probes: bookings of providers that nothing else touches. When the document of a
probe's day shows it (`as_of`), all that came with it is visible too.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kcl_app.local.simulate import Params, simulate
from kcl_app.local.soak.surroundings import TODAY
from processors.keys import ProviderKey

SEED = 5
TENANT, EMR = "bench", "standard"
PROBE_PROVIDERS = 10
PROBES = 200
"""In one load, about."""
PACE = 1000.0
"""Events a second that one shard takes."""
HORIZON_DAYS = 90

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """What to look for: the document of a day is as new as this.

    Attributes:
        pk: the provider.
        day: the date, as in the sort key.
        time: of the booking, as in `as_of`.
    """

    pk: str
    day: str
    time: str


@dataclass(frozen=True, slots=True)
class Message:
    """One record for the stream; `provider` is its partition key."""

    provider: str
    data: bytes
    probe: Probe | None = None


@dataclass(frozen=True)
class Load:
    """What is sent to one worker.

    Attributes:
        name: as LOADS names it.
        shards: of the stream.
        setup: settled before anything is measured.
        events: what is measured.
        pace: events a second; None: all at once, before the children begin where there is no setup.
        capped: whether these are not all events of the load.
    """

    name: str
    shards: int
    setup: tuple[Message, ...]
    events: tuple[Message, ...]
    pace: float | None = None
    capped: bool = False

    def at_most(self, events: int) -> Load:
        """The same with fewer events: whole providers, each with its own history; of a paced load, its beginning."""
        if len(self.events) <= events:
            return self
        if self.pace is not None:
            return replace(self, events=self.events[:events], capped=True)
        counts: dict[str, int] = {}
        for message in self.events:
            counts[message.provider] = counts.get(message.provider, 0) + 1
        kept: set[str] = set()
        room = events
        # Mixed, so that probes' providers, which come first and have few events, have the share that they have in all:
        # the days that a new provider gets weigh much.
        for provider in sorted(counts, key=lambda name: zlib.crc32(name.encode())):
            if counts[provider] > room:
                break  # to go on with those that still fit would favour the small ones
            kept.add(provider)
            room -= counts[provider]
        if not kept:  # a provider has more than that
            return replace(self, events=self.events[:events], capped=True)
        return replace(
            self,
            setup=tuple(one for one in self.setup if one.provider in kept),
            events=tuple(one for one in self.events if one.provider in kept),
            capped=True,
        )


@dataclass
class _Writer:
    """Turns events into messages, stamping the order of acceptance as ingress does."""

    _sequence: int = 0
    _probes: int = 0
    _start: datetime = field(default_factory=lambda: datetime.fromisoformat(f"{TODAY}T20:00:00+00:00"))

    def message(self, event: Json, probe: Probe | None = None) -> Message:
        self._sequence += 1
        provider = ProviderKey(event["tenant"], event["emr"], event["subject"]).pk()
        event = {**event, "sequence": f"{self._sequence:020d}"}
        return Message(provider, json.dumps(event, separators=(",", ":")).encode(), probe)

    def all(self, events: Iterable[Json]) -> Iterator[Message]:
        return (self.message(event) for event in events)

    def probe_providers(self) -> list[Message]:
        """The hours of those that the probes book."""
        return [
            self.message(self.event(_probe_id(number), "working_hours", _hours(_probe_id(number), 1)))
            for number in range(PROBE_PROVIDERS)
        ]

    def probe(self) -> Message:
        """The next probe: half an hour on one of the days, later than all that was booked before on that day."""
        number = self._probes
        self._probes += 1
        provider = _probe_id(number % PROBE_PROVIDERS)
        day = (TODAY + timedelta(days=1 + number // PROBE_PROVIDERS % (HORIZON_DAYS - 2))).isoformat()
        data = {
            "id": f"probe-{number}",
            "provider_id": provider,
            "version": 1,
            "start": f"{day}T10:00:00Z",
            "end": f"{day}T10:30:00Z",
            "status": "booked",
        }
        event = self.event(provider, "appointment", data)
        return self.message(event, Probe(ProviderKey(TENANT, EMR, provider).pk(), day, event["time"]))

    def with_probes(self, messages: Iterable[Json], count: int) -> Iterator[Message]:
        """Events as messages, a probe after every so many."""
        every = max(min(20, count), count // PROBES)
        for place, event in enumerate(messages):
            yield self.message(event)
            if place % every == every // 2:
                yield self.probe()

    def event(self, provider: str, kind: str, data: Json) -> Json:
        """An event that no simulation makes, later than all that one does."""
        self._start += timedelta(milliseconds=1)
        return {
            "specversion": "1.0",
            "id": f"bench-{kind}-{data['id']}-{data['version']}",
            "source": f"/tenants/{TENANT}",
            "type": kind,
            "time": self._start.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "subject": provider,
            "datacontenttype": "application/json",
            "tenant": TENANT,
            "emr": EMR,
            "data": data,
        }


def _probe_id(number: int) -> str:
    return f"probe{number:02d}"


def _hours(provider: str, version: int, capacity: int = 1, start: str = "06:00") -> Json:
    weekly = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": start, "end": "22:00"}
    return {
        "id": f"wh-{provider}",
        "provider_id": provider,
        "version": version,
        "time_zone": "UTC",
        "weekly": [{**weekly, "location_id": "l1", "service_types": ["new"], "capacity": capacity}],
    }


def _scaled(number: int, scale: float, least: int = 1) -> int:
    return max(least, round(number * scale))


def _clinics(providers: int, events: int, days: int) -> Iterator[Json]:
    return simulate(Params(providers, days, events, SEED, TODAY, tenant=TENANT, emr=EMR))


def burst(scale: float) -> Load:
    """The onboarding of a customer, all of it on the stream before anybody reads: 200 events of each provider."""
    providers, events = _scaled(1000, scale), _scaled(200_000, scale, 200)
    writer = _Writer()
    first = writer.probe_providers()
    rest = writer.with_probes(_clinics(providers, events, 30), events)
    return Load("burst", 4, (), (*first, *rest))


def _steady(name: str, shards: int, scale: float) -> Load:
    """Clinics at work: what each shard takes, for a minute."""
    providers = _scaled(1000, scale, 20)
    setup = providers * 8
    count = round(max(5.0, 60 * scale) * PACE * shards)
    writer = _Writer()
    simulated = _clinics(providers, setup + count, 30)
    before = [*writer.probe_providers(), *writer.all(next(simulated) for _ in range(setup))]
    return Load(name, shards, tuple(before), tuple(writer.with_probes(simulated, count)), pace=PACE * shards)


def trickle(scale: float) -> Load:
    """1,000 events a second on one shard."""
    return _steady("trickle", 1, scale)


def trickle4(scale: float) -> Load:
    """1,000 events a second on each of four shards."""
    return _steady("trickle4", 4, scale)


def hot(scale: float) -> Load:
    """One provider alone, all of it on the stream before anybody reads."""
    count = _scaled(20_000, scale, 200)
    writer = _Writer()
    first = writer.probe_providers()
    return Load("hot", 1, (), (*first, *writer.with_probes(_clinics(1, count, 60), count)))


def hours(scale: float) -> Load:
    """Everyone's working hours change: each event is all days of a provider."""
    providers = _scaled(1000, scale, 4)
    writer = _Writer()
    simulated = list(_clinics(providers, providers * 12, 30))
    setup = (*writer.probe_providers(), *writer.all(simulated))
    changes = []
    for event in simulated:
        if event["type"] == "working_hours" and event["data"]["version"] == 1:
            data = event["data"] | {"version": 1000}
            data["weekly"] = [part | {"location_id": "l9"} for part in data["weekly"]]
            changes.append(writer.event(event["subject"], "working_hours", data))
    return Load("hours", 4, setup, tuple(writer.with_probes(changes, len(changes))))


def wide(scale: float) -> Load:
    """Providers with 5,000 items each, which are moved and cancelled."""
    providers, items = _scaled(50, scale), min(5000, _scaled(100_000, scale, 100))
    moves = _scaled(10_000, scale, 50)
    writer = _Writer()
    setup = writer.probe_providers()
    for provider in (f"wide{number:02d}" for number in range(providers)):
        setup.append(writer.message(writer.event(provider, "working_hours", _hours(provider, 1, 100))))
        setup += [writer.message(_wide_item(writer, provider, number, 0)) for number in range(items)]
    changes = (
        _wide_item(writer, f"wide{place % providers:02d}", place // providers * 7 % items, 1 + place // items)
        for place in range(moves)
    )
    return Load("wide", 4, tuple(setup), tuple(writer.with_probes(changes, moves)))


def _wide_item(writer: _Writer, provider: str, number: int, moved: int) -> Json:
    """One of a provider's bookings, ten minutes later for each time that it was moved."""
    day = (TODAY + timedelta(days=number % (HORIZON_DAYS - 1))).isoformat()
    minute = 8 * 60 + (number // 89 + moved) * 10 % 600
    data = {
        "id": f"{provider}-{number}",
        "provider_id": provider,
        "version": 1 + moved,
        "start": f"{day}T{minute // 60:02d}:{minute % 60:02d}:00Z",
        "end": f"{day}T{(minute + 10) // 60:02d}:{(minute + 10) % 60:02d}:00Z",
        "status": "cancelled" if moved and number % 5 == 0 else "booked",
    }
    return writer.event(provider, "appointment", data)


LOADS: dict[str, Callable[[float], Load]] = {
    "burst": burst,
    "trickle": trickle,
    "trickle4": trickle4,
    "hot": hot,
    "hours": hours,
    "wide": wide,
}
