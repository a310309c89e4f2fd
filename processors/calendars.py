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


class Calendar:
    """The items that one provider has now, indexed by UTC day, so that a day's items are found without reading all.

    Args:
        items: what it starts with.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items: dict[Name, Item] = {}
        # Lists, since most hold few: a set of one takes four times as much memory.
        self._days: dict[int, list[Item]] = {}
        self._wide: list[Item] = []
        self._zoned: list[Name] = []  # working_hours that name a zone, sorted
        for item in items:
            self.put(item)

    def __len__(self) -> int:
        return len(self._items)

    def get(self, kind: str, id_: str) -> Item | None:
        """The item, if the provider has it."""
        return self._items.get((kind, id_))

    def put(self, item: Item, name: Name | None = None) -> None:
        """Add an item or replace it.

        Args:
            item: the item.
            name: its kind and id, from one who keeps them too: two of the same would take memory twice.
        """
        name = name or _name(item)
        self._unlist(name, self._items.get(name))
        self._items[name] = item
        if not item.body.counts:
            return
        if _names_zone(item):
            insort(self._zoned, name)
        days = _days(item)
        if days is None:
            self._wide.append(item)
        else:
            for day in days:
                self._days.setdefault(day, []).append(item)

    def remove(self, kind: str, id_: str) -> None:
        """Take an item away, if it is there."""
        name = (kind, id_)
        self._unlist(name, self._items.pop(name, None))

    def _unlist(self, name: Name, old: Item | None) -> None:
        if old is None or not old.body.counts:
            return
        if _names_zone(old):
            del self._zoned[bisect_left(self._zoned, name)]
        days = _days(old)
        if days is None:
            _take_out(self._wide, old)
            return
        for day in days:
            items = self._days[day]
            _take_out(items, old)
            if not items:
                del self._days[day]

    def zone(self, default: str) -> str:
        """The zone of the first working_hours item by id that names one, else `default`."""
        if not self._zoned:
            return default
        body = self._items[self._zoned[0]].body
        assert isinstance(body, WorkingHours)  # nothing else names a zone
        return body.time_zone or default

    def on(self, day: date, zone: str) -> list[Item]:
        """The items that can touch a local date, in the order of kind and id."""
        found = {id(item): item for item in self._wide}
        for low, high in times.day_intervals(zone, day):
            for utc_day in range(low // times.DAY, (high - 1) // times.DAY + 1):
                for item in self._days.get(utc_day, ()):
                    found[id(item)] = item
        items = list(found.values())
        if len(items) > 1:
            items.sort(key=_name)
        return items


def _name(item: Item) -> Name:
    return item.key[2:]


def _take_out(items: list[Item], old: Item) -> None:
    """Take out the very object: to compare it with its equals would take longer."""
    del items[next(place for place, item in enumerate(items) if item is old)]


def _names_zone(item: Item) -> bool:
    return isinstance(item.body, WorkingHours) and item.body.time_zone is not None


def _days(item: Item) -> range | None:
    hull = item.body.hull()
    if hull is None:
        return None
    low, high = hull[0] // times.DAY, (hull[1] - 1) // times.DAY
    return None if high - low > _WIDE else range(low, high + 1)
