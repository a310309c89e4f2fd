"""What is sent: simulated clinics and what a soak wants besides, as records, in a seeded order.

Besides `kcl-app simulate` with disorder, duplicates and hand-overs, there are zones that change, cancellations that
name nobody, FHIR appointments of several providers (one record for each), records that nobody can read, and events
that the plugin refuses.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from kcl_app.local.simulate import ZONES, Event, Params, simulate
from kcl_app.ndjson import Line
from kcl_app.put import Outgoing, ProvidersOf, Sequencer, prepare
from processors.envelope import Limits

TENANT = "soak"
PROVIDERS = 60
DAYS = 14
"""Local dates with traffic."""
MOST_EVENTS = 10_000_000
"""More than any soak sends; the simulation has no end of its own."""

ZONE_CHANGES = 0.004
FHIR = 0.05
WITHDRAWN = 0.004
UNREADABLE = 0.002
REFUSED = 0.003
"""Fractions of what is sent."""

Piece = list[Outgoing]
"""The records of one event; they are sent together."""


@dataclass
class Load:
    """Records without end; the same seed gives the same ones, but for the `sequence` that each is stamped with.

    Args:
        seed: of the random numbers.
        today: the first date of the calendars.
        limits: sizes past which input is rejected.
        providers_of: names the providers of an event without a `subject`.
    """

    seed: int
    today: date
    limits: Limits
    providers_of: ProvidersOf
    _sequencer: Sequencer = field(default_factory=Sequencer)

    def pieces(self) -> Iterator[Piece]:
        """What to send, event by event."""
        rng = random.Random(f"load-{self.seed}")
        extras = _Extras(rng, self.today)
        chances: tuple[tuple[float, Callable[[], Event]], ...] = (
            (ZONE_CHANGES, extras.zone_change),
            (FHIR, extras.fhir_appointment),
            (REFUSED, extras.refused),
        )
        for event in itertools.chain(extras.fhir_hours(), self._simulated(extras)):
            yield self._prepared(event)
            for chance, make in chances:
                if rng.random() < chance:
                    yield self._prepared(make())
            if rng.random() < WITHDRAWN and (withdrawn := extras.withdrawn()):
                yield self._prepared(withdrawn)
            if rng.random() < UNREADABLE:
                provider = f"p{rng.randrange(PROVIDERS) + 1:05d}"
                yield [Outgoing(0, f"{TENANT}#standard#{provider}", extras.unreadable())]

    def _simulated(self, extras: _Extras) -> Iterator[Event]:
        params = Params(
            PROVIDERS, DAYS, MOST_EVENTS, self.seed, self.today, 0.05, 0.05, handovers=0.05, tenant=TENANT
        )
        for event in simulate(params):
            extras.seen(event)
            yield event

    def _prepared(self, event: Event) -> Piece:
        line = Line(0, json.dumps(event, separators=(",", ":")).encode())
        return prepare(line, self.limits, self.providers_of, self._sequencer)


class _Extras:
    """What the simulation does not have."""

    def __init__(self, rng: random.Random, today: date) -> None:
        self._rng = rng
        self._today = today
        self._number = 0
        self._versions: dict[str, int] = {}
        self._appointments: list[dict[str, Any]] = []
        self._booked: list[dict[str, Any]] = []

    def _event(self, kind: str, emr: str, data: Any, subject: str | None) -> Event:
        self._number += 1
        at = datetime(self._today.year, self._today.month, self._today.day, 12, tzinfo=UTC)
        event = {
            "specversion": "1.0",
            "id": f"soak-{self._number}",
            "source": f"/tenants/{TENANT}",
            "type": kind,
            "time": (at + timedelta(milliseconds=self._number)).isoformat(),
            "tenant": TENANT,
            "emr": emr,
            "data": data,
        }
        return event if subject is None else {**event, "subject": subject}

    def _next_version(self, item: str) -> int:
        self._versions[item] = self._versions.get(item, 0) + 1
        return self._versions[item]

    def _provider(self) -> str:
        return f"p{self._rng.randrange(PROVIDERS) + 1:05d}"

    def seen(self, event: Event) -> None:
        """Remember some appointments, to withdraw them without naming their provider."""
        if (
            event["type"] == "appointment"
            and event["data"]["status"] == "booked"
            and self._rng.random() < 0.05
        ):
            self._booked = [*self._booked[-200:], event["data"]]

    def withdrawn(self) -> Event | None:
        """A cancellation that names nobody and comes with somebody's subject."""
        if not self._booked:
            return None
        data = self._booked.pop(self._rng.randrange(len(self._booked)))
        # Far above the simulation's own numbers, so that it stays the last word on this appointment.
        cancelled = {"id": data["id"], "version": 1_000_000, "status": "cancelled"}
        return self._event("appointment", "standard", cancelled, self._provider())

    def zone_change(self) -> Event:
        """An item of working hours that comes first among a provider's, so that its zone is the calendar's."""
        provider = self._provider()
        item = f"a-zone-{provider}"
        weekly = [{"days": ["sun"], "start": "10:00", "end": "11:00"}] if self._rng.random() < 0.3 else []
        data = {
            "id": item,
            "provider_id": provider,
            "version": self._next_version(item),
            "time_zone": self._rng.choice(ZONES),
            "weekly": weekly,
            "status": "cancelled" if self._rng.random() < 0.3 else "active",
        }
        return self._event("working_hours", "standard", data, provider)

    def fhir_hours(self) -> Iterator[Event]:
        """Working hours for the providers of the FHIR feed, in the standard format."""
        for number in range(PROVIDERS // 4):
            provider = f"d{number + 1}"
            data = {
                "id": f"wh-{provider}",
                "provider_id": provider,
                "version": 1,
                "time_zone": self._rng.choice(ZONES),
                "weekly": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "18:00"}],
            }
            yield self._event("working_hours", "fhir_r4", data, provider)

    def fhir_appointment(self) -> Event:
        """An appointment with one to three providers: new, or with others than before, or cancelled."""
        rng = self._rng
        if self._appointments and rng.random() < 0.5:
            resource = rng.choice(self._appointments)
        else:
            resource = {"id": f"v{len(self._appointments)}", "version": 0}
            self._appointments.append(resource)
        resource["version"] += 1
        start = datetime(self._today.year, self._today.month, self._today.day, 13, tzinfo=UTC) + timedelta(
            days=rng.randrange(DAYS), minutes=15 * rng.randrange(36)
        )
        doctors = rng.sample(range(PROVIDERS // 4), rng.choice((1, 2, 2, 3)))
        data = {
            "resourceType": "Appointment",
            "id": resource["id"],
            "meta": {"versionId": str(resource["version"])},
            "status": "cancelled" if rng.random() < 0.15 else "booked",
            "start": start.isoformat(),
            "minutesDuration": rng.choice((15, 30, 60)),
            "participant": [
                {"actor": {"reference": f"Practitioner/d{doctor + 1}"}, "status": "accepted"}
                for doctor in doctors
            ],
        }
        return self._event("fhir.resource.updated", "fhir_r4", data, None)

    def refused(self) -> Event:
        """An event whose envelope is right and which its plugin, or the lack of one, refuses."""
        provider = self._provider()
        backwards = {
            "id": f"bad-{self._number}",
            "provider_id": provider,
            "start": "2026-03-09T14:00:00Z",
            "end": "2026-03-09T13:00:00Z",
            "status": "booked",
        }
        if self._rng.random() < 0.3:
            return self._event("appointment", "no_such_emr", backwards, provider)
        return self._event("appointment", "standard", backwards, provider)

    def unreadable(self) -> bytes:
        """Bytes that are no event: no JSON, not UTF-8, or an envelope without what it needs."""
        self._number += 1
        noise = base64.b64encode(self._rng.randbytes(12)).decode()
        return self._rng.choice(
            (
                f'{{"specversion":"1.0","broken-{self._number}'.encode(),
                b"\xff\xfe" + noise.encode(),
                json.dumps({"specversion": "1.0", "id": f"soak-{self._number}", "tenant": TENANT}).encode(),
                b"",
            )
        )
