"""One clean pass over events, in memory: what the tables must hold whatever happens on the way.

This is `kcl-app try`. It shares decoding, the plugins and the engine with the worker, and nothing of how state is
written: the newest revision of each item wins, and each provider's days are computed once. So it is also what tests
hold the worker to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from emr_plugins.host import PluginHost
from processors.calendars import Calendar
from processors.decoding import Rejected, decode
from processors.envelope import Limits, Record
from processors.errors import Reject
from processors.items import Item
from processors.keys import ItemKey, ProviderKey
from processors.spans import Span, encode_spans
from processors.times import days_between


@dataclass(frozen=True, slots=True)
class ProviderDay:
    """The answer for one provider on one local date.

    Attributes:
        provider: whose.
        day: the local date.
        spans: when they are free.
        stale: why the day could not be computed; None if it was.
    """

    provider: ProviderKey
    day: date
    spans: tuple[Span, ...]
    stale: Reject | None = None


@dataclass
class CleanPass:
    """Takes events in, and then tells every provider's days.

    Args:
        host: the plugins.
        limits: sizes past which input is rejected.
    """

    host: PluginHost
    limits: Limits
    items: dict[ItemKey, Item] = field(default_factory=dict)
    known: set[ProviderKey] = field(default_factory=set)
    _counts: dict[ProviderKey, int] = field(default_factory=dict)

    def take(self, record: Record) -> list[Rejected]:
        """Take one record in; the rejects that come of it."""
        one = decode(record, self.host.decode, self.limits)
        if isinstance(one, Rejected):
            return [one]
        rejects = []
        for item in one.items:
            self.known.update(self._named(item))
            reject = self._upsert(item)
            if reject is not None:
                rejects.append(Rejected(record, reject.reason, reject.detail, one.event))
        return rejects

    def _upsert(self, item: Item) -> Reject | None:
        old = self.items.get(item.key)
        if old is not None and old.revision >= item.revision:
            return None
        if not item.providers and old is not None:
            item = replace(item, providers=old.providers)  # stays with whoever has it
        limit = self.limits.items_per_provider
        added = [key for key in self._named(item) if old is None or key.provider not in old.providers]
        if old is None and any(self._counts.get(key, 0) >= limit for key in added):
            return Reject("too_many_items", f"the provider has {limit} items, the most allowed")
        for key in added:
            self._counts[key] = self._counts.get(key, 0) + 1
        for key in self._named(old) if old is not None else []:
            if key.provider not in item.providers:
                self._counts[key] -= 1
        self.items[item.key] = item
        return None

    @staticmethod
    def _named(item: Item) -> list[ProviderKey]:
        return [ProviderKey(item.key.tenant, item.key.emr, provider) for provider in item.providers]

    def days(self, today: Callable[[str], date], horizon_days: int) -> Iterator[ProviderDay]:
        """Every day of the horizon of every provider known, sorted by tenant, emr, provider and date.

        Args:
            today: the date in a zone.
            horizon_days: how many days, today the first.
        """
        calendars = {key: Calendar() for key in sorted(self.known)}
        for item in self.items.values():
            for key in self._named(item):
                calendars[key].put(item)
        for key, calendar in calendars.items():
            zone = calendar.zone(self.host.zone(key.tenant))
            first = today(zone)
            for day in days_between(first, first + timedelta(days=horizon_days - 1)):
                yield self._day(key, zone, day, calendar.on(day, zone))

    def _day(self, key: ProviderKey, zone: str, day: date, items: Sequence[Item]) -> ProviderDay:
        try:
            spans = self.host.spans(key, zone, day, items)
            encode_spans(spans, self.limits.document_bytes)
        except Reject as reject:
            return ProviderDay(key, day, (), reject)
        return ProviderDay(key, day, spans)
