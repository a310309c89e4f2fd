"""Checks of `spans` and `impact`: the answers that a worker takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from emr_plugins.answers import Nonsense, checked_spans
from emr_plugins.api import Change, Item, Span
from processors import times
from processors.spans import in_order

from .days import Day, companions, days_of_clock_changes, moved, sequence_of_spans, usual_days
from .failures import Broken, NotApplicable, shown
from .subject import Subject

_REPLACE = "the standard rules' own answer is always right here: super().spans(day, items, context)"


def spans_answer(subject: Subject) -> None:
    """Every day of every provider has an answer, also one without items."""
    rule = "spans answers for every day, whatever kinds of items it has, with a list of Span whose times are aware"
    for day in usual_days(subject):
        outcome = subject.spans(day.day, day.items, day.zone)
        if outcome.failure is not None:
            mend = (
                "answer for all six kinds of items, and for none: events of the standard format's types come "
                "under every emr. Leave out what you do not know"
            )
            raise Broken(rule, outcome.failure, str(day), mend)
        for span in outcome.value or ():
            if (wrong := _not_a_span(span)) is not None:
                mend = "build spans of emr_plugins.api.Span; their times with UTC or the zone of the context"
                raise Broken(rule, f"spans returned {wrong}", str(day), mend)


def _not_a_span(span: Any) -> str | None:
    if type(span) is not Span:
        return shown(span)
    for at in (span.start, span.end):
        if not isinstance(at, datetime) or at.utcoffset() is None:
            return f"a span with the time {shown(at)}, which has no zone"
    if span.end <= span.start:
        return f"a span that ends before it starts: {shown(span)}"
    try:
        checked_spans([span], None)
    except Nonsense as error:
        return f"a span that cannot be: {error}"
    return None


Rule = tuple[str, Callable[[Day, Sequence[Span]], str | None], str]
"""What must hold, what is wrong with a day's spans if anything is, and how to mend it."""


def _apart(day: Day, spans: Sequence[Span]) -> str | None:
    for before, after in pairwise(spans):
        if after.start < before.start:
            return f"returned spans that are not sorted: {shown(sequence_of_spans(spans))}"
    ends: dict[Any, datetime] = {}
    for span in in_order(spans):
        offer = (span.location_id, span.service_types)
        if offer in ends and span.start < ends[offer]:
            return f"returned spans of one location and service types that overlap: {shown(sequence_of_spans(spans))}"
        ends[offer] = span.end
    return None


def _inside(day: Day, spans: Sequence[Span]) -> str | None:
    within = day.within()
    if within is None:
        return None
    for span in spans:
        start, end = times.instant(span.start), times.instant(span.end)
        if not any(low <= start and end <= high for low, high in within):
            lies = " and ".join(
                f"{times.moment(low):%m-%d %H:%MZ} to {times.moment(high):%m-%d %H:%MZ}"
                for low, high in within
            )
            return f"returned {sequence_of_spans([span])[0]}, and the day is {lies or 'one that its zone skipped'}"
    return None


_APART: Rule = (
    "spans are sorted by their start, and those of one location and service types do not overlap",
    _apart,
    f"sort them, and merge what touches; {_REPLACE}",
)
_INSIDE: Rule = (
    "spans lie inside the local day, midnight to midnight in the zone of the context",
    _inside,
    "cut them at the midnights of context.zone, as instants: datetime.combine(day, time(0), "
    f"ZoneInfo(context.zone)) and that of the next date; {_REPLACE}",
)


def spans_sorted_and_apart(subject: Subject) -> None:
    """Spans are sorted, and those of one offer disjoint."""
    _hold(subject, usual_days(subject), [_APART])


def spans_in_the_local_day(subject: Subject) -> None:
    """Spans lie within the provider's date."""
    _hold(subject, usual_days(subject), [_INSIDE])


def days_when_clocks_change(subject: Subject) -> None:
    """The same holds on days of 23, 25 or 24½ hours, and on those that begin at one o'clock."""
    _hold(
        subject,
        days_of_clock_changes(subject),
        [_APART, _INSIDE],
        "; this day's clock jumps, so count in UTC",
        True,
    )


def _hold(
    subject: Subject, days: Iterable[Day], rules: Sequence[Rule], more: str = "", answers: bool = False
) -> None:
    looked = 0
    for day in days:
        outcome = subject.spans(day.day, day.items, day.zone)
        if outcome.failure is not None and answers:
            rule = "spans answers for every day, those included on which clocks change"
            raise Broken(
                rule,
                outcome.failure,
                str(day),
                "reckon with instants of UTC, and turn dates into them by zoneinfo",
            )
        spans = [span for span in outcome.value or () if _not_a_span(span) is None]
        looked += len(spans)
        for rule, wrong, mend in rules:
            if (did := wrong(day, spans)) is not None:
                raise Broken(rule, did, str(day), mend + more)
    if not looked:
        raise NotApplicable("no day has any span: add a sample that makes a provider free")


def order_of_items(subject: Subject) -> None:
    """The order in which `spans` gets the items does not matter."""
    rng = random.Random(0)
    for day in usual_days(subject):
        if len(day.items) < 2:
            continue
        if (first := _spans(subject, day, day.items)) is None:
            continue
        for _ in range(4):
            others = rng.sample(day.items, len(day.items))
            again = _spans(subject, day, others)
            if again != first:
                raise Broken(
                    "the order of the items given to spans does not matter: the worker gives them in none",
                    f"returned {shown(first)} for one order and {shown(again)} for another",
                    str(day),
                    "sort the items by what decides, such as (item.body.start, item.key.id), before you go "
                    "through them",
                )


def _spans(subject: Subject, day: Day, items: Sequence[Item]) -> Any:
    outcome = subject.spans(day.day, items, day.zone)
    if outcome.failure is not None:
        return None
    if outcome.reject is not None:
        return f"rejected: {outcome.reject.detail}"
    spans = outcome.value or ()
    return sequence_of_spans(in_order(spans)) if all(type(span) is Span for span in spans) else repr(spans)


def impact_answers(subject: Subject) -> None:
    """`impact` answers for an item that comes, changes or goes."""
    day = date(2026, 3, 9)
    items = [*subject.items[:50], *companions(subject, day, "kit")]
    for item in items:
        later = moved(item, timedelta(days=1))
        for what, change in (
            ("that comes", Change(None, item)),
            ("that moves by a day", Change(item, later)),
            ("that goes", Change(item, None)),
        ):
            outcome = subject.impact(change)
            did = outcome.failure or (f"rejects it: {outcome.reject.detail}" if outcome.reject else None)
            if did is not None:
                raise Broken(
                    "impact says of any change what it touches: Instants, LocalDates or EVERY_DAY",
                    did,
                    f"{item.kind} {item.key.id} {what}",
                    "change.old is None for an item that comes and change.new for one that goes, a withdrawn item may "
                    "lack its times, and all six kinds of items come. Where impact fails, the worker computes "
                    "every day",
                )
