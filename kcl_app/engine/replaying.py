"""The stream again from a point in time, beside the workers and without their checkpoints.

    read every shard, parents before children → run its records as a worker would → recompute all days of every
    provider met

Revisions decide what is new, so a replay changes nothing that is right, however often it is run and whatever workers do
meanwhile. A record that is rejected finds its dead letter there, since the letter's key is the record's place.

The last step is for tables restored from backups of different moments: items may then be newer than spans, and what is
stored of an event tells nothing of the days that an older event touched before it was superseded. So every provider
counts that a record names or that ever held one of its items, also where the record changes nothing.

A plugin can end the process. A record that does is passed over while its letter is there; one without is found by
running the records one by one, each told of before it is tried, and passed over by its place.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from kcl_app import backoff
from kcl_app.engine.batch import BatchEngine, BatchResult
from kcl_app.engine.reading_letters import Selection, find
from kcl_app.engine.recomputing import EVERY_DAY, Recomputed, Sleep, recompute_all
from kcl_app.logs import get_logger
from kcl_app.stores.base import Store
from processors.decoding import Decoded, decode, providers_named
from processors.envelope import Limits, Record, read_event
from processors.errors import Reject, Retry
from processors.keys import ItemKey, ProviderKey

if TYPE_CHECKING:
    from kcl_app.stream.reader import Page, Shard

GIVE_UP_SECONDS = 300.0
"""How long a batch is tried again while a store cannot be used."""

KILLER = "killed_worker"
"""The reason of letters about records that end the process which tries them."""

KNOWN_ITEMS = 1_000_000
"""Items of which it is remembered that their holders are noted; bounds memory."""

Place = tuple[str, str, int]
"""Where a record stands: shard, sequence number, place in an aggregated record."""

T = TypeVar("T")


class Source(Protocol):
    """What a replay reads: see `kcl_app.stream.reader`."""

    def shards(self) -> list[Shard]:
        """All shards there are records of, by id."""

    def read(self, shard: str, since: float) -> Iterator[Page]:
        """A shard's records from a point in time, up to its end or to the newest that it has."""


@dataclass(frozen=True)
class Span:
    """What is to be read again.

    Attributes:
        since: when records came to the stream, in seconds since the epoch: then or later.
        until: then or earlier.
        tenants: whose; none: everybody's.
        shards: which; none: all.
        skip: records that are passed over, by place.
    """

    since: float
    until: float
    tenants: frozenset[str] = frozenset()
    shards: frozenset[str] = frozenset()
    skip: frozenset[Place] = frozenset()


@dataclass
class Replayed:
    """What a replay came to.

    Attributes:
        read: records read.
        taken: records of the tenants wanted, those skipped left out.
        skipped: records passed over since the span says so.
        result: what became of them.
        position: up to where every shard was read, in seconds since the epoch.
        stopped: whether it was stopped before the end: go on from `position`.
        recomputed: what recomputing all days of the providers met came to.
    """

    position: float
    read: int = 0
    taken: int = 0
    skipped: int = 0
    result: BatchResult = field(default_factory=BatchResult)
    stopped: bool = False
    recomputed: Recomputed = field(default_factory=Recomputed)


class NoSuchShard(LookupError):  # noqa: N818
    """A shard that the stream does not have; the text names those that it has."""


class Replay:
    """One replay.

    Args:
        engine: on the same stores as the workers.
        store: the tables.
        source: the stream.
        span: what is to be read.
        limits: the engine's.
        stop: asked between batches whether to end.
        trying: told of each record before it is tried; if given, each is run alone.
        sleep: waits, in seconds.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        engine: BatchEngine,
        store: Store,
        source: Source,
        span: Span,
        limits: Limits,
        *,
        stop: Callable[[], bool] = lambda: False,
        trying: Callable[[Place], None] | None = None,
        sleep: Sleep = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._store = store
        self._source = source
        self._span = span
        self._limits = limits
        self._stop = stop
        self._trying = trying
        self._sleep = sleep
        self._monotonic = monotonic
        # No more than there are providers, a few hundred bytes each: memory for millions of them is there.
        self._met: set[ProviderKey] = set()
        self._items: set[ItemKey] = set()
        self._killers: set[Place | None] = set()

    def run(
        self,
        progress: Callable[[Replayed], None] = lambda done: None,
        recomputing: Callable[[int], Callable[[], None]] = lambda number: lambda: None,
    ) -> Replayed:
        """Read, run and recompute.

        Args:
            progress: told after each page how far it is.
            recomputing: told how many providers are to be recomputed; gives what is called after each.

        Raises:
            NoSuchShard: a shard was asked for that there is not.
            Retry: a store or the stream cannot be used, for long.
            Fatal: permissions, tables or the stream are missing.
        """
        done = Replayed(position=self._span.since)
        killers = Selection(reason=KILLER)
        self._killers = {
            letter.place() for letter in self._until_durable(lambda: find(self._store, killers, 0))
        }
        self._read(done, progress)
        keys = sorted(self._met)
        done.recomputed = recompute_all(
            self._engine, self._store, keys, EVERY_DAY, "replay", recomputing(len(keys)), self._sleep
        )
        return done

    def _read(self, done: Replayed, progress: Callable[[Replayed], None]) -> None:
        """Every shard in turn, a page at a time; a shard's children once it is done."""
        waiting = self._wanted(self._source.shards())
        reading: dict[str, Iterator[Page]] = {}
        positions: dict[str, float] = {}
        while waiting or reading:
            for shard in _ready(waiting, reading):
                positions[shard.id] = self._begins(shard, positions)
                waiting.remove(shard)
                reading[shard.id] = self._source.read(shard.id, self._span.since)
            for id_, pages in list(reading.items()):
                if self._stop():
                    done.stopped = True
                    return
                page = next(pages, None)
                if page is not None and page.records:
                    self._run_page(page, id_, done)
                if page is None or (page.arrived or 0) > self._span.until:
                    del reading[id_]
                if page is not None and page.arrived is not None:
                    positions[id_] = max(positions[id_], page.arrived)
                done.position = self._reached(waiting, reading, positions)
                progress(done)

    def _begins(self, shard: Shard, positions: Mapping[str, float]) -> float:
        """Before when a shard has no records that are wanted: its own came after those of its parents."""
        return min((positions[one] for one in shard.parents if one in positions), default=self._span.since)

    def _reached(
        self, waiting: Collection[Shard], reading: Collection[str], positions: Mapping[str, float]
    ) -> float:
        """Up to when all is read. What waits for a shard that is still read came after its records."""
        begun = [positions[one] for one in reading]
        next_ = [self._begins(shard, positions) for shard in _ready(waiting, reading)]
        return min([*begun, *next_, self._span.until])

    def _wanted(self, shards: Sequence[Shard]) -> list[Shard]:
        missing = self._span.shards - {shard.id for shard in shards}
        if missing:
            there = ", ".join(shard.id for shard in shards)
            raise NoSuchShard(f"the stream has no shard {min(missing)}; it has {there}")
        return [shard for shard in shards if not self._span.shards or shard.id in self._span.shards]

    def _run_page(self, page: Page, shard: str, done: Replayed) -> None:
        records = [one for one in page.records if one.arrival <= self._span.until]
        done.read += len(records)
        wanted = [one for one in records if self._is_wanted(one)]
        if not wanted:
            return
        unskipped = [one for one in wanted if _place(one, shard) not in self._span.skip]
        done.skipped += len(wanted) - len(unskipped)
        done.taken += len(unskipped)
        safe = self._without_killers(unskipped, shard, done.result)
        for batch in [safe] if self._trying is None else [[one] for one in safe]:
            if batch:
                self._run_batch(batch, shard, done.result)

    def _run_batch(self, records: Sequence[Record], shard: str, result: BatchResult) -> None:
        if self._trying is not None:
            self._trying(_place(records[0], shard))
        result.add(self._until_durable(lambda: self._engine.run(records, shard)))
        self._met |= self._until_durable(lambda: self._providers_of(records))

    def _without_killers(self, records: list[Record], shard: str, result: BatchResult) -> list[Record]:
        """The records that are not known to end whatever process tries them; the others have their letters."""
        safe = [one for one in records if _place(one, shard) not in self._killers]
        number = len(records) - len(safe)
        if number:
            result.add(BatchResult(Counter(rejected=number), rejects=Counter({KILLER: number})))
        return safe

    def _is_wanted(self, record: Record) -> bool:
        """Whether it is of one of the tenants; what cannot be read is nobody's."""
        if not self._span.tenants:
            return True
        try:
            return read_event(record.data, self._limits).tenant in self._span.tenants
        except Reject:
            return False

    def _providers_of(self, records: Collection[Record]) -> set[ProviderKey]:
        """The providers that records name, and all that ever held an item of theirs."""
        decoded = []
        for record in records:
            try:
                one = decode(record, self._engine.host.decode, self._limits)
            except Exception:
                continue  # the engine has set it aside
            if isinstance(one, Decoded):
                decoded.append(one)
        met = {key for one in decoded for key in providers_named(one.items)}
        # Who gets an item later than now gets it from a record that names them.
        new = [
            replace(one, items=items)
            for one in decoded
            if (items := tuple(item for item in one.items if item.key not in self._items))
        ]
        if new:
            met |= self._engine.upserter.holders(new)
            if len(self._items) > KNOWN_ITEMS:
                self._items.clear()
            self._items.update(item.key for one in new for item in one.items)
        return met

    def _until_durable(self, action: Callable[[], T]) -> T:
        """Do something, and again while a store cannot be used."""
        start = self._monotonic()
        attempt = 0
        while True:
            try:
                return action()
            except Retry as error:
                if self._stop() or self._monotonic() - start > GIVE_UP_SECONDS:
                    raise
                attempt += 1
                get_logger().warning("the replay waits", why=str(error), attempt=attempt)
                self._sleep(backoff.pause(attempt, 15.0))


def _ready(waiting: Collection[Shard], reading: Collection[str]) -> list[Shard]:
    """The shards that wait for none that is being read or waits itself."""
    unfinished = {shard.id for shard in waiting} | set(reading)
    return [shard for shard in waiting if not unfinished & set(shard.parents)]


def _place(record: Record, shard: str) -> Place:
    """Where a record stands, as its letters have it."""
    return shard, record.sequence_number, record.sub_sequence_number
