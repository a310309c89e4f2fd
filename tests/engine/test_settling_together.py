"""Several batches taken before they are settled together: the tables are those of settling each at once."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from support import TODAY, Events, Heard, assert_clean, booking, engine, hours, letters, records

from kcl_app.engine.settling import Settler
from kcl_app.stores.base import Put, Table
from kcl_app.stores.memory import MemoryStore
from processors.envelope import Record
from processors.errors import Retry


def burst(seed: int, size: int = 60) -> list[Record]:
    """Bookings made, moved and cancelled at three providers, the same ones again and again."""
    luck, make = random.Random(seed), Events()
    events = [make("working_hours", hours(provider=f"p{number}")) for number in range(3)]
    for _ in range(size):
        day = TODAY + timedelta(days=luck.randrange(5))
        start = luck.randrange(9, 16)
        body = booking(
            id_=f"a{luck.randrange(12)}",
            provider=f"p{luck.randrange(3)}",
            start=f"{start:02d}:00",
            end=f"{start + 1:02d}:00",
            day=day,
            status=luck.choice(["booked", "booked", "cancelled"]),
        )
        events.append(make("appointment", body))
    return records(*events)


class Counting(MemoryStore):
    """Counts the documents written."""

    documents = 0

    def write(self, puts: Any) -> Any:
        self.documents += sum(put.table is Table.SPANS for put in puts)
        return super().write(puts)


@pytest.mark.parametrize("seed", range(8))
def test_batches_settled_together_come_to_the_same_with_fewer_documents(seed: int) -> None:
    given = burst(seed)
    together, each = Counting(), Counting()
    one, other = engine(together), engine(each)
    for start in range(0, len(given), 9):
        one.take(given[start : start + 9], "shard-0")
        other.run(given[start : start + 9], "shard-0")
    assert together.documents == 0, "nothing is settled yet"
    one.settle()
    assert_clean(together, given)
    assert_clean(each, given)
    assert together.documents < each.documents / 2
    before = together.documents
    one.settle()
    assert together.documents == before, "there is nothing left to settle"


@pytest.mark.parametrize("seed", range(8))
def test_a_process_that_ends_before_it_settles_leaves_the_next_one_all_it_needs(seed: int) -> None:
    given = burst(seed)
    store = MemoryStore()
    first = engine(store)
    for start in range(0, 36, 9):
        first.take(given[start : start + 9], "shard-0")
    # Nothing of it was checkpointed: the next one gets all from the start, in other batches.
    second = engine(store)
    for start in range(0, len(given), 17):
        second.take(given[start : start + 17], "shard-0")
    second.settle()
    assert_clean(store, given)


def test_what_was_taken_is_settled_although_memory_was_forgotten_meanwhile() -> None:
    given = burst(3)
    store = MemoryStore()
    one = engine(store)
    for start in range(0, len(given), 9):
        one.take(given[start : start + 9], "shard-0")
        one.providers.forget_all()
    one.settle()
    assert_clean(store, given)


def test_another_worker_between_taking_and_settling_does_no_harm() -> None:
    given = burst(4)
    store = MemoryStore()
    zombie, owner = engine(store), engine(store)
    for start in range(0, 40, 8):
        zombie.take(given[start : start + 8], "shard-0")
    owner.run(given, "shard-0")
    zombie.settle()
    assert_clean(store, given)


def test_an_outage_while_settling_leaves_it_to_be_done_again() -> None:
    given = burst(5)

    class Away(MemoryStore):
        """Gives up in the middle of the documents, once."""

        left = 2

        def write(self, puts: Any) -> Any:
            if puts and puts[0].table is Table.SPANS and self.left:
                self.left -= 1
                super().write(list(puts)[: len(puts) // 2])
                raise Retry("away")
            return super().write(puts)

    store = Away()
    one = engine(store)
    one.take(given[:40], "shard-0")
    for _ in range(2):
        with pytest.raises(Retry):
            one.settle()
    one.take(given[40:], "shard-0")
    one.settle()
    assert_clean(store, given)


def test_an_outage_while_taking_keeps_what_was_taken_before() -> None:
    given = burst(6)

    class Away(MemoryStore):
        """Does not take items for a while."""

        away = False

        def write(self, puts: list[Put]) -> Any:  # type: ignore[override]
            if self.away and any(put.table is Table.ITEMS for put in puts):
                super().write(puts[:1])
                raise Retry("away")
            return super().write(puts)

    store = Away()
    one = engine(store)
    one.take(given[:30], "shard-0")
    store.away = True
    with pytest.raises(Retry):
        one.take(given[30:], "shard-0")
    store.away = False
    one.take(given[30:], "shard-0")
    one.settle()
    assert_clean(store, given)


def test_a_provider_on_which_the_engine_fails_is_set_aside_and_the_others_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = burst(7)
    store = MemoryStore()
    heard = Heard()
    one = engine(store, observer=heard)
    one.run(given[:20], "shard-0")
    compute = Settler._compute

    def failing(self: Settler, key: Any, work: Any) -> Any:
        if key.provider == "p1":
            raise ZeroDivisionError
        return compute(self, key, work)

    monkeypatch.setattr(Settler, "_compute", failing)
    one.take(given[20:], "shard-0")
    one.settle()
    found = letters(store)
    assert Counter(letter["reason"] for letter in found) == Counter(processing_failed=2)
    assert {row["status"] for row in store.scan(Table.SPANS) if str(row["pk"]).endswith("#p1")} == {"stale"}
    assert {row["status"] for row in store.scan(Table.SPANS) if str(row["pk"]).endswith("#p2")} == {"fresh"}


def test_what_is_given_up_is_not_settled() -> None:
    given = burst(1)
    store = Counting()
    one = engine(store)
    one.take(given, "shard-0")
    one.give_up()
    one.settle()
    assert store.documents == 0


class Reading(MemoryStore):
    """Counts how often a provider's items are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def query(self, table: Table, pk: str, *arguments: Any) -> Any:
        self.reads[pk.rpartition("#")[2]] += table is Table.ITEMS
        return super().query(table, pk, *arguments)


def test_a_hand_over_of_what_this_process_took_leaves_the_providers_in_memory() -> None:
    make = Events()
    given = records(
        *(make("working_hours", hours(provider=name)) for name in ("p0", "p1")),
        *(make("appointment", booking(id_="a", provider=name)) for name in ("p0", "p1", "p0", "p1")),
    )
    store = Reading()
    one = engine(store)
    for record in given:
        one.take([record], "shard-0")
    assert store.reads == {"p0": 1, "p1": 1}
    one.settle()
    assert store.reads == {"p0": 1, "p1": 1}
    assert_clean(store, given)


def test_a_hand_over_of_what_another_process_changed_meanwhile_has_the_providers_read_afresh() -> None:
    make = Events()
    given = records(
        *(make("working_hours", hours(provider=name)) for name in ("p0", "p1")),
        *(make("appointment", booking(id_="a", provider=name)) for name in ("p0", "p1", "p0")),
    )
    store = Reading()
    one, other = engine(store), engine(store)
    one.take(given[:3], "shard-0")
    other.take(given[:4], "shard-0")
    before = store.reads.copy()
    one.take(given[4:], "shard-0")
    one.settle()
    assert (store.reads - before).keys() == {"p0", "p1"}
    assert_clean(store, given)
