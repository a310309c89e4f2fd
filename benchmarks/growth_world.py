"""A small world to measure growth in: bookings, stores in memory that are metered apart, one engine for each shard.

Every timed event moves one appointment that is there. So each has the same work to do, whatever the size of the world:
one write of an item, and the two days that it leaves and enters.
"""

from __future__ import annotations

import gc
import json
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TypeVar

from prometheus_client import CollectorRegistry

from kcl_app import wiring
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.observing import MetricsObserver
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import load
from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.schemas import SchemaStore
from processors.envelope import Record

TODAY = date(2026, 3, 9)
TENANT = "bench"
FIRST_DAY, DAYS = 1, 86
"""Bookings lie on these days ahead: within the horizon in every zone, and not today, whose past is cut off."""
FAR = 100
"""Days ahead of the items that lie past the horizon."""
FAR_DAYS = 400
START, END = 9 * 60, 17 * 60
"""Working hours, in minutes."""
ZONE = "America/New_York"
APPLIED = 0.98
"""Fraction of the events that must apply."""

T = TypeVar("T")


class Metered(Store):
    """A store whose CPU time and rows are counted, so that they can be told from the engine's.

    Args:
        inner: what does the work.

    Attributes:
        seconds: CPU time inside.
        reads: calls that read.
        rows_read: rows that they gave.
        writes: rows written, applied or not.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.seconds = 0.0
        self.reads = self.rows_read = self.writes = 0

    def _timed(self, call: Callable[[], T]) -> T:
        start = time.process_time()
        try:
            return call()
        finally:
            self.seconds += time.process_time() - start

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        rows = self._timed(lambda: self._inner.query(table, pk, between, attributes))
        self.reads += 1
        self.rows_read += len(rows)
        return rows

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        rows = self._timed(lambda: self._inner.get(table, keys))
        self.reads += 1
        self.rows_read += len(rows)
        return rows

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        return self._inner.scan(table, attributes)

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        self.writes += len(puts)
        return self._timed(lambda: self._inner.write(puts))

    def transact(self, puts: Sequence[Put]) -> Outcome:
        self.writes += len(puts)
        return self._timed(lambda: self._inner.transact(puts))

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        return self._timed(lambda: self._inner.delete(table, key, expect))


class GcMeter:
    """CPU time that the garbage collector takes, while it listens."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """What `gc.callbacks` calls."""
        if phase == "start":
            self._start = time.process_time()
        else:
            self.seconds += time.process_time() - self._start


@dataclass(slots=True)
class Booking:
    """An appointment that will be moved."""

    number: int
    provider: int
    version: int = 1


@dataclass
class Traffic:
    """Makes events: the same ones for the same numbers, on every machine.

    Attributes:
        providers: how many.
        items: of each provider: its hours, and appointments.
        beyond: whether all but nine of the appointments lie past the horizon, where no timed event touches them.
        handovers: fraction of the timed events that hand the appointment to another provider.
        apart: moves of other appointments between two moves of one, at least: those that come to an engine together
            would be settled as one.
        seed: of the random numbers.
    """

    providers: int
    items: int
    beyond: bool = False
    handovers: float = 0.0
    apart: int = 100
    seed: int = 1
    _ready: list[Booking] = field(default_factory=list)
    _moved: deque[Booking] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._numbers = count(1)
        self._now = datetime(2026, 3, 9, 12, tzinfo=UTC)

    def onboarding(self) -> Iterator[tuple[int, Record]]:
        """Hours and appointments of everyone, provider by provider; with the number of the provider."""
        for provider in range(self.providers):
            hours = {
                "id": f"wh-{provider}", "provider_id": _name(provider), "version": 1, "time_zone": ZONE,
                "weekly": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                            "start": "09:00", "end": "17:00"}],
            }  # fmt: skip
            yield provider, self._record(provider, "working_hours", hours)
            for number in range(self.items - 1):
                booking = Booking(next(self._numbers), provider)
                far = self.beyond and number >= 9
                if not far:
                    self._ready.append(booking)
                yield provider, self._appointment(booking, far)

    def moves(self, events: int) -> Iterator[tuple[int, Record]]:
        """Moves of appointments, of all providers alike; with the number of the provider."""
        for _ in range(events):
            ready = self._ready
            index = self._rng.randrange(len(ready))
            ready[index], ready[-1] = ready[-1], ready[index]
            booking = ready.pop()
            self._moved.append(booking)
            if len(self._moved) > self.apart:
                ready.append(self._moved.popleft())
            booking.version += 1
            if self.handovers and self._rng.random() < self.handovers:
                booking.provider = (booking.provider + 1) % self.providers
            yield booking.provider, self._appointment(booking, far=False)

    def lives(self, moves: int, apart: int) -> Iterator[Record]:
        """Without end: appointments of all providers alike, each booked, moved so many times and cancelled.

        Args:
            moves: of each.
            apart: other events between two of one appointment, about.
        """
        waiting: deque[Booking] = deque()
        while True:
            booking = waiting.popleft() if len(waiting) > apart else None
            if booking is None:
                booking = Booking(next(self._numbers), self._rng.randrange(self.providers), 0)
            booking.version += 1
            last = booking.version > moves + 1
            if not last:
                waiting.append(booking)
            yield self._appointment(booking, far=False, status="cancelled" if last else "booked")

    def _appointment(self, booking: Booking, far: bool, status: str = "booked") -> Record:
        first, days = (FAR, FAR_DAYS) if far else (FIRST_DAY, DAYS)
        day = TODAY + timedelta(days=first + self._rng.randrange(days))
        start = datetime(day.year, day.month, day.day, 14, tzinfo=UTC) + timedelta(
            minutes=15 * self._rng.randrange((END - START) // 15 - 6)
        )
        data = {
            "id": f"ap-{booking.number}",
            "provider_id": _name(booking.provider),
            "version": booking.version,
            "start": start.isoformat(),
            "end": (start + timedelta(minutes=30)).isoformat(),
            "status": status,
        }
        return self._record(booking.provider, "appointment", data)

    def _record(self, provider: int, kind: str, data: dict[str, object]) -> Record:
        number = next(self._numbers)
        self._now += timedelta(milliseconds=1)
        envelope = {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": f"/tenants/{TENANT}",
            "type": kind,
            "time": self._now.isoformat(timespec="microseconds")[:26] + "Z",
            "subject": _name(provider),
            "datacontenttype": "application/json",
            "tenant": TENANT,
            "emr": "standard",
            "sequence": f"{number:020d}",
            "data": data,
        }
        return Record(json.dumps(envelope, separators=(",", ":")).encode(), str(number))


def _name(provider: int) -> str:
    return f"p{provider:06d}"


def make_engine(store: Store, cached_items: int | None = None) -> BatchEngine:
    """The engine as a worker's child builds it, metrics included, on a store of ours.

    Args:
        store: the tables.
        cached_items: items kept in memory, at most; None: the setting's default.
    """
    over = {} if cached_items is None else {"worker": {"cached_items": cached_items}}
    settings = load(None, today=TODAY, **over)
    observer = MetricsObserver(WorkerMetrics(CollectorRegistry()))
    return wiring.engine_on(SchemaStore(store), settings, observer)


@dataclass(frozen=True)
class Lap:
    """What some events cost.

    Attributes:
        events: how many.
        seconds: CPU time, without the store's.
        store_seconds: the store's.
        gc_seconds: of `seconds`, the garbage collector's.
        reads: calls that read.
        writes: rows written.
    """

    events: int
    seconds: float
    store_seconds: float
    gc_seconds: float
    reads: int
    writes: int


class Shards:
    """One engine for each shard, on one store, turn by turn.

    Args:
        engines: one for each shard.
        store: the tables that they share.
        batch: records that an engine gets at once.
    """

    def __init__(self, engines: Sequence[BatchEngine], store: Metered, batch: int) -> None:
        self._engines = engines
        self._store = store
        self._batch = batch

    def run(self, events: Iterator[tuple[int, Record]]) -> Lap:
        """Give each engine the events of its providers, batch by batch; events are made before time is taken.

        Raises:
            RuntimeError: too many events did not apply: then it is not the cost of applying that was measured.
        """
        queues: list[list[Record]] = [[] for _ in self._engines]
        for provider, record in events:
            queues[provider % len(queues)].append(record)
        total = sum(len(queue) for queue in queues)
        meter = GcMeter()
        before = self._store.seconds, self._store.reads, self._store.writes
        gc.callbacks.append(meter)
        start = time.process_time()
        applied = sum(self._turns(queues))
        seconds = time.process_time() - start
        gc.callbacks.remove(meter)
        if applied < total * APPLIED:  # of two moves of one, on two shards, the older may come last
            raise RuntimeError(f"{total - applied} of {total} events did not apply")
        store_seconds = self._store.seconds - before[0]
        return Lap(
            total,
            seconds - store_seconds,
            store_seconds,
            meter.seconds,
            self._store.reads - before[1],
            self._store.writes - before[2],
        )

    def _turns(self, queues: Sequence[Sequence[Record]]) -> Iterator[int]:
        """The number of events applied in each batch."""
        longest = max(len(queue) for queue in queues)
        for first in range(0, longest, self._batch):
            for number, (engine, queue) in enumerate(zip(self._engines, queues, strict=True)):
                if records := queue[first : first + self._batch]:
                    yield engine.run(records, f"shard-{number}").events["applied"]
