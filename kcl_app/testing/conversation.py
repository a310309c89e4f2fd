"""The daemon's side of one child's pipe: the MultiLangDaemon's protocol, held to strictly.

The daemon writes a message as one line of JSON and waits until the child has answered it with a status. Meanwhile the
child may ask for checkpoints, and each is answered, with the name of a Java exception where it was not taken. The real
daemon skips lines that it cannot read; here each of them is a fault of the child.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from amazon_kclpy.kcl import KCLProcess

from kcl_app.testing.stream import Position
from processors.envelope import Record

Line = dict[str, Any]

TakeCheckpoint = Callable[[str, "str | None", "int | None"], "str | None"]
"""Stores a checkpoint: the action under way, sequence number, sub-sequence number; the error's name, or None."""

WITHOUT_CHECKPOINTER = ("initialize", "leaseLost")
"""Actions in which nothing can be checkpointed."""


class ProtocolError(AssertionError):
    """The child broke the protocol: the real daemon would hang, or lose what it said."""


def initialize(shard: str, checkpoint: Position | None) -> Line:
    """The first message: which shard, and where it starts."""
    number, sub = (str(checkpoint[0]), checkpoint[1]) if checkpoint else ("TRIM_HORIZON", 0)
    return {"action": "initialize", "shardId": shard, "sequenceNumber": number, "subSequenceNumber": sub}


def process_records(records: Sequence[Record], millis_behind: int) -> Line:
    """A batch of records, or none."""
    return {
        "action": "processRecords",
        "records": [_record(record) for record in records],
        "millisBehindLatest": millis_behind,
    }


def _record(record: Record) -> Line:
    return {
        "action": "record",
        "data": base64.b64encode(record.data).decode(),
        "partitionKey": record.partition_key,
        "sequenceNumber": record.sequence_number,
        "approximateArrivalTimestamp": int(record.arrival * 1000),
        "subSequenceNumber": record.sub_sequence_number,
    }


class Conversation:
    """What a child reads from and writes to; the daemon answers in between.

    Args:
        messages: what the daemon has to say, asked for when the child has answered the message before.
        checkpoint: stores a checkpoint.
    """

    def __init__(self, messages: Iterator[Line], checkpoint: TakeCheckpoint) -> None:
        self._messages = messages
        self._checkpoint = checkpoint
        self._action: str | None = None
        self._asked: Line | None = None
        self.broken: str | None = None
        self.errors = io.StringIO()

    def hold(self, processor: Any) -> None:
        """Talk to a record processor until the daemon has nothing more to say.

        Raises:
            ProtocolError: the child broke the protocol, or kclpy swallowed what the processor raised.
        """
        try:
            KCLProcess(processor, self, self, self.errors).run()
        finally:
            if self.broken is None and self.errors.getvalue():
                self.broken = (
                    f"kclpy swallowed an error and reported success: {self.errors.getvalue()[-2000:]}"
                )
            if self.broken is not None:
                raise ProtocolError(self.broken)

    def readline(self) -> str:
        """What the daemon says next; nothing at the end."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return self._line(self._answer(asked))
        if self._action is not None:
            self._break(f"the child reads on and has not answered {self._action}")
        message = next(self._messages, None)
        if message is None:
            return ""
        self._action = message["action"]
        return self._line(message)

    def write(self, text: str) -> int:
        """What the child says."""
        for line in text.splitlines():
            if line:
                self._hear(line)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            self._break(f"a line on the pipe that is not JSON: {line[:200]}")
        if not isinstance(said, dict) or self._asked is not None or self._action is None:
            self._break(f"a line on the pipe that nobody waits for: {line[:200]}")
        if set(said) == {"action", "responseFor"} and said["action"] == "status":
            if said["responseFor"] != self._action:
                self._break(f"{self._action} is answered as {said['responseFor']}")
            self._action = None
        elif (
            set(said) == {"action", "sequenceNumber", "subSequenceNumber"} and said["action"] == "checkpoint"
        ):
            self._asked = said
        else:
            self._break(f"a message that the daemon does not know: {line[:200]}")

    def _answer(self, asked: Line) -> Line:
        assert self._action is not None  # only then a checkpoint can be asked for
        if self._action in WITHOUT_CHECKPOINTER:
            error: str | None = "InvalidStateException"
        else:
            error = self._checkpoint(self._action, asked["sequenceNumber"], asked["subSequenceNumber"])
        return {**asked, "error": error}

    @staticmethod
    def _line(message: Line) -> str:
        return json.dumps(message) + "\n"

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        raise ProtocolError(why)
