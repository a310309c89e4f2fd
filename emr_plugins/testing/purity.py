"""Checks that a plugin's methods are pure: the same answer for the same arguments, and nothing else done."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from emr_plugins.api import Change, Context, Item

from .answers_of import Question, answer, questions
from .days import Day
from .elsewhere import CannotBeAsked, NoAnswer, answers_elsewhere
from .failures import Broken, NotApplicable, shown
from .samples import Sample
from .subject import Subject
from .watching import asks_for

_SAME = "the same arguments give the same answer, whatever was asked before"


def same_answer_again(subject: Subject) -> None:
    """Asked twice, in another order, and of another instance."""
    asked = questions(subject)
    one, other = subject.fresh(), subject.fresh()
    first = [answer(subject, question, one) for question in asked]
    again = [answer(subject, question, one) for question in asked]
    backwards = [answer(subject, question, other) for question in reversed(asked)][::-1]
    for question, before, twice, turned in zip(asked, first, again, backwards, strict=True):
        for after, when in ((twice, "asked once more"), (turned, "asked in another order")):
            if after != before:
                raise Broken(
                    _SAME,
                    f"{question.method} answers {shown(before)} at first, and {shown(after)} {when}",
                    question.where,
                    "keep nothing between calls, neither in self nor in the module or its class: what an item needs to "
                    "know must stand in its message or in the tenant's settings",
                )


def same_answer_in_another_process(subject: Subject) -> None:
    """Asked in other processes: with another seed of hashes, another time zone of the machine, another language."""
    asked = questions(subject)
    here = [answer(subject, question, subject.fresh()) for question in asked]
    for seed, zone in ((1, "Pacific/Kiritimati"), (2, "America/Los_Angeles")):
        try:
            there = answers_elsewhere(subject, asked, seed, zone)
        except CannotBeAsked as error:
            raise NotApplicable(str(error)) from None
        except NoAnswer as error:
            raise Broken(
                "another process, as each worker is one, imports the plugin and gives the same answer",
                str(error),
                f"a process with PYTHONHASHSEED={seed} and TZ={zone}",
                "define the plugin in a module that imports without the tests round it, as its entry point must",
            ) from None
        for question, mine, theirs in zip(asked, here, there, strict=True):
            if mine != theirs:
                raise Broken(
                    "another process gives the same answer, whatever its seed of hashes and its machine's time zone",
                    f"{question.method} answers {shown(mine)} here, and {shown(theirs)} there (PYTHONHASHSEED={seed}, "
                    f"TZ={zone})",
                    question.where,
                    "sort what comes out of a set; do not use hash() of texts; do not read times without an "
                    "offset in the machine's zone, but in that of context.zone",
                )


def asks_nobody(subject: Subject) -> None:
    """No clock, no chance, no files, no network, no environment, and no waiting."""
    for question in questions(subject):
        plugin, about, context = subject.fresh(), question.about, subject.context()
        call = _call(plugin, about, context, subject)
        subject.attempt(question.method, call)  # what is imported or looked up once, is now
        seen: list[str] = []
        subject.attempt(question.method, lambda call=call, seen=seen: asks_for(call, seen))  # type: ignore[misc]
        if seen:
            raise Broken(
                "decode, impact and spans reckon with their arguments alone: they ask no clock, no random numbers, no "
                "files, no network and no environment, and wait for nothing",
                f"{question.method} calls {seen[0]}",
                question.where,
                "take the time from event.time, and whatever else is needed from the tenant's settings",
            )


def _call(plugin: Any, about: Any, context: Context, subject: Subject) -> Callable[[], Any]:
    if isinstance(about, Sample):
        event = about.event.model_copy(deep=True)
        return lambda: list(plugin.decode(event, context))
    if isinstance(about, Day):
        return lambda: plugin.spans(about.day, list(about.items), subject.context(about.zone))
    return lambda: list(plugin.impact(about, context))


def changes_no_argument(subject: Subject) -> None:
    """Neither the event nor the items nor the settings are changed."""
    for question in questions(subject):
        about, settings = question.about, copy.deepcopy(subject.settings)
        context = Context("conformance", subject.name, subject.options.time_zone, settings)
        given: Any
        if isinstance(about, Sample):
            given = about.event.model_copy(deep=True)
        else:
            given = list(copy.deepcopy(about.items)) if isinstance(about, Day) else copy.deepcopy(about)
        before = copy.deepcopy(given)
        _ask(subject, question, given, context)
        changed = None if _same(given, before) else _difference(question)
        if changed is None and settings != subject.settings:
            changed = "context.settings"
        if changed is not None:
            raise Broken(
                "what a method is given stays as it is: others are given the same objects",
                f"{question.method} changes {changed}",
                question.where,
                "work on a copy: dict(event.data), sorted(items) instead of items.sort(), and no pop or setdefault",
            )


def _ask(subject: Subject, question: Question, given: Any, context: Context) -> None:
    plugin, about = subject.fresh(), question.about
    if isinstance(about, Sample):
        subject.attempt("decode", lambda: list(plugin.decode(given, context)))
    elif isinstance(about, Day):
        given.reverse()
        context = Context(context.tenant, context.emr, about.zone, context.settings)
        subject.attempt("spans", lambda: plugin.spans(about.day, given, context))
        given.reverse()
    else:
        subject.attempt("impact", lambda: list(plugin.impact(given, context)))


def _difference(question: Question) -> str:
    return {"decode": "the event", "spans": "the items", "impact": "the change"}[question.method]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseModel):
        return bool(one.__dict__ == other.__dict__)
    if isinstance(one, Change):
        return _same_items([one.old, one.new], [other.old, other.new])
    return _same_items(one, other)


def _same_items(some: Sequence[Item | None], others: Sequence[Item | None]) -> bool:
    def texts(items: Sequence[Item | None]) -> list[Any]:
        return [
            item and (item.key, item.providers, item.revision, item.kind, item.body.model_dump())
            for item in items
        ]

    return texts(some) == texts(others)
