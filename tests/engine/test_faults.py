"""Whatever happens on the way, the tables end as one clean pass over the same events leaves them.

Each seed makes a stream of two shards and plays it with workers that interleave between any two effects: one for each
shard, one that takes a shard for its own although it is not (a zombie), and the horizon job. They crash, replay from
their last checkpoint with other batch boundaries, meet outages and lose answers; providers change zones and hand items
over; events come late, twice, on two shards, or cannot be read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from support import (
    HORIZON_DAYS,
    TENANT,
    TODAY,
    Crash,
    Events,
    FakeClock,
    Faults,
    FaultyStore,
    Turns,
    accounted,
    assert_clean,
    at,
    engine,
    hours,
    letters,
)
from support import host as plugin_host

from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.horizon import advance
from kcl_app.engine.providers import MARGIN
from kcl_app.engine.queries import known_providers
from kcl_app.stores.base import Table
from kcl_app.stores.memory import MemoryStore
from processors.decoding import Decoded, decode
from processors.envelope import Limits, Record
from processors.errors import Retry
from processors.items import Item
from processors.keys import ProviderKey

LIMITS = Limits()
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", None]
PROVIDERS = ["p1", "p2", "p3"]
RARE = ["time_off", "date_override", "slot", "availability"]
HOST = plugin_host()


def shard_of(provider: str) -> int:
    """Where a provider's events travel."""
    return PROVIDERS.index(provider) % 2


@dataclass
class Stream:
    """Two shards, and all of their records in the order of acceptance."""

    shards: tuple[list[Record], list[Record]] = field(default_factory=lambda: ([], []))
    accepted: list[Record] = field(default_factory=list)

    def add(self, shard: int, data: bytes) -> None:
        """Append a record to a shard."""
        number = len(self.shards[0]) + len(self.shards[1]) + 1
        record = Record(data, f"{number:056d}", 0, "partition", 1_700_000_000.0)
        self.shards[shard].append(record)
        self.accepted.append(record)


def make_stream(rng: random.Random) -> Stream:
    """A random history of a few items that three providers share and hand to each other."""
    make, stream = Events(), Stream()
    sent: list[tuple[list[int], bytes]] = []
    versions: dict[str, int] = {}
    narrow = rng.random() < 0.5  # few days touched, so that each one missed shows
    for _ in range(rng.randint(6, 30)):
        if rng.random() < 0.04:
            sent.append(([rng.randrange(2)], rng.choice([b"{", b'{"specversion":"1.0"}', b"\xff"])))
            continue
        kind, data = _change(rng, narrow)
        owners = rng.choice([1, 1, 1, 1, 2, 0] if kind != "availability" else [1])
        named = sorted(rng.sample(PROVIDERS, owners))
        if owners == 0:
            data["status"] = "cancelled"
        if kind == "availability":
            data["id"] = f"{named[0]}/{data['date']}"
        name = f"{kind}#{data['id']}"
        if name not in versions:
            versions[name] = 0 if rng.random() < 0.5 else -1
        if versions[name] >= 0:  # this source counts
            versions[name] += 1
            data["version"] = versions[name]
        data["providers"] = named
        event = make(f"x-{kind}", data, emr="multi")
        sent.append(([shard_of(provider) for provider in named] or [rng.randrange(2)], event))
    for index in range(len(sent)):  # late
        if rng.random() < 0.2:
            other = min(len(sent) - 1, index + rng.randint(1, 6))
            sent[index], sent[other] = sent[other], sent[index]
    for shards, data_ in sent:
        for shard in shards:
            stream.add(shard, data_)
        if rng.random() < 0.1:  # twice, perhaps elsewhere: a retry, or a redrive
            stream.add(rng.randrange(2), data_)
    return stream


def _change(rng: random.Random, narrow: bool) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any]
    kinds = ["appointment"] * 5 + ["working_hours"] * 3
    kinds = ["appointment"] * 12 + ["working_hours"] if narrow else [*kinds, *RARE]
    kind = rng.choice(kinds)
    day = TODAY + timedelta(days=rng.randint(0, HORIZON_DAYS + MARGIN))
    hour = rng.randint(0, 21)
    start, end = at(f"{hour:02d}:00", day), at(f"{hour + rng.randint(1, 2):02d}:00", day)
    cancelled = "cancelled" if rng.random() < 0.25 else None
    id_ = f"i{rng.randint(1, 2)}"
    match kind:
        case "appointment":
            data = {"start": start, "end": end, "status": cancelled or rng.choice(["booked", "noshow"])}
        case "working_hours":
            data = hours(zone=rng.choice(ZONES), start=f"{rng.randint(6, 9):02d}:00", end="20:00")
            data["status"] = cancelled or "active"
        case "time_off":
            data = {"start": start, "end": end, "status": cancelled or "active"}
        case "date_override":
            data = {"date": day.isoformat(), "hours": [{"start": "20:00", "end": "04:00"}]}
            data["status"] = cancelled or "active"
        case "slot":
            data = {"start": start, "end": end, "status": cancelled or rng.choice(["free", "busy"])}
        case _:
            data = {"date": day.isoformat(), "spans": [{"start": start, "end": end}]}
            data["status"] = cancelled or "active"
    return kind, {**data, "id": id_}


@dataclass
class Worker:
    """Plays a shard, dies, and comes back from its last checkpoint.

    Args:
        shard: its name.
        records: all that the shard holds.
        make: makes a fresh engine, whose memory is empty.
        rng: decides batch boundaries and checkpoints.
        steps: after so many batches it stops where it is (a zombie loses the lease); None: at the end.
    """

    shard: str
    records: list[Record]
    make: Callable[[], BatchEngine]
    rng: random.Random
    steps: int | None = None

    def run(self) -> None:
        """Play it."""
        alive, position, checkpoint = self.make(), 0, 0
        batch: list[Record] | None = None
        while position < len(self.records) and self.steps != 0:
            if self.steps is not None:
                self.steps -= 1
            if batch is None:
                batch = self.records[position : position + self.rng.randint(1, 8)]
            try:
                result = alive.run(batch, self.shard)
            except Retry:
                continue  # the same records again
            except Crash:
                alive, position, batch = self.make(), checkpoint, None
                continue
            assert result.events.total() == len(batch), "every record is counted once"
            assert result.rejects["processing_failed"] == 0, "the engine itself failed"
            position, batch = position + len(batch), None
            if self.rng.random() < 0.5:
                checkpoint = position
            if self.rng.random() < 0.02:  # the lease came back from elsewhere
                alive, position = self.make(), checkpoint


def play(seed: int, faults: Faults, *, rolls: bool = False) -> None:
    """Play one seed and compare.

    Args:
        seed: of everything.
        faults: how often what goes wrong.
        rolls: the date moves on by a day while they work, not for all at once.
    """
    rng = random.Random(seed)
    name = f"seed {seed}, {faults}, rolls={rolls}"
    stream, store, turns, late = make_stream(rng), MemoryStore(), Turns(rng), list[Any]()
    clocks: list[FakeClock] = []
    after = TODAY + timedelta(days=1) if rolls else TODAY
    stores: list[FaultyStore] = []

    def maker(clock: FakeClock) -> Callable[[], BatchEngine]:
        def pause() -> None:
            if rolls and rng.random() < 0.005:
                clock.day = after
            turns.pause()

        def make() -> BatchEngine:
            faulty = FaultyStore(store, rng, faults, pause, late)
            stores.append(faulty)
            return engine(faulty, HOST, clock=clock, cached_items=rng.choice([4, 1000]))

        clocks.append(clock)
        return make

    workers = [Worker(f"shard-{n}", stream.shards[n], maker(FakeClock()), rng) for n in (0, 1)]
    zombie_shard = rng.randrange(2)
    zombie = Worker(
        f"shard-{zombie_shard}", stream.shards[zombie_shard], maker(FakeClock()), rng, rng.randint(0, 12)
    )
    job_engine = maker(FakeClock())

    def job() -> None:
        for _ in range(rng.randint(0, 3)):
            try:
                alive = job_engine()
                advance(alive, known_providers(store), turns.pause)
            except Crash:
                continue

    try:
        turns.run([*(worker.run for worker in workers), zombie.run, job])
        for clock in clocks:
            clock.day = after
        calm = engine(store, HOST, clock=FakeClock(after))
        advance(calm, known_providers(store), lambda: None)
        stores[0].land()
    except BaseException as error:
        raise AssertionError(f"{name} failed") from error
    assert_clean(
        store,
        stream.accepted,
        HOST,
        today=lambda zone: after,
        days=HORIZON_DAYS if rolls else HORIZON_DAYS + MARGIN,
        name=name,
    )
    _assert_accounted(store, stream, name)
    _assert_zones(store, stream, name)


def _assert_accounted(store: MemoryStore, stream: Stream, name: str) -> None:
    """Each record is in the tables, superseded there by a newer one, or a dead letter."""
    items: dict[str, Item] = {}
    unread = set()
    for shard, shard_records in enumerate(stream.shards):
        for record in shard_records:
            one = decode(record, HOST.decode, LIMITS)
            if isinstance(one, Decoded):
                items |= {f"{one.event.id}/{n}": item for n, item in enumerate(one.items)}
            else:
                unread.add((f"shard-{shard}", record.sequence_number))
    assert not accounted(store, items), name
    sent = letters(store)
    assert {(row["origin"], row["sequence_number"]) for row in sent if row["days"] is None} == unread, name
    explained = {
        (row["provider"], day) for row in sent if row["days"] for day in json.loads(str(row["days"]))
    }
    stale = {(row["pk"], row["sk"]) for row in store.scan(Table.SPANS) if row["status"] == "stale"}
    assert stale <= explained, name


def _assert_zones(store: MemoryStore, stream: Stream, name: str) -> None:
    """Each provider's row has the zone of its calendar."""
    calm = engine(store, HOST)
    for row in store.scan(Table.PROVIDERS):
        key = ProviderKey(TENANT, "multi", str(row["sk"]))
        assert row["zone"] == calm.providers.window(key)[0], name


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_crashes_outages_lost_answers_and_zombies_leave_the_tables_of_a_clean_pass(first: int) -> None:
    """Everything that can go wrong, together."""
    for seed in range(first, first + 50):
        play(seed, Faults(crash=0.01 if seed % 2 else 0.05))


@pytest.mark.parametrize("first", range(1000, 1050, 50))
def test_workers_that_only_interleave_leave_the_tables_of_a_clean_pass(first: int) -> None:
    """Nothing fails, but four processes work on the same providers."""
    for seed in range(first, first + 50):
        play(seed, Faults(0, 0, 0))


@pytest.mark.parametrize("first", range(2000, 2100, 50))
def test_the_date_may_roll_over_meanwhile(first: int) -> None:
    """Workers and the horizon job disagree about today by a day."""
    for seed in range(first, first + 50):
        play(seed, Faults(), rolls=True)


@pytest.mark.parametrize("crash_after", [False, True])
def test_a_crash_at_any_single_call_is_made_good_by_a_replay(crash_after: bool) -> None:
    """Every store call of a whole history, one at a time, before and after its effect."""
    history = make_stream(random.Random(7))
    batches = [history.accepted[start : start + 5] for start in range(0, len(history.accepted), 5)]
    for crash_at in range(1, 1000):
        store = MemoryStore()
        faulty = FaultyStore(store, crash_at=crash_at, crash_after=crash_after)
        alive, crashed = engine(faulty, HOST), False
        for batch in batches:
            try:
                alive.run(batch, "shard-0")
            except Crash:
                crashed = True
                alive = engine(store, HOST)
                alive.run(batch, "shard-0")
        assert_clean(store, history.accepted, HOST, name=f"crash at call {crash_at}")
        if not crashed:
            return
    pytest.fail("the history never ended")


def test_the_histories_hold_what_they_should() -> None:
    """The generator makes every kind, hand-overs, several providers, none, zones and duplicates."""
    kinds, named, zones, twice = set(), set(), set(), 0
    for seed in range(100):
        stream = make_stream(random.Random(seed))
        twice += len(stream.accepted) - len({record.data for record in stream.accepted})
        for record in stream.accepted:
            try:
                event = json.loads(record.data)
                kinds.add(event["type"])
                named.add(tuple(event["data"]["providers"]))
                zones.add(event["data"].get("time_zone"))
            except (ValueError, KeyError):
                kinds.add("unreadable")
    assert len(kinds) == 7
    assert {(), ("p1",), ("p2", "p3")} <= named
    assert len(zones) == 4
    assert twice > 100
