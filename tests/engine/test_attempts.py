"""A record that ends its process is found by durable marks, and set aside with its reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
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

from kcl_app.engine.attempts import PARTITION, TRIES, Attempts
from kcl_app.engine.batch import BatchEngine
from kcl_app.stores.base import Outcome, Put, Row, Store, Table
from kcl_app.stores.memory import MemoryStore
from processors.envelope import Event, Record
from processors.errors import Retry
from processors.items import ItemChange
from processors.keys import ProviderKey

SHARD = "shardId-000000000000"
KILLER = "killer"


def fragile(store: Store, *, in_spans: bool = False, heard: Heard | None = None) -> BatchEngine:
    """An engine whose process ends on one event: where it is decoded, or where its days are computed."""
    made = engine(store, observer=heard)
    decode, spans = made.host.decode, made.host.spans_of_days

    def deadly_decode(event: Event) -> tuple[ItemChange, ...]:
        if event.id == KILLER:
            raise Crash
        return decode(event)

    def deadly_spans(provider: ProviderKey, *arguments: object) -> object:
        if any(copy.item.key.id == KILLER for copy in made.providers.get(provider).copies.values()):
            raise Crash
        return spans(provider, *arguments)  # type: ignore[arg-type]

    if in_spans:
        made.host.spans_of_days = deadly_spans  # type: ignore[method-assign, assignment]
    else:
        made.host.decode = deadly_decode  # type: ignore[method-assign]
    return made


def live(store: Store, given: Sequence[Record], **how: Any) -> tuple[int, Counter[str]]:
    """Processes work on the same records, as the record processor does: slices of 1, 2, 4 … with a checkpoint each.

    Returns:
        How many processes were ended, and what became of the events in the end.
    """
    events: Counter[str] = Counter()
    checkpoint = 0
    for deaths in range(60):
        alive, size, proven = fragile(store, **how), 1, False
        try:
            while checkpoint < len(given):
                some = given[checkpoint : checkpoint + size]
                result = (alive.run if proven else alive.run_unproven)(some, SHARD)
                events += result.events
                checkpoint, size, proven = checkpoint + len(some), size * 2, True
        except Crash:
            continue
        return deaths, events
    raise AssertionError("the shard stands still")


def with_killer(make: Events, **over: str) -> list[Record]:
    """Ten records, of which the sixth ends its process."""
    events = [make("working_hours", hours()), make("working_hours", hours("p2", id_="wh-2"))]
    events += [make("appointment", booking(id_=f"a{number}")) for number in range(3)]
    killer = booking("p2", id_=KILLER, start="10:00", end="11:00")
    events.append(make("appointment", killer, id=KILLER, **over))
    events += [make("appointment", booking("p3", id_=f"b{number}")) for number in range(4)]
    return records(*events)


def test_a_record_that_ends_its_process_is_set_aside_and_the_rest_goes_on() -> None:
    store, heard, given = MemoryStore(), Heard(), with_killer(Events())
    deaths, events = live(store, given, heard=heard)
    assert deaths <= 3 + TRIES, "it comes first before long"
    assert events == {"applied": 9, "rejected": 1}
    assert heard.dead_letters == ["killed_worker"]
    assert heard.killed_records == 1
    (letter,) = letters_of_records(store)
    assert (letter["reason"], letter["event_id"], letter["tenant"]) == ("killed_worker", KILLER, TENANT)
    # Decoding ended the process, so the event has changed nothing.
    assert_clean(store, [one for one in given if KILLER.encode() not in one.data])


@pytest.mark.parametrize("over", [{}, {"subject": "p2"}])
def test_a_record_that_ends_its_process_where_its_days_are_computed_leaves_them_stale(
    over: dict[str, str],
) -> None:
    """Its item is stored, so the days lack it; whose they are was written down before, whatever the envelope says."""
    store, given = MemoryStore(), with_killer(Events(), **over)
    _, events = live(store, given, in_spans=True)
    assert events["rejected"] == 1
    days = store.tables[Table.SPANS][ProviderKey(TENANT, "standard", "p2").pk()]
    assert {row["status"] for row in days.values()} == {"stale"}
    assert free(store, "p1") == ["10:00-12:00"]
    assert document(store, "p3")["status"] == "fresh"
    assert {row["provider"] for row in letters_of_records(store)} == {None, "acme#standard#p2"}


def test_those_who_had_the_item_before_are_in_doubt_as_well() -> None:
    store, make = MemoryStore(), Events()
    before = records(
        make("working_hours", hours()),
        make("working_hours", hours("p2", id_="wh-2")),
        make("appointment", booking("p1", id_=KILLER)),
    )
    engine(store).run(before, SHARD)
    handed_over = records(make("appointment", booking("p2", id_=KILLER), id=KILLER), first=4)
    live(store, handed_over, in_spans=True)
    assert [document(store, name)["status"] for name in ("p1", "p2")] == ["stale", "stale"]


def test_a_record_that_cannot_even_be_read_is_set_aside_too() -> None:
    store, given = MemoryStore(), records(b"\xff\xfe not an event")
    deaths = 0

    class Dies(FaultyStore):
        def write(self, puts: Sequence[Put]) -> list[Outcome]:
            if any(put.table is Table.DEAD_LETTERS and put.row["pk"] != PARTITION for put in puts):
                nonlocal deaths
                deaths += 1
                if deaths <= TRIES:
                    raise Crash
            return super().write(puts)

    for _ in range(TRIES):
        with pytest.raises(Crash):
            engine(Dies(store)).run_unproven(given, SHARD)
    assert engine(Dies(store)).run_unproven(given, SHARD).rejects == {"killed_worker": 1}
    (letter,) = letters_of_records(store)
    assert (letter["tenant"], letter["reason"]) == (None, "killed_worker")


def test_two_records_that_end_their_process_are_both_found() -> None:
    make = Events()
    bad = [make("appointment", booking(f"p{n}", id_=f"k{n}"), id=KILLER) for n in (1, 2)]
    store = MemoryStore()
    _, events = live(store, records(make("working_hours", hours()), *bad))
    assert events == {"applied": 1, "rejected": 2}


def test_a_store_that_must_be_waited_for_does_not_count_as_a_death() -> None:
    store, given = MemoryStore(), records(Events()("appointment", booking()))
    for _ in range(TRIES - 1):
        with pytest.raises(Crash):
            engine(FaultyStore(store, crash_at=4)).run_unproven(given, SHARD)
    alive = engine(FaultyStore(store, random.Random(1), Faults(0, 0.4, 0)))
    for _ in range(1000):
        try:
            result = alive.run_unproven(given, SHARD)
            break
        except Retry:
            continue
    assert not result.rejects
    assert not letters_of_records(store)


def test_processes_that_end_elsewhere_cost_nothing_but_time() -> None:
    """Killed from outside, each at another record: none is blamed."""
    make = Events()
    given = records(*(make("appointment", booking(id_=f"a{number}")) for number in range(12)))
    for seed in range(20):
        rng, store, checkpoint = random.Random(seed), MemoryStore(), 0
        for _ in range(TRIES - 1):
            with pytest.raises(Crash):
                engine(FaultyStore(store, crash_at=rng.randint(3, 9))).run_unproven(given[:1], SHARD)
        while checkpoint < len(given):
            engine(store).run_unproven(given[checkpoint : checkpoint + 2], SHARD)
            checkpoint += 2
        assert not letters_of_records(store), seed
        assert_clean(store, given)


def test_marks_are_right_although_answers_are_lost() -> None:
    for seed in range(50):
        store = MemoryStore()
        faulty = FaultyStore(store, random.Random(seed), Faults(0, 0, 0.3))
        (first,) = records(b"{}")
        for start in range(1, TRIES + 2):
            marks = Attempts(faulty, FakeClock())
            assert marks.begin(SHARD, first) == start, seed
            assert marks.begin(SHARD, first) == start, "asked twice by one process"


def test_many_providers_are_written_down_as_far_as_there_is_room() -> None:
    store, (first,) = MemoryStore(), records(b"{}")
    many = [ProviderKey(TENANT, "standard", f"{number}#" + "ä" * 200) for number in range(1000)]
    marks = Attempts(store, FakeClock())
    marks.begin(SHARD, first)
    marks.name(SHARD, many)
    again = Attempts(store, FakeClock())
    assert again.begin(SHARD, first) == 2
    assert 50 < len(again.named(SHARD)) < 1000
    assert again.named(SHARD) <= set(many)


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
    assert mark["tries"] == 0
    assert engine(store).run_unproven(given, SHARD).events["applied"] == 1
    assert not letters_of_records(store)


def test_what_others_marked_meanwhile_is_left_alone() -> None:
    store = MemoryStore()
    slow, quick = Attempts(store, FakeClock()), Attempts(store, FakeClock())
    first, later = records(b"{}", b"{}")
    slow.begin(SHARD, first)
    quick.begin(SHARD, later)  # a checkpoint in between
    slow.survived(SHARD)
    slow.survived(SHARD)
    (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
    assert (mark["record"], mark["tries"]) == (later.sequence(), 1)


def test_a_start_elsewhere_is_a_new_one() -> None:
    store, make = MemoryStore(), Events()
    given = records(*(make("appointment", booking(id_=f"a{number}")) for number in range(8)))
    for number in range(len(given)):
        engine(store).run_unproven(given[number:], SHARD)
        (mark,) = store.query(Table.DEAD_LETTERS, PARTITION)
        assert (mark["record"], mark["tries"]) == (given[number].sequence(), 1)


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
