"""What the engine's tests share: events, engines, stores that fail on cue, and the comparison with a clean pass."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

from emr_plugins.api import API_VERSION, Context, EmrPlugin, Span
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app.clock import Clock
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.clean_pass import CleanPass
from kcl_app.engine.providers import MARGIN
from kcl_app.engine.settling import Observer
from kcl_app.stores.base import Blobs, Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from kcl_app.testing.faults import Crash as Crash
from kcl_app.testing.turns import Turns as Turns
from processors.envelope import Event, Limits, Record
from processors.errors import Retry
from processors.items import BODIES, Item, ItemChange
from processors.keys import ProviderKey
from processors.spans import encode_spans

TODAY = date(2026, 3, 9)
"""A Monday, the day after New York's clocks went forward."""
TENANT = "acme"
HORIZON_DAYS = 3
HISTORY_DAYS = 2

_START = datetime(2026, 3, 1, tzinfo=UTC)


class MultiPlugin(StandardPlugin):
    """The standard format with `providers`, a list, so that one item can name several: types are `x-<kind>`."""

    name = "multi"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """One item for each event; it names no provider where `providers` is empty."""
        data = dict(event.payload())
        body = BODIES[event.type.removeprefix("x-")].model_validate(data)
        return [ItemChange(data["id"], body, tuple(data["providers"]), data.get("version", 0))]


class BrokenPlugin(StandardPlugin):
    """Computes no spans while it is broken."""

    name = "broken"
    api_version = API_VERSION
    broken: ClassVar[bool] = True

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """Raise, or the standard answer."""
        if type(self).broken:
            raise RuntimeError("no answer today")
        return super().spans(day, items, context)


def broken_again() -> Iterator[None]:
    """Break it for one test, whichever ran before and has mended it: the body of an autouse fixture."""
    BrokenPlugin.broken = True
    yield
    BrokenPlugin.broken = True


def host(*plugins: EmrPlugin, tenants: Collection[str] | None = None, zone: str = "UTC") -> PluginHost:
    """A host of the standard plugin and others, for every tenant unless some are named."""
    registry = Registry()
    for plugin in (StandardPlugin(), MultiPlugin(), *plugins):
        registry.add(plugin, "tests", "1")
    assert not registry.refused
    tenant = Tenant(zone, {})
    return PluginHost(registry, lambda name: tenant if tenants is None or name in tenants else None)


class FakeClock(Clock):
    """A clock whose date moves when it is told to."""

    def __init__(self, day: date = TODAY) -> None:
        super().__init__(day)
        self.day = day

    def today(self, zone: str) -> date:
        """The date it was told, in every zone."""
        return self.day


class Events:
    """Makes events in the order of acceptance: each gets the next `sequence` and time."""

    def __init__(self) -> None:
        self._accepted = 0

    def __call__(
        self,
        type_: str,
        data: Any,
        *,
        emr: str = "standard",
        tenant: str = TENANT,
        subject: str | None = None,
        **over: Any,
    ) -> bytes:
        """One event as bytes; `over` replaces or (with None) removes attributes of the envelope."""
        self._accepted += 1
        number = self._accepted
        envelope = {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": f"/tenants/{tenant}",
            "type": type_,
            "time": (_START + timedelta(seconds=number)).isoformat(),
            "tenant": tenant,
            "emr": emr,
            "subject": subject,
            "sequence": f"{number:020d}",
            "data": data,
            **over,
        }
        return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def at(clock: str, day: date = TODAY) -> str:
    """An instant of a day, by UTC."""
    return f"{day.isoformat()}T{clock}:00Z"


def hours(
    provider: str = "p1",
    *,
    id_: str = "wh-1",
    zone: str | None = None,
    start: str = "09:00",
    end: str = "12:00",
    **over: Any,
) -> dict[str, Any]:
    """`working_hours` of all days."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    return {
        "id": id_,
        "provider_id": provider,
        "time_zone": zone,
        "weekly": [{"days": days, "start": start, "end": end}],
        **over,
    }


def booking(
    provider: str | None = "p1",
    *,
    id_: str = "ap-1",
    start: str = "09:00",
    end: str = "10:00",
    day: date = TODAY,
    status: str = "booked",
    **over: Any,
) -> dict[str, Any]:
    """An `appointment`."""
    data = {
        "id": id_,
        "provider_id": provider,
        "start": at(start, day),
        "end": at(end, day),
        "status": status,
    }
    return {name: value for name, value in data.items() if value is not None} | over


def records(*events: bytes, first: int = 1) -> list[Record]:
    """Records of one shard, in order, with sequence numbers as long as Kinesis'."""
    return [
        Record(data, f"{number:056d}", 0, "partition", 1_700_000_000.0)
        for number, data in enumerate(events, start=first)
    ]


class Heard(Observer):
    """Notes what the engine tells."""

    def __init__(self) -> None:
        self.provider_days: list[tuple[str, str, int]] = []
        self.dead_letters: list[str] = []
        self.killed_records = 0

    def provider_day(self, plugin: str, status: str, spans: int) -> None:
        """One provider-day was written."""
        self.provider_days.append((plugin, status, spans))

    def dead_letter(self, reason: str) -> None:
        """One dead letter was sent."""
        self.dead_letters.append(reason)

    def killed(self) -> None:
        """A record was set aside because it ended processes."""
        self.killed_records += 1


def engine(
    store: Store,
    plugins: PluginHost | None = None,
    *,
    blobs: Blobs | None = None,
    clock: Clock | None = None,
    limits: Limits | None = None,
    observer: Observer | None = None,
    cached_items: int = 100_000,
) -> BatchEngine:
    """An engine over a store, with a horizon of a few days."""
    return BatchEngine(
        store,
        blobs or MemoryBlobs(),
        plugins or host(),
        clock or FakeClock(),
        limits or Limits(),
        observer or Observer(),
        history_days=HISTORY_DAYS,
        horizon_days=HORIZON_DAYS,
        cached_items=cached_items,
    )


def document(store: MemoryStore, provider: str, day: date = TODAY, emr: str = "standard") -> Row:
    """The document of a provider-day; a KeyError where there is none."""
    return store.tables[Table.SPANS][ProviderKey(TENANT, emr, provider).pk()][day.isoformat()]


def free(store: MemoryStore, provider: str, day: date = TODAY, emr: str = "standard") -> list[str]:
    """The spans of a provider-day as `09:00-10:00`, by UTC."""
    spans = json.loads(str(document(store, provider, day, emr)["spans"]))
    return [f"{span['start'][11:16]}-{span['end'][11:16]}" for span in spans]


def letters(store: MemoryStore) -> list[Row]:
    """All dead letters, in the order of their keys."""
    return sorted(store.scan(Table.DEAD_LETTERS), key=lambda row: (str(row["pk"]), str(row["sk"])))


Answer = dict[tuple[ProviderKey, str], tuple[str, str]]
"""Provider and date → status and spans."""


def clean_answer(
    plugins: PluginHost,
    events: Iterable[Record],
    limits: Limits,
    today: Callable[[str], date],
    days: int = HORIZON_DAYS,
) -> Answer:
    """What one clean pass over events gives, for every day of the horizon."""
    clean = CleanPass(plugins, limits)
    for record in events:
        clean.take(record)
    return {
        (one.provider, one.day.isoformat()): (
            ("stale", "[]") if one.stale else ("fresh", encode_spans(one.spans, limits.document_bytes))
        )
        for one in clean.days(today, days)
    }


def stored_answer(store: MemoryStore, wanted: Collection[tuple[ProviderKey, str]]) -> Answer:
    """What the tables hold for some provider-days."""
    found: Answer = {}
    for key, day in wanted:
        row = store.tables[Table.SPANS].get(key.pk(), {}).get(day)
        if row is not None:
            found[key, day] = (str(row["status"]), str(row["spans"]))
    return found


def assert_clean(
    store: MemoryStore,
    events: Iterable[Record],
    plugins: PluginHost | None = None,
    *,
    limits: Limits | None = None,
    today: Callable[[str], date] = lambda zone: TODAY,
    days: int = HORIZON_DAYS + MARGIN,
    name: str = "",
) -> None:
    """The tables hold what one clean pass over the events gives, provider-day by provider-day.

    Args:
        store: the tables.
        events: in any order.
        plugins: the plugins.
        limits: the engine's.
        today: the date in a zone.
        days: how many days, today the first; by default with those past the horizon that workers compute.
        name: what to name in a failure.
    """
    wanted = clean_answer(plugins or host(), events, limits or Limits(), today, days)
    found = stored_answer(store, list(wanted))
    wrong = {key: (found.get(key), answer) for key, answer in wanted.items() if found.get(key) != answer}
    assert not wrong, (
        f"{name}: {len(wrong)} provider-days differ (stored, clean pass): {dict([*wrong.items()][:3])}"
    )
    known = {str(row["pk"]) + "#" + str(row["sk"]) for row in store.scan(Table.PROVIDERS)}
    assert known == {key.pk() for key, _ in wanted}, name


@dataclass
class Faults:
    """How often what goes wrong, as probabilities by store call (`lost` by single write).

    Attributes:
        crash: the process ends before or after the call, or between two writes of it.
        retry: the store cannot be used now, before or after some of the writes.
        lost: a write's answer is lost; it was applied, was not, or is applied later.
    """

    crash: float = 0.01
    retry: float = 0.01
    lost: float = 0.03


@dataclass
class FaultyStore(Store):
    """A store in memory on which everything that can go wrong with DynamoDB does.

    Single writes of a call are not atomic together, a query's pages are read at different moments, and another worker
    may do anything before and after each.

    Args:
        inner: the tables, shared with other workers.
        rng: decides what goes wrong.
        faults: how often.
        pause: called between any two effects.
        late: writes whose answers were lost and that are yet to come; shared with other workers.
        crash_at: the number of the call (from 1) that the process does not survive.
        crash_after: whether that call takes effect.
    """

    inner: MemoryStore
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    faults: Faults = field(default_factory=lambda: Faults(0, 0, 0))
    pause: Callable[[], None] = lambda: None
    late: list[list[Put]] = field(default_factory=list)
    crash_at: int = 0
    crash_after: bool = False
    calls: int = 0

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        """A query in two pages."""
        with_crash = self._before()
        first = self.inner.query(table, pk, between)
        cut = first[len(first) // 2]["sk"] if first else ""
        self.pause()
        second = self.inner.query(table, pk, between)
        self._after(with_crash)
        rows = [row for row in first if str(row["sk"]) <= str(cut)]
        rows += [row for row in second if str(row["sk"]) > str(cut)]
        return [{n: v for n, v in row.items() if attributes is None or n in attributes} for row in rows]

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        """Each key read at a moment of its own."""
        with_crash = self._before()
        found: dict[Key, Row] = {}
        for key in keys:
            found |= self.inner.get(table, [key])
            self.pause()
        self._after(with_crash)
        return found

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        """All rows."""
        with_crash = self._before()
        rows = list(self.inner.scan(table, attributes))
        self._after(with_crash)
        yield from rows

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Each by itself; a crash or an outage may come between two of them."""
        with_crash = self._before()
        outcomes = []
        for put in puts:
            if puts and self._happens(self.faults.crash / 4):
                raise Crash
            if puts and self._happens(self.faults.retry / 4):
                raise Retry("some were written")
            outcomes.append(self._one([put]))
            self.pause()
        self._after(with_crash)
        return outcomes

    def transact(self, puts: Sequence[Put]) -> Outcome:
        """All or none."""
        with_crash = self._before()
        outcome = self._one(puts)
        self._after(with_crash)
        return outcome

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        """One row; the answer may be lost, whether it is deleted or not."""
        with_crash = self._before()
        lost = self._happens(self.faults.lost)
        outcome = Outcome.UNKNOWN
        if not lost or self.rng.random() < 0.5:
            outcome = self.inner.delete(table, key, expect)
        self._after(with_crash)
        return Outcome.UNKNOWN if lost else outcome

    def land(self) -> None:
        """Apply what is yet to come."""
        while self.late:
            self.inner.transact(self.late.pop(0))

    def _one(self, puts: Sequence[Put]) -> Outcome:
        if not self._happens(self.faults.lost):
            return self.inner.transact(puts)
        match self.rng.randrange(3):
            case 0:
                self.inner.transact(puts)
            case 1:
                self.late.append(list(puts))
        return Outcome.UNKNOWN

    def _before(self) -> bool:
        """What comes before a call; whether the process ends after it."""
        self.calls += 1
        self.pause()
        if self.late and self.rng.random() < 0.2:
            self.inner.transact(self.late.pop(self.rng.randrange(len(self.late))))
        dies = self.calls == self.crash_at
        if (dies and not self.crash_after) or self._happens(self.faults.crash / 2):
            raise Crash
        if self._happens(self.faults.retry):
            raise Retry("throttled")
        return dies or self._happens(self.faults.crash / 2)

    def _after(self, crash: bool) -> None:
        if crash:
            raise Crash
        self.pause()

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability


def accounted(store: MemoryStore, event_items: Mapping[str, Item]) -> list[str]:
    """The events (by name) of whose items nothing as new is stored: lost ones."""
    newest: dict[str, str] = {}
    for row in store.scan(Table.ITEMS):
        pk, sk = str(row["pk"]), str(row["sk"])
        name = pk if sk == "owner" else "#".join(pk.split("#")[:2]) + "#item#" + sk
        newest[name] = max(newest.get(name, ""), str(row["revision"]))
    return [
        name
        for name, item in event_items.items()
        if newest.get(item.key.owner_pk(), "") < item.revision.encode()
    ]
