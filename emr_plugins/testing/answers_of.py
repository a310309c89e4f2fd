"""What a plugin answers to a list of questions, as texts that can be compared between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emr_plugins.api import Change, EmrPlugin, ItemChange, Span
from processors.spans import in_order

from .days import Day, usual_days
from .samples import Sample
from .subject import Outcome, Subject

MOST_QUESTIONS = 40
"""Of each kind."""


@dataclass(frozen=True)
class Question:
    """One thing to ask.

    Attributes:
        method: `decode`, `impact` or `spans`.
        about: a sample, a change or a day.
        where: the same in words.
    """

    method: str
    about: Sample | Change | Day
    where: str


def questions(subject: Subject) -> list[Question]:
    """All samples, the changes that bring their items, and their days."""
    found = [
        Question("decode", sample, f"sample {sample.name}") for sample, _ in subject.decoded[:MOST_QUESTIONS]
    ]
    found += [
        Question("decode", sample, f"reject {sample.name}") for sample in subject.rejects[:MOST_QUESTIONS]
    ]
    for item in subject.items[:MOST_QUESTIONS]:
        found.append(Question("impact", Change(None, item), f"a new {item.kind} {item.key.id}"))
    for day in list(usual_days(subject))[:MOST_QUESTIONS]:
        found.append(Question("spans", day, str(day)))
    return found


def answer(subject: Subject, question: Question, plugin: EmrPlugin | None = None) -> str:
    """What the plugin says, as a text."""
    about = question.about
    outcome: Outcome[Any]
    if isinstance(about, Sample):
        outcome = subject.decode(about.event, plugin)
    elif isinstance(about, Day):
        outcome = subject.spans(about.day, about.items, about.zone, plugin)
    else:
        outcome = subject.impact(about, None, plugin)
    if outcome.failure is not None:
        return f"{question.method} fails"  # which is for another check to say
    if outcome.reject is not None:
        return f"rejected: {outcome.reject.reason}: {outcome.reject.detail}"
    value = outcome.value
    if isinstance(value, list) and all(type(one) is Span for one in value):
        return repr([tuple(map(str, span)) for span in in_order(value)])
    if isinstance(value, tuple) and value and isinstance(value[0], ItemChange):
        return repr(as_texts([one for one in value if isinstance(one, ItemChange)]))
    return repr(value)


def as_texts(changes: Sequence[ItemChange]) -> list[tuple[Any, ...]]:
    """Item changes without anything that could differ between processes."""
    return [(one.kind, one.id, one.providers, one.version, one.body.json_text()) for one in changes]
