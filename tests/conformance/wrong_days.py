"""Plugins that are wrong on purpose, in `impact`, `spans` or their speed; as those of `wrong`."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from conformance.clinic import Clinic
from conformance.rules import found_by
from emr_plugins.api import (
    Change,
    Context,
    Event,
    Instants,
    Item,
    ItemChange,
    Slot,
    Span,
    Touched,
)

# impact and patterns ------------------------------------------------------------------------------------------------


@found_by("impact_answers", says="impact raised AttributeError at wrong_days.py:")
class ExpectsAnOldItem(Clinic):
    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        assert change.new is not None or change.old is not None
        if change.old.body.counts:  # type: ignore[union-attr]
            return super().impact(change, context)
        return super().impact(change, context)


@found_by("impact_answers", says="impact returned instants that are none")
class EndsBeforeItStarts(Clinic):
    def touched(self, item: Item) -> Touched:
        said = super().touched(item)
        return Instants(said.end, said.start) if isinstance(said, Instants) else said


@found_by("incremental_equals_full", says="a full recompute gives")
class ForgetsTheOldTime(Clinic):
    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        return [self.touched(change.new)] if change.new is not None and change.new.body.counts else []


@found_by("incremental_equals_full", says="a full recompute gives")
class ForgetsTheNewTime(Clinic):
    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        item = change.old or change.new
        return [self.touched(item)] if item is not None and item.body.counts else []


@found_by("incremental_equals_full", says="a full recompute gives")
class KnowsItsOwnItemsOnly(Clinic):
    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        item = change.new or change.old
        return super().impact(change, context) if item and item.kind in ("appointment", "slot") else []


@found_by("incremental_equals_full", says="a full recompute gives")
class CountsDaysInUtc(Clinic):
    def touched(self, item: Item) -> Touched:
        return _first_date(item, super().touched(item))


def _first_date(item: Item, said: Touched) -> Touched:
    start = getattr(item.body, "start", None)
    if not isinstance(start, datetime):
        return said
    begins = datetime.combine(start.date(), time(0), UTC)
    return Instants(begins, begins + timedelta(hours=1))


@found_by("incremental_equals_full", says="a full recompute gives")
class LooksAwayFromCancellations(Clinic):
    patterns = ({"newImage": {"status": [{"anything-but": ["cancelled"]}]}},)


@found_by("incremental_equals_full", says="the same in a newer version")
class SpansOfTheVersion(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        odd = any(int(item.revision.sequence[-1:] or 0) % 2 for item in items)
        return [] if odd else super().spans(day, items, context)


# spans --------------------------------------------------------------------------------------------------------------


@found_by("spans_answer", "days_when_clocks_change", says="spans raised AttributeError at wrong_days.py:")
class ExpectsAppointments(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        latest = max((item.body.end for item in items), default=None)  # type: ignore[attr-defined]
        return super().spans(day, items, context) if latest != 0 else []


@found_by("spans_answer", says="which has no zone")
class NaiveSpans(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        return [
            span._replace(start=span.start.replace(tzinfo=None), end=span.end.replace(tzinfo=None))
            for span in super().spans(day, items, context)
        ]


@found_by("spans_answer", "days_when_clocks_change", says="which is no list of Span")
class YieldsSpans(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Iterator[Span]:  # type: ignore[override]
        yield from super().spans(day, items, context)


@found_by("order_of_items", says="for one order and")
class ExpectsThemSorted(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        in_order = list(items) == sorted(items, key=lambda item: (item.kind, item.key.id))
        return super().spans(day, items, context) if in_order else []


@found_by("spans_sorted_and_apart", "days_when_clocks_change", says="that are not sorted")
class LatestFirst(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        return list(reversed(super().spans(day, items, context)))


@found_by("spans_sorted_and_apart", "days_when_clocks_change", says="that overlap")
class SaysEverythingTwice(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        return [span for span in super().spans(day, items, context) for _ in range(2)]


@found_by("spans_in_the_local_day", "days_when_clocks_change", says="and the day is")
class WorksPastMidnight(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        spans = list(super().spans(day, items, context))
        if not spans:
            return spans
        last = max(span.end for span in spans)
        return [
            span._replace(end=span.end + timedelta(hours=23)) if span.end == last else span for span in spans
        ][-1:]


@found_by("days_when_clocks_change", says="this day's clock jumps")
class DaysHave24Hours(Clinic):
    """Open all day: from midnight for 24 hours, which is right on most days."""

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        zone = ZoneInfo(context.zone)
        begins = datetime.combine(day, time(0), zone).astimezone(UTC)
        starts = [
            item.body.start for item in items if isinstance(item.body, Slot) and item.body.status == "free"
        ]
        opens = any(start is not None and start.astimezone(zone).date() == day for start in starts)
        return [Span(begins, begins + timedelta(hours=24))] if opens else []


@found_by("days_when_clocks_change", says="spans raised AssertionError at wrong_days.py:")
class MidnightIsAlwaysThere(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        midnight = datetime.combine(day, time(0), ZoneInfo(context.zone))
        assert midnight.astimezone(UTC).astimezone(midnight.tzinfo).time() == time(0), "no such midnight"
        return super().spans(day, items, context)


# Speed --------------------------------------------------------------------------------------------------------------


def _busy(seconds: float) -> None:
    until = clock.thread_time() + seconds
    while clock.thread_time() < until:
        pass


@found_by("speed", says="decode manages")
class DecodesSlowly(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        _busy(0.004)
        return super().decode(event, context)


@found_by("speed", says="spans manages")
class ComputesSlowly(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        if len(items) > 1:
            _busy(0.012)
        return super().spans(day, items, context)
