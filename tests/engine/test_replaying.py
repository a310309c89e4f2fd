"""A replay beside workers leaves the tables of a clean pass, whatever moments the tables were restored from."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support import (
    TENANT,
    BrokenPlugin,
    Events,
    Faults,
    FaultyStore,
    MultiPlugin,
    Turns,
    assert_clean,
    booking,
    broken_again,
    engine,
    free,
    host,
    hours,
    letters,
)
from test_faults import HOST, Worker, make_stream

from kcl_app.engine.dead_letters import Letter
from kcl_app.engine.replaying import NoSuchShard, Replay, Replayed, Span
from kcl_app.stores.base import Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.stream.reader import Page, Shard
from processors.envelope import Limits, Record
from processors.errors import Retry
from processors.keys import ProviderKey

_broken = pytest.fixture(autouse=True)(broken_again)

LIMITS = Limits()
RESTORED = (Table.ITEMS, Table.SPANS, Table.PROVIDERS)


@dataclass
class MemorySource:
    """Shards in memory, read in pages of random sizes."""

    records: dict[str, list[Record]]
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    said: list[str] = field(default_factory=list)

    def shards(self) -> list[Shard]:
        """All."""
        return [Shard(name, self.parents.get(name, ())) for name in sorted(self.records)]

    def read(self, shard: str, since: float) -> Iterator[Page]:
        """From a point in time, with empty pages in between."""
        self.said.append(f"{shard} begins")
        left = [record for record in self.records[shard] if record.arrival >= since]
        while left:
            number = self.rng.randint(0, 6)
            page, left = left[:number], left[number:]
            yield Page(page, page[-1].arrival if page else None)
        self.said.append(f"{shard} ends")


def timed(records: list[Record], order: list[Record]) -> list[Record]:
    """Records with the time of their acceptance, in seconds."""
    times = {id(record): float(index) for index, record in enumerate(order)}
    return [replace(record, arrival=times[id(record)]) for record in records]


def snapshots(
    store: MemoryStore, shards: dict[str, list[Record]], upto: float, rng: random.Random
) -> tuple[dict[Table, Any], float]:
    """Play the records up to a moment, and take each table at some other moment on the way, also amid a batch.

    Returns the tables, and the oldest record that was not settled at one of these moments.
    """
    kept: dict[Table, Any] = {}
    position = {"at": 0.0}
    oldest = upto
    countdown = {table: rng.randint(0, 400) for table in RESTORED}

    def pause() -> None:
        nonlocal oldest
        for table, left in countdown.items():
            if left == 0:
                kept[table] = copy.deepcopy(store.tables[table])
                oldest = min(oldest, position["at"])
            countdown[table] = left - 1

    alive = engine(FaultyStore(store, rng, Faults(0, 0, 0), pause), HOST)
    turn = [(record, shard) for shard, all_ in shards.items() for record in all_ if record.arrival < upto]
    turn.sort(key=lambda one: one[0].arrival)
    for record, shard in turn:
        position["at"] = record.arrival
        alive.run([record], shard)
    for table in RESTORED:
        if table not in kept:
            kept[table] = copy.deepcopy(store.tables[table])
    return kept, oldest


def restored(rng: random.Random) -> tuple[MemoryStore, dict[str, list[Record]], float, float]:
    """Tables of different moments; the shards; where to replay from; and up to where workers had come."""
    stream = make_stream(rng)
    shards = {f"shard-{n}": timed(stream.shards[n], stream.accepted) for n in (0, 1)}
    store = MemoryStore()
    reached = float(rng.randint(1, len(stream.accepted)))
    kept, since = snapshots(store, shards, reached, rng)
    store.tables.update(kept)
    return store, shards, since, reached


@pytest.mark.parametrize("first", range(0, 120, 40))
@pytest.mark.parametrize("faults", [Faults(0, 0, 0), Faults(0, 0.01, 0.03)], ids=["calm", "faulty"])
def test_tables_of_different_moments_are_put_right_beside_live_workers(first: int, faults: Faults) -> None:
    for seed in range(first, first + 40):
        play(seed, faults)


def play(seed: int, faults: Faults) -> None:
    """Restore, and replay while a worker for each shard goes on from where it was."""
    rng = random.Random(seed)
    store, shards, since, reached = restored(rng)
    turns, late = Turns(rng), list[Any]()

    def faulty() -> FaultyStore:
        return FaultyStore(store, rng, faults, turns.pause, late)

    workers = [
        Worker(name, [one for one in all_ if one.arrival >= reached], lambda: engine(faulty(), HOST), rng)
        for name, all_ in shards.items()
    ]
    mine = faulty()
    source, span = MemorySource(shards, rng=rng), Span(since, reached)
    replay = Replay(engine(mine, HOST), mine, source, span, LIMITS, sleep=lambda seconds: turns.pause())
    done: list[Replayed] = []
    turns.run([*(worker.run for worker in workers), lambda: done.append(replay.run())])
    mine.land()
    name = f"seed {seed} from {since} of {reached}"
    assert done[0].recomputed.failed == 0, name
    assert_clean(store, [record for all_ in shards.values() for record in all_], HOST, name=name)


def test_the_last_step_is_needed() -> None:
    """Without recomputing all days, superseded events would leave days wrong that nothing names any more."""
    wrong = 0
    for seed in range(60):
        rng = random.Random(seed)
        store, shards, since, _ = restored(rng)
        replay = Replay(engine(store, HOST), store, MemorySource(shards, rng=rng), Span(since, 1e9), LIMITS)
        replay._read(Replayed(position=since), lambda done: None)
        try:
            assert_clean(store, [record for all_ in shards.values() for record in all_], HOST)
        except AssertionError:
            wrong += 1
    assert wrong > 0


def test_who_had_an_item_before_all_that_is_replayed_is_computed_too() -> None:
    """Spans of before a first hand-over, items of after a second: neither names the provider who had it first."""
    make, store = Events(), MemoryStore()
    wanted = [
        make("x-working_hours", {"providers": [p], **hours(id_=f"wh-{p}")}, emr="multi") for p in ("p1", "p2")
    ]
    moves = [
        make("x-appointment", {"providers": [p], **booking(None)}, emr="multi") for p in ("p1", "p2", "p3")
    ]
    shards = simple(*wanted, *moves)
    worker = engine(store, HOST)
    for record in shards["shard-0"][:3]:
        worker.run([record], "shard-0")
    spans = copy.deepcopy(store.tables[Table.SPANS])
    for record in shards["shard-0"][3:]:
        worker.run([record], "shard-0")
    store.tables[Table.SPANS] = spans
    assert free(store, "p1", emr="multi") == ["10:00-12:00"]
    Replay(engine(store, HOST), store, MemorySource(shards), Span(3, 99), LIMITS).run()
    assert free(store, "p1", emr="multi") == ["09:00-12:00"]
    assert_clean(store, shards["shard-0"], HOST)


def test_a_replay_of_what_is_right_changes_no_answer_and_no_letter() -> None:
    rng = random.Random(5)
    stream, store = make_stream(rng), MemoryStore()
    shards = {f"shard-{n}": timed(stream.shards[n], stream.accepted) for n in (0, 1)}
    for name, all_ in shards.items():
        engine(store, HOST).run(all_, name)
    before = copy.deepcopy(store.tables)
    source = MemorySource(shards, rng=rng)
    done = Replay(engine(store, HOST), store, source, Span(0, 1e9), LIMITS).run()
    assert done.read == done.taken == len(stream.accepted)
    assert done.recomputed.right
    assert done.result.events["applied"] == 0
    for table in (Table.ITEMS, Table.PROVIDERS):
        assert store.tables[table] == before[table]
    assert set(map(str, letters(store))) == set(map(str, _rows(before[Table.DEAD_LETTERS])))
    assert_clean(store, stream.accepted, HOST)


def _rows(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [row for partition in table.values() for row in partition.values()]


def simple(*events: bytes) -> dict[str, list[Record]]:
    """One shard, a record a second."""
    return {
        "shard-0": [
            Record(data, f"{number:056d}", 0, "p", float(number)) for number, data in enumerate(events)
        ]
    }


def test_only_the_tenants_that_are_asked_for_are_run() -> None:
    make, store = Events(), MemoryStore()
    shards = simple(
        make("working_hours", hours("p1")),
        make("working_hours", hours("p1"), tenant="other"),
        b"not json",
    )
    span = Span(0, 9, frozenset({TENANT}))
    done = Replay(engine(store), store, MemorySource(shards), span, LIMITS).run()
    assert (done.read, done.taken, done.recomputed.providers) == (3, 1, 1)
    assert {str(row["pk"]) for row in store.scan(Table.SPANS)} == {ProviderKey(TENANT, "standard", "p1").pk()}
    assert letters(store) == []


def test_it_ends_where_it_is_told_to() -> None:
    make, store = Events(), MemoryStore()
    shards = simple(*(make("appointment", booking(id_=f"a{n}")) for n in range(20)))
    done = Replay(engine(store), store, MemorySource(shards), Span(3, 9), LIMITS).run()
    assert done.taken == 7
    assert done.position == 9


def test_children_of_a_shard_come_after_all_their_parents() -> None:
    make = Events()
    shards = {
        name: [Record(make("appointment", booking(id_=f"{name}-{n}")), f"{n}", 0, "p", n) for n in range(20)]
        for name in ("s0", "s1", "s2-merged", "s3-child")
    }
    source = MemorySource(shards, {"s2-merged": ("s0", "s1"), "s3-child": ("s2-merged", "gone")})
    store = MemoryStore()
    Replay(engine(store), store, source, Span(0, 99), LIMITS).run()
    said = source.said
    assert said[:2] == ["s0 begins", "s1 begins"], "both at once"
    assert max(said.index("s0 ends"), said.index("s1 ends")) < said.index("s2-merged begins")
    assert said[-3:] == ["s2-merged ends", "s3-child begins", "s3-child ends"]


def test_a_record_that_ended_workers_is_not_tried_while_its_letter_is_there() -> None:
    make, store = Events(), MemoryStore()

    class Deadly(MultiPlugin):
        name = "deadly"

        def decode(self, event: Any, context: Any) -> Any:
            raise AssertionError("the process would be gone")

    shards = simple(make("working_hours", hours()), make("x-slot", {}, emr="deadly"))
    alive = engine(store, host(Deadly()))
    alive.dead_letters.send([Letter("killed_worker", "x", "shard-0", shards["shard-0"][1])])
    done = Replay(alive, store, MemorySource(shards), Span(0, 9), LIMITS).run()
    assert +done.result.events == {"applied": 1, "rejected": 1}
    assert done.result.rejects == {"killed_worker": 1}
    assert len(letters(store)) == 1


def test_only_the_shards_that_are_asked_for_are_read() -> None:
    make, store = Events(), MemoryStore()
    shards = {f"s{n}": [Record(make("appointment", booking(id_=f"a{n}")), "1")] for n in range(3)}
    span = Span(0, 9, shards=frozenset({"s1"}))
    assert Replay(engine(store), store, MemorySource(shards), span, LIMITS).run().read == 1
    span = Span(0, 9, shards=frozenset({"s9"}))
    with pytest.raises(NoSuchShard, match="no shard s9; it has s0, s1, s2"):
        Replay(engine(store), store, MemorySource(shards), span, LIMITS).run()


def test_stopped_it_says_where_to_go_on_and_has_recomputed_what_it_met() -> None:
    make, store = Events(), MemoryStore()
    shards = simple(*(make("appointment", booking(id_=f"a{n}")) for n in range(50)))
    seen: list[int] = []
    replay = Replay(
        engine(store), store, MemorySource(shards), Span(0, 99), LIMITS, stop=lambda: sum(seen) >= 20
    )
    done = replay.run(lambda so_far: seen.append(so_far.read - sum(seen)))
    assert done.stopped
    assert 20 <= done.read < 50
    assert done.position == done.read - 1, "the last that was run; it is run again"
    assert done.recomputed.providers == 1
    rest = Replay(engine(store), store, MemorySource(shards), Span(done.position, 99), LIMITS).run()
    assert not rest.stopped
    assert done.read + rest.read == 51
    assert_clean(store, shards["shard-0"])


FAMILY = {"s1-child": ("s0",), "s2-child": ("s0",), "s3-merged": ("s1-child", "s2-child")}


def family(rng: random.Random) -> dict[str, list[Record]]:
    """Shards of three generations; some have no record, and each child's come after its parents'."""
    make = Events()
    shards: dict[str, list[Record]] = {}
    for generation, names in enumerate((("s0",), ("s1-child", "s2-child"), ("s3-merged",))):
        for name in names:
            shards[name] = [
                Record(make("appointment", booking(id_=f"{name}-{n}")), f"{n}", 0, "p", 10.0 * generation + n)
                for n in range(rng.choice((0, 1, 4, 9)))
            ]
    return shards


@pytest.mark.parametrize("seed", range(12))
def test_stopped_at_any_step_it_names_a_time_from_which_nothing_is_skipped(seed: int) -> None:
    class Notes(Replay):
        """Notes what is run."""

        def _run_page(self, page: Page, shard: str, done: Replayed) -> None:
            ran.update((shard, one.sequence_number) for one in page.records)

    def replayed(since: float, steps: int) -> Replayed:
        left = iter(range(steps))
        source = MemorySource(shards, FAMILY, rng=random.Random(seed))
        store = MemoryStore()
        span, stop = Span(since, 99), lambda: next(left, None) is None
        return Notes(engine(store), store, source, span, LIMITS, stop=stop).run()

    shards = family(random.Random(seed))
    everything = {(name, one.sequence_number) for name, all_ in shards.items() for one in all_}
    for steps in range(1000):
        ran = set[tuple[str, str]]()
        done = replayed(-1, steps)
        replayed(done.position, 1000)
        assert ran == everything, f"stopped after {steps} steps at {done.position}"
        if not done.stopped:
            return
    raise AssertionError("it never came to the end")


def test_where_it_goes_on_is_after_parents_that_are_read() -> None:
    """And not all the way back: a child that has begun is read from the end of its parents on."""
    make = Events()
    shards = {
        "s0": [Record(make("appointment", booking(id_=f"p{n}")), f"{n}", 0, "p", float(n)) for n in range(9)],
        "s1": [Record(make("appointment", booking(id_="c")), "1", 0, "p", 20.0)],
    }
    store, positions = MemoryStore(), list[float]()
    replay = Replay(engine(store), store, MemorySource(shards, {"s1": ("s0",)}), Span(0, 99), LIMITS)
    replay.run(lambda done: positions.append(done.position))
    assert positions == sorted(positions)
    assert positions[positions.index(8.0) :].count(8.0) >= 2, "its last page, and its end"
    assert positions[-1] == 99


def test_one_by_one_each_record_is_told_of_before_it_is_tried_and_may_be_skipped() -> None:
    make, store = Events(), MemoryStore()
    shards = simple(*(make("appointment", booking(id_=f"a{n}")) for n in range(5)), b"{")
    places = [("shard-0", one.sequence_number, 0) for one in shards["shard-0"]]
    told: list[tuple[str, str, int]] = []

    def trying(place: tuple[str, str, int]) -> None:
        told.append(place)
        assert len(list(store.scan(Table.ITEMS))) >= len(told) - 1, "those before it are done"

    span = Span(0, 9, skip=frozenset({places[2]}))
    done = Replay(engine(store), store, MemorySource(shards), span, LIMITS, trying=trying).run()
    assert told == [place for place in places if place != places[2]]
    assert (done.read, done.taken, done.skipped) == (6, 5, 1)
    assert +done.result.events == {"applied": 4, "rejected": 1}


class Down(MemoryStore):
    """Cannot be used until it was asked so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def query(self, *arguments: Any, **more: Any) -> Any:
        """Retry, for a while."""
        self.times -= 1
        if self.times >= 0:
            raise Retry("DynamoDB cannot be reached")
        return super().query(*arguments, **more)


def test_an_outage_makes_it_wait_and_a_long_one_ends_it() -> None:
    make = Events()
    shards = simple(make("working_hours", hours()))
    store, waited = Down(9), list[float]()
    Replay(
        engine(store),
        store,
        MemorySource(shards),
        Span(0, 9),
        LIMITS,
        sleep=waited.append,
        monotonic=lambda: 0,
    ).run()
    assert len(waited) >= 9
    assert free(store, "p1") == ["09:00-12:00"]
    passed = iter(range(0, 10_000, 60))
    store = Down(10**6)
    with pytest.raises(Retry, match="cannot be reached"):
        Replay(
            engine(store),
            store,
            MemorySource(shards),
            Span(0, 9),
            LIMITS,
            sleep=waited.append,
            monotonic=lambda: next(passed),
        ).run()


def test_what_a_mended_plugin_could_not_compute_before_is_fresh_after_a_replay() -> None:
    make, store = Events(), MemoryStore()
    plugins = host(BrokenPlugin())
    shards = simple(make("working_hours", hours(), emr="broken"))
    engine(store, plugins).run(shards["shard-0"], "shard-0")
    number = len(letters(store))
    assert number > 0
    BrokenPlugin.broken = False
    done = Replay(engine(store, plugins), store, MemorySource(shards), Span(0, 9), LIMITS).run()
    assert done.recomputed.right
    assert {row["status"] for row in store.scan(Table.SPANS)} == {"fresh"}
    assert len(letters(store)) == number
