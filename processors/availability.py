"""Items → spans: when one provider is free on one local date.

The rules, minute by minute: a minute belongs to an offer, that is a (location, service types), while local hours or
a free slot of that offer hold; it is bookable while fewer appointments lie over it than the offer's capacity, and no
time off or busy slot does. `spans_of_day` gives the same by one sweep over the sorted ends of intervals, so its cost
grows as n log n with the items of the day.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta
from functools import lru_cache
from itertools import islice

from . import times
from .errors import Reject
from .items import (
    WEEKDAYS,
    Appointment,
    Availability,
    DateOverride,
    Hours,
    Item,
    Slot,
    TimeOff,
    WorkingHours,
)
from .spans import Span, in_order
from .times import Interval

MAX_SPANS = 4000
"""Spans of one provider-day: more would not fit into its document, and would take any amount of memory to make."""

MAX_LINES = 5000
"""Weekly hours and hours of dates that one provider-day is computed from."""

MAX_PIECES = 50_000
"""Pieces that times away may cut those lines into."""

MAX_STEPS = 500_000
"""Ends of appointments times offers over them: what the time that a provider-day takes grows with (half a second)."""

OfferKey = tuple[str | None, tuple[str, ...]]
Offered = tuple[int, int, int]
"""Start, end, places."""


def spans_of_day(day: date, items: Iterable[Item], zone: str) -> tuple[Span, ...]:
    """The spans of one provider-day.

    Args:
        day: the provider's local date.
        items: the provider's items; those that cannot touch the day may be left out. Their order does not matter.
        zone: the IANA time zone of the provider's calendar.

    Raises:
        Reject: the day has more in it than can be computed in a few seconds, or than fits into a document.
    """
    within = times.day_intervals(zone, day)
    if not within:
        return ()
    counting = [item for item in items if item.body.counts]
    answers = [
        (item.revision, item.key, body.spans)
        for item in counting
        if isinstance(body := item.body, Availability) and body.date == day
    ]
    if answers:
        _, _, spans = max(answers, key=lambda answer: answer[:2])
        return in_order(Span(s.start, s.end, s.location_id, s.service_types, s.capacity) for s in spans)
    live = [item.body for item in counting]

    offers: dict[OfferKey, list[Offered]] = defaultdict(list)
    blocked: list[Interval] = []
    taken: list[Interval] = []
    overrides: dict[date, list[DateOverride]] = defaultdict(list)
    for body in live:
        if isinstance(body, Appointment):
            if body.takes_place:
                taken.append(body.interval)
        elif isinstance(body, Slot):
            if body.status == "free":
                offers[body.location_id, body.service_types].append((*body.interval, 1))
            else:
                blocked.append(body.interval)
        elif isinstance(body, TimeOff):
            if body.dates is not None and body.dates[0] <= day <= body.dates[1]:
                return ()
            if body.interval is not None:
                blocked.append(body.interval)
        elif isinstance(body, DateOverride) and body.date is not None:
            overrides[body.date].append(body)

    hours_of_dates = [body for bodies in overrides.values() for body in bodies]
    weekly = [body for body in live if isinstance(body, WorkingHours)]
    if sum(len(b.weekly) for b in weekly) + sum(len(b.hours) for b in hours_of_dates) > MAX_LINES:
        raise Reject("too_large", f"the provider-day is made from more than {MAX_LINES} lines of hours")
    pieces = 0
    for body in weekly:
        for offer, piece in _weekly_offers(body, body.time_zone or zone, within, overrides.keys()):
            offers[offer].append(piece)
            pieces += 1
            if pieces > MAX_PIECES:
                raise Reject(
                    "too_large", f"the provider-day's hours are cut into more than {MAX_PIECES} pieces"
                )
    for date_, bodies in overrides.items():
        if timedelta(0) <= day - date_ <= timedelta(1):
            for override in bodies:
                for hours in override.hours:
                    for low, high in _on_date(hours, date_, zone):
                        offers[hours.location_id, hours.service_types].append((low, high, hours.capacity))

    found = list(islice(_sweep(offers, taken, blocked, within), MAX_SPANS + 1))
    if len(found) > MAX_SPANS:
        raise Reject("document_too_large", f"the provider-day has more than {MAX_SPANS} spans")
    return in_order(found)


def _on_date(hours: Hours, day: date, zone: str) -> list[Interval]:
    """The instants of local hours that start on `day`."""
    midnight = times.wall_midnight(day)
    start = midnight + _since_midnight(hours.start)
    end = midnight + _since_midnight(hours.end)
    return times.instants_of_wall(zone, start, end if end > start else end + times.DAY)


def _since_midnight(clock: time) -> int:
    return (clock.hour * 3600 + clock.minute * 60 + clock.second) * times.SECOND + clock.microsecond


def _weekly_offers(
    body: WorkingHours, zone: str, within: tuple[Interval, ...], overridden: Iterable[date]
) -> Iterator[tuple[OfferKey, Offered]]:
    """What weekly hours offer, for all dates of theirs that can reach into the day."""
    first, last = _dates_read(zone, within[0][0], within[-1][1])
    away = None
    for day in times.days_between(first - timedelta(days=1), last):
        if day in overridden:
            continue
        if body.effective_from is not None and day < body.effective_from:
            continue
        if body.effective_until is not None and day > body.effective_until:
            continue
        weekday = WEEKDAYS[day.weekday()]
        for hours in body.weekly:
            if weekday not in hours.days:
                continue
            intervals: Iterable[Interval] = _on_date(hours, day, zone)
            if body.not_available:
                away = _away(body, zone, within) if away is None else away
                intervals = _without(intervals, away)
            for low, high in intervals:
                yield (hours.location_id, hours.service_types), (low, high, hours.capacity)


_dates_read = lru_cache(maxsize=4096)(times.dates_read)


def _away(body: WorkingHours, zone: str, within: tuple[Interval, ...]) -> list[Interval]:
    """The times in which these hours do not hold, near the day, sorted and disjoint; open ends reach past it."""
    low, high = within[0][0] - 2 * times.DAY, within[-1][1] + 2 * times.DAY
    found = []
    for period in body.not_available:
        start, end = low, high
        if period.start is not None:
            start = times.instant(period.start)
        elif period.first is not None:
            start = times.start_of_day(zone, period.first)
        if period.end is not None:
            end = times.instant(period.end)
        elif period.last is not None:
            end = times.start_of_day(zone, period.last + timedelta(days=1))
        if max(start, low) < min(end, high):
            found.append((start, end))
    return _union(found)


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same times, sorted and disjoint."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(intervals: Iterable[Interval], taken_away: list[Interval]) -> Iterator[Interval]:
    """`intervals` less the intervals `taken_away`, which are sorted and disjoint."""
    for low, high in intervals:
        first = max(0, bisect_right(taken_away, (low,)) - 1)  # the one before may reach into it
        for index in range(first, len(taken_away)):
            start, end = taken_away[index]
            if start >= high:
                break
            if end > low:
                if start > low:
                    yield low, start
                low = max(low, end)
        if low < high:
            yield low, high


Steps = tuple[list[int], list[int]]
"""A step function: sorted times, and the value from each on; 0 before the first."""


def _count(intervals: Iterable[Interval]) -> Steps:
    """How many of the intervals lie over each instant."""
    deltas: dict[int, int] = defaultdict(int)
    for low, high in intervals:
        deltas[low] += 1
        deltas[high] -= 1
    at = sorted(deltas)
    values, total = [], 0
    for when in at:
        total += deltas[when]
        values.append(total)
    return at, values


def _largest(offered: list[Offered]) -> Steps:
    """The most places that any of the intervals offers at each instant."""
    edges = sorted({edge for low, high, _ in offered for edge in (low, high)})
    opening = sorted(offered)
    values: list[int] = []
    open_: list[tuple[int, int]] = []  # (-places, end)
    index = 0
    for when in edges:
        while index < len(opening) and opening[index][0] <= when:
            heapq.heappush(open_, (-opening[index][2], opening[index][1]))
            index += 1
        while open_ and open_[0][1] <= when:
            heapq.heappop(open_)
        values.append(-open_[0][0] if open_ else 0)
    return edges, values


def _sweep(
    offers: dict[OfferKey, list[Offered]],
    taken: list[Interval],
    blocked: list[Interval],
    within: tuple[Interval, ...],
) -> Iterator[Span]:
    """Maximal runs with the same number of places left, offer by offer."""
    most = max((number for offered in offers.values() for _, _, number in offered), default=0)
    taken_at, taken_count = _count(_clip(taken, within))
    blocked_at, blocked_count = _count(_clip(blocked, within))
    edges = sorted({*taken_at, *blocked_at})
    used = [
        # More are taken than there are, or the time is blocked: it is all one, none is left.
        most if _value(blocked_at, blocked_count, when) else min(most, _value(taken_at, taken_count, when))
        for when in edges
    ]
    edges, used = _changes(edges, used)
    steps = 0
    for (location_id, service_types), offered in offers.items():
        clipped = [
            (low, high, number)
            for start, end, number in offered
            for low, high in _clip([(start, end)], within)
        ]
        if not clipped:
            continue
        places_at, places = _largest(clipped)
        cuts = set(places_at)
        for low, high, number in zip(places_at, places_at[1:], places, strict=False):
            if number:  # where nothing is offered, nothing changes
                inside = slice(bisect_right(edges, low), bisect_left(edges, high))
                steps += inside.stop - inside.start
                if steps > MAX_STEPS:
                    raise Reject("too_large", "the provider-day has too many appointments in too many offers")
                cuts.update(edges[inside])
        run_start, run_left = 0, 0
        for when in sorted(cuts):
            left = max(0, _value(places_at, places, when) - _value(edges, used, when))
            if left != run_left:
                if run_left:
                    yield Span(
                        times.moment(run_start), times.moment(when), location_id, service_types, run_left
                    )
                run_start, run_left = when, left


def _changes(at: list[int], values: list[int]) -> Steps:
    """The same step function, without the times at which it does not change."""
    kept = [index for index, value in enumerate(values) if value != (values[index - 1] if index else 0)]
    return [at[index] for index in kept], [values[index] for index in kept]


def _value(at: list[int], values: list[int], when: int) -> int:
    index = bisect_right(at, when) - 1
    return values[index] if index >= 0 else 0


def _clip(intervals: Iterable[Interval], within: tuple[Interval, ...]) -> Iterator[Interval]:
    for start, end in intervals:
        for first, last in within:
            if start < last and first < end:
                yield max(start, first), min(end, last)
