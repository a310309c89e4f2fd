"""Check that a plugin is fast enough: processor time, so that a busy machine does not count."""

from __future__ import annotations

import time
from collections.abc import Callable

from .days import Day, usual_days
from .failures import Broken
from .subject import Subject

_TRIES = 5
_SECONDS = 0.04


def speed(subject: Subject) -> None:
    """Messages decoded, and days computed, in a second of one core."""
    plugin = subject.plugin
    events = [
        (sample.event.model_copy(deep=True), subject.context(tenant=sample.event.tenant))
        for sample, _ in subject.decoded
    ]
    days = [
        (day, subject.context(day.zone)) for day in list(usual_days(subject))[:20] if _answers(subject, day)
    ]

    def decode() -> int:
        for event, context in events:
            for _ in plugin.decode(event, context):
                pass
        return len(events)

    def spans() -> int:
        for day, context in days:
            plugin.spans(day.day, list(day.items), context)
        return len(days)

    _fast(subject, "decode", decode, subject.options.decode_per_second, "messages", "decode_per_second")
    if days:
        _fast(subject, "spans", spans, subject.options.spans_per_second, "provider-days", "spans_per_second")


def _answers(subject: Subject, day: Day) -> bool:
    return bool(day.items) and subject.spans(day.day, day.items, day.zone).value is not None


def _fast(
    subject: Subject, method: str, lap: Callable[[], int], floor: float, what: str, option: str
) -> None:
    best = 0.0
    for _ in range(_TRIES):
        outcome = subject.attempt(method, lambda: _rate(lap))
        if outcome.failure is not None:
            break
        best = max(best, outcome.value or 0.0)
        if best >= floor:
            return
    raise Broken(
        f"a core decodes at least {subject.options.decode_per_second:g} messages a second, and computes at least "
        f"{subject.options.spans_per_second:g} provider-days",
        f"{method} manages {best:,.0f} {what} a second of processor time, at the best of {_TRIES} tries",
        "all samples, and their days",
        "compile patterns and models once, at the import; if it cannot be faster, say so: "
        f"{option} = {max(best / 3, 1):.0f}",
    )


def _rate(lap: Callable[[], int]) -> float:
    done, began = 0, time.process_time()
    while True:
        done += lap()
        spent = time.process_time() - began
        if spent >= _SECONDS:
            return done / spent
