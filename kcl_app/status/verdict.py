"""One verdict on all of it: does it keep up? Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kcl_app.status.facts import Facts
from kcl_app.status.model import Picture, picture
from kcl_app.status.shards import Shard
from kcl_app.status.words import STEADY, counted, label, seconds, share, trend
from kcl_app.status.workers import SLO_SECONDS, Worker

Word = Literal["keeps up", "falling behind", "stands still", "cannot tell"]
STILL = {"stalled", "stopped"}
"""Words of the judge for a shard that does not move."""
NO_WORD = {None, "unknown"}


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


def judge(found: Picture) -> Verdict:
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
        if shard.state in STILL:
            still.append(f"{label(shard.shard)} {described(shard)}")
        elif shard.state == "slow" or (shard.state in NO_WORD and (shard.lag_seconds or 0.0) > SLO_SECONDS):
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
        line += f", {share(found.within_slo)} within {SLO_SECONDS:.0f} s"
    return Verdict("keeps up", line)


def unready(one: Worker) -> str:
    """A worker that is not ready, and why."""
    return f"the worker at {one.url} is not ready: {'; '.join(one.why) or 'see its /readyz'}"


def _nothing(found: Picture) -> str:
    return found.missing[0] if found.missing else "the stream has no shards and no worker answers"


def _some(causes: list[str]) -> str:
    return ", ".join(causes[:3]) + (f" and {len(causes) - 3} more" if len(causes) > 3 else "")


def notes(found: Picture) -> list[str]:
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


def described(shard: Shard) -> str:
    """A shard's state in brackets: ``(SLOW, lag 84 s, +0.8 s/s)``."""
    parts = [shard.state.upper() if shard.state not in NO_WORD and shard.state else ""]
    if shard.lag_seconds is not None:
        parts.append(f"lag {seconds(shard.lag_seconds)}")
    if shard.trend is not None and abs(shard.trend) >= STEADY:
        parts.append(trend(shard.trend))
    return f"({', '.join(part for part in parts if part)})"


@dataclass(frozen=True)
class Status(Picture):
    """All that is shown: what is known, and what it comes to.

    Attributes:
        verdict: whether it keeps up.
        notes: what is worth a look although it keeps up.
    """

    verdict: Verdict
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As published: names as above, and whether it keeps up as `verdict.ok`."""
        told = asdict(self)
        verdict = {"ok": self.verdict.ok, **told.pop("verdict")}
        told["at"] = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        return {"verdict": verdict, **told}


def status(facts: Facts) -> Status:
    """What was seen, made sense of and judged."""
    found = picture(facts)
    return Status(**vars(found), verdict=judge(found), notes=tuple(notes(found)))
