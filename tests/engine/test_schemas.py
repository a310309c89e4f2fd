"""Workers of two releases, of which the newer one brings another layout of rows, on the same tables."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from support import (
    HORIZON_DAYS,
    TENANT,
    TODAY,
    Events,
    FakeClock,
    Turns,
    assert_clean,
    booking,
    engine,
    hours,
    letters,
    records,
)

from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.horizon import advance
from kcl_app.engine.queries import known_providers, spans
from kcl_app.engine.settling import Work
from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.stores.schemas import KNOWN, Schemas, SchemaStore
from processors.envelope import Record
from processors.items import SCHEMA, SCHEMA_WRITTEN
from processors.keys import ProviderKey
from processors.times import days_between

NEXT = SCHEMA + 1
_CONTENT = {Table.ITEMS: "body", Table.SPANS: "spans", Table.PROVIDERS: "zone", Table.DEAD_LETTERS: "detail"}


def to_next(table: Table, row: Row) -> Row:
    """A layout that nothing of today can read: the content has another name and another form."""
    name = _CONTENT[table]
    changed: Row = {key: value for key, value in row.items() if key != name}
    return {**changed, "content": json.dumps({name: row.get(name)}), "schema": NEXT}


def from_next(table: Table, row: Row) -> Row:
    """The inverse of `to_next`."""
    name = _CONTENT[table]
    content = json.loads(str(row["content"]))[name]
    return {key: value for key, value in row.items() if key != "content"} | {name: content, "schema": SCHEMA}


def release(store: Store, *, reads_next: bool, writes_next: bool = False) -> SchemaStore:
    """The tables as workers of a release see them."""
    readers = {NEXT: from_next} if reads_next else {}
    written = NEXT if writes_next else SCHEMA
    return SchemaStore(store, Schemas(readers, written, {NEXT: to_next} if reads_next else {}))


@dataclass
class Guarded(MemoryStore):
    """Notes rows of the next layout that a worker which cannot read them replaces."""

    inner: MemoryStore = field(default_factory=MemoryStore)
    replaced: list[tuple[Table, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables, self._lock = self.inner.tables, self.inner._lock

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        return [self._guarded([put]) for put in puts]

    def transact(self, puts: Sequence[Put]) -> Outcome:
        return self._guarded(puts)

    def _guarded(self, puts: Sequence[Put]) -> Outcome:
        with self._lock:
            newer = [
                (put.table, *put.key)
                for put in puts
                if self.get(put.table, [put.key]).get(put.key, {}).get("schema") == NEXT
            ]
            outcome = MemoryStore.transact(self, puts)
            self.replaced += newer if outcome is Outcome.APPLIED else []
            return outcome


@dataclass
class Paused(Store):
    """Lets others go on before any call."""

    inner: Store
    turns: Turns

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        self.turns.pause()
        return self.inner.query(table, pk, between, attributes)

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        self.turns.pause()
        return self.inner.get(table, keys)

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        self.turns.pause()
        return self.inner.scan(table, attributes)

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        outcomes = []
        for put in puts:
            self.turns.pause()
            outcomes += self.inner.write([put])
        return outcomes

    def transact(self, puts: Sequence[Put]) -> Outcome:
        self.turns.pause()
        return self.inner.transact(puts)

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        self.turns.pause()
        return self.inner.delete(table, key, expect)


def history(seed: int) -> list[Record]:
    """Bookings and hours of two providers: moved, cancelled, handed over, in any order."""
    rng, make = random.Random(seed), Events()
    events = [make("working_hours", hours(provider, id_=f"wh-{provider}")) for provider in ("p1", "p2")]
    for _ in range(rng.randint(8, 20)):
        provider, hour = rng.choice(["p1", "p2"]), rng.randint(9, 11)
        day = TODAY + timedelta(days=rng.randint(0, HORIZON_DAYS - 1))
        changed = booking(
            provider if rng.random() < 0.8 else rng.choice(["p1", "p2"]),
            id_=f"{provider}-{rng.randint(1, 3)}",
            start=f"{hour:02d}:00",
            end=f"{hour + 1:02d}:00",
            day=day,
            status=rng.choice(["booked", "booked", "cancelled"]),
        )
        events.append(make("appointment", changed))
    if rng.random() < 0.5:
        events.append(make("working_hours", hours("p1", id_="wh-p1", start="10:00")))
    rng.shuffle(events)
    return records(*events)


def play(alive: BatchEngine, given: Sequence[Record], shard: str, rng: random.Random) -> None:
    """Run records in batches."""
    at = 0
    while at < len(given):
        size = rng.randint(1, 4)
        result = alive.run(given[at : at + size], shard)
        assert result.events.total() == len(given[at : at + size])
        assert result.rejects["processing_failed"] == 0
        at += size


def both(store: Store, older: Store, newer: Store, seed: int) -> list[Record]:
    """A worker on each shard, interleaved; each provider's events are on either."""
    rng, given = random.Random(seed), history(seed)
    turns = Turns(rng)
    old, new = engine(Paused(older, turns)), engine(Paused(newer, turns))
    turns.run([lambda: play(old, given[::2], "shard-0", rng), lambda: play(new, given[1::2], "shard-1", rng)])
    return given


def schemas_in(store: MemoryStore, *tables: Table) -> set[object]:
    return {row["schema"] for table in tables for row in store.scan(table)}


def as_this_release_reads(store: MemoryStore) -> MemoryStore:
    """The tables with every row in today's layout."""
    plain = MemoryStore()
    for table in Table:
        rows = SchemaStore(store, Schemas({NEXT: from_next})).scan(table)
        plain.write([Put(table, row, None) for row in rows])
    return plain


def test_every_layout_up_to_todays_can_be_read_and_those_offered_can_be_written() -> None:
    assert set(range(1, SCHEMA)) <= set(KNOWN.readers)
    assert set(range(SCHEMA_WRITTEN, SCHEMA)) <= set(KNOWN.writers)
    with pytest.raises(ValueError, match="cannot write schema 99"):
        SchemaStore(MemoryStore(), Schemas(written=99))


@pytest.mark.parametrize("seed", range(20))
def test_a_newer_release_goes_on_with_what_an_older_one_left(seed: int) -> None:
    rng, store, given = random.Random(seed), MemoryStore(), history(seed)
    middle = len(given) // 2
    play(engine(store), given[:middle], "shard-0", rng)
    newer = release(store, reads_next=True, writes_next=True)
    play(engine(newer), given[middle - 2 :], "shard-0", rng)
    assert schemas_in(store, Table.ITEMS) >= {NEXT}
    assert_clean(as_this_release_reads(store), given)
    assert not letters(store)


@pytest.mark.parametrize("seed", range(20))
def test_two_releases_run_side_by_side_while_the_newer_one_writes_as_the_older_one(seed: int) -> None:
    """The first of two upgrades: nobody writes the new layout yet."""
    store = MemoryStore()
    given = both(store, release(store, reads_next=False), release(store, reads_next=True), seed)
    assert schemas_in(store, *Table) == {SCHEMA}
    assert_clean(store, given)
    assert not letters(store)


@pytest.mark.parametrize("seed", range(20))
def test_two_releases_run_side_by_side_while_both_can_read_the_new_layout(seed: int) -> None:
    """The second upgrade: some workers write it already."""
    store = MemoryStore()
    newer = release(store, reads_next=True, writes_next=True)
    given = both(store, release(store, reads_next=True), newer, seed)
    assert_clean(as_this_release_reads(store), given)
    assert not letters(store)


@pytest.mark.parametrize("seed", range(30))
def test_an_older_release_beside_one_that_writes_what_it_cannot_read_loses_nothing(seed: int) -> None:
    """Both upgrades at once, which nobody should do: what the older worker cannot do is set aside, then redriven."""
    store = MemoryStore()
    guarded = Guarded(inner=store)
    newer = release(store, reads_next=True, writes_next=True)
    given = both(store, release(guarded, reads_next=False), newer, seed)
    assert not [one for one in guarded.replaced if one[0] is not Table.SPANS], "items were written over"
    redrive(store, newer)
    assert_clean(as_this_release_reads(store), given)


def test_after_a_rollback_the_older_release_leaves_items_alone_and_says_so() -> None:
    store, make = MemoryStore(), Events()
    guarded = Guarded(inner=store)
    newer = release(store, reads_next=True, writes_next=True)
    before = records(make("working_hours", hours()), make("appointment", booking()))
    engine(newer).run(before, "shard-0")
    kept = {key: dict(row) for key, row in store.tables[Table.ITEMS][_P1.pk()].items()}
    moved = records(make("appointment", booking(start="10:00", end="11:00")), first=3)
    added = records(make("appointment", booking(id_="ap-2", start="11:00", end="12:00")), first=4)
    other = records(make("working_hours", hours("p2", id_="wh-2")), first=5)

    older = engine(guarded)
    result = older.run([*moved, *added, *other], "shard-0")
    assert result.rejects == {"newer_schema": 1}  # the one whose item the newer release keeps
    assert not [one for one in guarded.replaced if one[0] is not Table.SPANS]
    found = store.tables[Table.ITEMS][_P1.pk()]
    assert {key: found[key] for key in kept} == kept
    assert {row["reason"] for row in letters(store)} == {"newer_schema"}
    shown = list(spans(release(guarded, reads_next=False), _P1, TODAY, TODAY, 0))
    assert [one.status for one in shown] == ["stale"]
    assert "newer version" in str(shown[0].reason)
    # Another provider, whom the newer release never touched, is served as ever.
    assert [one.status for one in spans(store, _P2, TODAY, TODAY, 0)] == ["fresh"]

    redrive(store, newer)  # upgraded again
    assert_clean(as_this_release_reads(store), [*before, *moved, *added, *other])


def test_the_horizon_job_leaves_providers_of_a_newer_release_alone() -> None:
    store, make = MemoryStore(), Events()
    guarded, clock = Guarded(inner=store), FakeClock(TODAY + timedelta(days=5))
    newer = release(store, reads_next=True, writes_next=True)
    given = records(make("working_hours", hours()))
    engine(newer).run(given, "shard-0")
    plain = records(make("working_hours", hours("p2", id_="wh-2")), first=2)
    engine(store).run(plain, "shard-0")

    result = advance(engine(guarded, clock=clock), known_providers(guarded), lambda: None)
    assert (result.providers, result.advanced, result.left_alone, result.failed) == (2, 1, 1, 0)
    assert not guarded.replaced
    result = advance(engine(newer, clock=clock), known_providers(newer), lambda: None)
    assert (result.left_alone, result.failed) == (0, 0)
    assert_clean(
        as_this_release_reads(store), [*given, *plain], today=lambda zone: clock.day, days=HORIZON_DAYS
    )


def test_documents_of_the_next_layout_are_shown_as_unreadable() -> None:
    store, make = MemoryStore(), Events()
    engine(release(store, reads_next=True, writes_next=True)).run(
        records(make("working_hours", hours())), "shard-0"
    )
    (answer,) = spans(store, _P1, TODAY, TODAY, 0)
    assert (answer.status, answer.spans) == ("stale", [])
    assert str(NEXT) in str(answer.reason)


_P1, _P2 = (ProviderKey(TENANT, "standard", provider) for provider in ("p1", "p2"))


def redrive(store: MemoryStore, newer: Store) -> None:
    """What was set aside comes again, to workers of the newer release, with the days that it left stale."""
    alive = engine(newer)
    for letter in letters(store):
        if letter["raw"] is not None:
            data = base64.b64decode(str(letter["raw"]))
            sequence = str(letter["sequence_number"])
            result = alive.run([Record(data, sequence, 0, "partition", 0.0)], "shard-9")
            assert not result.rejects
    for provider in (_P1, _P2):
        days = days_between(TODAY, TODAY + timedelta(days=HORIZON_DAYS + 1))
        alive.settler.run({provider: Work(days=frozenset(days), origin="redrive")})
