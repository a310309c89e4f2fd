"""From what was seen to what it means: shards with owners and lag, and one verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kcl_app.status.facts import Count, Facts, StreamShard
from kcl_app.status.workers import (
    SLO_SECONDS,
    Plugin,
    ShardSeen,
    Worker,
    plugins,
    shards_seen,
    within_slo,
    worker,
)
from kcl_app.stream.leases import Lease

Word = Literal["keeps up", "falling behind", "stands still", "cannot tell"]
Phase = Literal["read", "no owner", "its owner is gone", "waits for its parent", "ended"]
MOVING = {"STALLED", "STOPPED"}
"""Words of the judge for a shard that does not move."""


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
        state: the lag judge's word: OK, SLOW, STALLED, STOPPED; None where no worker says.
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


@dataclass(frozen=True)
class Verdict:
    """Whether it keeps up.

    Attributes:
        word: in a word.
        line: in a line.
        causes: what keeps it from keeping up, the worst first.
    """

    word: Word
    line: str
    causes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it keeps up, for sure."""
        return self.word == "keeps up"


@dataclass(frozen=True)
class Status:
    """All that is shown.

    Attributes:
        at: when, in seconds since the epoch.
        stream: its name.
        application: the KCL application.
        verdict: whether it keeps up.
        shards: that are not ended, the one furthest behind first.
        ended: closed shards whose records are all processed, which the KCL still has leases of.
        listed: whether the stream or the lease table has said which shards there are.
        workers: those asked.
        plugins: over all of them.
        events_per_second: over all of them.
        within_slo: share of events visible within 60 s, since the workers' start.
        letters: dead letters.
        stale: stale provider-days.
        notes: what is worth a look although it keeps up.
        missing: what could not be seen.
    """

    at: float
    stream: str
    application: str
    verdict: Verdict
    shards: tuple[Shard, ...]
    ended: tuple[str, ...]
    listed: bool
    workers: tuple[Worker, ...]
    plugins: tuple[Plugin, ...]
    events_per_second: float | None
    within_slo: float | None
    letters: Count | None
    stale: Count | None
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As published: names as above, and whether it keeps up as `verdict.ok`."""
        found = asdict(self)
        found["at"] = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        found["verdict"]["ok"] = self.verdict.ok
        return found


def status(facts: Facts) -> Status:
    """What was seen, made sense of."""
    seen: dict[str, ShardSeen] = {}
    for one in facts.workers:
        for shard in shards_seen(one):
            # A worker that has lost a shard may speak of it for a moment more: its checkpoint is the older one.
            if shard.shard not in seen or _age(shard) < _age(seen[shard.shard]):
                seen[shard.shard] = shard
    leases = {lease.shard: lease for lease in facts.leases or ()}
    listed = {shard.id: shard for shard in facts.shards or ()}
    names = sorted({*seen, *leases, *listed})
    shards = [_shard(name, listed, leases, seen, facts) for name in names]
    workers = tuple(worker(one) for one in facts.workers)
    live = tuple(
        sorted(
            (shard for shard in shards if shard.phase != "ended"),
            key=lambda shard: (-(shard.lag_seconds or 0.0), shard.shard),
        )
    )
    rates = [one.events_per_second for one in workers if one.events_per_second is not None]
    found = Status(
        facts.at,
        facts.stream,
        facts.application,
        Verdict("cannot tell", ""),
        live,
        tuple(shard.shard for shard in shards if shard.phase == "ended" and shard.shard in leases),
        facts.shards is not None or facts.leases is not None,
        workers,
        tuple(plugins(facts.workers)),
        sum(rates) if rates else None,
        within_slo(facts.workers),
        facts.letters,
        facts.stale,
        (),
        facts.missing,
    )
    return Status(**{**vars(found), "verdict": judge(found), "notes": tuple(notes(found))})


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


def judge(found: Status) -> Verdict:
    """Whether it keeps up: the judge's words where workers give them, else lag against the SLO."""
    still: list[str] = []
    slow: list[str] = []
    if not found.shards:
        return Verdict("cannot tell", f"cannot tell: {_nothing(found)}", found.missing)
    unowned = [shard for shard in found.shards if shard.phase in ("no owner", "its owner is gone")]
    if unowned and len(unowned) == len(found.shards):
        still.append(f"no worker runs that has any of the {len(unowned)} shards")
    else:
        gone = {"no owner": "has no owner", "its owner is gone": "has an owner that is gone"}
        still += [f"{label(shard.shard)} {gone[shard.phase]}" for shard in unowned]
    for shard in found.shards:
        if shard.phase != "read":
            continue
        if shard.state in MOVING:
            still.append(f"{label(shard.shard)} {described(shard)}")
        elif shard.state == "SLOW" or (shard.state is None and (shard.lag_seconds or 0.0) > SLO_SECONDS):
            slow.append(f"{label(shard.shard)} {described(shard)}")
    still += [unready(one) for one in found.workers if one.answers and not one.ready and one.shards]
    if still or slow:
        word: Word = "stands still" if still else "falling behind"
        return Verdict(word, f"{word}: {_some([*still, *slow])}", (*still, *slow))
    unknown = [shard for shard in found.shards if shard.phase == "read" and shard.lag_seconds is None]
    if unknown:
        names = _some([label(shard.shard) for shard in unknown])
        causes = tuple(f"{label(shard.shard)}: nobody says how far behind it is" for shard in unknown)
        return Verdict("cannot tell", f"cannot tell: nobody says how far behind {names} is", causes)
    if not found.listed:
        lag = seconds(max(shard.lag_seconds or 0.0 for shard in found.shards))
        why = "neither the stream nor the lease table says which others there are"
        return Verdict(
            "cannot tell", f"cannot tell: the shards of these workers have a lag of {lag}, but {why}"
        )
    worst = max((shard.lag_seconds or 0.0 for shard in found.shards), default=0.0)
    number = len(found.shards)
    line = f"keeps up: worst lag {seconds(worst)} over {number} shard{'' if number == 1 else 's'}"
    if found.events_per_second is not None:
        line += f", {found.events_per_second:,.0f} events/s"
    if found.within_slo is not None:
        line += f", {_share(found.within_slo)} visible within {SLO_SECONDS:.0f} s"
    return Verdict("keeps up", line)


def unready(one: Worker) -> str:
    """A worker that is not ready, and why."""
    return f"the worker at {one.url} is not ready: {'; '.join(one.why) or 'see its /readyz'}"


def _nothing(found: Status) -> str:
    return found.missing[0] if found.missing else "the stream has no shards and no worker answers"


def _some(causes: list[str]) -> str:
    return ", ".join(causes[:3]) + (f" and {len(causes) - 3} more" if len(causes) > 3 else "")


def notes(found: Status) -> list[str]:
    """What is worth a look although it keeps up, with the command that says more."""
    said = []
    for plugin in found.plugins:
        if plugin.refused:
            said.append(f"plugin {plugin.name} does not run: {plugin.refused}")
        if plugin.suspended:
            said.append(f"plugin {plugin.name} is suspended: {', '.join(plugin.suspended)}")
    if found.letters is not None and found.letters.number:
        said.append(f"{counted(found.letters, 'dead letter')}: kcl-app dead-letters list")
    if found.stale is not None and found.stale.number:
        said.append(f"{counted(found.stale, 'stale provider-day')}: kcl-app recompute --stale")
    said += [unready(one) for one in found.workers if one.answers and not one.ready and not one.shards]
    versions = sorted({one.version for one in found.workers if one.version})
    if len(versions) > 1:
        said.append(f"workers of {len(versions)} versions run: {', '.join(versions)}")
    return said


def counted(count: Count, what: str) -> str:
    """A number of things, and whether there may be more."""
    number = f"{count.number:,} {what}{'' if count.number == 1 else 's'}"
    by = ", ".join(
        f"{number:,} {reason}" for reason, number in sorted(count.by.items(), key=lambda one: -one[1])[:4]
    )
    whole = number if count.complete else f"at least {number} (of the first {count.looked_at:,} rows)"
    return f"{whole} ({by})" if by and count.number else whole


def described(shard: Shard) -> str:
    """A shard's state in brackets: ``(SLOW, lag 84 s, +0.8 s/s)``."""
    parts = [shard.state or ""]
    if shard.lag_seconds is not None:
        parts.append(f"lag {seconds(shard.lag_seconds)}")
    if shard.trend is not None and abs(shard.trend) >= STEADY:
        parts.append(trend(shard.trend))
    return f"({', '.join(part for part in parts if part)})"


STEADY = 0.02
"""Seconds of lag a second that do not count."""


def trend(value: float) -> str:
    """How lag changes: ``+0.8 s/s`` is falling behind; +1 is standing still while events come."""
    return (
        "steady" if abs(value) < STEADY else f"{value:+.1f} s/s" if abs(value) >= 0.1 else f"{value:+.2f} s/s"
    )


def label(shard: str) -> str:
    """A shard for people: ``shard 3``."""
    return f"shard {short(shard)}"


def short(shard: str) -> str:
    """A shard's number, where its id is Kinesis' own."""
    number = shard.removeprefix("shardId-")
    return str(int(number)) if number.isdigit() else shard


def seconds(value: float) -> str:
    """A duration to read at a glance."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def _share(value: float) -> str:
    """A share that is not rounded up to all."""
    return "100 %" if value >= 1 else f"{min(value * 100, 99.99):.2f} %"
