"""Items → spans: when one provider is free on one local date.

The rules, minute by minute: a minute belongs to an offer, that is a (location, service types), while local hours or
a free slot of that offer hold; it is bookable while fewer appointments lie over it than the offer's capacity, and no
time off or busy slot does. `spans_of_day` gives the same by one sweep over the sorted ends of intervals, so its cost
grows as n log n with the items of the day.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from datetime import date, time, timedelta
from functools import lru_cache
from itertools import islice, pairwise

from . import times
from .errors import Reject
from .items import (
    Appointment,
    Availability,
    DateOverride,
    Item,
    Slot,
    TimeOff,
    WorkingHours,
    body_from_json,
)
from .keys import ItemKey
from .revisions import Revision
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
    offers: dict[OfferKey, list[Offered]] = defaultdict(list)
    blocked: list[Interval] = []
    taken: list[Interval] = []
    overrides: dict[date, list[DateOverride]] = defaultdict(list)
    weekly: list[WorkingHours] = []
    answers: list[tuple[Revision, ItemKey, Availability]] = []
    off = False
    for item in items:
        body = item.body
        if not body.counts:
            continue
        if isinstance(body, Appointment):
            if body.takes_place:
                taken.append(body.interval)
        elif isinstance(body, WorkingHours):
            weekly.append(body)
        elif isinstance(body, Slot):
            if body.status == "free":
                offers[body.location_id, body.service_types].append((*body.interval, 1))
            else:
                blocked.append(body.interval)
        elif isinstance(body, TimeOff):
            if body.dates is not None:
                off = off or body.dates[0] <= day <= body.dates[1]
            elif body.interval is not None:
                blocked.append(body.interval)
        elif isinstance(body, DateOverride):
            if body.date is not None:
                overrides[body.date].append(body)
        elif isinstance(body, Availability) and body.date == day:
            answers.append((item.revision, item.key, body))
    if answers:
        _, _, answer = max(answers, key=lambda one: one[:2])
        return in_order(
            Span(s.start, s.end, s.location_id, s.service_types, s.capacity) for s in answer.spans
        )
    if off:
        return ()

    lines = sum(len(body.weekly) for body in weekly)
    if overrides:
        lines += sum(len(body.hours) for bodies in overrides.values() for body in bodies)
    if lines > MAX_LINES:
        raise Reject("too_large", f"the provider-day is made from more than {MAX_LINES} lines of hours")
    pieces = 0
    for hours_of_week in weekly:
        for offer, piece in _offers_of_week(hours_of_week, zone, day, within, overrides):
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
                    for low, high in _on_date(zone, date_, hours.start, hours.end):
                        offers[hours.location_id, hours.service_types].append((low, high, hours.capacity))

    found = list(islice(_sweep(offers, taken, blocked, within), MAX_SPANS + 1))
    if len(found) > MAX_SPANS:
        raise Reject("document_too_large", f"the provider-day has more than {MAX_SPANS} spans")
    return in_order(found) if len(found) > 1 else tuple(found)


@lru_cache(maxsize=16_384)
def _on_date(zone: str, day: date, opens: time, closes: time) -> tuple[Interval, ...]:
    """The instants of local hours that start on `day`; many providers have the same hours."""
    midnight = times.wall_midnight(day)
    start = midnight + _since_midnight(opens)
    end = midnight + _since_midnight(closes)
    return tuple(times.instants_of_wall(zone, start, end if end > start else end + times.DAY))


def _since_midnight(clock: time) -> int:
    return (clock.hour * 3600 + clock.minute * 60 + clock.second) * times.SECOND + clock.microsecond


_FEW_LINES = 20
"""Lines of weekly hours whose offers of a day are remembered."""


def _offers_of_week(
    body: WorkingHours, zone: str, day: date, within: tuple[Interval, ...], overridden: Container[date]
) -> Iterable[tuple[OfferKey, Offered]]:
    if overridden or body.not_available or len(body.weekly) > _FEW_LINES:
        return _weekly_offers(body, body.time_zone or zone, within, overridden)
    return _plain_offers(body.json_text(), zone, day)


@lru_cache(maxsize=8192)
def _plain_offers(body: str, zone: str, day: date) -> tuple[tuple[OfferKey, Offered], ...]:
    """The same of a stored body, for hours that hold on every date; a provider's days are computed again and again."""
    hours = body_from_json(WorkingHours.kind, body)
    assert isinstance(hours, WorkingHours)  # what else has its kind
    return tuple(_weekly_offers(hours, hours.time_zone or zone, times.day_intervals(zone, day), ()))


def _weekly_offers(
    body: WorkingHours, zone: str, within: tuple[Interval, ...], overridden: Container[date]
) -> Iterator[tuple[OfferKey, Offered]]:
    """What weekly hours offer, for all dates of theirs that can reach into the day."""
    away = None
    for day in _dates_before(zone, within[0][0], within[-1][1]):
        if day in overridden:
            continue
        if body.effective_from is not None and day < body.effective_from:
            continue
        if body.effective_until is not None and day > body.effective_until:
            continue
        for hours in body.on_weekdays[day.weekday()]:
            intervals: Iterable[Interval] = _on_date(zone, day, hours.start, hours.end)
            if body.not_available:
                away = _away(body, zone, within) if away is None else away
                intervals = _without(intervals, away)
            for low, high in intervals:
                yield (hours.location_id, hours.service_types), (low, high, hours.capacity)


@lru_cache(maxsize=16_384)
def _dates_before(zone: str, start: int, end: int) -> tuple[date, ...]:
    """The dates that a zone's clocks read within some instants, and the one before, whose hours may reach there."""
    first, last = times.dates_read(zone, start, end)
    return tuple(times.days_between(first - timedelta(days=1), last))


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

_ALL = 1 << 40
"""As how many appointments a time away counts: more than there can be, so that no place is left."""


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
    edges, used = _used(taken, blocked, within, most)
    steps = 0
    for (location_id, service_types), offered in offers.items():
        clipped = _clipped(offered, within)
        if not clipped:
            continue
        run_start, run_end, run_left = 0, 0, 0
        for low, high, number in clipped if len(clipped) == 1 else _apart(clipped):
            at = bisect_right(edges, low)
            left = number - used[at - 1] if at else number
            while True:
                until = edges[at] if at < len(edges) and edges[at] < high else high
                if left != run_left or low != run_end:
                    if run_left > 0:
                        yield _span(run_start, run_end, location_id, service_types, run_left)
                    run_start, run_left = low, left
                run_end = until
                if until == high:
                    break
                steps += 1
                if steps > MAX_STEPS:
                    raise Reject("too_large", "the provider-day has too many appointments in too many offers")
                low, left = until, number - used[at]
                at += 1
        if run_left > 0:
            yield _span(run_start, run_end, location_id, service_types, run_left)


def _span(start: int, end: int, location_id: str | None, service_types: tuple[str, ...], places: int) -> Span:
    return Span(times.moment(start), times.moment(end), location_id, service_types, places)


def _used(taken: list[Interval], blocked: list[Interval], within: tuple[Interval, ...], most: int) -> Steps:
    """How many places are taken from each instant on, up to `most`, which is how many a time that is blocked takes."""
    if not taken and not blocked:
        return [], []
    deltas: dict[int, int] = defaultdict(int)
    for intervals, weight in ((taken, 1), (blocked, _ALL)):
        for start, end in intervals:
            for first, last in within:
                if start < last and first < end:
                    deltas[start if start > first else first] += weight
                    deltas[end if end < last else last] -= weight
    at: list[int] = []
    values: list[int] = []
    total = before = 0
    for when in sorted(deltas):
        total += deltas[when]
        value = total if total < most else most
        if value != before:  # else it is all one
            at.append(when)
            values.append(value)
            before = value
    return at, values


def _clipped(offered: Iterable[Offered], within: tuple[Interval, ...]) -> list[Offered]:
    """What is offered within the day."""
    return [
        (start if start > first else first, end if end < last else last, number)
        for start, end, number in offered
        for first, last in within
        if start < last and first < end
    ]


def _apart(offered: list[Offered]) -> list[Offered]:
    """The same offer in pieces that do not overlap, sorted, each with the most places that any gives it."""
    offered.sort()
    if all(one[1] <= other[0] for one, other in pairwise(offered)):
        return offered
    at, places = _largest(offered)
    pieces = zip(at, at[1:], places, strict=False)
    return [(low, high, number) for low, high, number in pieces if number]
