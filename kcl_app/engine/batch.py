"""The batch engine: what happens to records between the stream and the checkpoint.

    1 decode → 2 coalesce → 3 upsert items → 4 collect impacted provider-days → 5 recompute → 6 write spans
    → 7 send dead letters → 8 checkpoint

A batch that fails anywhere is run again from the start: each step finds what it did before and goes on. The
checkpoint is the caller's, after `run` has returned: then all that the records cause is durable.

Far behind, steps 1 to 4 can be done for several batches (`take`) before 5 and 6 are done for all of them (`settle`): a
provider-day that many records touch is written once. The checkpoint waits for `settle`, so that nothing can be lost: a
process that ends before it leaves items with the impacts that are still to be settled, and their records are replayed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta

from emr_plugins.host import PluginHost
from kcl_app.clock import Clock
from kcl_app.engine.attempts import TRIES, Attempts
from kcl_app.engine.dead_letters import DeadLetters, Letter
from kcl_app.engine.providers import Providers
from kcl_app.engine.settling import Observer, Settler, Work
from kcl_app.engine.upserting import Upserted, Upserter
from kcl_app.logs import get_logger
from kcl_app.stores.base import Blobs, Store
from processors.decoding import Decoded, Rejected, coalesce, decode, providers_named
from processors.envelope import Event, Limits, Record, read_event
from processors.errors import Fatal, Reject, Retry
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision

LOGGED_LETTERS = 20
"""Records set aside that are logged one by one in a batch: a broken feed must not drown the log."""


@dataclass
class BatchResult:
    """What became of the records of a batch.

    Attributes:
        events: number of events by outcome: applied, superseded, replayed, ignored, rejected. They add up to the
            number of records.
        items: number of item changes by outcome.
        rejects: number of records and changes set aside, by reason.
        providers: number of providers whose days were recomputed.
        times: when each event that was understood happened at its source, in seconds since the epoch.
        tenants: arrival of the newest event of each tenant, in seconds since the epoch.
    """

    events: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    providers: int = 0
    times: list[float] = field(default_factory=list)
    tenants: dict[str, float] = field(default_factory=dict)

    def add(self, other: BatchResult) -> None:
        """Add another's numbers."""
        self.events += other.events
        self.items += other.items
        self.rejects += other.rejects
        self.providers += other.providers
        self.times += other.times
        self.tenants |= other.tenants  # its records came later


Step = Callable[[str, float], None]
"""Told how long a step took: its name, seconds."""


@dataclass
class Unsettled:
    """What was taken and is still to be settled.

    Attributes:
        work: provider-days to recompute.
        items: the items whose stored impacts are settled once the work is.
        newer: providers whose days are not to be trusted, and why.
    """

    work: dict[ProviderKey, Work] = field(default_factory=dict)
    items: dict[ItemKey, Revision] = field(default_factory=dict)
    newer: list[tuple[ProviderKey, Letter]] = field(default_factory=list)

    def add(self, other: Unsettled) -> None:
        """Add what was taken later."""
        for key, work in other.work.items():
            if (known := self.work.get(key)) is not None:
                work.include(known)
            self.work[key] = work
        self.items.update(other.items)
        self.newer += other.newer


class BatchEngine:
    """Runs batches.

    Args:
        store: the tables.
        blobs: where large dead letters go.
        host: the plugins.
        clock: the clock.
        limits: sizes past which input is rejected.
        observer: told what was written.
        history_days: past days that stay.
        horizon_days: days ahead, today the first.
        cached_items: items kept in memory, at most.
        step: told how long each step took.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        host: PluginHost,
        clock: Clock,
        limits: Limits,
        observer: Observer,
        *,
        history_days: int = 7,
        horizon_days: int = 90,
        cached_items: int = 100_000,
        step: Step | None = None,
    ) -> None:
        self.host = host
        self._clock = clock
        self._limits = limits
        self._observer = observer
        self._step: Step = step or (lambda name, seconds: None)
        self.providers = Providers(
            store,
            clock.today,
            host.zone,
            history_days=history_days,
            horizon_days=horizon_days,
            max_items=cached_items,
        )
        self.dead_letters = DeadLetters(store, blobs, clock)
        self._attempts = Attempts(store, clock)
        self._unsettled = Unsettled()
        self.upserter = Upserter(store, self.providers, host, clock, limits.items_per_provider)
        self.settler = Settler(
            store, self.providers, host, self.dead_letters, clock, limits.document_bytes, observer
        )

    def run(self, records: Sequence[Record], origin: str) -> BatchResult:
        """Make durable all that some records cause.

        A record on which the engine itself fails is found by halving the batch, and set aside alone.

        Args:
            records: in the order of their shard.
            origin: the shard, for dead letters.

        Raises:
            Retry: a store cannot be used now; run the same records again.
            Fatal: state is unknown; the process must end.
        """
        return self._bisecting(self._run, records, origin)

    def take(self, records: Sequence[Record], origin: str) -> BatchResult:
        """Bring the items of some records in, and note which provider-days these touch, for `settle`.

        Args:
            records: in the order of their shard.
            origin: the shard, for dead letters.

        Returns:
            what became of the records; their spans are not written yet, so they must not be checkpointed.

        Raises:
            Retry: a store cannot be used now; take the same records again.
            Fatal: state is unknown; the process must end.
        """

        def take(records: Sequence[Record], origin: str) -> BatchResult:
            result, unsettled = self._take(records, origin)
            self._unsettled.add(unsettled)
            return result

        return self._bisecting(take, records, origin)

    def settle(self) -> None:
        """Write the spans for all that was taken: then it is durable.

        A provider on which the engine itself fails is set aside, and its days are stale.

        Raises:
            Retry: a store cannot be used now; settle again.
            Fatal: state is unknown; the process must end.
        """
        try:
            self._settle(self._unsettled)
        except (Retry, Fatal):
            raise
        except Exception:
            self._settle_one_by_one(self._unsettled)
        self.give_up()  # of what could not be settled, nothing is worth knowing

    def give_up(self) -> None:
        """Forget what was taken and not settled: whoever has the shard next replays it."""
        self._unsettled = Unsettled()
        self.providers.give_up()

    def _bisecting(
        self, run: Callable[[Sequence[Record], str], BatchResult], records: Sequence[Record], origin: str
    ) -> BatchResult:
        try:
            with self._forgetting():
                return run(records, origin)
        except (Retry, Fatal):
            raise
        except Exception as error:
            if len(records) == 1:
                return self._poison(records[0], origin, error)
            self._observer.bisected()
        result = BatchResult()
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            result.add(self._bisecting(run, half, origin))
        return result

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Forget what is in memory where what is stored is in doubt."""
        try:
            yield
        except BaseException:
            self.providers.forget_all()
            raise

    def run_unproven(self, records: Sequence[Record], origin: str) -> BatchResult:
        """As `run`, for a process that has not checkpointed on its shard yet: the first record may be about to end it.

        Args:
            records: in the order of their shard; best only one.
            origin: the shard.

        Raises:
            Retry: a store cannot be used now; run the same records again.
            Fatal: state is unknown; the process must end.
        """
        first, rest = records[0], records[1:]
        tries = self._attempts.begin(origin, first)
        if tries > TRIES:
            result = self._killer(first, origin)
            if rest:
                result.add(self.run(rest, origin))
            return result
        if tries > 1:
            get_logger().warning("a process has ended at this record before", tries=tries - 1)
            self._attempts.name(origin, self._in_doubt(first))
        return self.run(records, origin)

    def _in_doubt(self, record: Record) -> set[ProviderKey]:
        """The providers whose days a record may touch."""
        try:
            decoded, _ = self._decode([record])
            return self.upserter.holders(decoded)
        except (Retry, Fatal):
            raise
        except Exception:  # `run` meets it again, and sets the record aside
            return set()

    def begin_together(self, origin: str, first: Record) -> None:
        """Mark that several batches are about to be taken before the next checkpoint.

        Should the process end before it, the next one starts at `first`, and knows by the mark to be careful.

        Raises:
            Retry: the mark cannot be written now.
        """
        self._attempts.begin_together(origin, first)

    def suspect(self, origin: str) -> bool:
        """Whether another process has ended at the record that this one began with, or soon after it."""
        return self._attempts.suspect(origin)

    def survived(self, origin: str) -> None:
        """A process ends in good order, or gives its shard up, before it has checkpointed: no record ended it."""
        self._attempts.survived(origin)

    def _run(self, records: Sequence[Record], origin: str) -> BatchResult:
        result, unsettled = self._take(records, origin)
        self._settle(unsettled)
        return result

    def _take(self, records: Sequence[Record], origin: str) -> tuple[BatchResult, Unsettled]:
        with self._timed("decode"):  # 1
            decoded, rejected = self._decode(records)
        with self._timed("coalesce"):  # 2
            groups = coalesce(decoded)
        with self._timed("upsert"):  # 3
            upserted = self.upserter.run(groups)
        with self._timed("collect"):  # 4
            unsettled = Unsettled(
                self._collect(decoded, upserted, origin),
                {item.key: item.revision for item in upserted.settled_by},
                self._newer(upserted, origin),
            )
            self.providers.take(unsettled.items)
        with self._timed("dead_letters"):  # 7
            self._set_aside(rejected, upserted, origin)
        self.providers.trim(len(upserted.applied))
        return self._result(decoded, rejected, upserted, len(unsettled.work)), unsettled

    def _settle(self, unsettled: Unsettled) -> None:
        with self._timed("settle"), self._forgetting():  # 5, 6 (and 7 for provider-days that fail)
            self.settler.run(unsettled.work)
            self.providers.settle(unsettled.items)
            self._distrust(unsettled.newer)
        self.providers.trim(0)

    def _settle_one_by_one(self, unsettled: Unsettled) -> None:
        """What is left of `settle` where the engine fails on a provider: the others must not wait for it."""
        failed = False
        for key, work in unsettled.work.items():
            try:
                with self._forgetting():
                    self.settler.run({key: work})
            except (Retry, Fatal):
                raise
            except Exception as error:
                failed = True
                record, event = (work.source.record, work.source.event) if work.source else (None, None)
                letter = _failure(error, work.origin, record, event)
                self._give_up(letter, lambda key=key: [key])  # type: ignore[misc]
        if not failed:  # else whatever changes these items next still takes over their impacts
            self.providers.settle(unsettled.items)
        self._distrust(unsettled.newer)

    def _distrust(self, providers: Iterable[tuple[ProviderKey, Letter]]) -> None:
        for key, letter in providers:
            self.settler.distrust(key, letter, self._yesterday())

    def _decode(self, records: Sequence[Record]) -> tuple[list[Decoded], list[Rejected]]:
        decoded: list[Decoded] = []
        rejected: list[Rejected] = []
        for record in records:
            one = decode(record, self.host.decode, self._limits)
            if isinstance(one, Decoded):
                decoded.append(one)
            else:
                rejected.append(one)
        return decoded, rejected

    def _collect(
        self, decoded: Sequence[Decoded], upserted: Upserted, origin: str
    ) -> dict[ProviderKey, Work]:
        """The days to recompute: those impacted, and all of a provider's that nobody knew before."""
        work = {
            key: Work(intervals, source=upserted.causes[key], origin=origin)
            for key, intervals in upserted.impacts.items()
        }
        first: dict[ProviderKey, Decoded] = {}
        for source in decoded:
            for item in source.items:
                tenant, emr, _, _ = item.key
                for provider in item.providers:
                    first.setdefault(ProviderKey(tenant, emr, provider), source)
        for key, source in first.items():
            if self.providers.get(key).new:
                known = work.get(key)
                if known is None or known.intervals is not None:
                    work[key] = Work(None, source=known.source if known else source, origin=origin)
        return work

    @staticmethod
    def _newer(upserted: Upserted, origin: str) -> list[tuple[ProviderKey, Letter]]:
        """The days of an item that a newer version of the application keeps lack what was set aside here."""
        found = []
        for candidate, reject in upserted.rejected:
            if reject.reason == "newer_schema":
                source = candidate.source
                letter = Letter(reject.reason, reject.detail, origin, source.record, source.event)
                found += [(key, letter) for key in providers_named([candidate.item])]
        return found

    def _yesterday(self) -> date:
        """A date that has passed in no zone, or only just: days before it are nobody's concern any more."""
        return self._clock.today("UTC") - timedelta(days=1)

    def _set_aside(self, rejected: Sequence[Rejected], upserted: Upserted, origin: str) -> None:
        letters = [Letter(one.reason, one.detail, origin, one.record, one.event) for one in rejected]
        letters += [
            Letter(reject.reason, reject.detail, origin, candidate.source.record, candidate.source.event)
            for candidate, reject in upserted.rejected
        ]
        self.dead_letters.send(letters)
        for number, letter in enumerate(letters):
            self._observer.dead_letter(letter.reason)
            if number < LOGGED_LETTERS:
                self._log_letter(letter)
        if len(letters) > LOGGED_LETTERS:
            get_logger().warning("more records set aside", records=len(letters) - LOGGED_LETTERS)

    @staticmethod
    def _log_letter(letter: Letter) -> None:
        event, record = letter.event, letter.record
        get_logger().warning(
            "record set aside",
            reason=letter.reason,
            detail=letter.detail,
            tenant=_tenant(letter),
            event_id=event.id if event else None,
            sequence_number=record.sequence_number if record else None,
        )

    def _poison(self, record: Record, origin: str, error: Exception) -> BatchResult:
        """Set a record aside on which the engine itself fails."""
        decoded: list[Decoded] = []
        event = None
        with suppress(Exception):  # then it changed nothing
            decoded, rejected = self._decode([record])
            event = decoded[0].event if decoded else rejected[0].event
        letter = _failure(error, origin, record, event)
        return self._give_up(letter, lambda: self.upserter.holders(decoded))

    def _killer(self, record: Record, origin: str) -> BatchResult:
        """Set a record aside that has ended processes. No plugin is asked about it: that may be what ends them."""
        self._observer.killed()
        detail = "processes that tried it alone were ended: see the worker's log for how"
        event = None
        with suppress(Reject):
            event = read_event(record.data, self._limits)
        letter = Letter("killed_worker", detail, origin, record, event)
        return self._give_up(letter, lambda: self._attempts.named(origin))

    def _give_up(self, letter: Letter, providers: Callable[[], Collection[ProviderKey]]) -> BatchResult:
        """A record's letter; the days of its providers are not to be trusted: its items may be written, those not."""
        self.dead_letters.send([letter])
        self._observer.dead_letter(letter.reason)
        self._log_letter(letter)
        try:
            self._distrust((key, letter) for key in sorted(providers()))
        except (Retry, Fatal):
            raise
        except Exception:  # what the engine fails on may be a row of these providers: the shard must go on
            get_logger().error(
                "days in doubt could not be marked stale", tenant=_tenant(letter), exc_info=True
            )
        return BatchResult(Counter(rejected=1), Counter(), Counter({letter.reason: 1}))

    @staticmethod
    def _result(
        decoded: Sequence[Decoded], rejected: Sequence[Rejected], upserted: Upserted, providers: int
    ) -> BatchResult:
        result = BatchResult(providers=providers)
        result.times = [source.event.time.timestamp() for source in decoded]
        result.tenants = {source.event.tenant: source.record.arrival for source in decoded}
        for one in rejected:
            if one.event is not None:
                newest = result.tenants.get(one.event.tenant, 0.0)
                result.tenants[one.event.tenant] = max(newest, one.record.arrival)
        best: dict[int, str] = {}
        for outcome, candidates in (
            ("superseded", upserted.superseded),
            ("replayed", upserted.replayed),
            ("rejected", [candidate for candidate, _ in upserted.rejected]),
            ("applied", upserted.applied),
        ):
            result.items[outcome] += len(candidates)
            for candidate in candidates:
                best[id(candidate.source)] = outcome
        for source in decoded:
            result.events[best.get(id(source), "ignored")] += 1
        result.events["rejected"] += len(rejected)
        for reason in [one.reason for one in rejected] + [reject.reason for _, reject in upserted.rejected]:
            result.rejects[reason] += 1
        return result

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._step(name, time.perf_counter() - start)


def _failure(error: Exception, origin: str, record: Record | None, event: Event | None) -> Letter:
    """The letter of a record, or of a provider's days, on which the engine itself failed."""
    return Letter("processing_failed", f"the engine raised {type(error).__name__}", origin, record, event)


def _tenant(letter: Letter) -> str | None:
    return letter.event.tenant if letter.event else None
