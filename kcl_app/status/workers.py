"""What a worker's metrics say, as values: of its shards, of itself, of its plugins. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kcl_app import metrics
from kcl_app.scrape import Samples
from kcl_app.status.facts import Scraped

SLO_SECONDS = 60.0
"""99 % of events shall be visible within this."""


@dataclass(frozen=True)
class ShardSeen:
    """One shard, as the worker that reads it says.

    Attributes:
        shard: its id.
        url: of the worker.
        lag_seconds: behind the tip of the stream.
        trend: seconds of lag that come with each second; below 0 it catches up. None: not known yet.
        state: the judge's word, of `metrics.STATES`; None: it has none yet.
        records_per_second: settled.
        checkpoint_age_seconds: since everything delivered was checkpointed.
        stores_available: whether the shard's stores answer.
    """

    shard: str
    url: str
    lag_seconds: float | None
    trend: float | None
    state: str | None
    records_per_second: float | None
    checkpoint_age_seconds: float | None
    stores_available: bool


@dataclass(frozen=True)
class Worker:
    """One worker.

    Attributes:
        url: where it answers.
        answers: whether it does.
        ready: whether /readyz says so.
        why: why it is not ready.
        shards: that it owns.
        events_per_second: all outcomes.
        cpu: cores in use, all its processes.
        memory_bytes: resident, all its processes.
        version: of the application.
    """

    url: str
    answers: bool
    ready: bool = False
    why: tuple[str, ...] = ()
    shards: int = 0
    events_per_second: float | None = None
    cpu: float | None = None
    memory_bytes: float = 0.0
    version: str = ""


@dataclass(frozen=True)
class Plugin:
    """One plugin, over all workers asked.

    Attributes:
        name: of the plugin.
        calls_per_second: into it.
        milliseconds: a call takes on average, since the workers' start.
        failures: calls that failed, since the workers' start.
        suspended: breakers that are open, such as ``spans for all (1)``.
        refused: why it does not run; empty where it does.
    """

    name: str
    calls_per_second: float | None = None
    milliseconds: float | None = None
    failures: int = 0
    suspended: tuple[str, ...] = ()
    refused: str = ""


def rate(one: Scraped, name: str, **labels: str) -> float | None:
    """How fast a counter goes, a second; None where it cannot be known, as after a restart in between."""
    if one.now is None or one.before is None or one.seconds <= 0:
        return None
    gained = one.now.sum(name, **labels) - one.before.sum(name, **labels)
    return gained / one.seconds if gained >= 0 else None


def value(samples: Samples | None, name: str, **labels: str) -> float | None:
    """A gauge's value; None where there is none."""
    if samples is None:
        return None
    found = [value for has, value in samples.all(name) if labels.items() <= has.items()]
    return found[0] if found and not math.isnan(found[0]) else None


def shards_seen(one: Scraped) -> list[ShardSeen]:
    """The shards that a worker speaks of."""
    if one.now is None:
        return []
    of_shards = (metrics.LAG, metrics.READ_LAG, metrics.STORES_AVAILABLE)
    names = {labels["shard"] for metric in of_shards for labels, _ in one.now.all(metric.name)}
    return [_shard(one, shard) for shard in sorted(names)]


def _shard(one: Scraped, shard: str) -> ShardSeen:
    return ShardSeen(
        shard,
        one.url,
        _lag(one.now, shard),
        _trend(one, shard),
        _state(one.now, shard) if one.now is not None else None,
        rate(one, metrics.RECORDS.name, shard=shard),
        value(one.now, metrics.CHECKPOINT_AGE.name, shard=shard),
        value(one.now, metrics.STORES_AVAILABLE.name, shard=shard) != 0.0,
    )


def _lag(samples: Samples | None, shard: str) -> float | None:
    lag = value(samples, metrics.LAG.name, shard=shard)
    # In a child's first seconds only the KCL knows.
    return lag if lag is not None else value(samples, metrics.READ_LAG.name, shard=shard)


def _trend(one: Scraped, shard: str) -> float | None:
    """The judge's, over its window; while it has none, that of the time between the two scrapes."""
    judged = value(one.now, metrics.LAG_TREND.name, shard=shard)
    if judged is not None:
        return judged
    lag, before = _lag(one.now, shard), _lag(one.before, shard)
    if lag is None or before is None or one.seconds <= 0:
        return None
    return (lag - before) / one.seconds


def _state(samples: Samples, shard: str) -> str | None:
    for labels, holds in samples.all(metrics.SHARD_STATE.name):
        if labels["shard"] == shard and holds == 1:
            return labels["state"]
    return None


def worker(one: Scraped) -> Worker:
    """What a worker says of itself."""
    now = one.now
    if now is None:
        return Worker(one.url, answers=False)
    version = next((labels.get("version", "") for labels, _ in now.all(metrics.BUILD_INFO.name)), "")
    return Worker(
        one.url,
        answers=True,
        ready=not one.unready and now.sum(metrics.WORKER_READY.name) == 1,
        why=one.unready,
        shards=int(now.sum(metrics.SHARDS_OWNED.name)),
        events_per_second=rate(one, metrics.EVENTS.name),
        cpu=rate(one, metrics.PROCESS_CPU.name),
        memory_bytes=now.sum(metrics.PROCESS_MEMORY.name),
        version=version,
    )


def plugins(workers: Iterable[Scraped]) -> list[Plugin]:
    """All plugins that the workers speak of, by name."""
    workers = list(workers)
    calls = f"{metrics.PLUGIN_DURATION.name}_count"
    names = {
        labels["plugin"]
        for one in workers
        if one.now is not None
        for metric in (calls, metrics.PLUGIN_FAILURES.name, metrics.PLUGIN_SUSPENDED.name)
        for labels, _ in one.now.all(metric)
    }
    refused = {name: why for one in workers for name, why in one.refused.items()}
    return [_plugin(workers, name, refused.get(name, "")) for name in sorted(names | set(refused))]


def _plugin(workers: list[Scraped], name: str, refused: str) -> Plugin:
    calls, seconds = (f"{metrics.PLUGIN_DURATION.name}_{part}" for part in ("count", "sum"))
    answering = [one.now for one in workers if one.now is not None]
    made = sum(samples.sum(calls, plugin=name) for samples in answering)
    took = sum(samples.sum(seconds, plugin=name) for samples in answering)
    rates = [found for one in workers if (found := rate(one, calls, plugin=name)) is not None]
    open_breakers: dict[str, float] = {}
    for samples in answering:
        for labels, number in samples.all(metrics.PLUGIN_SUSPENDED.name):
            if labels["plugin"] == name and number > 0:
                word = f"{labels['method']} for {_whom(labels['scope'])}"
                open_breakers[word] = open_breakers.get(word, 0) + number
    return Plugin(
        name,
        sum(rates) if rates else None,
        1000 * took / made if made else None,
        int(sum(samples.sum(metrics.PLUGIN_FAILURES.name, plugin=name) for samples in answering)),
        tuple(f"{word} ({number:.0f})" for word, number in sorted(open_breakers.items())),
        refused,
    )


def _whom(scope: str) -> str:
    return {"provider": "a provider", "tenant": "a tenant"}.get(scope, scope)


def within_slo(workers: Iterable[Scraped]) -> float | None:
    """Share of events, since the workers' start, that were visible within the SLO; None: there were none."""
    inside = total = 0.0
    for one in workers:
        if one.now is None:
            continue
        name = metrics.PIPELINE_AGE.name
        total += one.now.sum(f"{name}_count")
        bounds = [
            (float(labels["le"]), number)
            for labels, number in one.now.all(f"{name}_bucket")
            if float(labels["le"]) <= SLO_SECONDS
        ]
        inside += max(bounds, default=(0.0, 0.0))[1]
    return inside / total if total else None
