"""The KCL's messages in, as JSON lines, and what the record processor answers, compared line by line."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from amazon_kclpy.kcl import KCLProcess
from prometheus_client import CollectorRegistry
from structlog.contextvars import clear_contextvars

from kcl_app.engine.batch import BatchResult
from kcl_app.metrics import WorkerMetrics
from kcl_app.worker.record_processor import (
    FIRST_SLICE,
    SLOW_SECONDS,
    STATE_UNKNOWN,
    STOP_SECONDS,
    TOGETHER_RECORDS,
    TOGETHER_SECONDS,
    RecordProcessor,
)
from processors.envelope import Record
from processors.errors import Fatal, Retry

SHARD = "shardId-000000000000"
NOW = 1_800_000_000.0
SLICE = 128

Line = dict[str, Any]

INITIALIZE: Line = {"action": "initialize", "shardId": SHARD, "sequenceNumber": None, "subSequenceNumber": 0}
OK: Line = {"action": "checkpoint", "sequenceNumber": "0", "subSequenceNumber": 0, "error": None}


@pytest.fixture(autouse=True)
def _unbound() -> Iterator[None]:
    """The processor binds its shard to the logs of its process, which is not ours."""
    yield
    clear_contextvars()


def refused(error: str) -> Line:
    """The daemon's answer to a checkpoint that it did not take."""
    return {**OK, "error": error}


def record(number: int, data: bytes = b"{}", sub: int = 0) -> Line:
    """A record as the daemon sends it."""
    return {
        "action": "record",
        "data": base64.b64encode(data).decode(),
        "partitionKey": "p",
        "sequenceNumber": f"{number:056d}",
        "subSequenceNumber": sub,
        "approximateArrivalTimestamp": int((NOW - 5) * 1000),
    }


def process(*given: Line, lag: int | None = 0) -> Line:
    """A processRecords message."""
    return {"action": "processRecords", "records": list(given), "millisBehindLatest": lag}


def status(of: str) -> Line:
    """What is answered when a message is dealt with."""
    return {"action": "status", "responseFor": of}


def checkpoint(number: int, sub: int = 0) -> Line:
    """What is asked when records are settled."""
    return {"action": "checkpoint", "sequenceNumber": f"{number:056d}", "subSequenceNumber": sub}


class Memory:
    """Stands in for the providers in memory."""

    def __init__(self) -> None:
        self.forgotten = 0

    def forget_all(self) -> None:
        """Count."""
        self.forgotten += 1


class ScriptedEngine:
    """Runs batches as told: an error is raised, anything else is a success."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.ran: list[tuple[list[Record], str]] = []
        self.survivals: list[str] = []
        self.begun: list[str] = []
        self.taken: list[list[int]] = []
        self.settled: list[list[int]] = []
        self.before = False
        self.providers = Memory()

    def run(self, records: Sequence[Record], origin: str) -> BatchResult:
        """One batch."""
        self.ran.append((list(records), origin))
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        return BatchResult(
            Counter(applied=len(records) - 1, rejected=1), Counter(applied=7), Counter(not_json=1)
        )

    run_unproven = run

    def begin_together(self, origin: str, first: Record) -> None:
        """Note where several deliveries that are settled together begin."""
        self.begun.append(first.sequence_number)

    def suspect(self, origin: str) -> bool:
        """Whether a process has ended here before."""
        return self.before

    def take(self, records: Sequence[Record], origin: str) -> BatchResult:
        """Some records that are settled later."""
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        self.taken.append([int(record.sequence_number) for record in records])
        return BatchResult(Counter(applied=len(records)))

    def settle(self) -> None:
        """What was taken."""
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        self.settled.append([number for numbers in self.taken for number in numbers])
        self.taken = []

    def give_up(self) -> None:
        """Forget what was taken."""
        self.taken = []

    def survived(self, origin: str) -> None:
        """Count."""
        self.survivals.append(origin)


class Child:
    """A record processor under kclpy, fed with lines."""

    def __init__(
        self,
        engine: ScriptedEngine | None = None,
        give_up_seconds: float = 100.0,
        first_slice: int = SLICE,
        together_records: int = TOGETHER_RECORDS,
    ) -> None:
        self.engine = engine or ScriptedEngine()
        self.registry = CollectorRegistry()
        self.slept: list[float] = []
        self.pace = 1.0
        self.available: list[float | None] = []
        self.processor = RecordProcessor(
            self.engine,  # type: ignore[arg-type]
            WorkerMetrics(self.registry),
            give_up_seconds,
            sleep=self._sleep,
            monotonic=lambda: sum(self.slept),
            now=lambda: NOW,
            first_slice=first_slice,
            together_records=together_records,
        )
        self.output, self.errors = io.StringIO(), io.StringIO()

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.available.append(self.metric("scheduling_stores_available", shard=SHARD))

    def feed(self, *lines: Line) -> list[Line]:
        """Feed lines to the protocol; what it answered."""
        given = io.StringIO("".join(json.dumps(line) + "\n" for line in lines))
        KCLProcess(self.processor, given, self.output, self.errors).run()
        return self.answers()

    def answers(self) -> list[Line]:
        """All lines written so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines() if line]

    def metric(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.registry.get_sample_value(name, labels)


def test_a_shard_from_its_start_to_the_end_of_the_worker() -> None:
    """Each message is answered once, and each batch checkpointed once, by its last record."""
    child = Child()
    answers = child.feed(
        {**INITIALIZE, "sequenceNumber": "TRIM_HORIZON"},
        process(record(1), record(2), lag=1500),
        OK,
        process(record(3), lag=0),
        OK,
        {"action": "shutdownRequested"},
    )
    assert answers == [
        status("initialize"),
        checkpoint(2),
        status("processRecords"),
        checkpoint(3),
        status("processRecords"),
        status("shutdownRequested"),
    ]
    assert [len(records) for records, _ in child.engine.ran] == [2, 1]
    assert {origin for _, origin in child.engine.ran} == {SHARD}
    assert child.errors.getvalue() == ""


def test_records_arrive_as_the_stream_held_them() -> None:
    child = Child()
    child.feed(INITIALIZE, process(record(7, b"\x00\xff", sub=3)), OK)
    ((records, _),) = child.engine.ran
    assert records == [Record(b"\x00\xff", f"{7:056d}", 3, "p", NOW - 5)]


def test_the_place_within_an_aggregated_record_is_checkpointed_too() -> None:
    child = Child()
    answers = child.feed(INITIALIZE, process(record(7, sub=0), record(7, sub=1), record(7, sub=2)), OK)
    assert answers[1] == checkpoint(7, 2)
    answers = child.feed(process(record(7, sub=3)), OK)
    assert answers[3] == checkpoint(7, 3), "the same record, further on"


def test_a_delivery_without_records_runs_nothing_and_checkpoints_nothing() -> None:
    child = Child()
    answers = child.feed(INITIALIZE, process(lag=250), process(lag=None))
    assert answers == [status("initialize"), status("processRecords"), status("processRecords")]
    assert child.engine.ran == []
    assert child.metric("scheduling_read_lag_seconds", shard=SHARD) == 0.25


def test_a_throttled_checkpoint_is_tried_again() -> None:
    child = Child()
    answers = child.feed(INITIALIZE, process(record(1)), refused("ThrottlingException"), OK)
    assert answers == [status("initialize"), checkpoint(1), checkpoint(1), status("processRecords")]
    assert len(child.slept) == 1
    assert child.metric("scheduling_checkpoints_total", outcome="ThrottlingException") == 1
    assert child.metric("scheduling_checkpoints_total", outcome="ok") == 1


def test_a_checkpoint_throttled_for_long_is_left_to_the_next_delivery() -> None:
    child = Child()
    throttled = [refused("ThrottlingException")] * 6
    answers = child.feed(INITIALIZE, process(record(1)), *throttled, process(), OK)
    assert answers == [
        status("initialize"),
        *[checkpoint(1)] * 6,
        status("processRecords"),
        checkpoint(1),
        status("processRecords"),
    ]


def test_a_checkpoint_of_a_lost_shard_is_given_up_quietly() -> None:
    child = Child()
    answers = child.feed(
        INITIALIZE, process(record(1)), refused("ShutdownException"), {"action": "leaseLost"}
    )
    assert answers == [status("initialize"), checkpoint(1), status("processRecords"), status("leaseLost")]
    assert child.slept == []


def test_what_comes_after_a_refused_checkpoint_is_left_to_the_shards_next_worker() -> None:
    """The daemon says that the lease is lost only after all that it had read ahead."""
    child = Child()
    answers = child.feed(
        INITIALIZE,
        process(record(1)),
        refused("ShutdownException"),
        process(record(2), record(3), lag=9000),
        refused("ShutdownException"),
        {"action": "leaseLost"},
    )
    assert answers == [
        status("initialize"),
        *(checkpoint(1), status("processRecords")),
        *(checkpoint(1), status("processRecords")),
        status("leaseLost"),
    ]
    assert [[one.sequence_number for one in records] for records, _ in child.engine.ran] == [[f"{1:056d}"]]
    for gauge in ("read_lag_seconds", "checkpoint_timestamp_seconds", "stores_available"):
        value = child.registry.get_sample_value(f"scheduling_{gauge}", {"shard": "shardId-000000000000"})
        assert math.isnan(value or 0.0), (
            "another worker speaks for the shard now, and this one says no number"
        )


def test_a_refused_checkpoint_in_the_middle_of_a_delivery_leaves_out_its_rest() -> None:
    child = Child(first_slice=1)
    child.feed(INITIALIZE, process(record(1), record(2), record(3)), *[refused("ShutdownException")] * 2)
    assert len(child.engine.ran) == 1


def test_a_shard_that_was_given_up_by_mistake_ends_the_child() -> None:
    """What was left out must be read again, so the next checkpoint that is taken must be the last."""
    child = Child()
    with pytest.raises(SystemExit) as ended:
        child.feed(INITIALIZE, process(record(1)), refused("ShutdownException"), process(record(2)), OK)
    assert ended.value.code == STATE_UNKNOWN
    assert child.answers()[-1] == checkpoint(1)


def test_the_end_of_a_shard_that_was_given_up_is_not_checkpointed() -> None:
    child = Child()
    answers = child.feed(
        INITIALIZE, process(record(1)), refused("ShutdownException"), {"action": "shardEnded"}
    )
    assert answers[-2:] == [status("processRecords"), status("shardEnded")]


@pytest.mark.parametrize("answer", [refused("InvalidStateException"), process(record(2))])
def test_a_daemon_in_an_invalid_state_ends_the_child(answer: Line) -> None:
    """Also one that says something other than what became of the checkpoint."""
    child = Child()
    with pytest.raises(SystemExit) as ended:
        child.feed(INITIALIZE, process(record(1)), answer)
    assert ended.value.code == STATE_UNKNOWN
    assert child.answers() == [status("initialize"), checkpoint(1)]


def test_a_daemon_that_is_gone_ends_the_child() -> None:
    child = Child()
    with pytest.raises(SystemExit):
        child.feed(INITIALIZE, process(record(1)))
    assert child.answers() == [status("initialize"), checkpoint(1)]


def test_nothing_is_checkpointed_for_a_lost_lease() -> None:
    child = Child()
    answers = child.feed(
        INITIALIZE, process(record(1)), refused("ThrottlingException"), OK, {"action": "leaseLost"}
    )
    assert answers[-1] == status("leaseLost")
    assert answers.count(checkpoint(1)) == 2
    assert child.engine.providers.forgotten == 1


def test_the_end_of_a_shard_is_checkpointed_without_a_number() -> None:
    child = Child()
    answers = child.feed(
        INITIALIZE, process(record(1)), OK, {"action": "shardEnded"}, refused("ThrottlingException"), OK
    )
    end = {"action": "checkpoint", "sequenceNumber": None, "subSequenceNumber": None}
    assert answers[3:] == [end, end, status("shardEnded")]


def test_the_end_of_a_shard_that_another_worker_has_by_now_is_left_to_it() -> None:
    """The child stays: one that exits would stop the daemon with all its shards."""
    child = Child()
    answers = child.feed(INITIALIZE, {"action": "shardEnded"}, refused("ShutdownException"))
    assert answers[-1] == status("shardEnded")


def test_an_end_of_a_shard_that_cannot_be_checkpointed_is_never_reported_as_done() -> None:
    child = Child()
    with pytest.raises(SystemExit):
        child.feed(INITIALIZE, {"action": "shardEnded"}, refused("InvalidStateException"))
    assert status("shardEnded") not in child.answers()


def test_a_requested_shutdown_checkpoints_what_is_settled_and_not_yet_checkpointed() -> None:
    child = Child()
    throttled = [refused("ThrottlingException")] * 6
    answers = child.feed(
        INITIALIZE, process(record(1), record(2)), *throttled, {"action": "shutdownRequested"}, OK
    )
    assert answers[-2:] == [checkpoint(2), status("shutdownRequested")]


def test_a_requested_shutdown_before_any_records_checkpoints_nothing() -> None:
    assert Child().feed(INITIALIZE, {"action": "shutdownRequested"}) == [
        status("initialize"),
        status("shutdownRequested"),
    ]


def test_a_batch_waits_while_a_store_cannot_be_used() -> None:
    """Nothing is checkpointed meanwhile, the same records run again, and the metric tells."""
    child = Child(ScriptedEngine(Retry("throttled"), Retry("throttled"), None))
    answers = child.feed(INITIALIZE, process(record(1), record(2)), OK)
    assert answers == [status("initialize"), checkpoint(2), status("processRecords")]
    assert len(child.slept) == 2
    assert child.available == [0, 0]
    assert child.metric("scheduling_stores_available", shard=SHARD) == 1
    assert child.metric("scheduling_retries_total", operation="batch") == 2
    first, *again = [records for records, _ in child.engine.ran]
    assert again == [first, first]
    assert child.metric("scheduling_records_total", shard=SHARD) == 2, "counted once"


def test_a_batch_that_waits_for_too_long_ends_the_child_with_nothing_checkpointed() -> None:
    child = Child(ScriptedEngine(*[Retry("throttled")] * 1000), give_up_seconds=60)
    with pytest.raises(SystemExit) as ended:
        child.feed(INITIALIZE, process(record(1)))
    assert ended.value.code == STATE_UNKNOWN
    assert child.answers() == [status("initialize")]
    assert 60 < sum(child.slept) < 60 + 31


@pytest.mark.parametrize(
    "error", [Fatal("state is unknown"), ValueError("a bug"), KeyError("x"), RecursionError()]
)
def test_no_error_of_the_engine_is_ever_reported_as_a_success(error: Exception) -> None:
    """kclpy would swallow it, and the next checkpoint pass the lost records."""
    child = Child(ScriptedEngine(None, error))
    with pytest.raises(SystemExit) as ended:
        child.feed(INITIALIZE, process(record(1)), OK, process(record(2)), process(record(3)), OK)
    assert ended.value.code == STATE_UNKNOWN
    assert child.answers() == [status("initialize"), checkpoint(1), status("processRecords")]
    assert len(child.engine.ran) == 2


def test_the_metrics_of_what_came_and_what_became_of_it() -> None:
    child = Child()
    child.feed(
        INITIALIZE,
        process(record(1, b"abc"), record(2, b"de"), lag=61_500),
        OK,
        process(record(3, b"f"), lag=2000),
        OK,
    )
    assert child.metric("scheduling_read_lag_seconds", shard=SHARD) == 2
    assert child.metric("scheduling_records_total", shard=SHARD) == 3
    assert child.metric("scheduling_record_bytes_total", shard=SHARD) == 6
    events = [child.metric("scheduling_events_total", outcome=outcome) for outcome in ("applied", "rejected")]
    assert events == [1, 2]
    assert child.metric("scheduling_items_total", outcome="applied") == 14
    assert child.metric("scheduling_batch_duration_seconds_count") == 2
    assert child.metric("scheduling_pipeline_age_seconds_count") == 3
    assert child.metric("scheduling_pipeline_age_seconds_sum") == 15
    assert child.metric("scheduling_checkpoint_timestamp_seconds", shard=SHARD) == NOW


def test_a_process_that_goes_by_itself_says_so_unless_a_checkpoint_has_proved_it() -> None:
    """Its start is marked, and must not count against the record that it was at."""
    child = Child(ScriptedEngine(Fatal("gone")))
    with pytest.raises(SystemExit):
        child.feed(INITIALIZE, process(record(1)))
    assert child.engine.survivals == [SHARD]

    child = Child()
    child.feed(INITIALIZE, {"action": "leaseLost"})
    assert child.engine.survivals == [SHARD]

    child = Child()
    child.feed(INITIALIZE, process(record(1)), OK, {"action": "leaseLost"})
    assert not child.engine.survivals


def sizes(child: Child) -> list[int]:
    """Of the batches that ran."""
    return [len(records) for records, _ in child.engine.ran]


def test_many_records_are_run_in_slices_with_a_checkpoint_after_each() -> None:
    """A process begins with few, and takes more at once as they turn out to be quick."""
    child = Child(first_slice=FIRST_SLICE)
    many = [record(number) for number in range(1, 1001)]
    answers = child.feed(INITIALIZE, process(*many), *[OK] * 10)
    assert sizes(child) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 489]
    ends = [1, 3, 7, 15, 31, 63, 127, 255, 511, 1000]
    assert answers == [status("initialize"), *(checkpoint(end) for end in ends), status("processRecords")]
    assert child.metric("scheduling_records_total", shard=SHARD) == 1000


def test_slow_batches_get_smaller_so_that_each_try_gets_somewhere() -> None:
    """A batch that takes longer than the daemon waits must not begin anew each time."""
    child = Child(give_up_seconds=1e9, first_slice=FIRST_SLICE)

    class Slow(ScriptedEngine):
        def run(self, records: Sequence[Record], origin: str) -> BatchResult:
            child.slept.append(len(records) * child.pace)
            return super().run(records, origin)

        run_unproven = run

    child.engine = Slow()
    child.processor._engine = child.engine  # type: ignore[assignment]
    child.feed(INITIALIZE, process(*(record(number) for number in range(1, 58))), *[OK] * 16)
    # At a second for each: 4 are not quick any more, and stay.
    assert sizes(child)[:4] == [1, 2, 4, 4]
    child.pace = 5.0
    child.feed(process(*(record(number) for number in range(58, 401))), *[OK] * 171)
    assert max(sizes(child)[-100:]) * 5.0 <= SLOW_SECONDS
    assert sum(sizes(child)) == 400


class Signalled(ScriptedEngine):
    """Is told to stop while it runs its first batch, or while that waits for a store."""

    child: Child

    def run(self, records: Sequence[Record], origin: str) -> BatchResult:
        """Be told, then run."""
        self.child.processor.stop_soon()
        return super().run(records, origin)

    run_unproven = run


def signalled(*script: Exception | None) -> Child:
    """A child that is told to stop in the middle of its first batch."""
    engine = Signalled(*script)
    engine.child = Child(engine)
    return engine.child


def test_told_to_stop_it_finishes_what_is_under_way_and_leaves_out_the_rest() -> None:
    child = signalled()
    many = [record(number) for number in range(1, 1001)]
    answers = child.feed(
        INITIALIZE, process(*many), OK, process(record(1001)), {"action": "shutdownRequested"}
    )
    assert sizes(child) == [SLICE]
    assert answers == [
        status("initialize"),
        checkpoint(SLICE),
        status("processRecords"),
        status("processRecords"),
        status("shutdownRequested"),
    ]
    assert child.metric("scheduling_records_total", shard=SHARD) == SLICE


def test_told_to_stop_while_its_stores_do_not_answer_it_waits_no_longer() -> None:
    child = signalled(Retry("throttled"), Retry("throttled"))
    answers = child.feed(INITIALIZE, process(record(1)), {"action": "shutdownRequested"})
    assert sizes(child) == [1]
    assert answers == [status("initialize"), status("processRecords"), status("shutdownRequested")]
    assert child.engine.survivals == [SHARD]


def test_a_shard_of_which_records_were_left_out_is_not_ended() -> None:
    """Its end is checkpointed without a sequence number, and would cover them."""
    child = signalled()
    many = [record(number) for number in range(1, 1001)]
    with pytest.raises(SystemExit) as ended:
        child.feed(INITIALIZE, process(*many), OK, {"action": "shardEnded"})
    assert ended.value.code == STATE_UNKNOWN
    assert checkpoint(SLICE) in child.answers()
    assert child.answers()[-1] == status("processRecords")


def test_a_daemon_that_goes_on_although_its_child_was_told_to_stop_has_to_begin_anew() -> None:
    child = signalled()
    many = [record(number) for number in range(1, 1001)]
    child.feed(INITIALIZE, process(*many), OK)
    child.slept.append(STOP_SECONDS + 1)
    with pytest.raises(SystemExit):
        child.feed(process())


def test_told_to_stop_with_nothing_under_way_it_takes_on_nothing() -> None:
    child = Child()
    child.feed(INITIALIZE)
    child.processor.stop_soon()
    answers = child.feed(process(record(1)), {"action": "shutdownRequested"})
    assert sizes(child) == []
    assert answers[1:] == [status("processRecords"), status("shutdownRequested")]


# What is told of progress --------------------------------------------------------------------------------------------


def told(child: Child, name: str) -> float | None:
    """A gauge of the shard."""
    return child.metric(f"scheduling_{name}", shard=SHARD)


def test_a_shard_is_settled_up_to_the_arrival_of_its_last_checkpointed_record() -> None:
    child = Child()
    child.feed(INITIALIZE)
    assert told(child, "settled_timestamp_seconds") is None, "nobody knows yet where the shard is read"
    child.feed(process(lag=9000))
    assert told(child, "settled_timestamp_seconds") == NOW - 9
    child.feed(process(record(1), lag=4000), OK)
    assert told(child, "settled_timestamp_seconds") == NOW - 5
    child.feed(process(lag=0))
    assert told(child, "settled_timestamp_seconds") == NOW
    assert told(child, "delivered_timestamp_seconds") == NOW
    assert told(child, "heard_timestamp_seconds") == NOW


def test_without_a_checkpoint_nothing_counts_as_settled() -> None:
    child = Child()
    throttled = [refused("ThrottlingException")] * 6
    child.feed(INITIALIZE, process(lag=9000), process(record(1), lag=0), *throttled)
    assert told(child, "settled_timestamp_seconds") == NOW - 9
    child.feed(process(lag=0), OK)
    assert told(child, "settled_timestamp_seconds") == NOW, "the next delivery's checkpoint covers it"


def test_records_taken_and_not_settled_do_not_count_and_those_left_out_never_do() -> None:
    child = Child()
    child.feed(INITIALIZE, process(lag=700_000), behind(1), OK, behind(2))
    assert told(child, "settled_timestamp_seconds") == NOW - 5, "the first alone is checkpointed"
    late = Child()
    late.feed(INITIALIZE, process(lag=9000))
    late.processor.stop_soon()
    late.feed(process(record(1), lag=0), process(lag=0))
    assert told(late, "settled_timestamp_seconds") == NOW - 9


def test_the_age_from_the_source_is_observed_once_what_it_caused_is_settled() -> None:
    """Events that are settled together are observed together; those of a shard that is lost, by its next worker."""

    class Timed(ScriptedEngine):
        def take(self, records: Sequence[Record], origin: str) -> BatchResult:
            result = super().take(records, origin)
            result.times = [NOW - 20.0] * len(records)
            return result

    child = Child(Timed())
    child.feed(INITIALIZE, behind(1), OK, behind(2, 3))
    assert child.metric("scheduling_end_to_end_age_seconds_count") == 0
    child.feed(process(record(4)), OK)
    assert child.metric("scheduling_end_to_end_age_seconds_count") == 3
    assert child.metric("scheduling_end_to_end_age_seconds_sum") == 60
    assert child.metric("scheduling_end_to_end_age_seconds_bucket", le="20.0") == 3
    assert child.metric("scheduling_end_to_end_age_seconds_bucket", le="15.0") == 0
    child.feed(behind(5), {"action": "leaseLost"})
    assert child.metric("scheduling_end_to_end_age_seconds_count") == 3


def test_a_child_that_waits_for_its_stores_lives() -> None:
    child = Child(ScriptedEngine(Retry("away"), Retry("away")))
    heard: list[float | None] = []
    sleep = child.processor._sleep

    def watched(seconds: float) -> None:
        child.processor._metrics.heard_timestamp.labels(SHARD).set(0)
        sleep(seconds)
        heard.append(told(child, "heard_timestamp_seconds"))

    child.processor._sleep = watched
    child.feed(INITIALIZE, process(record(1)), OK)
    assert heard
    assert told(child, "heard_timestamp_seconds") == NOW


def test_no_word_of_the_daemon_becomes_a_label_that_we_do_not_know() -> None:
    child = Child()
    child.feed(INITIALIZE, process(record(1)), refused("SomethingNewException"), OK)
    assert child.metric("scheduling_checkpoints_total", outcome="other") == 1


# Far behind -----------------------------------------------------------------------------------------------------------


def behind(*numbers: int, lag: int = 600) -> Line:
    """A delivery while the shard is ten minutes behind, or another number of seconds."""
    return process(*(record(number) for number in numbers), lag=lag * 1000)


def test_far_behind_several_deliveries_are_settled_together_and_the_checkpoint_waits_for_them() -> None:
    child = Child()
    answers = child.feed(
        INITIALIZE, behind(1), OK, behind(2, 3), behind(4), process(record(5)), OK, {"action": "leaseLost"}
    )
    assert answers == [
        status("initialize"),
        *(checkpoint(1), status("processRecords")),
        status("processRecords"),
        status("processRecords"),
        *(checkpoint(5), status("processRecords")),
        status("leaseLost"),
    ]
    assert [[int(one.sequence_number) for one in records] for records, _ in child.engine.ran] == [[1]]
    assert child.engine.settled == [[2, 3, 4, 5]]
    assert child.engine.begun == [f"{2:056d}"], "marked, in case the process ends in the middle"
    assert child.metric("scheduling_records_total", shard=SHARD) == 5


def test_what_is_settled_together_is_bounded_by_number_and_by_time() -> None:
    child = Child(together_records=4)
    child.feed(INITIALIZE, behind(1), OK, behind(2, 3), behind(4, 5), OK, behind(6))
    assert child.engine.settled == [[2, 3, 4, 5]]
    assert child.answers()[-3:] == [checkpoint(5), status("processRecords"), status("processRecords")]
    late = Child()
    late.feed(INITIALIZE, behind(1), OK, behind(2))
    late.slept.append(TOGETHER_SECONDS + 1)
    late.feed(behind(3), OK)
    assert late.engine.settled == [[2, 3]]
    assert late.answers()[-2:] == [checkpoint(3), status("processRecords")]


def test_what_is_taken_waits_no_longer_than_the_shard_is_behind() -> None:
    child = Child()
    child.feed(INITIALIZE, behind(1), OK, behind(2, lag=8))
    child.slept.append(7)
    child.feed(behind(3, lag=8))
    assert child.engine.settled == []
    child.slept.append(2)
    child.feed(behind(4, lag=8), OK)
    assert child.engine.settled == [[2, 3, 4]]


def test_a_shard_taken_away_meanwhile_settles_nothing_of_what_was_taken() -> None:
    child = Child()
    child.feed(INITIALIZE, behind(1), OK, behind(2), {"action": "leaseLost"})
    assert child.engine.taken == child.engine.settled == []
    assert child.engine.survivals == [SHARD], "the mark goes: no record has ended this process"


def test_a_process_told_to_stop_leaves_what_was_taken_to_the_next_worker() -> None:
    child = Child()
    child.feed(INITIALIZE, behind(1), OK, behind(2))
    child.processor.stop_soon()
    answers = child.feed(process(record(3)), {"action": "shutdownRequested"})
    assert child.engine.settled == []
    assert checkpoint(2) not in answers
    assert checkpoint(3) not in answers


@pytest.mark.parametrize("end", ["shutdownRequested", "shardEnded"])
def test_what_was_taken_is_settled_before_the_last_checkpoint(end: str) -> None:
    child = Child()
    answers = child.feed(INITIALIZE, behind(1), OK, behind(2), {"action": end}, OK)
    assert child.engine.settled == [[2]]
    assert answers[-1] == status(end)
    if end == "shutdownRequested":
        assert answers[-2] == checkpoint(2)


def test_an_outage_while_settling_together_is_waited_for() -> None:
    child = Child(ScriptedEngine(None, None, None, Retry("away"), Retry("away")))
    answers = child.feed(INITIALIZE, behind(1), OK, behind(2), process(record(3)), OK)
    assert child.engine.settled == [[2, 3]]
    assert answers[-2:] == [checkpoint(3), status("processRecords")]
    assert len(child.slept) >= 2


def test_after_a_process_that_ended_on_these_records_each_slice_is_checkpointed() -> None:
    """Else each process would find no more than its first record done, and the one to be found would stay far."""
    engine = ScriptedEngine()
    engine.before = True
    child = Child(engine)
    child.feed(INITIALIZE, behind(1), OK, behind(2), OK, behind(3), OK)
    assert child.engine.begun == []
    assert child.answers().count(status("processRecords")) == 3
    assert checkpoint(3) in child.answers()
