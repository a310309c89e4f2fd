"""Redriving: the event goes back with the revision it had, the days it left stale are fresh, then the letter goes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from support import (
    HORIZON_DAYS,
    TODAY,
    BrokenPlugin,
    Crash,
    Events,
    FakeClock,
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
    records,
)

from emr_plugins.host import PluginHost
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.dead_letters import Letter
from kcl_app.engine.horizon import advance
from kcl_app.engine.queries import known_providers
from kcl_app.engine.reading_letters import Selection, StoredLetter, find
from kcl_app.engine.redriving import NEWER, STILL_STALE, Redriven, Redriver, restored
from kcl_app.errors import UserError
from kcl_app.put import Outgoing
from kcl_app.stores.base import Store, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from processors.envelope import Limits, Record
from processors.errors import Reject, Retry
from processors.keys import ProviderKey

_broken = pytest.fixture(autouse=True)(broken_again)

LIMITS = Limits()
BROKEN = host(BrokenPlugin())
EVERY_LETTER = Selection()


class LatePlugin(MultiPlugin):
    """A plugin that is installed late."""

    name = "late"


class Stream:
    """What was put back, and with which keys and numbers it arrives."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.taken = 0

    def __call__(self, outgoing: Sequence[Outgoing]) -> None:
        """Take records."""
        self.sent.extend(outgoing)

    def arriving(self) -> list[Record]:
        """What a worker has not got yet; numbers are greater than any before."""
        new = self.sent[self.taken :]
        self.taken = len(self.sent)
        first = 900_000 + self.taken
        return [
            Record(one.data, f"{number:056d}", 0, one.partition_key, 1_800_000_000.0)
            for number, one in enumerate(new, start=first)
        ]


def stored_letters(store: Store, selection: Selection = EVERY_LETTER) -> list[StoredLetter]:
    """What a command would find."""
    return find(store, selection, 0)


def redrive(
    store: Store,
    stream: Stream,
    plugins: PluginHost | None = None,
    *,
    blobs: MemoryBlobs | None = None,
    selection: Selection = EVERY_LETTER,
    on: BatchEngine | None = None,
) -> Redriven:
    """What the command does."""
    blobs = blobs or MemoryBlobs()
    alive = on or engine(store, plugins, blobs=blobs)
    redriver = Redriver(alive, store, blobs, stream, LIMITS.record_bytes, sleep=lambda seconds: None)
    return redriver.run(stored_letters(store, selection))


def statuses(store: MemoryStore) -> set[str]:
    """Of all documents."""
    return {str(row["status"]) for row in store.scan(Table.SPANS)}


@pytest.mark.parametrize("stamped", [True, False], ids=["stamped", "by its place in the stream"])
def test_an_older_event_that_is_redriven_does_not_overwrite_a_newer_one(stamped: bool) -> None:
    """Only `sequence` tells the two apart, and a record put back gets a greater number than all before."""
    make, store, stream = Events(), MemoryStore(), Stream()
    over: dict[str, Any] = {"time": "2026-03-01T00:00:00Z"} | ({} if stamped else {"sequence": None})
    older = make("x-working_hours", {"providers": ["p1"], **hours(end="17:00")}, emr="late", **over)
    newer = make("x-working_hours", {"providers": ["p1"], **hours(end="11:00")}, emr="late", **over)
    first, second = records(older, newer)
    engine(store).run([first], "shard-0")  # no such plugin yet
    assert [row["reason"] for row in letters(store)] == ["unknown_emr"]
    plugins = host(LatePlugin())
    worker = engine(store, plugins)
    worker.run([second], "shard-0")
    assert redrive(store, stream, plugins) == Redriven(events=1, dropped=1)
    assert letters(store) == []
    assert +worker.run(stream.arriving(), "shard-1").events == {"superseded": 1}
    assert free(store, "p1", emr="late") == ["09:00-11:00"]
    assert_clean(store, [first, second], plugins)


def test_an_event_put_back_is_the_bytes_that_came_with_the_sequence_they_counted() -> None:
    record = Record(b'{"id": 1,  "x":[1.50]}', "123", 7)
    assert json.loads(restored(record, 10**6)) == {"id": 1, "x": [1.5], "sequence": record.sequence()}
    assert b'"x":[1.50]' in restored(record, 10**6)


@pytest.mark.parametrize(
    "data",
    [
        b'{"sequence":"5","a":1}',
        b'{"se\\u0071uence": "5"}',
        b"not json",
        b"\xff\x00",
        b"[1]",
        b'"text"',
        b"{" * 100_000,
        b"",
    ],
)
def test_what_has_a_sequence_or_is_no_event_goes_back_byte_by_byte(data: bytes) -> None:
    assert restored(Record(data, "123"), 10**6) == data


@pytest.mark.parametrize("data", [b'{"sequence":null}', b"{}", b'{ "data": {"sequence":"5"} }'])
def test_what_has_none_is_stamped(data: bytes) -> None:
    assert json.loads(restored(Record(data, "9", 2), 10**6))["sequence"] == Record(b"", "9", 2).sequence()


def test_what_would_be_too_large_with_its_sequence_stays_set_aside() -> None:
    make, store, stream = Events(), MemoryStore(), Stream()
    empty = len(make("nonsense", ["", "", ""], sequence=None))
    third, rest = divmod(LIMITS.record_bytes - empty, 3)
    (record,) = records(make("nonsense", ["x" * third, "x" * third, "x" * (third + rest)], sequence=None))
    assert len(record.data) == LIMITS.record_bytes
    blobs = MemoryBlobs()
    engine(store, blobs=blobs).run([record], "shard-0")
    done = redrive(store, stream, blobs=blobs)
    assert list(done.kept.values()) == [1]
    assert "too large" in next(iter(done.kept))
    assert len(letters(store)) == 1
    with pytest.raises(Reject):
        restored(record, LIMITS.record_bytes)


def test_days_that_a_mended_plugin_computes_are_fresh_before_the_letter_goes() -> None:
    make, store, stream = Events(), MemoryStore(), Stream()
    events = records(
        make("working_hours", hours(), emr="broken"), make("appointment", booking(), emr="broken")
    )
    worker = engine(store, BROKEN)
    worker.run(events[:1], "shard-0")
    worker.run(events[1:], "shard-0")
    assert statuses(store) == {"stale"}
    assert len(letters(store)) == 2
    BrokenPlugin.broken = False
    done = redrive(store, stream, BROKEN)
    assert (done.events, done.dropped, done.kept.total()) == (2, 2, 0)
    assert done.days == HORIZON_DAYS + 2, "the days of one provider once, however many letters name them"
    assert statuses(store) == {"fresh"}
    assert letters(store) == []
    assert +worker.run(stream.arriving(), "shard-9").events == {"replayed": 2}
    assert letters(store) == []
    assert_clean(store, events, BROKEN)


def test_days_that_fail_again_keep_their_letters_and_make_no_more_of_them() -> None:
    """Were the event put back, a worker would fail on it as well, and each redrive would double the letters."""
    make, store, stream = Events(), MemoryStore(), Stream()
    worker = engine(store, BROKEN)
    for event in records(
        make("working_hours", hours(), emr="broken"), make("appointment", booking(), emr="broken")
    ):
        worker.run([event], "shard-0")
    before = [(row["pk"], row["sk"]) for row in letters(store)]
    for _ in range(3):
        done = redrive(store, stream, BROKEN)
        assert done.kept == {STILL_STALE: 2}
        assert (done.events, done.dropped) == (0, 0)
    assert [(row["pk"], row["sk"]) for row in letters(store)] == before
    assert statuses(store) == {"stale"}


def test_a_letter_whose_days_have_become_fresh_meanwhile_goes_too() -> None:
    make, store, stream = Events(), MemoryStore(), Stream()
    engine(store, BROKEN).run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    BrokenPlugin.broken = False
    engine(store, BROKEN).run(records(make("appointment", booking(), emr="broken"), first=5), "shard-0")
    assert statuses(store) == {"fresh", "stale"}
    assert redrive(store, stream, BROKEN).dropped == 1
    assert statuses(store) == {"fresh"}


def test_without_the_plugin_here_nothing_is_touched() -> None:
    """Days that a worker with the plugin has computed must not become stale by a redrive elsewhere."""
    make, store, stream = Events(), MemoryStore(), Stream()
    engine(store, BROKEN).run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    BrokenPlugin.broken = False
    other = engine(store, BROKEN)
    other.settler.run({ProviderKey("acme", "broken", "p1"): _all_days()})
    before = list(store.scan(Table.SPANS))
    done = redrive(store, stream, host())
    assert next(iter(done.kept)) == "no plugin broken runs here"
    assert list(store.scan(Table.SPANS)) == before
    assert stream.sent == []
    assert len(letters(store)) == 1


def _all_days() -> Any:
    from kcl_app.engine.settling import Work

    return Work(intervals=None)


def test_what_no_version_can_read_goes_back_as_it_is_and_is_set_aside_again() -> None:
    store, stream, data = MemoryStore(), Stream(), b"\xff not json"
    engine(store).run(records(data), "shard-0")
    assert redrive(store, stream).dropped == 1
    assert [(one.data, one.partition_key) for one in stream.sent] == [(data, "partition")]
    engine(store).run(stream.arriving(), "shard-1")
    assert [row["reason"] for row in letters(store)] == ["not_json"]


def test_a_large_record_comes_from_the_bucket_and_leaves_it() -> None:
    make, store, stream, blobs = Events(), MemoryStore(), Stream(), MemoryBlobs()
    data = make("x-note", {"text": ["x" * 200_000, "y" * 200_000], "providers": ["p1"]}, emr="late")
    engine(store, blobs=blobs).run(records(data), "shard-0")
    assert len(blobs.blobs) == 1
    assert redrive(store, stream, blobs=blobs).dropped == 1
    assert [one.data for one in stream.sent] == [data]
    assert blobs.blobs == {}


def test_a_record_that_is_gone_from_the_bucket_keeps_its_letter() -> None:
    store, stream, blobs = MemoryStore(), Stream(), MemoryBlobs()
    engine(store, blobs=blobs).run(records(b"x" * 400_000), "shard-0")
    blobs.blobs.clear()
    assert redrive(store, stream, blobs=blobs).kept == {"the raw record is gone": 1}
    assert len(letters(store)) == 1


def test_letters_of_one_record_put_it_back_once() -> None:
    make, store, stream = Events(), MemoryStore(), Stream()
    data = {"providers": ["p1", "p2", "p3"], **hours()}

    class BrokenMulti(MultiPlugin):
        name = "late"
        broken = True

        def spans(self, day: Any, items: Any, context: Any) -> Any:
            if type(self).broken:
                raise RuntimeError
            return super().spans(day, items, context)

    plugins = host(BrokenMulti())
    engine(store, plugins).run(records(make("x-working_hours", data, emr="late")), "shard-0")
    assert len(letters(store)) == 3
    BrokenMulti.broken = False
    done = redrive(store, stream, plugins)
    assert (done.events, done.dropped) == (1, 3)


def test_the_horizon_jobs_letters_have_only_days() -> None:
    make, store, stream, clock = Events(), MemoryStore(), Stream(), FakeClock()
    BrokenPlugin.broken = False
    alive = engine(store, BROKEN, clock=clock)
    alive.run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    BrokenPlugin.broken = True
    clock.day = TODAY + timedelta(days=1)
    advance(alive, known_providers(store), lambda: None)
    assert [row["origin"] for row in letters(store)] == ["advance-horizon"]
    BrokenPlugin.broken = False
    done = redrive(store, stream, on=engine(store, BROKEN, clock=clock))
    assert (done.dropped, done.events) == (1, 0)
    assert statuses(store) == {"fresh"}


def test_a_letter_about_a_whole_provider_recomputes_all_its_days() -> None:
    make, store, stream = Events(), MemoryStore(), Stream()
    alive = engine(store, BROKEN)
    alive.run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    key = ProviderKey("acme", "broken", "p1")
    alive.dead_letters.send([Letter("processing_failed", "x", "advance-horizon", provider=key.pk())])
    selection = Selection(reason="processing_failed")
    assert redrive(store, stream, BROKEN, selection=selection).kept == {STILL_STALE: 1}
    BrokenPlugin.broken = False
    assert redrive(store, stream, BROKEN, selection=selection).dropped == 1
    assert statuses(store) == {"fresh"}


def test_days_that_have_passed_do_not_hold_a_letter_back() -> None:
    make, store, stream, clock = Events(), MemoryStore(), Stream(), FakeClock()
    engine(store, BROKEN, clock=clock).run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    clock.day = TODAY + timedelta(days=40)
    done = redrive(store, stream, on=engine(store, BROKEN, clock=clock))
    assert (done.dropped, done.days) == (1, 0)


def test_a_letter_of_a_newer_version_is_left_alone() -> None:
    store, stream = MemoryStore(), Stream()
    engine(store).run(records(b"{"), "shard-0")
    (row,) = letters(store)
    store.tables[Table.DEAD_LETTERS][str(row["pk"])][str(row["sk"])]["schema"] = 99
    assert redrive(store, stream).kept == {NEWER: 1}
    assert len(letters(store)) == 1


def test_what_the_stream_does_not_take_keeps_its_letters() -> None:
    store = MemoryStore()
    engine(store).run(records(b"{", b"["), "shard-0")

    def refuse(outgoing: Sequence[Outgoing]) -> None:
        raise UserError("the stream takes no records")

    redriver = Redriver(engine(store), store, MemoryBlobs(), refuse, LIMITS.record_bytes)
    with pytest.raises(UserError):
        redriver.run(stored_letters(store))
    assert len(letters(store)) == 2


def test_a_day_that_fails_anew_while_a_letter_is_redriven_keeps_the_letter() -> None:
    """A worker replays the record, finds the letter and marks the day: after the redrive saw it fresh."""
    make, store, stream = Events(), MemoryStore(), Stream()
    events = records(make("working_hours", hours(), emr="broken"))
    engine(store, BROKEN).run(events, "shard-0")
    BrokenPlugin.broken = False

    def send(outgoing: Sequence[Outgoing]) -> None:
        stream(outgoing)
        BrokenPlugin.broken = True  # a worker that has the plugin's old version
        engine(store, BROKEN).run(events, "shard-0")

    redriver = Redriver(engine(store, BROKEN), store, MemoryBlobs(), send, LIMITS.record_bytes)
    done = redriver.run(stored_letters(store))
    assert done.kept == {"they were written again meanwhile": 1}
    assert statuses(store) == {"stale"}
    assert len(letters(store)) == 1


def history(rng: random.Random) -> list[Record]:
    """Some events of two providers whose plugin is broken, an unreadable one, and one of a plugin that is not there."""
    make = Events()
    events = []
    for number in range(rng.randint(3, 10)):
        provider = rng.choice(["p1", "p2"])
        sequence: dict[str, Any] = {} if rng.random() < 0.5 else {"sequence": None}
        emr = rng.choice(["broken", "broken", "broken", "late"])
        if rng.random() < 0.4:
            data: dict[str, Any] = hours(provider, id_=f"wh-{provider}", end=f"{rng.randint(10, 20)}:00")
            kind = "working_hours"
        else:
            data = booking(
                provider, id_=f"a{rng.randint(1, 2)}-{provider}", day=TODAY + timedelta(days=number % 3)
            )
            kind = "appointment"
        if emr == "late":
            kind, data = f"x-{kind}", {"providers": [provider], **data}
        events.append(make(kind, data, emr=emr, **sequence))
    return records(*events, b"{")


@pytest.mark.parametrize("crash_after", [False, True])
def test_a_crash_at_any_single_call_is_made_good_by_redriving_again(crash_after: bool) -> None:
    both = host(BrokenPlugin(), LatePlugin())
    for crash_at in range(1, 1000):
        store, stream = MemoryStore(), Stream()
        events = history(random.Random(3))
        BrokenPlugin.broken = True
        engine(store, BROKEN).run(events, "shard-0")
        number = len(letters(store))
        assert number >= 3
        BrokenPlugin.broken = False
        crashed = False
        try:
            redrive(FaultyStore(store, crash_at=crash_at, crash_after=crash_after), stream, both)
        except Crash:
            crashed = True
            redrive(store, stream, both)
        assert letters(store) == [], f"crash at call {crash_at}"
        engine(store, both).run(stream.arriving(), "shard-1")
        assert [row["reason"] for row in letters(store)] in (["not_json"], ["not_json"] * 2)
        assert_clean(store, events, both, name=f"crash at call {crash_at}")
        if not crashed:
            assert crash_at > 10
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_beside_workers_the_answer_is_that_of_a_clean_pass(first: int) -> None:
    """Workers go on with the stream, and get what is put back, while answers are lost and outages come."""
    both = host(BrokenPlugin(), LatePlugin())
    for seed in range(first, first + 40):
        play(seed, both)


def play(seed: int, both: PluginHost) -> None:
    """Set aside, mend, and redrive while a worker goes on."""
    rng = random.Random(seed)
    store, stream, turns, late = MemoryStore(), Stream(), Turns(rng), list[Any]()
    events = history(rng)
    cut = rng.randint(1, len(events) - 1)
    BrokenPlugin.broken = True
    engine(store, BROKEN).run(events[:cut], "shard-0")
    BrokenPlugin.broken = False
    faults = rng.choice([Faults(0, 0, 0), Faults(0, 0.01, 0.03)])

    def faulty() -> FaultyStore:
        return FaultyStore(store, rng, faults, turns.pause, late)

    def persistently(run: Any) -> Any:
        for _ in range(200):
            try:
                return run()
            except Retry:
                turns.pause()
        raise AssertionError("never")

    def worker() -> None:
        alive = engine(faulty(), both)
        for record in events[cut:]:
            persistently(lambda record=record: alive.run([record], "shard-0"))
            if arrived := stream.arriving():
                persistently(lambda arrived=arrived: alive.run(arrived, "shard-1"))

    def command() -> None:
        mine = faulty()
        for _ in range(3):
            persistently(lambda: redrive(mine, stream, both))

    turns.run([worker, command])
    for one in late:
        store.transact(one)
    calm = engine(store, both)
    while arrived := stream.arriving():
        calm.run(arrived, "shard-1")
    assert {row["reason"] for row in letters(store)} <= {"not_json"}, f"seed {seed}"
    assert_clean(store, events, both, name=f"seed {seed}")
