"""One shard, from what the stream, the lease table and the workers say of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kcl_app.status.facts import Facts, StreamShard
from kcl_app.status.workers import ShardSeen, shards_seen
from kcl_app.stream.leases import Lease

Phase = Literal["read", "no owner", "its owner is gone", "waits for its parent", "ended"]


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        shard: its id.
        open: whether it takes records; None: the stream does not answer.
        phase: what becomes of it.
        owner: the worker that has the lease, as the KCL calls it; None: nobody, or not known.
        url: where that worker answers, if it was asked.
        lag_seconds: how far behind.
        lag_from: who says so: the worker that reads it, or the stream itself, asked what comes after the checkpoint.
        trend: seconds of lag that come with each second; below 0 it catches up.
        state: the lag judge's word: ok, slow, stalled, stopped, or unknown while it has seen too little; None where no
            worker says.
        records_per_second: settled.
        checkpoint: the sequence number, or the KCL's word for a position.
        checkpoint_age_seconds: since everything delivered was checkpointed.
    """

    shard: str
    open: bool | None
    phase: Phase
    owner: str | None = None
    url: str | None = None
    lag_seconds: float | None = None
    lag_from: Literal["worker", "stream"] | None = None
    trend: float | None = None
    state: str | None = None
    records_per_second: float | None = None
    checkpoint: str | None = None
    checkpoint_age_seconds: float | None = None


def shards(facts: Facts) -> list[Shard]:
    """All shards that anything speaks of, by id."""
    seen: dict[str, ShardSeen] = {}
    for one in facts.workers:
        for shard in shards_seen(one):
            # A worker that has lost a shard may speak of it for a moment more: its checkpoint is the older one.
            if shard.shard not in seen or _age(shard) < _age(seen[shard.shard]):
                seen[shard.shard] = shard
    leases = {lease.shard: lease for lease in facts.leases or ()}
    listed = {shard.id: shard for shard in facts.shards or ()}
    return [_shard(name, listed, leases, seen, facts) for name in sorted({*seen, *leases, *listed})]


def _age(shard: ShardSeen) -> float:
    return shard.checkpoint_age_seconds if shard.checkpoint_age_seconds is not None else float("inf")


def _shard(
    name: str,
    listed: Mapping[str, StreamShard],
    leases: Mapping[str, Lease],
    seen: Mapping[str, ShardSeen],
    facts: Facts,
) -> Shard:
    lease, told, stream = leases.get(name), seen.get(name), listed.get(name)
    behind = facts.behind.get(name)
    lag = told.lag_seconds if told is not None else None
    return Shard(
        shard=name,
        open=stream.open if stream is not None else None if facts.shards is None else False,
        phase=_phase(stream, lease, told, leases, facts),
        owner=lease.owner if lease is not None else None,
        url=told.url if told is not None else None,
        lag_seconds=lag if lag is not None else behind,
        lag_from="worker" if lag is not None else "stream" if behind is not None else None,
        trend=told.trend if told is not None else None,
        state=told.state if told is not None else None,
        records_per_second=told.records_per_second if told is not None else None,
        checkpoint=lease.checkpoint if lease is not None else None,
        checkpoint_age_seconds=told.checkpoint_age_seconds if told is not None else None,
    )


def _phase(
    stream: StreamShard | None,
    lease: Lease | None,
    told: ShardSeen | None,
    leases: Mapping[str, Lease],
    facts: Facts,
) -> Phase:
    if lease is not None and lease.ended:
        return "ended"
    if told is not None:
        return "read"
    if lease is not None and lease.owner is not None:
        return "its owner is gone" if lease.shard in facts.silent else "read"
    if facts.leases is None:
        return "read"  # nobody knows better
    if lease is None and stream is not None and not stream.open and facts.leases:
        return "ended"  # the KCL has deleted its lease when it was done with it
    parents = {*(lease.parents if lease is not None else ()), *(stream.parents if stream is not None else ())}
    if any(parent in leases and not leases[parent].ended for parent in parents):
        return "waits for its parent"
    if lease is not None and stream is None and facts.shards is not None:
        return "ended"  # its records have expired
    return "no owner"
