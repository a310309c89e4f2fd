"""Whether what `impact` and `patterns` say is enough: days computed when they say so equal all days computed anew.

A small worker in memory, with the real one's decisions: which revision counts, what a change touches, which days that
comes to. After each change it is held to a full recompute.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from emr_plugins.api import Appointment, Change, Item, Reject, Slot, WorkingHours
from emr_plugins.host import PluginHost
from processors import times
from processors.calendars import Calendar
from processors.impacts import days_touched
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.upserts import impacts_at

from .days import companions, in_zone, moved, moved_to, sequence_of_spans, with_body
from .failures import Broken, shown
from .subject import Subject

CENTRE = date(2026, 3, 9)
"""The day that histories happen around: New York's clocks have changed the day before."""
_FIRST, _LAST = CENTRE - timedelta(days=3), CENTRE + timedelta(days=4)
_ZONES = ("America/New_York", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kathmandu", "UTC")
_STEPS = 14
_OTHER = "kit-other"

_RULE = (
    "what impact says is all that a change touches: after any change, in any order, the days that it names and only "
    "those are computed again, and then all must be what a full recompute gives"
)
_MEND = (
    "let impact name the item's old time as well as its new one, at the dates of context.zone, and whatever else spans "
    "looks at; StandardEnginePlugin's names the times of the item. Let patterns match every change that spans depends "
    "on. If in doubt, EVERY_DAY is right, and slower"
)


@dataclass
class Worker:
    """What a worker keeps of some providers.

    Args:
        host: calls the plugin.
        zone: the tenant's.
    """

    host: PluginHost
    zone: str
    items: dict[ItemKey, Item] = field(default_factory=dict)
    calendars: dict[ProviderKey, Calendar] = field(default_factory=dict)
    answers: dict[tuple[ProviderKey, date], Any] = field(default_factory=dict)

    def apply(self, new: Item) -> dict[ProviderKey, Any] | None:
        """Take a change in, and compute what it touches.

        Returns:
            what it touches, by provider; None if the change is no newer than what is known.
        """
        old = self.items.get(new.key)
        if old is not None and old.revision >= new.revision:
            return None
        if not new.providers and old is not None:
            new = replace(new, providers=old.providers)
        self.items[new.key] = new
        touched: dict[ProviderKey, Any] = {}
        for provider in sorted({*(old.providers if old else ()), *new.providers}):
            key = ProviderKey(new.key.tenant, new.key.emr, provider)
            known = key in self.calendars
            calendar = self.calendars.setdefault(key, Calendar())
            zone = calendar.zone(self.zone)
            had = old if old is not None and provider in old.providers else None
            has = new if provider in new.providers else None

            def impact(_: str, change: Change, key: ProviderKey = key, zone: str = zone) -> Any:
                return self.host.impact(key, lambda: zone, copy.deepcopy(change))

            found = dict(impacts_at(provider, had, has, impact).items()).get(provider, ())
            if has is not None:
                calendar.put(has)
            else:
                calendar.remove(new.kind, new.key.id)
            touched[key] = found
            zone = calendar.zone(self.zone)
            for day in days_touched(found if known else None, zone, _FIRST, _LAST):
                self.answers[key, day] = self.compute(key, day)
        return touched

    def compute(self, key: ProviderKey, day: date) -> Any:
        """A provider-day's answer."""
        calendar = self.calendars[key]
        zone = calendar.zone(self.zone)
        try:
            return list(self.host.spans(key, zone, day, calendar.on(day, zone)))
        except Reject as reject:
            return f"stale: {reject.reason}"

    def differs(self) -> tuple[ProviderKey, date, Any, Any] | None:
        """A day that a full recompute gives another answer for: whose, when, what is kept, what it should be."""
        for key in self.calendars:
            for day in times.days_between(_FIRST, _LAST):
                kept, right = self.answers.get((key, day)), self.compute(key, day)
                if kept != right:
                    return key, day, kept, right
        return None


def incremental_equals_full(subject: Subject) -> None:
    """Random histories of the samples' items, step by step."""
    _ = subject.items  # says why there are none
    for seed in range(subject.options.runs):
        rng = random.Random(f"conformance {seed}")
        worker = Worker(subject.host, _ZONES[seed % len(_ZONES)])
        history = messages(subject, rng) if seed < 3 else changes(subject, rng, worker.zone)
        for number, (what, new) in enumerate(history, start=1):
            old = worker.items.get(new.key)
            touched = worker.apply(new)
            if touched is not None and (found := worker.differs()) is not None:
                key, day, kept, right = found
                raise Broken(
                    _RULE,
                    f"says that this touches {_told(touched.get(key, 'nothing'), worker, key)}; provider "
                    f"{key.provider} on {day} keeps {_answer(kept)}, and a full recompute gives {_answer(right)}",
                    f"history {seed}, change {number}, {what}: {_item(old)} → {_item(new)}, in {worker.zone}",
                    _MEND,
                )


def _answer(answer: Any) -> str:
    return shown(sequence_of_spans(answer)) if isinstance(answer, list) else str(answer)


def _told(intervals: Any, worker: Worker, key: ProviderKey) -> str:
    if isinstance(intervals, str):
        return intervals
    if intervals is None:
        return "every day"
    zone = worker.calendars[key].zone(worker.zone)
    days = days_touched(intervals, zone, _FIRST, _LAST)
    return ", ".join(map(str, days)) or "no day"


def _item(item: Item | None) -> str:
    if item is None:
        return "nothing"
    return (
        f"{item.kind} {item.key.id} of {', '.join(item.providers) or 'nobody'} {shown(item.body.json_text())}"
    )


# Histories ----------------------------------------------------------------------------------------------------------

Step = tuple[str, Item]


def messages(subject: Subject, rng: random.Random) -> list[Step]:
    """The samples as they are, in any order, some of them twice."""
    items = [item for item in subject.items if item.providers][:20]
    middle = _middle(items)
    steps = [("a message of the samples", moved(item, CENTRE - middle)) for item in items]
    provider = next((item.providers[0] for item in items), _OTHER)
    steps += [("a partner's", item) for item in companions(subject, CENTRE, provider)]
    rng.shuffle(steps)
    for step in rng.sample(steps, len(steps) // 3):
        steps.insert(rng.randrange(len(steps)), (f"{step[0]}, once more", step[1]))
    return steps


def _middle(items: Sequence[Item]) -> date:
    """The date that most of them lie near."""
    starts = sorted(
        hull[0]
        for item in items
        if item.body.counts and (hull := item.body.hull()) is not None and hull[0] < hull[1]
    )
    return times.moment(starts[len(starts) // 2]).date() if starts else CENTRE


def changes(subject: Subject, rng: random.Random, zone: str) -> Iterator[Step]:
    """Items made from the samples': moved, withdrawn, handed over, said again, and overtaken by older ones."""
    provider = next((item.providers[0] for item in subject.items if item.providers), _OTHER)
    pool = [
        replace(item, providers=(provider,)) for item in rng.sample(subject.items, min(len(subject.items), 4))
    ]
    day = CENTRE + timedelta(days=rng.randint(-1, 1))
    pool = [moved_to(item, day, _local_time(rng), zone) for item in pool]
    pool += rng.sample(companions(subject, day, provider, zone), 4)
    current = {item.key: item for item in pool}
    number = 0
    hours = companions(subject, day, provider)[0]
    yield "a partner's", hours
    for _ in range(_STEPS):
        item = rng.choice(list(current.values()))
        what, change = rng.choice(_CHANGES)
        number += 1
        try:
            made = change(item, rng)
        except ValueError:  # such an item there cannot be
            continue
        version = item.revision.version + number if item.revision.version else 0
        revision = Revision.of(
            version, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number), f"{number:020d}"
        )
        new = replace(made, revision=revision)
        before = current[item.key]
        current[item.key] = new
        if rng.random() < 0.15:
            yield f"{what} (an older change comes after it)", new
            yield "an older change", before
        else:
            yield what, new
        if rng.random() < 0.15:
            yield f"{what}, once more", new


def _local_time(rng: random.Random) -> Any:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * rng.randrange(96))).time()


def _moves(item: Item, rng: random.Random) -> Item:
    if isinstance(item.body, WorkingHours):
        return in_zone(item, rng.choice(_ZONES))
    by = rng.choice(
        [timedelta(days=n) for n in (-2, -1, 1, 2)] + [timedelta(minutes=n) for n in (-780, -30, 15, 90, 780)]
    )
    same_id = replace(moved(item, by), key=item.key)
    return item if item.kind == "availability" else same_id


def _other_status(item: Item, rng: random.Random) -> Item:
    known = {Appointment: ("booked", "cancelled", "noshow", "arrived"), Slot: ("free", "busy", "cancelled")}
    statuses: Sequence[str] = known.get(type(item.body), ("active", "cancelled"))
    return with_body(item, status=rng.choice(statuses))


def _hands_over(item: Item, rng: random.Random) -> Item:
    mine = item.providers or (_OTHER,)
    return replace(item, providers=rng.choice([(_OTHER,), mine, tuple(sorted({*mine, _OTHER}))]))


def _same(item: Item, rng: random.Random) -> Item:
    return item


_CHANGES: tuple[tuple[str, Callable[[Item, random.Random], Item]], ...] = (
    ("another time", _moves),
    ("another time", _moves),
    ("another status", _other_status),
    ("another provider", _hands_over),
    ("the same in a newer version", _same),
    ("another time and status", lambda item, rng: _other_status(_moves(item, rng), rng)),
)
