"""A record that ends its process is found by durable marks, and set aside with its reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support import (
    TENANT,
    Crash,
    Events,
    FakeClock,
    Faults,
    FaultyStore,
    Heard,
    assert_clean,
    booking,
    document,
    engine,
    free,
    hours,
    letters,
    records,
)

from kcl_app.engine.attempts import PARTITION, STARTS, TRIES, Attempts
from kcl_app.engine.batch import BatchEngine, BatchResult
from kcl_app.stores.base import Row, Store, Table
from kcl_app.stores.memory import MemoryStore
from processors.envelope import Event, Record
from processors.errors import Retry
from processors.items import ItemChange
from processors.keys import ProviderKey

SHARD = "shardId-000000000000"
KILLER = "killer"

Decode = Callable[[Event], tuple[ItemChange, ...]]


def fragile(store: Store, *, in_spans: bool = False, heard: Heard | None = None) -> BatchEngine:
    """An engine whose process ends on one event: where it is decoded, or where its days are computed."""
    made = engine(store, observer=heard)
    decode, spans = made.host.decode, made.host.spans

    def deadly_decode(event: Event) -> tuple[ItemChange, ...]:
        if event.id == KILLER:
            raise Crash
        return decode(event)

    def deadly_spans(provider: ProviderKey, *arguments: object) -> object:
        if any(copy.item.key.id == KILLER for copy in made.providers.get(provider).copies.values()):
            raise Crash
        return spans(provider, *arguments)  # type: ignore[arg-type]

    if in_spans:
        made.host.spans = deadly_spans  # type: ignore[method-assign, assignment]
    else:
        made.host.decode = deadly_decode  # type: ignore[method-assign]
    return made


def live(store: Store, given: Sequence[Record], **how: object) -> tuple[int, BatchResult | None]:
    """Processes start on the same records until one comes through; how many it ended, and what it made of them."""
    for deaths in range(20):
        try:
            return deaths, fragile(store, **how).run_unproven(given, SHARD)  # type: ignore[arg-type]
        except Crash:
            continue
    return 20, None


def with_killer(make: Events, **over: str) -> list[Record]:
    """Ten records, of which the sixth ends its process."""
    events = [make("working_hours", hours()), make("working_hours", hours("p2", id_="wh-2"))]
    events += [make("appointment", booking(id_=f"a{number}")) for number in range(3)]
    killer = booking("p2", id_=KILLER, start="10:00", end="11:00")
    events.append(make("appointment", killer, id=KILLER, **over))
    events += [make("appointment", booking("p3", id_=f"b{number}")) for number in range(4)]
    return records(*events)


def test_a_record_that_ends_its_process_is_set_aside_and_the_rest_goes_on() -> None:
    store, heard, given = MemoryStore(), Heard(), with_killer(Events(), subject="p2")
    deaths, result = live(store, given, heard=heard)
    assert deaths == STARTS + TRIES
    assert result is not None
    assert result.events["rejected"] == 1
    assert result.events.total() == 10
    assert result.rejects == {"killed_worker": 1}
    assert heard.dead_letters == ["killed_worker"]
    first, *_ = letters_of_records(store)
    assert (first["reason"], first["event_id"], first["tenant"]) == ("killed_worker", KILLER, TENANT)
    # Its provider's days cannot be trusted: what it changed may be half done.
    assert document(store, "p2")["status"] == "stale"
    assert free(store, "p1") == ["10:00-12:00"]


def test_a_record_that_ends_its_process_where_its_days_are_computed_leaves_them_stale() -> None:
    store, given = MemoryStore(), with_killer(Events(), subject="p2")
    engine(store).run(given[:2], SHARD)
    deaths, result = live(store, given[2:], in_spans=True)
    assert deaths == STARTS + TRIES
    assert result is not None
    assert result.rejects == {"killed_worker": 1}
    assert document(store, "p2")["status"] == "stale"
    assert free(store, "p1") == ["10:00-12:00"]
    assert document(store, "p3")["status"] == "fresh"


def test_without_a_subject_the_partition_key_tells_whose_days_they_are() -> None:
    given = with_killer(Events())
    given[5] = Record(given[5].data, given[5].sequence_number, 0, ProviderKey(TENANT, "standard", "p2").pk())
    store = MemoryStore()
    engine(store).run(given[:2], SHARD)
    live(store, given)
    assert document(store, "p2")["status"] == "stale"
    assert document(store, "p1")["status"] == "fresh"


def test_a_record_that_cannot_even_be_read_is_set_aside_too() -> None:
    store = MemoryStore()
    made = [0]
    given = records(b"\xff\xfe not an event")

    class Dies(FaultyStore):
        def write(self, puts: object) -> object:  # type: ignore[override]
            if any(put.table is Table.DEAD_LETTERS and put.row["pk"] != PARTITION for put in puts):  # type: ignore[attr-defined]
                made[0] += 1
                if made[0] <= STARTS + TRIES:
                    raise Crash
            return super().write(puts)  # type: ignore[arg-type]

    for _ in range(STARTS + TRIES):
        with pytest.raises(Crash):
            engine(Dies(store)).run_unproven(given, SHARD)
    result = engine(Dies(store)).run_unproven(given, SHARD)
    assert result.rejects == {"killed_worker": 1}
    (letter,) = letters_of_records(store)
    assert (letter["tenant"], letter["reason"]) == (None, "killed_worker")


def test_two_records_that_end_their_process_are_both_found() -> None:
    make = Events()
    bad = [make("appointment", booking(f"p{n}", id_=f"k{n}"), id=KILLER, subject=f"p{n}") for n in (1, 2)]
    store = MemoryStore()
    deaths, result = live(store, records(make("working_hours", hours()), *bad))
    assert deaths == STARTS + 2 * TRIES
    assert result is not None
    assert result.rejects == {"killed_worker": 2}


def test_processes_that_end_for_another_reason_cost_nothing_but_time() -> None:
    """Killed from outside, each at another record: none is blamed."""
    make = Events()
    given = records(*(make("appointment", booking(id_=f"a{number}")) for number in range(12)))
    for seed in range(20):
        rng, store = random.Random(seed), MemoryStore()
        for victim in rng.sample(range(12), 8):
            made = engine(store)
            decode, id_ = made.host.decode, f"e{victim + 1}"

            def decode_or_die(
                event: Event, decode: Decode = decode, id_: str = id_
            ) -> tuple[ItemChange, ...]:
                if event.id == id_:
                    raise Crash
                return decode(event)

            made.host.decode = decode_or_die  # type: ignore[method-assign]
            with pytest.raises(Crash):
                made.run_unproven(given, SHARD)
        engine(store).run_unproven(given, SHARD)
        assert not letters_of_records(store), seed
        assert_clean(store, given)


def test_marks_are_right_although_answers_are_lost() -> None:
    for seed in range(50):
        store = MemoryStore()
        faulty = FaultyStore(store, random.Random(seed), Faults(0, 0, 0.3))
        marks = Attempts(faulty, FakeClock())
        (first,) = records(b"{}")
        for start in range(1, STARTS + 2):
            marks = Attempts(faulty, FakeClock())
            assert marks.careful(SHARD, first) is (start > STARTS)
        faulty.late.clear()
        (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
        assert mark["starts"] == STARTS + 1, seed
        assert not marks.hopeless(SHARD, first)


def test_a_process_that_must_wait_for_its_stores_does_not_count_as_several() -> None:
    store, given = MemoryStore(), records(Events()("appointment", booking()))
    for _ in range(STARTS):
        with pytest.raises(Crash):
            engine(FaultyStore(store, crash_at=4)).run_unproven(given, SHARD)
    alive = engine(FaultyStore(store, random.Random(1), Faults(0, 0.4, 0)))
    result = None
    for _ in range(1000):
        try:
            result = alive.run_unproven(given, SHARD)
            break
        except Retry:
            continue
    assert result is not None
    assert not result.rejects
    assert not letters_of_records(store)


def test_processes_that_end_in_good_order_do_not_count() -> None:
    """An outage of one table: each process gives up after a while, and the next one waits again."""
    store, given = MemoryStore(), records(Events()("appointment", booking()))

    class Outage(FaultyStore):
        def query(self, table: Table, *arguments: Any, **named: Any) -> list[Row]:
            if table is Table.SPANS:
                raise Retry("throttled")
            return super().query(table, *arguments, **named)

    for _ in range(10):
        waiting = engine(Outage(store))
        for _ in range(3):
            with pytest.raises(Retry):
                waiting.run_unproven(given, SHARD)
        waiting.survived(SHARD)
    (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
    assert (mark["starts"], mark["tries"]) == (0, "{}")
    assert engine(store).run_unproven(given, SHARD).events["applied"] == 1
    assert not letters_of_records(store)


def test_what_others_marked_meanwhile_is_left_alone() -> None:
    store = MemoryStore()
    slow, quick = Attempts(store, FakeClock()), Attempts(store, FakeClock())
    first, later = records(b"{}", b"{}")
    slow.careful(SHARD, first)
    quick.careful(SHARD, later)  # a checkpoint in between
    slow.survived(SHARD)
    slow.survived(SHARD)
    (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
    assert (mark["start"], mark["starts"]) == (later.sequence(), 1)


def test_a_start_elsewhere_is_a_new_one() -> None:
    store, make = MemoryStore(), Events()
    given = records(*(make("appointment", booking(id_=f"a{number}")) for number in range(8)))
    for number in range(len(given)):
        engine(store).run_unproven(given[number:], SHARD)
        (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
        assert (mark["starts"], mark["tries"]) == (1, "{}")


def letters_of_records(store: MemoryStore) -> list[dict[str, object]]:
    """Dead letters without the marks."""
    return [dict(row) for row in letters(store) if row["pk"] != PARTITION]


def test_a_provider_whose_days_cannot_even_be_marked_does_not_stop_the_shard() -> None:
    """What the engine fails on may be a row of the provider itself."""
    store, given = MemoryStore(), with_killer(Events(), subject="p2")
    engine(store).run(given[:2], SHARD)
    rows = store.tables[Table.ITEMS][ProviderKey(TENANT, "standard", "p2").pk()]
    rows["working_hours#wh-2"]["body"] = "spoilt"
    result = engine(store).run(given, SHARD)
    assert result.rejects["processing_failed"] == 2  # those of p2
    assert free(store, "p1") == ["10:00-12:00"]
    assert {row["reason"] for row in letters_of_records(store)} == {"processing_failed"}
