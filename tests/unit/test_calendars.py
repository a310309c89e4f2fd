"""One provider's items found by day, against looking at all of them."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

from processors.availability import spans_of_day
from processors.calendars import Calendar
from processors.items import Item, body_from_json
from processors.keys import ItemKey
from processors.revisions import Revision

FIRST = date(2026, 3, 1)
ZONES = ["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"]


def item(kind: str, id_: str, body: str) -> Item:
    """An item of p1."""
    return Item(
        ItemKey("acme", "standard", kind, id_), ("p1",), Revision(1, "t", "1"), body_from_json(kind, body)
    )


def random_item(rng: random.Random) -> Item:
    """Any kind, also long ones, withdrawn ones and ones without times."""
    day = FIRST + timedelta(days=rng.randint(0, 20))
    other = day + timedelta(days=rng.choice([0, 0, 1, 3, 60]))
    start, end = f"{day}T{rng.randint(0, 11):02d}:00:00Z", f"{other}T{rng.randint(12, 23):02d}:30:00Z"
    status = rng.choice(["", "", "", ',"status":"cancelled"'])
    timed = f'"start":"{start}","end":"{end}"'
    id_ = f"i{rng.randint(1, 12)}"
    hours = '{"start":"22:00","end":"03:00"'
    week = '"mon","tue","wed","thu","fri","sat","sun"'
    match rng.randrange(7):
        case 0:
            return item(
                "appointment", id_, f'{{{timed},"status":"{rng.choice(["booked", "noshow", "cancelled"])}"}}'
            )
        case 1:
            return item("slot", id_, f'{{{timed},"status":"{rng.choice(["free", "busy", "cancelled"])}"}}')
        case 2:
            return item("time_off", id_, f"{{{timed}{status}}}")
        case 3:
            return item("time_off", id_, f'{{"start":"{day}","end":"{other}"{status}}}')
        case 4:
            return item("date_override", id_, f'{{"date":"{day}","hours":[{hours}}}]{status}}}')
        case 5:
            zone = rng.choice([f',"time_zone":"{rng.choice(ZONES)}"', ""])
            return item("working_hours", id_, f'{{"weekly":[{hours},"days":[{week}]}}]{zone}{status}}}')
        case _:
            return item("availability", id_, f'{{"date":"{day}","spans":[{{{timed}}}]{status}}}')


def zone_by_looking(items: dict[Any, Item], default: str) -> str:
    """The zone of the first working_hours item by id that names one."""
    for _, one in sorted(items.items()):
        zone = getattr(one.body, "time_zone", None)
        if one.body.counts and zone is not None:
            return str(zone)
    return default


def test_the_items_of_a_day_give_the_same_spans_as_all_items() -> None:
    """Through puts, replacements and removals, in every zone."""
    for seed in range(60):
        rng = random.Random(seed)
        calendar, items = Calendar(), dict[tuple[str, str], Item]()
        for _ in range(40):
            one = random_item(rng)
            name = (one.key.kind, one.key.id)
            if rng.random() < 0.25:
                calendar.remove(*name)
                items.pop(name, None)
            else:
                calendar.put(one)
                items[name] = one
        assert len(calendar) == len(items)
        assert {name: calendar.get(*name) for name in items} == items
        zone = calendar.zone("Asia/Tokyo")
        assert zone == zone_by_looking(items, "Asia/Tokyo"), f"seed {seed}"
        for offset in range(-2, 26):
            day = FIRST + timedelta(days=offset)
            found = calendar.on(day, zone)
            assert spans_of_day(day, found, zone) == spans_of_day(day, items.values(), zone), (
                f"seed {seed}, {day}"
            )
            names = [(one.key.kind, one.key.id) for one in found]
            assert names == sorted(set(names))


def test_items_far_from_a_day_are_left_out() -> None:
    """Otherwise nothing would be gained."""
    days = [FIRST + timedelta(days=n) for n in range(20)]
    bodies = [f'{{"start":"{day}T09:00:00Z","end":"{day}T10:00:00Z","status":"booked"}}' for day in days]
    calendar = Calendar(item("appointment", f"a{n}", body) for n, body in enumerate(bodies))
    assert [one.key.id for one in calendar.on(FIRST + timedelta(days=7), "UTC")] == ["a7"]
    assert len(calendar.on(FIRST + timedelta(days=7), "America/New_York")) <= 2


def test_a_replaced_item_is_found_only_where_it_is_now() -> None:
    calendar = Calendar()
    for day in (FIRST, FIRST + timedelta(days=5)):
        body = f'{{"start":"{day}T09:00:00Z","end":"{day}T10:00:00Z","status":"booked"}}'
        calendar.put(item("appointment", "a", body))
    assert calendar.on(FIRST, "UTC") == []
    assert len(calendar.on(FIRST + timedelta(days=5), "UTC")) == 1
    calendar.put(item("appointment", "a", '{"status":"cancelled"}'))
    assert calendar.on(FIRST + timedelta(days=5), "UTC") == []
    assert len(calendar) == 1, "it is still the provider's"


def test_removing_what_is_not_there_does_nothing() -> None:
    calendar = Calendar()
    calendar.remove("appointment", "a")
    assert len(calendar) == 0


def test_the_zone_is_that_of_the_first_hours_by_id_that_name_one() -> None:
    calendar = Calendar([item("working_hours", "b", '{"time_zone":"Asia/Tokyo"}')])
    calendar.put(item("working_hours", "c", '{"time_zone":"UTC"}'))
    calendar.put(item("working_hours", "a", "{}"))
    assert calendar.zone("Europe/Paris") == "Asia/Tokyo"
    calendar.put(item("working_hours", "b", '{"time_zone":"Asia/Tokyo","status":"cancelled"}'))
    assert calendar.zone("Europe/Paris") == "UTC"
    calendar.remove("working_hours", "c")
    assert calendar.zone("Europe/Paris") == "Europe/Paris"
