"""The fake daemon holds a child to the protocol: what the real one would hang on, or lose, is a fault here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from amazon_kclpy.checkpoint_error import CheckpointError
from amazon_kclpy.v3.processor import RecordProcessorBase

from kcl_app.testing.conversation import Conversation, Line, ProtocolError, initialize, process_records
from kcl_app.testing.stream import FakeStream, position_of
from kcl_app.testing.turns import Turns
from processors.envelope import Record

RECORD = Record(b"{}", "12", 3, "key", 1_700_000_000.5)


class Processor(RecordProcessorBase):  # type: ignore[misc]
    """Does with records what it is told to."""

    def __init__(self, work: Callable[[Any], None] = lambda given: None) -> None:
        self.work = work
        self.refused: list[str] = []

    def initialize(self, given: Any) -> None:
        """Nothing."""

    def process_records(self, given: Any) -> None:
        """The work."""
        try:
            self.work(given)
        except CheckpointError as error:
            self.refused.append(str(error.value))


def conversation(
    *messages: Line, error: str | None = None
) -> tuple[Conversation, list[tuple[str, str | None, int | None]]]:
    """One in which every checkpoint is noted, and answered alike."""
    asked: list[tuple[str, str | None, int | None]] = []

    def checkpoint(action: str, number: str | None, sub: int | None) -> str | None:
        asked.append((action, number, sub))
        return error

    return Conversation(iter(messages), checkpoint), asked


def test_a_checkpoint_is_asked_for_and_answered_within_a_message() -> None:
    talk, asked = conversation(initialize("shard", None), process_records([RECORD], 7))
    seen = []

    def work(given: Any) -> None:
        (one,) = given.records
        seen.append((one.binary_data, one.sequence_number, one.sub_sequence_number, one.timestamp_millis))
        assert given.millis_behind_latest == 7
        given.checkpointer.checkpoint(one.sequence_number, one.sub_sequence_number)

    talk.hold(Processor(work))
    assert asked == [("processRecords", "12", 3)]
    assert seen == [(b"{}", "12", 3, 1_700_000_000_500)]


@pytest.mark.parametrize("error", ["ThrottlingException", "ShutdownException", "InvalidStateException"])
def test_a_refusal_names_the_exception(error: str) -> None:
    talk, _ = conversation(process_records([RECORD], 0), error=error)
    processor = Processor(lambda given: given.checkpointer.checkpoint("12", 3))
    talk.hold(processor)
    assert processor.refused == [error]


def test_an_error_that_kclpy_swallows_is_a_fault() -> None:
    talk, _ = conversation(process_records([RECORD], 0))

    def work(given: Any) -> None:
        raise RuntimeError("lost")

    with pytest.raises(ProtocolError, match="kclpy swallowed an error and reported success"):
        talk.hold(Processor(work))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("hello", "not JSON"),
        ("[]", "nobody waits for"),
        ('{"action": "status", "responseFor": "initialize"}', "processRecords is answered as initialize"),
        ('{"action": "done"}', "does not know"),
        ('{"action": "checkpoint", "sequenceNumber": "1"}', "does not know"),
    ],
)
def test_whatever_else_is_on_the_pipe_is_a_fault(said: str, why: str) -> None:
    talk, _ = conversation(process_records([], 0))
    assert json.loads(talk.readline())["action"] == "processRecords"
    with pytest.raises(ProtocolError, match=why):
        talk.write(f"\n{said}\n")


def test_a_line_that_nobody_waits_for_is_a_fault() -> None:
    talk, _ = conversation()
    with pytest.raises(ProtocolError, match="nobody waits for"):
        talk.write('{"action": "status", "responseFor": "initialize"}\n')


def test_a_message_must_be_answered_before_the_next() -> None:
    talk, _ = conversation(process_records([], 0), process_records([], 0))
    talk.readline()
    with pytest.raises(ProtocolError, match="has not answered processRecords"):
        talk.readline()


def test_nothing_can_be_checkpointed_while_a_shard_is_taken() -> None:
    talk, asked = conversation(initialize("shard", (12, 3)))
    assert json.loads(talk.readline())["sequenceNumber"] == "12"
    talk.write('{"action": "checkpoint", "sequenceNumber": "12", "subSequenceNumber": 3}\n')
    assert json.loads(talk.readline())["error"] == "InvalidStateException"
    assert asked == []


def test_a_shard_starts_when_the_ends_of_its_parents_are_checkpointed() -> None:
    stream = FakeStream(random.Random(1), 2)
    one, other = stream.open_shards()
    child = stream.merge(one, other)
    first, second = stream.split(child)
    assert stream.ready([]) == [one, other]
    one.ended = True
    assert stream.ready(["shardId-000000000000"]) == [other]
    other.ended = True
    assert stream.ready([]) == [one, other, child]
    child.ended = True
    assert stream.ready([one.name, other.name, child.name]) == [first, second]


def test_a_replay_begins_behind_the_checkpoint_also_within_an_aggregated_record() -> None:
    stream = FakeStream(random.Random(1))
    (shard,) = stream.open_shards()
    added = [stream.put(shard, b"a"), stream.put(shard, b"b", joins=True), stream.put(shard, b"c")]
    assert [record.sub_sequence_number for record in added] == [0, 1, 0]
    assert added[0].sequence_number == added[1].sequence_number
    assert position_of(added[1]) < position_of(added[2])
    shard.checkpoint = position_of(added[0])
    assert shard.start() == 1
    assert not shard.done()
    shard.checkpoint = position_of(added[2])
    assert shard.done()


def test_sequence_numbers_of_a_shard_come_to_have_one_digit_more() -> None:
    stream = FakeStream(random.Random(1))
    (shard,) = stream.open_shards()
    assert {len(stream.put(shard, b"").sequence_number) for _ in range(20)} == {55, 56}


def test_turns_are_the_same_for_the_same_seed() -> None:
    def order(seed: int) -> str:
        turns, said = Turns(random.Random(seed)), []

        def task(name: str) -> None:
            for _ in range(20):
                said.append(name)
                turns.pause()

        turns.run([lambda name=name: task(name) for name in "abc"])  # type: ignore[misc]
        return "".join(said)

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted("abc" * 20)


def test_an_error_of_one_ends_all() -> None:
    turns, ended = Turns(random.Random(1), 1.0), []

    def fails() -> None:
        for _ in range(50):
            turns.pause()
        raise ValueError("this one")

    def goes_on() -> None:
        try:
            while True:
                turns.pause()
        finally:
            ended.append(True)

    with pytest.raises(ValueError, match="this one"):
        turns.run([fails, goes_on])
    assert ended == [True]
