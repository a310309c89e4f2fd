"""The KCL's record processor: what each message of the MultiLangDaemon makes this child do.

    initialize → processRecords … → leaseLost | shardEnded | shutdownRequested

kclpy swallows whatever a record processor raises and reports success, and the next checkpoint would then pass the lost
records. So nothing but `SystemExit` leaves this class: what can be tried again is tried again here, while the stream
holds the data; what cannot ends the process before anything is checkpointed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, Self

from amazon_kclpy.checkpoint_error import CheckpointError
from amazon_kclpy.v3.processor import RecordProcessorBase
from structlog.contextvars import bind_contextvars

from kcl_app import backoff
from kcl_app.engine.batch import BatchEngine, BatchResult
from kcl_app.engine.observing import MetricsObserver
from kcl_app.logs import get_logger
from kcl_app.metrics import WorkerMetrics, observe_all
from kcl_app.worker.progress import Progress
from processors.envelope import Record
from processors.errors import Fatal, Retry

STATE_UNKNOWN = 70
"""Exit status of a child that cannot go on (EX_SOFTWARE of sysexits.h)."""


FIRST_SLICE = 1
"""Records that are run together at first: a process that ends on a record must have had no other under way. Where they
are settled quickly the next are twice as many; where it takes long they are halved, with a checkpoint after each. Else
a batch that takes longer than the daemon waits for a child would be begun again and again, and never be done."""
QUICK_SECONDS, SLOW_SECONDS = 4.0, 10.0

WAKE_SECONDS = 0.5
"""How long a wait may last before it is looked whether the process is to stop."""

BEHIND_SECONDS = 5.0
"""Further behind the tip of the stream than this, several deliveries are settled together: what touches the same
provider-day is written once. Nearer to it each is settled at once, since somebody may be waiting for it."""
TOGETHER_RECORDS, TOGETHER_SECONDS = 50_000, 60.0
"""How many records are settled together at most, and how long the first of them waits at most; it never waits longer
than the shard is behind, so that its age no more than doubles. It bounds what is replayed after a crash, and memory."""

STOP_SECONDS = 60.0
"""How long the daemon may go on after this process was told to stop. What was left out then must be read again."""


CHECKPOINT_ERRORS = frozenset(
    {
        "InvalidStateException",
        "KinesisClientLibDependencyException",
        "KinesisClientLibIOException",
        "ShutdownException",
        "ThrottlingException",
    }
)
"""What the daemon may say of a checkpoint that was not taken; a label of metrics, so nothing else becomes one."""


class Checkpointer(Protocol):
    """The KCL's checkpointer."""

    def checkpoint(self, sequence_number: str | None = None, sub_sequence_number: int | None = None) -> None:
        """Ask the daemon to store a checkpoint."""


@dataclass(slots=True)
class _Tally:
    """What is told of records once they are settled: their data need not be kept for it."""

    arrivals: list[float] = field(default_factory=list)
    size: int = 0
    last: tuple[str, int] | None = None

    def __len__(self) -> int:
        return len(self.arrivals)

    def add(self, records: Sequence[Record]) -> Self:
        """Add records, at least one; in the order of their shard."""
        self.arrivals += [record.arrival for record in records]
        self.size += sum(len(record.data) for record in records)
        self.last = (records[-1].sequence_number, records[-1].sub_sequence_number)
        return self


class RecordProcessor(RecordProcessorBase):  # type: ignore[misc]
    """Processes one shard.

    Args:
        engine: runs batches.
        metrics: of this process.
        give_up_seconds: how long a batch is tried again before the child ends, so that the daemon, which would halt
            on a silent child, ends in an orderly way.
        sleep: waits, in seconds.
        monotonic: a clock for durations, in seconds.
        now: seconds since the epoch.
        first_slice: records that are run together at first.
        behind_seconds: from which lag on several deliveries are settled together.
        together_records: how many records are settled together at most.
    """

    def __init__(
        self,
        engine: BatchEngine,
        metrics: WorkerMetrics,
        give_up_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        *,
        first_slice: int = FIRST_SLICE,
        behind_seconds: float = BEHIND_SECONDS,
        together_records: int = TOGETHER_RECORDS,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._observer = MetricsObserver(metrics)
        self._give_up_seconds = give_up_seconds
        self._sleep = sleep
        self._monotonic = monotonic
        self._now = now
        self._shard = ""
        self._progress = Progress(metrics, now)
        self._times: list[float] = []  # at their sources, of events that are not settled yet
        self._settled: tuple[str, int] | None = None
        self._settled_arrival: float | None = None
        self._checkpointed: tuple[str, int] | None = None
        self._slice = first_slice
        self._behind_seconds = behind_seconds
        self._together_records = together_records
        self._taken = _Tally()  # and not settled yet
        self._taken_since = 0.0
        self._behind = 0.0  # seconds, at the latest delivery
        self._careful = 0  # records to come that are settled slice by slice
        self._stopping = False
        self._left_out: float | None = None  # since when records are
        self._given_up = False  # another worker has the lease, though the daemon has not said so yet
        self._proven = False  # until a checkpoint, a record that ends the process could do so again and again
        self._log = get_logger()

    def initialize(self, initialize_input: Any) -> None:
        """The daemon names the shard. The checkpoint it starts from may be none (a fresh shard)."""
        try:
            self._shard = str(initialize_input.shard_id)
            bind_contextvars(shard=self._shard)
            self._metrics.stores_available.labels(self._shard).set(1)
            self._progress.begins(self._shard)
            self._log.info("shard taken", sequence_number=initialize_input.sequence_number)
        except Exception as error:
            self._end("the shard could not be taken", error)

    def process_records(self, process_records_input: Any) -> None:
        """Some records, in the order of the shard; none while there is nothing new."""
        try:
            self._process(process_records_input)
        except Exception as error:
            self._end("records could not be processed", error)

    def _process(self, given: Any) -> None:
        lag = given.millis_behind_latest
        records = [
            Record(
                one.binary_data,
                one.sequence_number,
                one.sub_sequence_number or 0,
                one.partition_key,
                one.timestamp_millis / 1000,
            )
            for one in given.records
        ]
        if not self._given_up:
            first = records[0].arrival if records else None
            self._progress.delivered(first, None if lag is None else lag / 1000)
        if self._left_out is not None and self._monotonic() - self._left_out > STOP_SECONDS:
            raise Fatal("told to stop, but the daemon goes on: what was left out must be read again")
        self._behind = (lag or 0) / 1000
        behind = self._behind > self._behind_seconds
        while records and not self._given_up:
            some, records = records[: self._slice], records[self._slice :]
            if self._left_out is not None or not self._work(some, behind):
                self._leave_out(len(some) + len(records))
                break
            if records and not self._taken:
                self._checkpoint(given.checkpointer)
        if self._taken and not behind and not self._settle_taken():
            self._leave_out(len(self._taken))
        if self._taken and self._left_out is None:
            return  # the checkpoint waits for the spans
        self._checkpoint(given.checkpointer)  # 8
        if self._given_up and self._settled is not None and self._settled == self._checkpointed:
            raise Fatal("the shard was given up, but is still ours: what was left out must be read again")

    def stop_soon(self) -> None:
        """Settle no more than what is under way: the daemon is about to stop. May be called by a signal's handler."""
        self._stopping = True

    def _leave_out(self, records: int) -> None:
        """Records that the next worker will read again: from here on only what is settled is checkpointed."""
        if self._left_out is None:
            self._left_out = self._monotonic()
            self._log.info("stopping; the rest is left to the next worker", records=records)

    def _work(self, records: Sequence[Record], behind: bool) -> bool:
        """Run some records, or only take them where the shard is far behind; False if the process is to stop first."""
        start = self._monotonic()
        if self._stopping:
            return False
        if (behind and self._proven and self._careful <= 0) or self._taken:
            if not self._take(records):
                return False
        elif not self._run(records):
            return False
        else:
            self._careful -= len(records)
            self._count(_Tally().add(records))
        seconds = self._monotonic() - start
        if seconds > SLOW_SECONDS:
            self._slice = max(1, len(records) // 2)
        elif seconds < QUICK_SECONDS and len(records) == self._slice:
            self._slice *= 2
        self._metrics.batch_duration.observe(seconds)
        if len(self._taken) >= self._together_records or (
            self._taken and self._monotonic() - self._taken_since > min(self._behind, TOGETHER_SECONDS)
        ):
            return self._settle_taken()
        return True

    def _take(self, records: Sequence[Record]) -> bool:
        """Take records whose spans are written later, with those of others; False if the process is to stop first."""

        def take() -> BatchResult:
            if not self._taken:
                self._engine.begin_together(self._shard, records[0])
            return self._engine.take(records, self._shard)

        if not self._until_done(take):
            return False
        if not self._taken:
            self._taken_since = self._monotonic()
        self._taken.add(records)
        return True

    def _settle_taken(self) -> bool:
        """Write the spans for all that was taken; False if the process is to stop first."""

        def settle() -> BatchResult:
            self._engine.settle()
            return BatchResult()

        if self._stopping or not self._until_done(settle):
            return False
        self._count(self._taken)
        self._taken = _Tally()
        return True

    def _count(self, settled: _Tally) -> None:
        """Records are settled: they may be checkpointed."""
        self._metrics.records.labels(self._shard).inc(len(settled))
        self._metrics.record_bytes.labels(self._shard).inc(settled.size)
        now = self._now()
        observe_all(self._metrics.pipeline_age, [max(0.0, now - arrival) for arrival in settled.arrivals])
        observe_all(self._metrics.end_to_end_age, [max(0.0, now - at) for at in self._times])
        self._times = []
        self._settled = settled.last
        self._settled_arrival = settled.arrivals[-1]

    def _run(self, records: Sequence[Record]) -> bool:
        """Run a batch until all that it causes is durable; False if the process is to stop while it has to wait."""
        if self._proven:
            return self._until_done(lambda: self._engine.run(records, self._shard))
        done = self._until_done(lambda: self._engine.run_unproven(records, self._shard))
        if self._engine.suspect(self._shard):
            # Another process has ended on one of the next records: each slice is checkpointed, so that it is found.
            self._careful = self._together_records + len(records)
        return done

    def _until_done(self, work: Callable[[], BatchResult]) -> bool:
        """Work until it is done; False if the process is to stop while it has to wait."""
        start = self._monotonic()
        attempt = 0
        while True:
            self._progress.lives()
            try:
                result = work()
            except Retry as error:
                self._metrics.stores_available.labels(self._shard).set(0)
                self._metrics.retries.labels("batch").inc()
                waited = self._monotonic() - start
                if waited > self._give_up_seconds:
                    raise Fatal(f"gave up after {waited:.0f} s: {error}") from error
                pause = backoff.pause(attempt, 30.0)
                self._log.warning(
                    "the batch waits", why=str(error), attempt=attempt + 1, pause_seconds=round(pause, 2)
                )
                self._wait(pause)
                if self._stopping:
                    return False
                attempt += 1
                continue
            self._metrics.stores_available.labels(self._shard).set(1)
            self._observer.result(result)
            self._times += result.times
            return True

    def _wait(self, seconds: float) -> None:
        while seconds > 0 and not self._stopping:
            self._sleep(min(seconds, WAKE_SECONDS))
            if self._shard and not self._given_up:
                self._progress.lives()
            seconds -= WAKE_SECONDS

    def _checkpoint(self, checkpointer: Checkpointer) -> None:
        """Checkpoint what is settled, by its explicit sequence number: without one, all delivered would count."""
        if self._settled is None or self._settled == self._checkpointed:
            if self._left_out is None and not self._given_up:
                self._progress.checkpointed(self._settled_arrival)
            return
        sequence_number, sub_sequence_number = self._settled
        taken = self._try_checkpoint(lambda: checkpointer.checkpoint(sequence_number, sub_sequence_number))
        if taken:
            self._checkpointed = self._settled
            self._proven = True
            self._progress.checkpointed(self._settled_arrival)
        else:
            self.end_well()  # the record has not ended this process, though the next may find it again
            if taken is None:
                self._give_up()

    def _give_up(self) -> None:
        """Leave out what comes: another worker has the lease, and gets all that is not checkpointed.

        The daemon says so only after it has delivered what it had read ahead, which can take minutes if all of it is
        settled. A lease that is lost never comes back to the same record processor.
        """
        if not self._given_up:
            self._given_up = True
            self._forget_taken()
            self._metrics.forget(self._shard)
            self._log.info("the shard is given up; what was not checkpointed is left to its next worker")

    def _forget_taken(self) -> None:
        """What was taken and not settled is another worker's."""
        self._taken = _Tally()
        self._times = []
        self._engine.give_up()

    def _try_checkpoint(self, checkpoint: Callable[[], None]) -> bool | None:
        """One checkpoint, tried again where that can help. False where it can wait for the next; None: not ours."""
        for attempt in range(6):
            try:
                checkpoint()
            except CheckpointError as error:
                name = str(error.value)
                self._metrics.checkpoints.labels(name if name in CHECKPOINT_ERRORS else "other").inc()
                if "Shutdown" in name:
                    return None  # another worker has the lease: what is durable here is a replay there
                if "InvalidState" in name:
                    raise Fatal("the daemon cannot checkpoint: InvalidStateException") from error
                pause = backoff.pause(attempt, 5.0)
                self._log.warning("the checkpoint waits", why=name, pause_seconds=round(pause, 2))
                self._wait(pause)
            else:
                self._metrics.checkpoints.labels("ok").inc()
                return True
        self._log.warning("the checkpoint was not taken; the next one covers it")
        return False

    def lease_lost(self, lease_lost_input: Any) -> None:
        """Another worker has the shard: nothing may be checkpointed."""
        self._log.info("lease lost")
        self.end_well()
        self._forget_taken()
        self._engine.providers.forget_all()

    def shard_ended(self, shard_ended_input: Any) -> None:
        """The shard is closed and all of it was delivered, and settled: only now may its children start.

        The end of a shard is the one checkpoint that has no sequence number.
        """
        try:
            if self._given_up:
                return  # whoever has the lease now ends the shard
            if self._taken and not self._settle_taken():
                self._leave_out(len(self._taken))
            if self._left_out is not None:
                raise Fatal("the shard has ended, but records of it were left out to stop in time")
            taken = self._try_checkpoint(shard_ended_input.checkpointer.checkpoint)
            if taken is None:
                self._give_up()
                return
            if not taken:
                raise Fatal("the end of the shard could not be checkpointed")
            self._log.info("shard ended")
        except Exception as error:
            self._end("the end of the shard could not be checkpointed", error)

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """The daemon is about to stop: the last chance to checkpoint what is settled."""
        try:
            if self._taken and not self._given_up:
                self._settle_taken()
            self._checkpoint(shutdown_requested_input.checkpointer)
            self._log.info("shutting down")
            self.end_well()
        except Exception as error:
            self._end("the last checkpoint failed", error)

    def end_well(self) -> None:
        """Note that the process goes on its own account: no record has ended it."""
        if (self._taken or not self._proven) and self._shard:
            try:
                self._engine.survived(self._shard)
            except Exception:  # a wish; it must not hinder the end
                self._log.warning("the mark of an attempt stays", exc_info=True)

    def _end(self, what: str, error: Exception) -> NoReturn:
        """End the process: nothing after this may be reported as done."""
        self._log.error(
            what, error_type=type(error).__name__, why=str(error) if isinstance(error, Fatal) else None
        )
        self.end_well()
        raise SystemExit(STATE_UNKNOWN)
