"""Provider-days again from the items, on demand: after a plugin was mended or changed, and at the end of a replay.

The items say what is so and nothing of them changes, so this is a worker's steps 5 and 6 alone, and as safe beside
workers: a document is written on the `write_version` that was read before its items.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from kcl_app import backoff
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.dead_letters import Letter
from kcl_app.engine.settling import Work
from kcl_app.logs import get_logger
from kcl_app.stores.base import Row, Store, Table
from kcl_app.stores.rows import known_key
from processors.errors import Fatal, Reject, Retry
from processors.keys import ProviderKey
from processors.times import days_between

ATTEMPTS = 5
"""Tries of one provider where a store cannot be used."""

GIVE_UP = 3
"""Providers in a row for which a store could not be used: then it is not about the providers."""

_DOCUMENT = ("sk", "status", "plugin", "plugin_version")

Sleep = Callable[[float], None]

T = TypeVar("T")


@dataclass(frozen=True)
class Days:
    """Which days of a provider are meant.

    Attributes:
        first: the first local date; None: as far back as days are kept.
        last: the last one; None: the last that workers compute.
        not_fresh: only those without a fresh document.
        other_version: only those not made by the version of the plugin that runs here, and those not fresh.
    """

    first: date | None = None
    last: date | None = None
    not_fresh: bool = False
    other_version: bool = False


EVERY_DAY = Days()


@dataclass
class Recomputed:
    """What recomputing came to.

    Attributes:
        providers: of which days were computed.
        fresh: days computed.
        stale: days that could not be computed and say so.
        failed: providers for which a store could not be used, or something else went wrong.
        refused: providers whose days cannot be computed here and were left as they are, by reason.
    """

    providers: int = 0
    fresh: int = 0
    stale: int = 0
    failed: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether everything meant is computed."""
        return not (self.stale or self.failed or self.refused)


def is_known(store: Store, key: ProviderKey) -> bool:
    """Whether workers have met a provider."""
    return bool(store.get(Table.PROVIDERS, [known_key(key)]))


def recompute_all(
    engine: BatchEngine,
    store: Store,
    keys: Iterable[ProviderKey],
    days: Days,
    origin: str,
    progress: Callable[[], None] = lambda: None,
    sleep: Sleep = time.sleep,
) -> Recomputed:
    """Recompute days of providers; what goes wrong with one does not keep the others from it.

    Args:
        engine: on the same stores as the workers.
        store: the tables.
        keys: which providers.
        days: which of their days.
        origin: who asks, for the dead letters of days that fail.
        progress: called after each provider.
        sleep: waits, in seconds.

    Raises:
        Retry: a store cannot be used, whatever the provider.
        Fatal: permissions or tables are missing.
    """
    result = Recomputed()
    in_a_row = 0
    for key in keys:
        try:
            _recompute_one(engine, store, key, days, origin, result, sleep)
            in_a_row = 0
        except Retry as error:
            result.failed += 1
            in_a_row += 1
            if in_a_row == GIVE_UP:
                raise
            get_logger().warning("a provider could not be recomputed", tenant=key.tenant, why=str(error))
        except Fatal:
            raise
        except Exception as error:
            result.failed += 1
            get_logger().error("a provider could not be recomputed", tenant=key.tenant, exc_info=True)
            why = f"the engine raised {type(error).__name__}"
            with suppress(Retry):
                engine.dead_letters.send([Letter("processing_failed", why, origin, provider=key.pk())])
        engine.providers.forget(key)
        progress()
    return result


def _recompute_one(
    engine: BatchEngine,
    store: Store,
    key: ProviderKey,
    days: Days,
    origin: str,
    result: Recomputed,
    sleep: Sleep,
) -> None:
    why = engine.host.cannot_compute(key)
    if why is not None:  # days that are right would be marked stale
        result.refused[why] = result.refused.get(why, 0) + 1
        return

    def once() -> tuple[int, int]:
        wanted = days_meant(engine, store, key, days)
        if wanted:
            recompute(engine, key, wanted, origin)
        return len(wanted), len(stale_days(store, key, wanted))

    try:
        number, stale = persistently(once, sleep)
    except Reject as reject:
        result.refused[reject.detail] = result.refused.get(reject.detail, 0) + 1
        return
    if number:
        result.providers += 1
    result.stale += stale
    result.fresh += number - stale


def recompute(engine: BatchEngine, key: ProviderKey, days: Collection[date], origin: str) -> None:
    """Recompute some days of a provider, document or not.

    Raises:
        Retry: a store cannot be used now.
    """
    engine.settler.run({key: Work(days=frozenset(days), origin=origin)})


def days_meant(engine: BatchEngine, store: Store, key: ProviderKey, days: Days) -> set[date]:
    """The days of a provider that there should be a document of, or is, as far as they are meant.

    Past days age out: they are kept right while they have a document, and never made.

    Raises:
        Reject: a newer version of the application keeps something of them.
        Retry: a store cannot be used now.
    """
    engine.providers.forget(key)  # what is in memory may be old
    state = engine.providers.get(key)
    _, today, last = engine.providers.window(key)
    documents = _documents(store, key, engine.providers.history_start(today), last)
    first = days.first or engine.providers.history_start(today)
    until = last if days.last is None else min(last, days.last)
    current = engine.host.version(key.emr)
    wanted = set()
    for day in days_between(max(first, engine.providers.history_start(today)), until):
        document = documents.get(day)
        if document is None and day < today:
            continue
        if days.not_fresh or days.other_version:
            fresh = document is not None and document["status"] == "fresh"
            made_by = (document["plugin"], document["plugin_version"]) if document is not None else None
            if fresh and (not days.other_version or made_by == current):
                continue
        wanted.add(day)
    newer = [day for day in wanted if state.unreadable(day.isoformat())]
    if newer:
        raise Reject(
            "newer_schema", "a newer version of this application has written what this one cannot read"
        )
    return wanted


def stale_days(store: Store, key: ProviderKey, days: Collection[date]) -> list[date]:
    """Those of some days of a provider whose documents are not fresh."""
    if not days:
        return []
    documents = _documents(store, key, min(days), max(days))
    return sorted(day for day in days if day in documents and documents[day]["status"] != "fresh")


def _documents(store: Store, key: ProviderKey, first: date, last: date) -> dict[date, Row]:
    rows = store.query(Table.SPANS, key.pk(), (first.isoformat(), last.isoformat()), _DOCUMENT)
    return {date.fromisoformat(str(row["sk"])): row for row in rows}


def persistently(action: Callable[[], T], sleep: Sleep, attempts: int = ATTEMPTS) -> T:
    """Do something, and again with growing pauses where a store cannot be used.

    Raises:
        Retry: it still cannot after some tries.
    """
    for attempt in range(attempts - 1):
        try:
            return action()
        except Retry:
            sleep(backoff.pause(attempt, 10.0))
    return action()
