"""Provider-days again from the items: which of them, what is left alone, and beside workers."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import pytest
from support import (
    HISTORY_DAYS,
    HORIZON_DAYS,
    TENANT,
    TODAY,
    BrokenPlugin,
    Events,
    FakeClock,
    Faults,
    FaultyStore,
    Turns,
    assert_clean,
    broken_again,
    document,
    engine,
    host,
    hours,
    letters,
    records,
)
from test_faults import HOST, Worker, make_stream

from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app.engine.queries import known_providers
from kcl_app.engine.recomputing import EVERY_DAY, Days, Recomputed, is_known, recompute_all
from kcl_app.stores.base import Table
from kcl_app.stores.memory import MemoryStore
from processors.errors import Retry
from processors.keys import ProviderKey

_broken = pytest.fixture(autouse=True)(broken_again)

P1 = ProviderKey(TENANT, "standard", "p1")
ALL = HORIZON_DAYS + 2


def recompute(
    store: Any, days: Days = EVERY_DAY, plugins: PluginHost | None = None, clock: FakeClock | None = None
) -> Recomputed:
    """All providers' days, as the command does it."""
    on = engine(store, plugins, clock=clock)
    return recompute_all(on, store, known_providers(store, None), days, "recompute", sleep=lambda _: None)


def ruin(store: MemoryStore, key: ProviderKey = P1, **over: Any) -> None:
    """Make all documents of a provider wrong."""
    for row in store.tables[Table.SPANS][key.pk()].values():
        row.update({"spans": '[{"wrong":1}]', **over})


def test_wrong_documents_are_made_right_from_the_items() -> None:
    make, store = Events(), MemoryStore()
    events = records(make("working_hours", hours()), make("working_hours", hours("p2", id_="wh-2")))
    engine(store).run(events, "shard-0")
    ruin(store)
    store.tables[Table.SPANS].pop(ProviderKey(TENANT, "standard", "p2").pk())
    assert recompute(store) == Recomputed(providers=2, fresh=2 * ALL)
    assert_clean(store, events)


@pytest.mark.parametrize(
    ("first", "last", "number"),
    [(0, 1, 2), (0, 0, 1), (-9, 0, 1), (1, 99, ALL - 1), (99, 200, 0), (-9, -1, 0)],
)
def test_only_the_days_that_are_meant(first: int, last: int, number: int) -> None:
    """Days that have passed count where they have a document: here they have none."""
    make, store = Events(), MemoryStore()
    engine(store).run(records(make("working_hours", hours())), "shard-0")
    ruin(store)
    days = Days(TODAY + timedelta(days=first), TODAY + timedelta(days=last))
    done = recompute(store, days)
    assert (done.fresh, done.stale) == (number, 0)
    wrong = [row for row in store.tables[Table.SPANS][P1.pk()].values() if "wrong" in str(row["spans"])]
    assert len(wrong) == ALL - number


def test_past_days_are_kept_right_as_long_as_they_are_kept_and_never_made() -> None:
    make, store, clock = Events(), MemoryStore(), FakeClock()
    engine(store, clock=clock).run(records(make("working_hours", hours())), "shard-0")
    clock.day = TODAY + timedelta(days=HISTORY_DAYS + 1)
    del store.tables[Table.SPANS][P1.pk()][(TODAY + timedelta(days=2)).isoformat()]
    ruin(store)
    recompute(store, clock=clock)
    rows = store.tables[Table.SPANS][P1.pk()]
    assert "wrong" in str(rows[TODAY.isoformat()]["spans"]), "too old"
    assert "wrong" not in str(rows[(TODAY + timedelta(days=1)).isoformat()]["spans"])
    assert (TODAY + timedelta(days=2)).isoformat() not in rows, "never made"


def version(number: str) -> PluginHost:
    """A host whose standard plugin has a version."""
    registry = Registry()
    registry.add(StandardPlugin(), "tests", number)
    tenant = Tenant("UTC", {})
    return PluginHost(registry, lambda name: tenant)


def test_another_version_of_a_plugin_recomputes_what_the_one_before_made() -> None:
    make, store = Events(), MemoryStore()
    one, two = version("1"), version("2")
    engine(store, one).run(records(make("working_hours", hours())), "shard-0")
    recompute(store, Days(TODAY, TODAY), two)
    document(store, "p1", TODAY)["status"] = "stale"
    made = {row["plugin_version"] for row in store.scan(Table.SPANS)}
    assert made == {"1", "2"}
    done = recompute(store, Days(other_version=True), two)
    assert done.fresh == ALL, "those of version 1, and the one that is stale"
    assert {row["plugin_version"] for row in store.scan(Table.SPANS)} == {"2"}
    assert recompute(store, Days(other_version=True), two) == Recomputed()


def test_only_days_that_are_not_fresh() -> None:
    make, store = Events(), MemoryStore()
    engine(store).run(records(make("working_hours", hours())), "shard-0")
    document(store, "p1", TODAY)["status"] = "stale"
    del store.tables[Table.SPANS][P1.pk()][(TODAY + timedelta(days=1)).isoformat()]
    assert recompute(store, Days(not_fresh=True)) == Recomputed(providers=1, fresh=2)


def test_days_that_fail_are_stale_and_have_their_letter_once() -> None:
    make, store = Events(), MemoryStore()
    plugins = host(BrokenPlugin())
    BrokenPlugin.broken = False
    engine(store, plugins).run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    BrokenPlugin.broken = True
    for _ in range(2):
        done = recompute(store, plugins=plugins)
        assert (done.stale, done.fresh, done.right) == (ALL, 0, False)
        (letter,) = letters(store)
        assert (letter["origin"], letter["provider"], letter["raw"]) == (
            "recompute",
            "acme#broken#p1",
            None,
        )
    BrokenPlugin.broken = False
    assert recompute(store, plugins=plugins).right


def test_without_the_plugin_or_the_tenant_here_documents_stay_as_they_are() -> None:
    make, store = Events(), MemoryStore()
    plugins = host(BrokenPlugin())
    BrokenPlugin.broken = False
    events = [make("working_hours", hours(), emr="broken"), make("working_hours", hours(), tenant="other")]
    engine(store, plugins).run(records(*events), "shard-0")
    before = list(store.scan(Table.SPANS))
    done = recompute(store, plugins=host(tenants=[TENANT]))
    assert done.refused == {
        "no plugin broken runs here": 1,
        "tenant: not among the tenants of the settings": 1,
    }
    assert not done.right
    assert list(store.scan(Table.SPANS)) == before


def test_what_a_newer_version_has_written_is_left_alone() -> None:
    make, store = Events(), MemoryStore()
    engine(store).run(records(make("working_hours", hours())), "shard-0")
    document(store, "p1", TODAY)["schema"] = 99
    before = list(store.scan(Table.SPANS))
    done = recompute(store)
    assert list(done.refused.values()) == [1]
    assert list(store.scan(Table.SPANS)) == before


class Down(MemoryStore):
    """Of some providers nothing can be read."""

    down: frozenset[str] = frozenset()

    def query(self, table: Table, pk: str, *more: Any) -> Any:
        """Retry for these."""
        if pk in self.down:
            raise Retry("DynamoDB throttles reads")
        return super().query(table, pk, *more)


def test_one_provider_does_not_keep_the_others_from_it_and_an_outage_ends_it() -> None:
    make, store = Events(), Down()
    events = records(*(make("working_hours", hours(f"p{n}", id_=f"wh-{n}")) for n in range(5)))
    engine(store).run(events, "shard-0")
    store.down = frozenset({P1.pk()})
    done = recompute(store)
    assert (done.providers, done.failed, done.right) == (4, 1, False)
    store.down = frozenset(store.tables[Table.SPANS])
    with pytest.raises(Retry):
        recompute(store)


def test_who_is_known() -> None:
    make, store = Events(), MemoryStore()
    odd = "p#1/%"
    events = [
        make("working_hours", hours(odd)),
        make("working_hours", hours("p2", id_="wh-2")),
        make("working_hours", hours(odd), tenant="acme2"),
    ]
    engine(store).run(records(*events), "shard-0")
    assert known_providers(store, "acme", "standard") == known_providers(store, "acme")
    assert {key.provider for key in known_providers(store, "acme")} == {odd, "p2"}
    assert known_providers(store, "acme", "other") == known_providers(store, "ac") == []
    assert len(known_providers(store, None)) == 3
    assert is_known(store, ProviderKey("acme", "standard", odd))
    assert not is_known(store, ProviderKey("acme", "standard", "p"))


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_beside_workers_the_answer_is_that_of_a_clean_pass(first: int) -> None:
    for seed in range(first, first + 40):
        play(seed)


def play(seed: int) -> None:
    """Recompute again and again while workers process the stream."""
    rng = random.Random(seed)
    stream, store, turns, late = make_stream(rng), MemoryStore(), Turns(rng), list[Any]()
    faults = rng.choice([Faults(0, 0, 0), Faults(0, 0.01, 0.03)])

    def faulty() -> FaultyStore:
        return FaultyStore(store, rng, faults, turns.pause, late)

    workers = [Worker(f"shard-{n}", stream.shards[n], lambda: engine(faulty(), HOST), rng) for n in (0, 1)]

    def command() -> None:
        mine = faulty()
        on = engine(mine, HOST)
        for _ in range(5):
            keys = known_providers(store, None)
            days = Days(date(2026, 3, 9), TODAY + timedelta(days=rng.randint(0, 5)))
            recompute_all(
                on, mine, keys, rng.choice([days, EVERY_DAY]), "recompute", sleep=lambda _: turns.pause()
            )
            turns.pause()

    turns.run([*(worker.run for worker in workers), command])
    for one in late:
        store.transact(one)
    assert_clean(store, stream.accepted, HOST, name=f"seed {seed}")
