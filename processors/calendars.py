"""One provider's items in memory, found by day."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from datetime import date

from . import times
from .items import Item, WorkingHours

_WIDE = 40
"""Items longer than this many days are looked at for every day rather than listed under each."""

Name = tuple[str, str]
"""Kind and id."""


class DayIndex:
    """The names of the items that one provider has now, by UTC day; whoever holds the items keeps it up to date.

    So a day's items are found without reading all. It has no item itself, since those not in use may be held in
    another form.
    """

    def __init__(self) -> None:
        self._number = 0
        # Lists, since most hold few: a set of one takes four times as much memory.
        self._days: dict[int, list[Name]] = {}
        self._wide: list[Name] = []
        self._zoned: list[tuple[Name, str]] = []  # working_hours that name a zone, with it, sorted

    def __len__(self) -> int:
        """How many items the provider has."""
        return self._number

    def replace(self, name: Name, old: Item | None, new: Item | None) -> None:
        """Bring a change in.

        Args:
            name: of the item.
            old: what the provider had of that name; None if nothing.
            new: what it has from now on; None if nothing.
        """
        if old is not None:
            self._number -= 1
            if old.body.counts:
                self._unlist(name, old)
        if new is not None:
            self._number += 1
            if new.body.counts:
                self._list(name, new)

    def _list(self, name: Name, item: Item) -> None:
        if zone := _zone(item):
            insort(self._zoned, (name, zone))
        days = _days(item)
        if days is None:
            self._wide.append(name)
        else:
            for day in days:
                self._days.setdefault(day, []).append(name)

    def _unlist(self, name: Name, item: Item) -> None:
        if zone := _zone(item):
            del self._zoned[bisect_left(self._zoned, (name, zone))]
        days = _days(item)
        if days is None:
            self._wide.remove(name)
            return
        for day in days:
            names = self._days[day]
            names.remove(name)
            if not names:
                del self._days[day]

    def zone(self, default: str) -> str:
        """The zone of the first working_hours item by id that names one, else `default`."""
        return self._zoned[0][1] if self._zoned else default

    def on(self, day: date, zone: str) -> list[Name]:
        """The names of the items that can touch a local date, in order."""
        found = set(self._wide)
        for low, high in times.day_intervals(zone, day):
            for utc_day in range(low // times.DAY, (high - 1) // times.DAY + 1):
                found.update(self._days.get(utc_day, ()))
        return sorted(found)


class Calendar:
    """The items that one provider has now, and their index.

    Args:
        items: what it starts with.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items: dict[Name, Item] = {}
        self._index = DayIndex()
        for item in items:
            self.put(item)

    def __len__(self) -> int:
        return len(self._items)

    def get(self, kind: str, id_: str) -> Item | None:
        """The item, if the provider has it."""
        return self._items.get((kind, id_))

    def put(self, item: Item) -> None:
        """Add an item or replace it."""
        name = item.key[2:]
        self._index.replace(name, self._items.get(name), item)
        self._items[name] = item

    def remove(self, kind: str, id_: str) -> None:
        """Take an item away, if it is there."""
        name = (kind, id_)
        self._index.replace(name, self._items.pop(name, None), None)

    def zone(self, default: str) -> str:
        """The zone of the first working_hours item by id that names one, else `default`."""
        return self._index.zone(default)

    def on(self, day: date, zone: str) -> list[Item]:
        """The items that can touch a local date, in the order of kind and id."""
        return [self._items[name] for name in self._index.on(day, zone)]


def _zone(item: Item) -> str | None:
    return item.body.time_zone if isinstance(item.body, WorkingHours) else None


def _days(item: Item) -> range | None:
    hull = item.body.hull()
    if hull is None:
        return None
    low, high = hull[0] // times.DAY, (hull[1] - 1) // times.DAY
    return None if high - low > _WIDE else range(low, high + 1)
