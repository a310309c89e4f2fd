"""What was seen, as it was seen: by the stream, the lease table, the workers and the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kcl_app.scrape import Samples
from kcl_app.stream.leases import Lease

LETTERS, STALE = "dead letters", "stale provider-days"
"""What the counts are called, also in what could not be seen."""


@dataclass(frozen=True, slots=True)
class StreamShard:
    """A shard as the stream lists it.

    Attributes:
        id: the stream's name for it.
        open: whether it still takes records.
        parents: shards that it was made of.
    """

    id: str
    open: bool
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scraped:
    """One worker, asked twice.

    Attributes:
        url: where, without a path.
        now: its metrics; None: it does not answer.
        before: its metrics a while earlier; None: it was not asked, or did not answer.
        seconds: between the two.
        unready: why /readyz answers 503.
        refused: plugins that it does not run, each with the reason.
    """

    url: str
    now: Samples | None
    before: Samples | None = None
    seconds: float = 0.0
    unready: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """Rows counted by a bounded scan.

    Attributes:
        number: found so far.
        by: the same, by reason.
        looked_at: rows of the table.
        complete: whether that was all of it; if not, `number` is the least that there can be.
    """

    number: int
    by: Mapping[str, int]
    looked_at: int
    complete: bool


@dataclass(frozen=True)
class Facts:
    """All that was seen at one moment. What could not be seen is None, and `missing` says why.

    Attributes:
        at: seconds since the epoch.
        stream: its name.
        application: the KCL application.
        shards: of the stream.
        leases: of the application.
        silent: shards whose owner does not renew the lease.
        workers: those asked.
        behind: seconds that a shard's checkpoint is behind, asked of the stream where no worker says it.
        letters: dead letters, by reason.
        stale: provider-days that are stale; None as well where nobody wanted them counted.
        missing: what could not be seen, and why, one line each.
    """

    at: float
    stream: str
    application: str
    shards: tuple[StreamShard, ...] | None = None
    leases: tuple[Lease, ...] | None = None
    silent: frozenset[str] = frozenset()
    workers: tuple[Scraped, ...] = ()
    behind: Mapping[str, float] = field(default_factory=dict)
    letters: Count | None = None
    stale: Count | None = None
    missing: tuple[str, ...] = ()
