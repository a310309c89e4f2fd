"""What the engine makes of records, one scenario at a time."""

from __future__ import annotations

import base64
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from support import (
    HORIZON_DAYS,
    TENANT,
    TODAY,
    BrokenPlugin,
    Crash,
    Events,
    FaultyStore,
    Heard,
    assert_clean,
    at,
    booking,
    broken_again,
    document,
    engine,
    free,
    hours,
    letters,
    records,
)
from support import host as plugin_host

from kcl_app.engine.providers import MARGIN
from kcl_app.stores.base import Outcome, Put, Row, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from processors.envelope import Limits
from processors.errors import Retry
from processors.keys import ItemKey, ProviderKey

_broken = pytest.fixture(autouse=True)(broken_again)

TOMORROW = TODAY + timedelta(days=1)


def multi(make: Events, kind: str, data: dict[str, Any], *providers: str) -> bytes:
    """An event whose item names several providers, or none."""
    return make(f"x-{kind}", {**data, "providers": list(providers)}, emr="multi")


def test_a_new_item_is_stored_and_every_day_of_its_provider_gets_a_document() -> None:
    store, make = MemoryStore(), Events()
    batch = records(make("working_hours", hours()), make("appointment", booking()))
    result = engine(store).run(batch, "shard-0")
    assert result.events == Counter({"applied": 2})
    assert result.items["applied"] == 2
    assert result.providers == 1
    assert free(store, "p1") == ["10:00-12:00"]
    assert free(store, "p1", TOMORROW) == ["09:00-12:00"]
    assert len(store.tables[Table.SPANS][f"{TENANT}#standard#p1"]) == HORIZON_DAYS + MARGIN
    assert_clean(store, batch)
    (known,) = store.scan(Table.PROVIDERS)
    assert (known["zone"], known["first_day"]) == ("UTC", TODAY.isoformat())
    assert known["last_day"] == (TODAY + timedelta(days=HORIZON_DAYS - 1)).isoformat()


def test_a_steady_change_writes_the_days_of_its_old_and_new_time_and_no_others() -> None:
    store, make, heard = MemoryStore(), Events(), Heard()
    alive = engine(store, observer=heard)
    first = records(make("working_hours", hours()), make("appointment", booking()))
    alive.run(first, "shard-0")
    heard.provider_days.clear()
    moved = records(make("appointment", booking(day=TOMORROW)), first=3)
    assert alive.run(moved, "shard-0").events == Counter({"applied": 1})
    # Those two, and the one near today that a process changing the zone would write too.
    assert len(heard.provider_days) == 3
    assert_clean(store, first + moved)


def test_an_older_change_is_superseded_in_the_same_batch_and_in_a_later_one() -> None:
    store, make = MemoryStore(), Events()
    old, new = make("appointment", booking(start="09:00")), make("appointment", booking(start="09:30"))
    setting = make("working_hours", hours())
    alive = engine(store)
    assert alive.run(records(setting, new, old), "shard-0").events == Counter({"applied": 2, "superseded": 1})
    before = dict(document(store, "p1"))
    assert alive.run(records(old), "shard-0").events == Counter({"superseded": 1})
    assert engine(store).run(records(old), "shard-0").events == Counter({"superseded": 1})
    assert document(store, "p1") == before
    assert_clean(store, records(setting, new, old))


@pytest.mark.parametrize("version_wins", [True, False])
def test_the_sources_version_counts_before_the_time_and_the_time_before_the_acceptance(
    version_wins: bool,
) -> None:
    store, make = MemoryStore(), Events()
    if version_wins:
        newer = make("appointment", booking(start="09:30", version=8))
        older = make("appointment", booking(version=7))
    else:
        newer = make("appointment", booking(start="09:30"), time="2026-03-05T00:00:00Z")
        older = make("appointment", booking(), time="2026-03-04T00:00:00Z")
    setting = make("working_hours", hours())
    for order in ((newer, older), (older, newer)):
        store = MemoryStore()
        for event in (setting, *order):
            engine(store).run(records(event), "shard-0")
        assert free(store, "p1") == ["09:00-09:30", "10:00-12:00"]


def test_a_replay_settles_again_and_changes_no_answer() -> None:
    store, make = MemoryStore(), Events()
    batch = records(make("working_hours", hours()), make("appointment", booking()))
    engine(store).run(batch, "shard-0")
    answers = [free(store, "p1"), free(store, "p1", TOMORROW)]
    version = document(store, "p1")["write_version"]
    assert engine(store).run(batch, "shard-0").events == Counter({"replayed": 2})
    assert [free(store, "p1"), free(store, "p1", TOMORROW)] == answers
    assert document(store, "p1")["write_version"] != version, (
        "an impacted day is written even if it is the same"
    )


def test_a_late_booking_does_not_bring_a_cancelled_one_back() -> None:
    store, make = MemoryStore(), Events()
    booked = make("appointment", booking())
    cancelled = make("appointment", {"id": "ap-1", "provider_id": "p1", "status": "cancelled"})
    setting = make("working_hours", hours())
    for event in (setting, cancelled, booked):
        engine(store).run(records(event), "shard-0")
    assert free(store, "p1") == ["09:00-12:00"]
    assert_clean(store, records(setting, booked, cancelled))


def test_a_withdrawal_that_names_nobody_is_kept_although_nobody_has_the_item() -> None:
    store, make = MemoryStore(), Events()
    booked = make("appointment", booking())
    cancelled = make("appointment", {"id": "ap-1", "status": "cancelled"})
    engine(store).run(records(cancelled), "shard-1")
    assert not list(store.scan(Table.PROVIDERS))
    assert engine(store).run(records(booked), "shard-0").events == Counter({"superseded": 1})
    assert_clean(store, records(booked, cancelled))


def test_a_withdrawal_that_names_nobody_reaches_whoever_has_the_item() -> None:
    store, make = MemoryStore(), Events()
    batch = records(
        make("working_hours", hours()),
        make("working_hours", hours("p2", id_="wh-2")),
        make("appointment", booking()),
        make("appointment", booking("p2")),
    )
    alive = engine(store)
    alive.run(batch, "shard-0")
    assert (free(store, "p1"), free(store, "p2")) == (["09:00-12:00"], ["10:00-12:00"])
    withdrawn = records(make("appointment", {"id": "ap-1", "status": "cancelled"}), first=5)
    assert alive.run(withdrawn, "shard-0").events == Counter({"applied": 1})
    assert free(store, "p2") == ["09:00-12:00"]
    assert_clean(store, batch + withdrawn)


def test_an_item_handed_over_and_back_leaves_a_tombstone_and_then_lives_again() -> None:
    store, make = MemoryStore(), Events()
    setting = records(make("working_hours", hours()), make("working_hours", hours("p2", id_="wh-2")))
    events = list(setting)
    alive, other = engine(store), engine(store)
    alive.run(setting, "shard-0")
    for turn, (worker, provider, left) in enumerate(
        [(alive, "p1", "p2"), (other, "p2", "p1"), (alive, "p1", "p2")]
    ):
        moved = records(make("appointment", booking(provider)), first=10 + turn)
        worker.run(moved, "shard-0")
        events += moved
        assert free(store, provider) == ["10:00-12:00"]
        assert free(store, left) == ["09:00-12:00"]
    rows = {
        provider: store.tables[Table.ITEMS][f"{TENANT}#standard#{provider}"]["appointment#ap-1"]
        for provider in ("p1", "p2")
    }
    assert {str(row["providers"]) for row in rows.values()} == {'["p1"]'}
    owner = store.tables[Table.ITEMS][ItemKey(TENANT, "standard", "appointment", "ap-1").owner_pk()]["owner"]
    assert json.loads(str(owner["holders"])) == ["p1", "p2"]
    assert_clean(store, events)


def test_an_item_of_two_providers_is_one_item() -> None:
    store, make = MemoryStore(), Events()
    batch = records(
        multi(make, "working_hours", hours(id_="a"), "p1", "p2"),
        multi(make, "appointment", booking(), "p1", "p2"),
        multi(make, "appointment", booking(start="11:00", end="12:00"), "p2", "p3"),
    )
    for record in batch:
        engine(store).run([record], "shard-0")
    assert free(store, "p1", emr="multi") == ["09:00-12:00"]
    assert free(store, "p2", emr="multi") == ["09:00-11:00"]
    assert free(store, "p3", emr="multi") == []
    assert_clean(store, batch)


def test_a_split_copy_of_an_event_finds_it_done() -> None:
    store, make = MemoryStore(), Events()
    event = multi(make, "working_hours", hours(id_="a"), "p1", "p2")
    assert engine(store).run(records(event), "shard-0").events == Counter({"applied": 1})
    assert engine(store).run(records(event), "shard-1").events == Counter({"replayed": 1})


def test_a_change_of_zone_recomputes_every_day_and_is_noted_with_the_provider() -> None:
    store, make = MemoryStore(), Events()
    batch = records(make("working_hours", hours(zone="UTC")), make("appointment", booking()))
    alive = engine(store)
    alive.run(batch, "shard-0")
    moved = records(make("working_hours", hours(zone="America/New_York")), first=3)
    alive.run(moved, "shard-0")
    assert free(store, "p1") == ["13:00-16:00"]
    (known,) = store.scan(Table.PROVIDERS)
    assert known["zone"] == "America/New_York"
    assert_clean(store, batch + moved)


def test_working_hours_may_come_and_go() -> None:
    store, make, events = MemoryStore(), Events(), []
    alive = engine(store)
    steps = [
        ("appointment", booking(), []),
        ("working_hours", hours(id_="b", zone="America/New_York"), ["13:00-16:00"]),
        ("working_hours", hours(id_="a", zone="UTC"), ["10:00-12:00", "13:00-16:00"]),
        ("working_hours", hours(id_="a", zone="UTC", status="cancelled"), ["13:00-16:00"]),
        ("working_hours", hours(id_="b", zone="America/New_York", status="cancelled"), []),
    ]
    for number, (type_, data, expected) in enumerate(steps):
        step = records(make(type_, data), first=number + 1)
        alive.run(step, "shard-0")
        events += step
        assert free(store, "p1") == expected
        assert_clean(store, events)


def test_an_availability_is_the_answer_until_it_is_withdrawn() -> None:
    store, make = MemoryStore(), Events()
    day = {"provider_id": "p1", "date": TODAY.isoformat()}
    given = make("availability", {**day, "spans": [{"start": at("20:00"), "end": at("21:00")}]})
    withdrawn = make("availability", {**day, "status": "cancelled"})
    setting = make("working_hours", hours())
    alive = engine(store)
    alive.run(records(setting, given), "shard-0")
    assert free(store, "p1") == ["20:00-21:00"]
    alive.run(records(withdrawn, first=3), "shard-0")
    assert free(store, "p1") == ["09:00-12:00"]
    alive.run(records(given, first=4), "shard-0")
    assert free(store, "p1") == ["09:00-12:00"], "an older answer does not come back"


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"tenant": "other"}, "unknown_tenant"),
        ({"emr": "nobody"}, "unknown_emr"),
    ],
)
def test_events_of_unknown_tenants_and_emrs_are_set_aside_whole(over: dict[str, str], reason: str) -> None:
    store, make = MemoryStore(), Events()
    event = make("appointment", booking(), **over)
    result = engine(store, plugin_host(tenants={TENANT})).run(records(event), "shard-7")
    assert result.events == Counter({"rejected": 1})
    assert result.rejects == Counter({reason: 1})
    (letter,) = letters(store)
    assert letter["reason"] == reason
    assert letter["origin"] == "shard-7"
    assert letter["sequence_number"] == f"{1:056d}"
    assert letter["event_id"] == "e1"
    assert base64.b64decode(str(letter["raw"])) == event
    assert not list(store.scan(Table.ITEMS))


def test_records_that_cannot_be_read_are_set_aside_once_however_often_they_come() -> None:
    store, make = MemoryStore(), Events()
    good = make("working_hours", hours())
    batch = records(b"{", b"\xff\xfe", b"[]", good, make("appointment", booking(end="08:00")))
    for _ in range(2):
        result = engine(store).run(batch, "shard-0")
        assert result.events.total() == 5
        assert result.events["rejected"] == 4
    assert len(letters(store)) == 4
    assert_clean(store, batch)


def test_a_large_raw_record_goes_to_the_bucket() -> None:
    store, blobs = MemoryStore(), MemoryBlobs()
    data = b"x" * (300 * 1024)
    engine(store, blobs=blobs).run(records(data), "shard-0")
    (letter,) = letters(store)
    assert letter["raw"] is None
    assert blobs.blobs == {letter["raw_key"]: data}


def test_a_provider_takes_no_more_items_than_allowed_whatever_the_batches() -> None:
    limits = Limits(items_per_provider=3)
    make = Events()
    batch = records(*(make("appointment", booking(id_=f"a{n}", start=f"{n:02d}:00")) for n in range(6)))
    for size in (1, 2, 6):
        store = MemoryStore()
        alive = engine(store, limits=limits)
        rejected = 0
        for start in range(0, 6, size):
            rejected += alive.run(batch[start : start + size], "shard-0").rejects["too_many_items"]
        assert rejected == 3
        assert len(letters(store)) == 3
        assert_clean(store, batch, limits=limits)


def test_an_item_handed_over_to_a_full_provider_is_taken_as_in_a_clean_pass() -> None:
    limits = Limits(items_per_provider=1)
    store, make = MemoryStore(), Events()
    batch = records(
        make("appointment", booking("p1", id_="a")),
        make("appointment", booking("p2", id_="b")),
        make("appointment", booking("p2", id_="a", start="11:00", end="12:00")),
    )
    for record in batch:
        assert engine(store, limits=limits).run([record], "shard-0").events == Counter({"applied": 1})
    assert_clean(store, batch, limits=limits)


def test_an_item_too_large_for_its_table_is_rejected_before_anything_is_written() -> None:
    store, make = MemoryStore(), Events()
    weekly = [
        {
            "days": ["mon"],
            "start": "09:00",
            "end": "10:00",
            "service_types": [f"{n:0>250}" for n in range(40)],
        }
    ]
    event = make("working_hours", hours(weekly=weekly * 28))
    older = make("working_hours", hours(), time="2026-02-01T00:00:00Z")
    result = engine(store).run(records(event, older), "shard-0")
    assert result.events == Counter({"rejected": 1, "applied": 1})
    assert result.rejects == Counter({"too_large": 1})
    assert free(store, "p1") == ["09:00-12:00"], "only what applied supersedes"
    assert_clean(store, records(event, older))


def test_a_new_item_that_its_table_does_not_take_leaves_no_owner_record_even_for_a_moment() -> None:
    """Were it inserted first, another worker's older change would count as superseded by what is then rejected."""

    class Watched(MemoryStore):
        """Notes owner records that are written by themselves."""

        alone = 0

        def write(self, puts: Sequence[Put]) -> list[Outcome]:
            self.alone += sum(put.row["sk"] == "owner" for put in puts)
            return super().write(puts)

    store, make = Watched(), Events()
    wide = [f"{n:0>250}" for n in range(40)]
    weekly = [{"days": ["mon"], "start": "09:00", "end": "10:00", "service_types": wide}]
    older = make("working_hours", hours())
    for lines in (28, 38):  # within the limit of a body, and past it
        event = make("working_hours", hours(id_=f"wh-{lines}", weekly=weekly * lines))
        assert engine(store).run(records(event), "shard-0").events.total() == 1
    assert store.alone == 0
    assert engine(store).run(records(older, first=3), "shard-0").events["applied"] == 1
    assert store.alone == 1


def test_a_tenant_whose_keys_would_not_fit_is_rejected() -> None:
    store, make = MemoryStore(), Events()
    event = make("working_hours", hours(), tenant="\U0001f600" * 100, source="elsewhere")
    assert engine(store).run(records(event), "shard-0").rejects == Counter({"too_large": 1})


class PoisonStore(MemoryStore):
    """Fails, as only a bug would, where a row holds a certain text."""

    def __init__(self, table: Table, text: str) -> None:
        super().__init__()
        self._where = (table, text)

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Write, or raise."""
        table, text = self._where
        for put in puts:
            if put.table is table and text in str(put.row.get("body") or put.row.get("pk")):
                raise ZeroDivisionError
        return super().write(puts)

    def transact(self, puts: Sequence[Put]) -> Outcome:
        """All or none, or raise."""
        return Outcome.APPLIED if set(self.write(puts)) == {Outcome.APPLIED} else Outcome.CONFLICT


def test_a_record_on_which_the_engine_fails_is_found_and_set_aside_alone() -> None:
    store, make = PoisonStore(Table.ITEMS, "noshow"), Events()
    batch = records(
        make("working_hours", hours()),
        *(make("appointment", booking(id_=f"a{n}", start=f"{n:02d}:00", end="12:00")) for n in range(1, 6)),
        make("appointment", booking(id_="bad", status="noshow")),
        make("working_hours", hours("p2", id_="wh-2")),
    )
    heard = Heard()
    result = engine(store, observer=heard).run(batch, "shard-0")
    assert result.events.total() == 8
    assert result.rejects == Counter({"processing_failed": 1})
    assert "processing_failed" in heard.dead_letters
    whole = [letter for letter in letters(store) if letter["days"] is None]
    assert [letter["event_id"] for letter in whole] == ["e7"]
    assert free(store, "p2") == ["09:00-12:00"]


def test_the_days_of_a_record_on_which_the_engine_fails_are_not_served_as_fresh() -> None:
    store, make = PoisonStore(Table.ITEMS, "noshow"), Events()
    alive = engine(store)
    alive.run(records(make("working_hours", hours())), "shard-0")
    alive.run(records(make("appointment", booking(status="noshow")), first=2), "shard-0")
    rows = list(store.scan(Table.SPANS))
    assert {row["status"] for row in rows} == {"stale"}
    named = {day for letter in letters(store) if letter["days"] for day in json.loads(str(letter["days"]))}
    assert named == {row["sk"] for row in rows}
    alive.run(records(make("working_hours", hours(start="10:00")), first=3), "shard-0")
    assert {row["status"] for row in store.scan(Table.SPANS)} == {"fresh"}


class Journal(MemoryStore):
    """Notes which table is written, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[Table, Row]] = []

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Write and note."""
        self.written += [(put.table, dict(put.row)) for put in puts]
        return super().write(puts)


def test_a_plugin_that_fails_leaves_stale_days_with_a_letter_sent_first_and_mends_them() -> None:
    store, make = Journal(), Events()
    plugins = plugin_host(BrokenPlugin())
    alive = engine(store, plugins)
    alive.run(records(make("working_hours", hours(), emr="broken")), "shard-0")
    spans = [index for index, (table, _) in enumerate(store.written) if table is Table.SPANS]
    sent = [index for index, (table, _) in enumerate(store.written) if table is Table.DEAD_LETTERS]
    assert max(sent) < min(spans)
    row = document(store, "p1", emr="broken")
    assert (row["status"], row["spans"]) == ("stale", "[]")
    assert str(row["reason"]).startswith("plugin_failed: ")
    (letter,) = letters(store)
    assert letter["provider"] == ProviderKey(TENANT, "broken", "p1").pk()
    assert TODAY.isoformat() in json.loads(str(letter["days"]))
    assert letter["raw"] is not None
    BrokenPlugin.broken = False
    alive.run(records(make("appointment", booking(), emr="broken"), first=2), "shard-0")
    assert document(store, "p1", emr="broken")["status"] == "fresh"
    later = TODAY + timedelta(days=4)
    assert document(store, "p1", later, emr="broken")["status"] == "stale", "until one succeeds"


def test_a_day_whose_document_would_be_too_large_is_stale_and_the_others_are_not() -> None:
    store, make = MemoryStore(), Events()
    limits = Limits(document_bytes=1000)
    slots = [
        make(
            "slot",
            {
                "id": f"s{n}",
                "provider_id": "p1",
                "start": at(f"{n:02d}:00"),
                "end": at(f"{n:02d}:30"),
                "status": "free",
            },
        )
        for n in range(20)
    ]
    batch = records(make("working_hours", hours()), *slots)
    engine(store, limits=limits).run(batch, "shard-0")
    assert document(store, "p1")["status"] == "stale"
    assert str(document(store, "p1")["reason"]).startswith("document_too_large: ")
    assert document(store, "p1", TOMORROW)["status"] == "fresh"
    assert_clean(store, batch, limits=limits)


def test_what_was_stored_but_not_settled_is_taken_over_by_a_newer_change_of_the_item() -> None:
    """Moved from today to tomorrow, not settled, and in the next batch moved again: today must be made good."""
    make = Events()
    setting = records(make("working_hours", hours()), make("appointment", booking()))
    moved = records(make("appointment", booking(day=TOMORROW)), first=3)
    again = records(make("appointment", booking(day=TODAY + timedelta(days=2))), first=4)
    for after in (False, True):
        for crash_at in range(1, 12):
            store = MemoryStore()
            engine(store).run(setting, "shard-0")
            with_crash = FaultyStore(store, crash_at=crash_at, crash_after=after)
            with contextlib.suppress(Crash):
                engine(with_crash).run(moved, "shard-0")
            engine(store).run(moved + again, "shard-0")
            assert_clean(store, setting + moved + again, name=f"crash at {crash_at}, after={after}")


def test_impacts_found_at_another_provider_have_it_read_afresh() -> None:
    """A worker that holds p2 in memory meets a hand-over p1 → p2 that another stored and did not settle."""
    make = Events()
    setting = records(
        make("working_hours", hours()),
        make("working_hours", hours("p2", id_="wh-2")),
        make("appointment", booking()),
    )
    handed = records(make("appointment", booking("p2")), first=4)
    back = records(make("appointment", booking("p1", start="11:00", end="12:00")), first=5)
    for crash_at in range(1, 30):
        for then in (handed, back, handed + back):
            store = MemoryStore()
            slow = engine(store)
            slow.run(setting, "shard-0")
            with contextlib.suppress(Crash):
                engine(FaultyStore(store, crash_at=crash_at)).run(handed, "shard-1")
            slow.run(then, "shard-0")
            events = setting + handed + then
            assert_clean(store, events, name=f"crash at {crash_at}")


def test_a_copy_written_here_does_not_hide_a_newer_one_read_since() -> None:
    """Of two writes the first is refused, so memory is read again, and holds a newer copy of the second's item."""
    store, make = MemoryStore(), Events()
    setting = records(
        make("working_hours", hours()),
        make("appointment", booking(id_="a", start="09:00", end="10:00")),
        make("appointment", booking(id_="b", start="10:00", end="11:00")),
    )
    alive = engine(store)
    alive.run(setting, "shard-0")
    ours = records(
        make("appointment", booking(id_="a", start="09:00", end="09:10")),
        make("appointment", booking(id_="b", start="10:00", end="10:10")),
        first=4,
    )
    theirs_a = records(make("appointment", booking(id_="a", start="09:00", end="09:20")), first=6)
    theirs_b = records(make("appointment", booking(id_="b", start="10:00", end="10:20")), first=7)

    original = store.write

    def write(puts: Sequence[Put]) -> list[Outcome]:
        if len(puts) != 2 or any(put.table is not Table.ITEMS for put in puts):
            return original(puts)
        store.write = original  # type: ignore[method-assign]
        engine(store).run(theirs_a, "shard-1")
        outcomes = original(puts)
        engine(store).run(theirs_b, "shard-1")
        return outcomes

    store.write = write  # type: ignore[method-assign]
    alive.run(ours, "shard-0")
    assert_clean(store, setting + ours + theirs_a + theirs_b)


def test_an_outage_raises_retry_and_the_same_records_go_on_from_there() -> None:
    make = Events()
    batch = records(make("working_hours", hours()), make("appointment", booking()))

    class Outage(FaultyStore):
        def _before(self) -> bool:
            self.calls += 1
            if self.calls == self.crash_at:
                raise Retry("throttled")
            return False

    for call in range(1, 8):  # three reads; owner records, copies, documents and the provider written
        store = MemoryStore()
        alive = engine(Outage(store, crash_at=call))
        with pytest.raises(Retry):
            alive.run(batch, "shard-0")
        alive.run(batch, "shard-0")
        assert_clean(store, batch, name=f"outage at call {call}")


def test_an_empty_batch_does_nothing() -> None:
    store = MemoryStore()
    assert engine(store).run([], "shard-0").events.total() == 0
    assert not any(store.tables.values())


def test_past_days_are_kept_right_and_never_made() -> None:
    store, make = MemoryStore(), Events()
    past: date = TODAY - timedelta(days=1)
    batch = records(make("working_hours", hours()), make("appointment", booking(day=past)))
    engine(store).run(batch, "shard-0")
    with pytest.raises(KeyError):
        document(store, "p1", past)
