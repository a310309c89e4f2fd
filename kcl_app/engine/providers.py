"""What this process knows of providers: a bounded in-memory copy of their items, and what it was read with.

`write_version`s of the documents are read *before* the items and kept with them. So if a document still has the
version known here when it is written, nobody computed it from newer items meanwhile.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from kcl_app.engine.copies import Copies, InUse
from kcl_app.engine.settled import SettledRevisions
from kcl_app.stores.base import Store, Table
from kcl_app.stores.rows import Known, known_key, name_of, newer_schema, read_copy, read_known
from processors.calendars import DayIndex, Name
from processors.items import Item
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.upserts import Copy

KNOWN_ROW = "known"
"""A provider's row in `scheduling-providers`, among what is unreadable of it."""

MARGIN = 2
"""Days past the horizon that workers compute: they and the horizon job may disagree about today."""


IN_USE = 10
"""One of so many copies in memory may stay objects, which take four times as much: more would fit fewer copies."""


@dataclass(slots=True)
class ProviderState:
    """One provider in memory.

    Attributes:
        key: which.
        copies: its copies of items, tombstones too.
        calendar: the names of its live items, by day.
        versions: `write_version` of its documents by date, as read before the items or written since.
        known: its row in `scheduling-providers`, or None.
        newer: for rows that a newer version of the application wrote, their schema numbers: items by name, documents
            by date, and `KNOWN_ROW`.
        loaded: the order of loading: of two states, the one with the greater number was read later.
    """

    key: ProviderKey
    copies: Copies
    calendar: DayIndex
    versions: dict[str, str]
    known: Known | None
    newer: dict[Name | str, int]
    loaded: int

    @property
    def new(self) -> bool:
        """Whether nobody knows the provider yet."""
        return self.known is None and KNOWN_ROW not in self.newer

    def unreadable(self, day: str) -> int:
        """The schema number of what hinders this program from computing a day; 0 if nothing does."""
        return max(
            (number for name, number in self.newer.items() if isinstance(name, tuple) or name == day),
            default=0,
        )

    def copy_of(self, item: ItemKey) -> Copy | None:
        """The stored copy of an item, live or not."""
        return self.copies.get((item.kind, item.id))

    def on(self, day: date, zone: str) -> list[Item]:
        """The live items that can touch a local date, in the order of kind and id."""
        return [copy.item for name in self.calendar.on(day, zone) if (copy := self.copies.get(name))]

    def put(self, copy: Copy) -> None:
        """Take in a copy that was just written, unless memory was read since and holds a newer one."""
        name = (copy.item.key.kind, copy.item.key.id)
        held = self.copies.get(name)
        if held is not None and held.item.revision > copy.item.revision:
            return
        copy.impacts.pack()
        self.copies.put(name, copy)
        self.calendar.replace(name, _live(held), _live(copy))


def _live(copy: Copy | None) -> Item | None:
    return copy.item if copy is not None and copy.live else None


class Providers:
    """The provider states of this process, least recently used ones dropped first.

    Args:
        store: where to read.
        today: the date in a zone.
        tenant_zone: a tenant's zone.
        history_days: past days that stay.
        horizon_days: days ahead, today the first.
        max_items: copies kept in memory over all providers, at most (checked by `trim`).
    """

    def __init__(
        self,
        store: Store,
        today: Callable[[str], date],
        tenant_zone: Callable[[str], str],
        *,
        history_days: int,
        horizon_days: int,
        max_items: int,
    ) -> None:
        self._store = store
        self._today = today
        self._tenant_zone = tenant_zone
        self.history_days = history_days
        self._horizon = horizon_days
        self._max_items = max_items
        self._states: OrderedDict[ProviderKey, ProviderState] = OrderedDict()
        self._in_use = InUse(max_items // IN_USE)
        self._settled = SettledRevisions(max_items)
        self._taken: dict[ItemKey, Revision] = {}
        self._loads = 0
        self._weighed = 0  # the load after which all were weighed
        self._unweighed = 0
        self._day = today("UTC")

    def get(self, key: ProviderKey) -> ProviderState:
        """A provider's state, read from the store if it is not in memory."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = self._load(key)
        else:
            self._states.move_to_end(key)
        return state

    def _load(self, key: ProviderKey) -> ProviderState:
        self._loads += 1
        loaded = self._loads
        pk = key.pk()
        # The versions first: see the head of this file.
        newer: dict[Name | str, int] = {}
        versions = self._versions(key, newer)
        copies, calendar = Copies(key, self._in_use), DayIndex()
        for row in self._store.query(Table.ITEMS, pk):
            name = name_of(row)
            if number := newer_schema(row):
                newer[name] = number
            else:
                copy = read_copy(row, key.tenant, key.emr, key.provider)
                copies.put_packed(name, copy)
                calendar.replace(name, None, _live(copy))
        state = ProviderState(
            key,
            copies,
            calendar,
            versions,
            None,
            newer,
            loaded,
        )
        self._read_known([state])
        return state

    def read_known(self, keys: Iterable[ProviderKey]) -> None:
        """Read the rows in `scheduling-providers` of those that are in memory again, and nothing else of them."""
        self._read_known([state for key in keys if (state := self._states.get(key)) is not None])

    def _read_known(self, states: list[ProviderState]) -> None:
        if not states:
            return
        rows = self._store.get(Table.PROVIDERS, [known_key(state.key) for state in states])
        for state in states:
            row = rows.get(known_key(state.key))
            state.newer.pop(KNOWN_ROW, None)
            if row is not None and (number := newer_schema(row)):
                state.newer[KNOWN_ROW], row = number, None
            state.known = read_known(row) if row is not None else None

    def versions(self, key: ProviderKey) -> dict[str, str]:
        """The `write_version` of each of a provider's documents by date, read now."""
        return self._versions(key, {})

    def _versions(self, key: ProviderKey, newer: dict[Name | str, int]) -> dict[str, str]:
        around = self._today("UTC")
        span = (
            (around - timedelta(days=self.history_days + 2)).isoformat(),
            (around + timedelta(days=self._horizon + MARGIN + 2)).isoformat(),
        )
        rows = self._store.query(Table.SPANS, key.pk(), span, ("sk", "write_version", "schema"))
        newer.update({str(row["sk"]): number for row in rows if (number := newer_schema(row))})
        # Every provider has documents of the same days: equal texts are one in memory.
        return {sys.intern(str(row["sk"])): str(row["write_version"]) for row in rows}

    def note(self, key: ProviderKey, copy: Copy) -> None:
        """Take in a copy that was just written, if the provider is in memory."""
        if (state := self._states.get(key)) is not None:
            state.put(copy)

    def compare(self, copy: Copy) -> None:
        """Forget a provider of which memory holds another revision of an item than was just read."""
        key = copy.item.key
        provider = ProviderKey(key.tenant, key.emr, copy.provider)
        state = self._states.get(provider)
        if state is not None:
            held = state.copy_of(key)
            if held is None or held.item.revision != copy.item.revision:
                self.forget(provider)

    def has_settled(self, copy: Copy) -> bool:
        """Whether this process has written the spans for all that a stored copy's write touched."""
        return self._settled.has(copy.item.key, copy.item.revision)

    def has_taken(self, key: ItemKey, revision: Revision) -> bool:
        """Whether this process has written or read an item's revision, and what is in memory was read with or after it.

        Args:
            key: the item.
            revision: the newest that is stored of it.
        """
        return self._taken.get(key) == revision

    def forget(self, key: ProviderKey) -> None:
        """Drop what is in memory: it will be read afresh."""
        self._states.pop(key, None)

    def forget_all(self) -> None:
        """Drop everything, after an error that leaves the state of memory in doubt."""
        self._states.clear()

    def loaded_since(self, key: ProviderKey, moment: int) -> bool:
        """Whether a provider's state was read at or after the load with number `moment`."""
        state = self._states.get(key)
        return state is not None and state.loaded >= moment

    def newest_load(self) -> int:
        """The number of the latest load; whatever is read later has a greater one."""
        return self._loads

    def trim(self, written: int) -> None:
        """Drop the least recently used providers past the bound. Between batches only.

        Args:
            written: how many copies may have been added since the last time.
        """
        today = self._today("UTC")
        if today != self._day:  # which documents there are has changed: days came and went
            self._day = today
            self.forget_all()
        # Weighing all of them takes too long to be done for every few records.
        self._unweighed += written
        if self._loads == self._weighed and self._unweighed < self._max_items // 20:
            return
        self._weighed, self._unweighed = self._loads, 0
        total = sum(_weight(state) for state in self._states.values())
        while total > self._max_items and self._states:
            _, state = self._states.popitem(last=False)
            total -= _weight(state)

    def window(self, key: ProviderKey) -> tuple[str, date, date]:
        """The provider's zone, its today, and the last day that workers compute."""
        zone = self.get(key).calendar.zone(self._tenant_zone(key.tenant))
        today = self._today(zone)
        return zone, today, today + timedelta(days=self._horizon - 1 + MARGIN)

    def horizon_end(self, today: date) -> date:
        """The last day of the horizon."""
        return today + timedelta(days=self._horizon - 1)

    def history_start(self, today: date) -> date:
        """The first past day that stays."""
        return today - timedelta(days=self.history_days)

    def take(self, items: Mapping[ItemKey, Revision]) -> None:
        """Note revisions that memory holds at every provider that their stored impacts name, until they are settled."""
        self._taken.update(items)

    def give_up(self) -> None:
        """What was taken will not be settled by this process."""
        self._taken.clear()

    def settle(self, items: Mapping[ItemKey, Revision]) -> None:
        """Note that the spans for these revisions are written, by this process; it stays true whatever is forgotten."""
        for key, revision in items.items():
            self._taken.pop(key, None)
            self._settled.add(key, revision)


def _weight(state: ProviderState) -> int:
    """About how many items' memory a provider takes: eight versions of documents take as much as one item."""
    return 1 + len(state.copies) + len(state.versions) // 8
