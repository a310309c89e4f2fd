"""From what was seen to what it means: shards with owners and lag, workers, plugins. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kcl_app.status.facts import Count, Facts
from kcl_app.status.shards import Shard, shards
from kcl_app.status.workers import Plugin, Worker, plugins, within_slo, worker


@dataclass(frozen=True)
class Picture:
    """All that is known at one moment.

    Attributes:
        at: when, in seconds since the epoch.
        stream: its name.
        application: the KCL application.
        shards: that are not ended, the one furthest behind first.
        ended: closed shards whose records are all processed, which the KCL still has leases of.
        listed: whether the stream or the lease table has said which shards there are.
        workers: those asked.
        plugins: over all of them.
        events_per_second: over all of them.
        within_slo: share of events visible within 60 s, since the workers' start.
        letters: dead letters.
        stale: stale provider-days.
        missing: what could not be seen.
    """

    at: float
    stream: str
    application: str
    shards: tuple[Shard, ...]
    ended: tuple[str, ...]
    listed: bool
    workers: tuple[Worker, ...]
    plugins: tuple[Plugin, ...]
    events_per_second: float | None
    within_slo: float | None
    letters: Count | None
    stale: Count | None
    missing: tuple[str, ...]


def picture(facts: Facts) -> Picture:
    """What was seen, made sense of."""
    found = shards(facts)
    leases = {lease.shard for lease in facts.leases or ()}
    workers = tuple(worker(one) for one in facts.workers)
    live = tuple(
        sorted(
            (shard for shard in found if shard.phase != "ended"),
            key=lambda shard: (-(shard.lag_seconds or 0.0), shard.shard),
        )
    )
    rates = [one.events_per_second for one in workers if one.events_per_second is not None]
    return Picture(
        facts.at,
        facts.stream,
        facts.application,
        live,
        tuple(shard.shard for shard in found if shard.phase == "ended" and shard.shard in leases),
        facts.shards is not None or facts.leases is not None,
        workers,
        tuple(plugins(facts.workers)),
        sum(rates) if rates else None,
        within_slo(facts.workers),
        facts.letters,
        facts.stale,
        facts.missing,
    )
