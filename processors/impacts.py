"""What a change touches, and the local days that this comes to.

Impacts are stored as instants rather than dates, since the provider's zone may change before they are settled. Where
they are merged or widened they only grow: recomputing a day too many is safe, a day too few is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

from . import times
from .items import Item, WorkingHours
from .times import Interval

MAX_INTERVALS = 16
"""Past this number the intervals of one provider are merged into the one that holds them all."""


@dataclass(frozen=True, slots=True)
class Instants:
    """A time from `start` to `end`, both aware."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class LocalDates:
    """Local dates, both included, in whatever zone the provider has."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class EveryDay:
    """All days of the provider."""


EVERY_DAY = EveryDay()

Touched = Instants | LocalDates | EveryDay


@dataclass(frozen=True, slots=True)
class Change:
    """One item before and after, as one provider sees it.

    Attributes:
        old: None where the provider did not have it.
        new: None where the provider has it no longer.
    """

    old: Item | None
    new: Item | None


def touched_by(change: Change) -> list[Touched]:
    """What the standard rules can let a change touch: the item's old and its new time."""
    return [
        Instants(times.moment(one[0]), times.moment(one[1])) if isinstance(one, tuple) else one
        for one in _touches(change)
    ]


def intervals_touched(change: Change) -> tuple[Interval, ...] | None:
    """`touched_by` as instants; None for every day. The same as `intervals_of` makes of it, at less cost."""
    found: list[Interval] = []
    for one in _touches(change):
        if isinstance(one, EveryDay):
            return ALL
        found.append(times.hull_of_dates(one.first, one.last) if isinstance(one, LocalDates) else one)
    return tuple(found)


def _touches(change: Change) -> Iterator[Interval | LocalDates | EveryDay]:
    for item in (change.old, change.new):
        if item is None or not item.body.counts:
            continue
        if isinstance(item.body, WorkingHours):
            yield _effective(item.body)
        elif (hull := item.body.hull()) is None:
            yield EVERY_DAY
        elif hull[0] < hull[1]:
            yield hull


def _effective(body: WorkingHours) -> LocalDates | EveryDay:
    low, high = body.effective_from, body.effective_until
    if low is None or high is None or low.year <= times.FIRST_YEAR or high.year >= times.LAST_YEAR:
        return EVERY_DAY
    return LocalDates(low, high)


def rezones(change: Change) -> bool:
    """Whether the change can move the provider's zone: a working_hours item comes, goes or names another zone."""

    def names(item: Item | None) -> tuple[str | None] | None:
        if item is None or not isinstance(item.body, WorkingHours) or not item.body.counts:
            return None
        return (item.body.time_zone,)

    return names(change.old) != names(change.new)


_text = json.encoder.encode_basestring_ascii


def _encode(by_provider: Mapping[str, tuple[Interval, ...] | None]) -> str:
    """As JSON; put together here, since an encoder takes longer to begin than to write so little."""
    parts = []
    for provider, intervals in by_provider.items():
        found = (
            "null" if intervals is None else f"[{','.join([f'[{low},{high}]' for low, high in intervals])}]"
        )
        parts.append(f"{_text(provider)}:{found}")
    return f"{{{','.join(parts)}}}"


ALL = None
"""The intervals of a provider all of whose days are impacted."""


class Impacts:
    """What is still to be recomputed: provider → intervals, or all. Grows; never shrinks.

    It is written down with every copy and owner record, and of those read again few are ever looked into: so the text
    is made once, and read only when it is asked for.
    """

    __slots__ = ("_by_provider", "_text")

    def __init__(self, by_provider: Mapping[str, tuple[Interval, ...] | None] | None = None) -> None:
        self._by_provider: dict[str, tuple[Interval, ...] | None] | None = dict(by_provider or {})
        self._text: str | None = None

    def _known(self) -> dict[str, tuple[Interval, ...] | None]:
        if self._by_provider is None:
            self._by_provider = {
                provider: None if intervals is None else tuple((low, high) for low, high in intervals)
                for provider, intervals in json.loads(self._text or "{}").items()
            }
        return self._by_provider

    def __bool__(self) -> bool:
        return bool(self._text) if self._by_provider is None else bool(self._by_provider)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Impacts) and self._known() == other._known()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Impacts({self._known()!r})"

    def providers(self) -> list[str]:
        """The providers touched."""
        return list(self._known())

    def items(self) -> Iterable[tuple[str, tuple[Interval, ...] | None]]:
        """Provider and intervals (None: all)."""
        return self._known().items()

    def add(self, provider: str, intervals: Iterable[Interval] | None) -> None:
        """Add intervals of a provider; None adds every day."""
        by_provider = self._known()
        self._text = None
        if intervals is None:
            by_provider[provider] = ALL
            return
        known = by_provider.get(provider, ())
        if known is not None:
            merged = merge([*known, *intervals] if known else intervals)
            if merged:
                by_provider[provider] = merged

    def update(self, other: Impacts) -> None:
        """Add all of another's."""
        for provider, intervals in other.items():
            self.add(provider, intervals)

    def encode(self) -> str:
        """As stored with a revision."""
        if self._text is None:
            by_provider = self._known()
            self._text = _encode(by_provider) if by_provider else ""
        return self._text

    def pack(self) -> None:
        """Keep no more than the text: for what stays in memory, and is rarely asked for."""
        self.encode()
        self._by_provider = None

    @classmethod
    def decode(cls, text: str) -> Impacts:
        """The inverse of `encode`."""
        found = cls()
        if text:
            found._by_provider, found._text = None, text
        return found


def intervals_of(touched: Iterable[Touched]) -> tuple[Interval, ...] | None:
    """What a plugin's `impact` returned, as instants; None for every day."""
    found: list[Interval] = []
    for what in touched:
        if isinstance(what, Instants):
            found.append((times.instant(what.start), times.instant(what.end)))
        elif isinstance(what, LocalDates):
            found.append(times.hull_of_dates(what.first, what.last))
        elif isinstance(what, EveryDay):
            return ALL
        else:
            raise TypeError("impact must return Instants, LocalDates or EVERY_DAY")
    return tuple(found)


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Sorted and disjoint; one hull where there would be too many."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if low >= high:
            continue
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    if len(merged) > MAX_INTERVALS:
        return ((merged[0][0], merged[-1][1]),)
    return tuple(merged)


def days_touched(intervals: Iterable[Interval] | None, zone: str, first: date, last: date) -> list[date]:
    """The local dates in `first` to `last` that intervals come to in a zone; all of them for None."""
    if intervals is None:
        return times.days_between(first, last)
    start, end = times.hull_of_dates(first, last)
    days: set[date] = set()
    for low, high in intervals:
        low, high = max(low, start), min(high, end)
        if low < high:
            earliest, latest = _dates_read(zone, low, high)
            if earliest == latest:
                days.add(earliest)
            else:
                days.update(times.days_between(earliest, latest))
    return [day for day in sorted(days) if first <= day <= last]


_dates_read = lru_cache(maxsize=16_384)(times.dates_read)
"""Appointments begin and end at the same times for many providers."""
