"""One bad record, provider or plugin fails alone: the batch goes on, others keep their speed, failures are mended."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar, NoReturn

import pytest
from support import (
    TENANT,
    TODAY,
    Events,
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

from emr_plugins.api import API_VERSION, Appointment, Context, Event, Item, ItemChange, Span
from emr_plugins.breaker import Breakers, Policy
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from emr_plugins.time_limit import TimeLimit
from kcl_app.engine.batch import BatchEngine
from kcl_app.stores.base import Outcome, Put, Table
from kcl_app.stores.memory import MemoryStore
from processors.decoding import coalesce
from processors.keys import ProviderKey

SHORT = 0.25


class Moody(StandardPlugin):
    """The standard format under a name of its own, which hangs or raises for some providers."""

    name = "moody"
    api_version = API_VERSION
    decode_hangs: ClassVar[set[str]] = set()
    spans_hang: ClassVar[set[str]] = set()
    spans_raise: ClassVar[set[str]] = set()
    calls: ClassVar[Counter[str]] = Counter()

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """As the standard plugin, with types `m-…`; or never."""
        type(self).calls["decode"] += 1
        self._wait(self.decode_hangs, event.payload()["provider_id"])
        return super().decode(event.model_copy(update={"type": event.type.removeprefix("m-")}), context)

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """The standard answer; or never."""
        type(self).calls["spans"] += 1
        for item in items:
            for provider in item.providers:
                self._wait(self.spans_hang, provider)
                if provider in self.spans_raise:
                    raise RuntimeError
        return super().spans(day, items, context)

    @staticmethod
    def _wait(who: set[str], provider: str) -> None:
        while provider in who or "everybody" in who:
            time.sleep(60)


@pytest.fixture(autouse=True)
def _calm() -> Iterable[None]:
    for moods in (Moody.decode_hangs, Moody.spans_hang, Moody.spans_raise):
        moods.clear()
    Moody.calls.clear()
    yield
    for moods in (Moody.decode_hangs, Moody.spans_hang, Moody.spans_raise):
        moods.clear()


class World:
    """A store, an engine with limits and breakers as in a worker, and the breakers' clock."""

    def __init__(self, *plugins: Any) -> None:
        self.now = 0.0
        registry = Registry()
        for plugin in (StandardPlugin(), Moody(), *plugins):
            registry.add(plugin, "tests", "1")
        assert not registry.refused
        breakers = Breakers(Policy(call_seconds=SHORT), lambda: self.now, lambda: 1.0)
        self.host = PluginHost(
            registry, lambda name: Tenant("UTC", {}), limit=TimeLimit(SHORT), breakers=breakers
        )
        self.store = MemoryStore()
        self.heard = Bisected()
        self.make = Events()
        self.engine = engine(self.store, self.host, observer=self.heard)
        self._next = 1

    def run(self, *events: bytes) -> Any:
        """A batch of these."""
        batch = records(*events, first=self._next)
        self._next += len(events)
        return self.engine.run(batch, "shard-0")

    def hours(self, provider: str, emr: str = "moody", **over: Any) -> bytes:
        """Working hours of a provider."""
        type_ = "m-working_hours" if emr == "moody" else "working_hours"
        return self.make(type_, hours(provider, id_=f"wh-{provider}", **over), emr=emr, subject=provider)

    def reasons(self) -> Counter[str]:
        """Letters by reason."""
        return Counter(str(letter["reason"]) for letter in letters(self.store))

    def statuses(self, provider: str, emr: str = "moody") -> set[tuple[str, str]]:
        """Status and reason of a provider's documents."""
        rows = self.store.query(Table.SPANS, ProviderKey(TENANT, emr, provider).pk())
        return {(str(row["status"]), str(row["reason"]).partition(":")[0]) for row in rows}


class Bisected(Heard):
    """Counts batches halved, too."""

    def __init__(self) -> None:
        super().__init__()
        self.halved = 0

    def bisected(self) -> None:
        """A batch on which the engine failed was halved."""
        self.halved += 1


# Plugins --------------------------------------------------------------------------------------------------------------


def test_an_event_on_which_a_plugin_hangs_is_set_aside_alone() -> None:
    world = World()
    Moody.decode_hangs.add("bad")
    world.run(world.hours("p1"), world.hours("bad"), world.hours("p2"), world.hours("s1", "standard"))
    assert world.reasons() == Counter(plugin_timeout=1)
    assert world.statuses("p1") == world.statuses("p2") == {("fresh", "None")}
    assert free(world.store, "s1") == ["09:00-12:00"]
    assert world.heard.halved == 0


def test_a_plugin_that_hangs_on_every_event_is_suspended_and_others_keep_their_speed() -> None:
    """250 events that would take 20 minutes at the limit that a worker has take four calls."""
    world = World()
    Moody.decode_hangs.add("everybody")
    events = []
    for number in range(250):
        events += [world.hours(f"p{number}"), world.hours(f"s{number}", "standard")]
    result = world.run(*events)
    assert Moody.calls["decode"] <= 4
    assert result.events == Counter(applied=250, rejected=250)
    found = world.reasons()
    assert found["plugin_timeout"] == Moody.calls["decode"]
    assert found["plugin_suspended"] == 250 - Moody.calls["decode"]
    assert free(world.store, "s249") == ["09:00-12:00"]


def test_a_suspended_plugin_recovers_by_itself() -> None:
    world = World()
    Moody.decode_hangs.add("everybody")
    world.run(*[world.hours(f"p{number}") for number in range(6)])
    assert world.reasons()["plugin_suspended"]
    Moody.decode_hangs.clear()
    world.run(world.hours("early"))
    assert world.statuses("early") == set(), "it is not asked before the pause is over"
    world.now += 31
    world.run(world.hours("late"), world.hours("later"))
    assert world.statuses("late") == world.statuses("later") == {("fresh", "None")}


def test_a_provider_whose_days_hang_is_stale_alone_and_mended_by_the_next_success() -> None:
    world = World()
    Moody.spans_hang.add("bad")
    world.run(world.hours("good"), world.hours("bad"), world.hours("fine"))
    assert world.statuses("good") == world.statuses("fine") == {("fresh", "None")}
    assert world.statuses("bad") == {("stale", "plugin_timeout"), ("stale", "plugin_suspended")}
    assert Moody.calls["spans"] < 20, "its other days were refused at once"
    named = {day for letter in letters(world.store) for day in json.loads(str(letter["days"]))}
    rows = world.store.query(Table.SPANS, ProviderKey(TENANT, "moody", "bad").pk())
    assert named == {row["sk"] for row in rows}, "every stale day has a letter"
    Moody.spans_hang.clear()
    world.now += 31
    world.run(world.hours("bad", start="10:00"))
    assert world.statuses("bad") == {("fresh", "None")}


def test_a_provider_whose_days_all_raise_suspends_nobody() -> None:
    world = World()
    Moody.spans_raise.add("bad")
    world.run(*[world.hours(provider) for provider in ("a", "bad", "c")])
    assert world.statuses("bad") == {("stale", "plugin_failed")}
    assert world.statuses("a") == world.statuses("c") == {("fresh", "None")}


class Text(str):
    """A text that raises where it is compared or hashed."""

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError

    def __hash__(self) -> NoReturn:
        raise RuntimeError


class Tricky(StandardPlugin):
    """Makes items out of values that are worse than wrong."""

    name = "tricky"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """By the event's type."""
        start, end = datetime(2026, 3, 9, 9, tzinfo=UTC), datetime(2026, 3, 9, 10, tzinfo=UTC)
        body = Appointment(status="booked", start=start, end=end)
        if event.type == "text":
            return [ItemChange(Text("a1"), body, (Text("p1"),))]
        fields: dict[str, Any] = {"status": "booked", "start": 7, "end": end}
        return [ItemChange("a2", Appointment.model_construct(None, **fields), ("p1",))]


def test_objects_that_raise_when_they_are_compared_do_not_get_into_the_engine() -> None:
    world = World(Tricky())
    world.run(world.make("text", {}, emr="tricky"), world.make("text", {}, emr="tricky"))
    assert world.reasons() == Counter()
    assert world.statuses("p1", "tricky") == {("fresh", "None")}


def test_a_body_made_past_its_validation_does_not_make_its_provider_unreadable() -> None:
    """Stored, it could not be read back, and every later event of the provider would fail."""
    world = World(Tricky())
    world.run(world.hours("p1", "tricky"), world.make("constructed", {}, emr="tricky"))
    assert world.reasons() == Counter(plugin_nonsense=1)
    world.engine.providers.forget_all()
    world.run(world.make("text", {}, emr="tricky"))
    assert free(world.store, "p1", emr="tricky") == ["10:00-12:00"]


# Faults of the engine -------------------------------------------------------------------------------------------------


def bug(monkeypatch: pytest.MonkeyPatch, event_id: str, error: type[Exception]) -> Counter[str]:
    """Let the engine fail whenever a batch holds an event; returns how often it ran."""
    ran: Counter[str] = Counter()

    def failing(decoded: Any) -> Any:
        ran["batches"] += 1
        if any(one.event.id == event_id for one in decoded):
            raise error("a bug")
        return coalesce(decoded)

    monkeypatch.setattr("kcl_app.engine.batch.coalesce", failing)
    return ran


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError, RecursionError])
@pytest.mark.parametrize("place", [1, 250, 500])
def test_one_record_of_500_on_which_the_engine_fails_is_set_aside_alone(
    monkeypatch: pytest.MonkeyPatch, place: int, error: type[Exception]
) -> None:
    store, make, heard = MemoryStore(), Events(), Bisected()
    events = [make("working_hours", hours(f"p{number}", id_=f"wh-{number}")) for number in range(500)]
    batch = records(*events)
    ran = bug(monkeypatch, f"e{place}", error)
    result = engine(store, observer=heard).run(batch, "shard-0")
    assert result.events == Counter(applied=499, rejected=1)
    (letter,) = letters(store)
    assert (letter["reason"], letter["event_id"]) == ("processing_failed", f"e{place}")
    assert letter["detail"] == f"the engine raised {error.__name__}"
    assert heard.halved == ran["batches"] // 2
    assert ran["batches"] <= 2 * 9 + 1, "halving looks at a few batches, not at 500"
    monkeypatch.undo()
    assert_clean(store, [record for number, record in enumerate(batch, start=1) if number != place])


def test_a_batch_that_is_only_too_large_for_the_memory_is_done_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, make, heard = MemoryStore(), Events(), Bisected()
    batch = records(*[make("appointment", booking(id_=f"a{number}")) for number in range(100)])
    run = BatchEngine._run

    def short_of_memory(self: BatchEngine, given: Any, origin: str) -> Any:
        if len(given) > 20:
            raise MemoryError
        return run(self, given, origin)

    monkeypatch.setattr(BatchEngine, "_run", short_of_memory)
    result = engine(store, observer=heard).run(batch, "shard-0")
    assert result.events == Counter(applied=100)
    assert letters(store) == []
    assert_clean(store, batch)


# Stores ---------------------------------------------------------------------------------------------------------------


class AnswersLost(MemoryStore):
    """Every other write is carried out, its answer lost, and sent again by the client, which tells of a conflict."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Write, perhaps twice; the second answer counts."""
        first = super().write(puts)
        self._calls += 1
        return super().write(puts) if self._calls % 2 else first


def test_a_write_that_is_in_conflict_with_itself_changes_no_answer() -> None:
    store, make = AnswersLost(), Events()
    alive = engine(store)
    first = records(*[make("working_hours", hours(f"p{n}", id_=f"wh-{n}")) for n in range(4)])
    second = records(
        *[make("appointment", booking(f"p{n}", id_=f"a{n}")) for n in range(4)],
        make("appointment", booking("p1", id_="a0")),  # handed over
        make("nonsense", {}),
        first=5,
    )
    for batch in (first, second):
        alive.run(batch, "shard-0")
    assert_clean(store, [*first, *second])
    assert [letter["reason"] for letter in letters(store)] == ["invalid_data"]
    assert document(store, "p1", TODAY)["status"] == "fresh"
