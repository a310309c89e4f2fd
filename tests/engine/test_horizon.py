"""The date rolls over: the day that enters is computed, whatever workers think of today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

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
    assert_clean,
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

from kcl_app.clock import Clock
from kcl_app.engine.horizon import Advanced, advance
from kcl_app.engine.providers import MARGIN
from kcl_app.engine.queries import known_providers
from kcl_app.stores.base import Outcome, Put, Row, Table
from kcl_app.stores.memory import MemoryStore
from processors.keys import ProviderKey

_broken = pytest.fixture(autouse=True)(broken_again)

TOMORROW = TODAY + timedelta(days=1)
NEW_LAST = TODAY + timedelta(days=HORIZON_DAYS)


def job(store: MemoryStore, clock: Clock) -> Advanced:
    """One run of the job, in a process of its own."""
    return advance(engine(store, clock=clock), known_providers(store), lambda: None)


def known(store: MemoryStore, provider: str = "p1") -> Row:
    """The provider's row."""
    return store.tables[Table.PROVIDERS][f"{TENANT}#standard"][provider]


@pytest.mark.parametrize("there", [True, False])
def test_the_day_that_enters_is_computed_with_and_without_a_document(there: bool) -> None:
    store, make = MemoryStore(), Events()
    batch = records(make("working_hours", hours()))
    engine(store).run(batch, "shard-0")
    days = store.tables[Table.SPANS][f"{TENANT}#standard#p1"]
    if not there:
        del days[NEW_LAST.isoformat()]
    before = days.get(NEW_LAST.isoformat(), {}).get("write_version")
    assert job(store, FakeClock(TOMORROW)) == Advanced(1, 1, 0)
    assert document(store, "p1", NEW_LAST)["write_version"] != before
    assert (known(store)["first_day"], known(store)["last_day"]) == (
        TOMORROW.isoformat(),
        NEW_LAST.isoformat(),
    )
    assert_clean(store, batch, today=lambda zone: TOMORROW, days=HORIZON_DAYS)


def test_a_second_run_on_the_same_day_does_nothing() -> None:
    store, make = MemoryStore(), Events()
    engine(store).run(records(make("working_hours", hours())), "shard-0")
    assert job(store, FakeClock()) == Advanced(1, 0, 0)
    job(store, FakeClock(TOMORROW))
    tables = {table: {pk: dict(rows) for pk, rows in parts.items()} for table, parts in store.tables.items()}
    assert job(store, FakeClock(TOMORROW)) == Advanced(1, 0, 0)
    assert store.tables == tables


def test_a_job_that_did_not_run_for_days_makes_up_for_it() -> None:
    store, make = MemoryStore(), Events()
    batch = records(make("working_hours", hours()))
    engine(store).run(batch, "shard-0")
    later = TODAY + timedelta(days=20)
    job(store, FakeClock(later))
    assert_clean(store, batch, today=lambda zone: later, days=HORIZON_DAYS)
    assert known(store)["first_day"] == later.isoformat()


@pytest.mark.parametrize("late", [1, 2])
def test_a_worker_that_thinks_it_is_yesterday_still_reaches_the_day_that_entered(late: int) -> None:
    """Its change comes after the job, and concerns a day that is past the end of its own horizon."""
    store, make = MemoryStore(), Events()
    worker = engine(store, clock=FakeClock(TODAY))
    batch = records(make("working_hours", hours()))
    worker.run(batch, "shard-0")
    today = TODAY + timedelta(days=late)
    job(store, FakeClock(today))
    entered = today + timedelta(days=HORIZON_DAYS - 1)
    booked = records(make("appointment", booking(day=entered)), first=2)
    worker.run(booked, "shard-0")
    assert free(store, "p1", entered) == ["10:00-12:00"]
    assert_clean(store, batch + booked, today=lambda zone: today, days=HORIZON_DAYS)


def test_a_change_beyond_every_horizon_is_there_when_its_day_enters() -> None:
    store, make = MemoryStore(), Events()
    far = TODAY + timedelta(days=30)
    batch = records(make("working_hours", hours()), make("appointment", booking(day=far)))
    engine(store).run(batch, "shard-0")
    with pytest.raises(KeyError):
        document(store, "p1", far)
    for day in range(1, 31):
        today = TODAY + timedelta(days=day)
        job(store, FakeClock(today))
        assert_clean(store, batch, today=lambda zone, today=today: today, days=HORIZON_DAYS)  # type: ignore[misc]
    assert free(store, "p1", far) == ["10:00-12:00"]


def test_past_days_are_kept_right_while_they_have_a_document_and_are_not_made() -> None:
    store, make = MemoryStore(), Events()
    worker_clock = FakeClock(TODAY)
    worker = engine(store, clock=worker_clock)
    worker.run(records(make("working_hours", hours())), "shard-0")
    worker_clock.day = TODAY + timedelta(days=HISTORY_DAYS)
    job(store, worker_clock)
    before = TODAY - timedelta(days=1)
    worker.run(
        records(
            make("appointment", booking()), make("appointment", booking(id_="ap-2", day=before)), first=2
        ),
        "shard-0",
    )
    assert free(store, "p1", TODAY) == ["10:00-12:00"]
    with pytest.raises(KeyError):
        document(store, "p1", before)
    worker_clock.day += timedelta(days=1)
    version = document(store, "p1", TODAY)["write_version"]
    worker.run(records(make("appointment", booking(end="11:00")), first=4), "shard-0")
    assert document(store, "p1", TODAY)["write_version"] == version, "older than the history: it ages out"


def test_documents_expire_when_their_day_is_older_than_the_history() -> None:
    store, make = MemoryStore(), Events()
    clock = FakeClock(datetime.now(UTC).date())
    engine(store, clock=clock).run(records(make("working_hours", hours())), "shard-0")
    end = datetime.combine(clock.day + timedelta(days=1 + HISTORY_DAYS), datetime.min.time(), UTC).timestamp()
    expires = document(store, "p1", clock.day)["expires_at"]
    assert isinstance(expires, int)
    assert end <= expires <= end + 2 * 86_400


class WorldClock(Clock):
    """A clock that shows every zone its own date."""

    def __init__(self, moment: datetime) -> None:
        super().__init__(moment.date())
        self.moment = moment

    def today(self, zone: str) -> date:
        """The date in a zone."""
        return self.moment.astimezone(ZoneInfo(zone)).date()


def test_each_provider_rolls_over_at_its_own_midnight() -> None:
    store, make = MemoryStore(), Events()
    zones = {"p1": "Pacific/Auckland", "p2": "America/Los_Angeles", "p3": "Asia/Kathmandu"}
    batch = records(*(make("working_hours", hours(p, id_=f"wh-{p}", zone=zone)) for p, zone in zones.items()))
    clock = WorldClock(datetime(2026, 3, 9, 6, tzinfo=UTC))
    engine(store, clock=clock).run(batch, "shard-0")
    advanced: list[int] = []
    for _ in range(24):
        clock.moment += timedelta(hours=1)
        advanced.append(job(store, clock).advanced)
        assert_clean(store, batch, today=clock.today, days=HORIZON_DAYS)
    # Midnight is at 11:00 (+13), 07:00 (-7, summer time) and 18:15 (+5:45) in UTC.
    assert [6 + hour + 1 for hour, count in enumerate(advanced) if count] == [7, 11, 19]
    assert sum(advanced) == 3


def test_days_that_fail_in_the_job_leave_letters_and_the_others_are_advanced() -> None:
    store, make = MemoryStore(), Events()
    plugins = plugin_host(BrokenPlugin())
    BrokenPlugin.broken = False
    batch = records(make("working_hours", hours(emr="x"), emr="broken"), make("working_hours", hours()))
    engine(store, plugins).run(batch, "shard-0")
    BrokenPlugin.broken = True
    result = advance(engine(store, plugins, clock=FakeClock(TOMORROW)), known_providers(store), lambda: None)
    assert result.providers == 2
    assert document(store, "p1", NEW_LAST, "broken")["status"] == "stale"
    assert document(store, "p1", NEW_LAST)["status"] == "fresh"
    (letter,) = letters(store)
    assert (letter["origin"], letter["days"]) == ("advance-horizon", f'["{NEW_LAST.isoformat()}"]')


def test_an_outage_for_one_provider_does_not_keep_the_others_back() -> None:
    store, make = MemoryStore(), Events()
    batch = records(*(make("working_hours", hours(f"p{n}", id_=f"wh-{n}")) for n in range(4)))
    engine(store).run(batch, "shard-0")
    faulty = FaultyStore(store, faults=Faults(0, 0.15, 0))
    seen: list[int] = []
    result = advance(
        engine(faulty, clock=FakeClock(TOMORROW)), known_providers(store), lambda: seen.append(1)
    )
    assert len(seen) == result.providers == 4
    assert result.failed + result.advanced == 4
    assert result.failed > 0
    job(store, FakeClock(TOMORROW))
    assert_clean(store, batch, today=lambda zone: TOMORROW, days=HORIZON_DAYS)


def test_a_provider_on_which_the_engine_fails_leaves_a_letter_and_the_others_are_advanced() -> None:
    store, make = MemoryStore(), Events()
    batch = records(*(make("working_hours", hours(f"p{n}", id_=f"wh-{n}")) for n in range(3)))
    engine(store).run(batch, "shard-0")
    broken = store.tables[Table.ITEMS][f"{TENANT}#standard#p1"]["working_hours#wh-1"]
    broken["body"] = "{"
    assert job(store, FakeClock(TOMORROW)) == Advanced(3, 2, 1)
    (letter,) = letters(store)
    assert (letter["reason"], letter["provider"]) == ("processing_failed", f"{TENANT}#standard#p1")
    assert document(store, "p2", NEW_LAST)["status"] == "fresh"


def test_a_provider_that_nobody_knows_is_left_alone() -> None:
    store = MemoryStore()
    key = ProviderKey(TENANT, "standard", "nobody")
    assert advance(engine(store), [key], lambda: None) == Advanced(1, 0, 0)
    assert not any(store.tables.values())


def test_providers_are_walked_in_order_and_by_tenant() -> None:
    store, make = MemoryStore(), Events()
    for tenant, provider in [("b", "2"), ("a", "9"), ("a", "1")]:
        event = make("working_hours", hours(provider, id_=provider), tenant=tenant)
        engine(store).run(records(event), "shard-0")
    assert [(key.tenant, key.provider) for key in known_providers(store)] == [
        ("a", "1"),
        ("a", "9"),
        ("b", "2"),
    ]
    assert [key.provider for key in known_providers(store, "a")] == ["1", "9"]


def test_workers_compute_two_days_past_the_horizon() -> None:
    store, make = MemoryStore(), Events()
    engine(store).run(records(make("working_hours", hours())), "shard-0")
    assert (
        max(store.tables[Table.SPANS][f"{TENANT}#standard#p1"])
        == (TODAY + timedelta(days=HORIZON_DAYS - 1 + MARGIN)).isoformat()
    )


def test_a_provider_new_to_two_workers_of_which_one_is_a_day_ahead_has_every_day_right() -> None:
    """The one behind has written its documents and not registered the provider when the other one comes."""

    class Interrupted(MemoryStore):
        """Lets the other worker come in before the first row of a provider is written."""

        come_in: Callable[[], object] | None = None

        def write(self, puts: Sequence[Put]) -> list[Outcome]:
            if self.come_in is not None and any(put.table is Table.PROVIDERS for put in puts):
                come_in, self.come_in = self.come_in, None
                come_in()
            return super().write(puts)

    store, make = Interrupted(), Events()
    first, second = records(
        make("working_hours", hours()), make("working_hours", hours(id_="wh-2", start="13:00", end="14:00"))
    )
    ahead = engine(store, clock=FakeClock(TODAY + timedelta(days=1)))
    store.come_in = lambda: ahead.run([second], "shard-1")
    engine(store).run([first], "shard-0")
    assert store.come_in is None
    assert_clean(store, [first, second])
