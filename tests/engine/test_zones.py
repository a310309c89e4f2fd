"""A provider's zone changes while somebody else writes: every date that an instant may be taken for comes out right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from support import (
    HORIZON_DAYS,
    TENANT,
    TODAY,
    Events,
    FakeClock,
    assert_clean,
    booking,
    document,
    engine,
    host,
    hours,
    records,
)

from kcl_app.engine.providers import MARGIN
from kcl_app.stores.base import Outcome, Put, Table
from kcl_app.stores.memory import MemoryStore
from processors.keys import ProviderKey

ZONES = [
    ("America/New_York", "Asia/Tokyo"),
    ("Asia/Tokyo", "America/New_York"),
    ("Etc/GMT+12", "Pacific/Kiritimati"),
]
WINDOW = [TODAY + timedelta(days=number) for number in range(HORIZON_DAYS + MARGIN)]


class Interrupted(MemoryStore):
    """Writes one by one, and lets something happen before the first document of a day."""

    def __init__(self) -> None:
        super().__init__()
        self.day = ""
        self.happening: Callable[[], object] | None = None

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """One after the other, as statements of a batch are executed."""
        outcomes = []
        for put in puts:
            happening = self.happening
            if happening is not None and put.table is Table.SPANS and put.row["sk"] == self.day:
                self.happening = None
                happening()
            outcomes += super().write([put])
        return outcomes


def zoned(zone: str, version: int) -> dict[str, object]:
    return {"id": "w", "provider_id": "p1", "version": version, "time_zone": zone, "weekly": []}


def slot(start: datetime) -> dict[str, object]:
    end = start + timedelta(hours=1)
    return {
        "id": "s",
        "provider_id": "p1",
        "start": start.isoformat(),
        "end": end.isoformat(),
        "status": "free",
    }


@pytest.mark.parametrize(("old", "new"), ZONES)
@pytest.mark.parametrize("changer_is_interrupted", [True, False])
def test_two_writers_and_a_change_of_zone_come_to_what_one_pass_gives(
    old: str, new: str, changer_is_interrupted: bool
) -> None:
    """One changes the zone, the other still knows the old one; either comes in before any document of the other's."""
    for step in range(9 * 4):
        start = datetime(TODAY.year, TODAY.month, TODAY.day, 1, tzinfo=UTC) + timedelta(hours=6 * step - 48)
        for day in WINDOW:
            store, make = Interrupted(), Events()
            first, second = records(
                make("working_hours", zoned(old, 1)), make("working_hours", zoned(new, 2))
            )
            (free,) = records(make("slot", slot(start)), first=3)
            (other,) = records(
                make("time_off", {"id": "x", "provider_id": "p1", "version": 1, "status": "cancelled"}),
                first=4,
            )
            changer, writer = engine(store), engine(store)
            changer.run([first], "shard-0")
            writer.run([other], "shard-1")  # both have the provider in memory
            store.day = day.isoformat()
            if changer_is_interrupted:
                store.happening = lambda writer=writer, free=free: writer.run([free], "shard-1")
                changer.run([second], "shard-0")
                if store.happening is not None:
                    writer.run([free], "shard-1")
            else:
                store.happening = lambda changer=changer, second=second: changer.run([second], "shard-0")
                writer.run([free], "shard-1")
                if store.happening is not None:
                    changer.run([second], "shard-0")
            store.happening = None
            assert_clean(store, [first, second, free, other], name=f"{start.isoformat()}, before {day}")


def test_a_tenant_whose_zone_setting_changes_has_all_days_computed_again() -> None:
    store, make = MemoryStore(), Events()
    override = {
        "id": "do",
        "provider_id": "p1",
        "version": 1,
        "date": str(TODAY),
        "hours": [{"start": "09:00", "end": "12:00"}],
    }
    first = records(make("date_override", override))
    engine(store).run(first, "shard-0")
    moved = host(zone="America/New_York")
    key = ProviderKey(TENANT, "standard", "p1")
    assert engine(store, moved).settler.advance(key) or True
    assert_clean(store, first, moved)
    (known,) = store.scan(Table.PROVIDERS)
    assert known["zone"] == "America/New_York"

    back = records(make("appointment", booking(day=TODAY + timedelta(days=2))), first=2)
    engine(store).run(back, "shard-0")  # a worker with the old setting again: any change will do
    assert_clean(store, first + back)


def test_as_of_does_not_go_back_when_an_appointment_is_cancelled() -> None:
    store, make = MemoryStore(), Events()
    alive = engine(store)
    seen = []
    for number, event in enumerate([hours(), booking(), booking(status="cancelled")], start=1):
        kind = "working_hours" if "weekly" in event else "appointment"
        alive.run(records(make(kind, event), first=number), "shard-0")
        seen.append(str(document(store, "p1")["as_of"]))
    assert seen == sorted(set(seen))


def test_a_day_that_has_passed_is_kept_right_by_a_worker_that_has_run_for_long() -> None:
    store, make, clock = MemoryStore(), Events(), FakeClock()
    alive = engine(store, clock=clock)
    alive.run(records(make("working_hours", hours())), "shard-0")
    for _ in range(6):  # the horizon job adds days that the worker has never seen
        clock.day += timedelta(days=1)
        engine(store, clock=clock).settler.advance(ProviderKey(TENANT, "standard", "p1"))
        alive.run(records(make("working_hours", hours("p2", id_="wh-2")), first=2), "shard-0")
    yesterday: date = clock.day - timedelta(days=1)
    alive.run(records(make("appointment", booking(day=yesterday)), first=9), "shard-0")
    assert '"start":"' + yesterday.isoformat() + 'T09:00:00Z"' not in str(
        document(store, "p1", yesterday)["spans"]
    )


class MetByAnother(MemoryStore):
    """Another process makes the provider known just before this one does; counts how often items are read after."""

    def __init__(self) -> None:
        super().__init__()
        self.another: Callable[[], object] | None = None
        self.queries = 0

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """The other one first."""
        another = self.another
        if another is not None and any(put.table is Table.PROVIDERS for put in puts):
            self.another = None
            another()
            self.queries = 0
        return super().write(puts)

    def query(self, table: Table, *args: Any, **more: Any) -> Any:
        """Counted where it is of items."""
        self.queries += table is Table.ITEMS
        return super().query(table, *args, **more)


@pytest.mark.parametrize(("other_zone", "read_again"), [("Asia/Tokyo", False), ("America/New_York", True)])
def test_a_provider_that_another_process_makes_known_first_is_read_again_only_if_its_zone_differs(
    other_zone: str, read_again: bool
) -> None:
    store, make = MetByAnother(), Events()
    (mine,) = records(make("working_hours", zoned("Asia/Tokyo", 1)))
    (others,) = records(make("working_hours", zoned(other_zone, 2)), first=2)
    one, other = engine(store), engine(store)
    store.another = lambda: other.run([others], "shard-1")
    one.run([mine], "shard-0")
    assert store.another is None
    (known,) = store.scan(Table.PROVIDERS)
    assert known["zone"] == other_zone
    assert (store.queries > 0) is read_again
    assert_clean(store, [mine, others])
