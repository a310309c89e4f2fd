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

from . import times
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

OfferKey = tuple[str | None, tuple[str, ...]]
Offered = tuple[int, int, int]
"""Start, end, places."""


def spans_of_day(day: date, items: Iterable[Item], zone: str) -> tuple[Span, ...]:
    """The spans of one provider-day.

    Args:
        day: the provider's local date.
        items: the provider's items; those that cannot touch the day may be left out. Their order does not matter.
        zone: the IANA time zone of the provider's calendar.
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

    for body in live:
        if isinstance(body, WorkingHours):
            _offer_weekly(body, body.time_zone or zone, within, overrides.keys(), offers)
    for date_, bodies in overrides.items():
        if timedelta(0) <= day - date_ <= timedelta(1):
            for body in bodies:
                for hours in body.hours:
                    for low, high in _on_date(hours, date_, zone):
                        offers[hours.location_id, hours.service_types].append((low, high, hours.capacity))

    return in_order(_sweep(offers, taken, blocked, within))


def _on_date(hours: Hours, day: date, zone: str) -> list[Interval]:
    """The instants of local hours that start on `day`."""
    midnight = times.wall_midnight(day)
    start = midnight + _since_midnight(hours.start)
    end = midnight + _since_midnight(hours.end)
    return times.instants_of_wall(zone, start, end if end > start else end + times.DAY)


def _since_midnight(clock: time) -> int:
    return (clock.hour * 3600 + clock.minute * 60 + clock.second) * times.SECOND + clock.microsecond


def _offer_weekly(
    body: WorkingHours,
    zone: str,
    within: tuple[Interval, ...],
    overridden: Iterable[date],
    offers: dict[OfferKey, list[Offered]],
) -> None:
    """Add what weekly hours offer to `offers`, for all dates of theirs that can reach into the day."""
    first, last = times.dates_read(zone, within[0][0], within[-1][1])
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
            intervals = _on_date(hours, day, zone)
            if body.not_available:
                away = _away(body, zone, within) if away is None else away
                intervals = list(_without(intervals, away))
            for low, high in intervals:
                offers[hours.location_id, hours.service_types].append((low, high, hours.capacity))


def _away(body: WorkingHours, zone: str, within: tuple[Interval, ...]) -> list[Interval]:
    """The times in which these hours do not hold, near the day, sorted; open ends reach past it."""
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
        if start < end:
            found.append((start, end))
    return sorted(found)


def _without(intervals: Iterable[Interval], taken_away: list[Interval]) -> Iterator[Interval]:
    """`intervals` less the sorted intervals `taken_away`."""
    for low, high in intervals:
        for start, end in taken_away:
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
    full = 1 << 40  # more places than any offer has: a blocked time leaves none
    taken_at, taken_count = _count(_clip(taken, within))
    blocked_at, blocked_count = _count(_clip(blocked, within))
    edges = sorted({*taken_at, *blocked_at})
    used = [
        _value(taken_at, taken_count, when) + (full if _value(blocked_at, blocked_count, when) else 0)
        for when in edges
    ]
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
                cuts.update(edges[bisect_right(edges, low) : bisect_left(edges, high)])
        run_start, run_left = 0, 0
        for when in sorted(cuts):
            left = max(0, _value(places_at, places, when) - _value(edges, used, when))
            if left != run_left:
                if run_left:
                    yield Span(
                        times.moment(run_start), times.moment(when), location_id, service_types, run_left
                    )
                run_start, run_left = when, left


def _value(at: list[int], values: list[int], when: int) -> int:
    index = bisect_right(at, when) - 1
    return values[index] if index >= 0 else 0


def _clip(intervals: Iterable[Interval], within: tuple[Interval, ...]) -> Iterator[Interval]:
    for start, end in intervals:
        for first, last in within:
            if start < last and first < end:
                yield max(start, first), min(end, last)
