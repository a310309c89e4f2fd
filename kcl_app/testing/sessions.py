"""One child on one shard: what the daemon tells it, and what becomes of the checkpoints that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kcl_app.testing.checks import Checks, first_few
from kcl_app.testing.clocks import VirtualTime
from kcl_app.testing.conversation import (
    Conversation,
    Line,
    ProtocolError,
    initialize,
    process_records,
)
from kcl_app.testing.faults import Crash, Faults, Luck, Process, Trace
from kcl_app.testing.stream import Position, Shard, position_of
from processors.envelope import Record

REFUSALS = ("ThrottlingException", "KinesisClientLibDependencyException")
"""Errors of a checkpoint after which it can be tried again."""


class Failed(BaseException):
    """Something does not hold; nothing that is simulated catches this."""


@dataclass
class World:
    """What all sessions share.

    Attributes:
        faults: how often what goes wrong.
        luck: decides it.
        time: the true time.
        step_seconds: how much of it goes by with each message.
        pause: called where another process may go on.
        checks: what must hold.
        recovers: the faults found if every process died now.
        trace: told what happens.
    """

    faults: Faults
    luck: Luck
    time: VirtualTime
    step_seconds: float
    pause: Callable[[], None]
    checks: Checks
    recovers: Callable[[], list[str]]
    trace: Trace


class Session:
    """One lease of one shard.

    Args:
        world: what all sessions share.
        shard: the shard.
        process: the worker that has the lease.
        steal: has another worker take the shard at once.
    """

    def __init__(self, world: World, shard: Shard, process: Process, steal: Callable[[], None]) -> None:
        self._world = world
        self._shard = shard
        self._process = process
        self._steal = steal
        self._token = shard.token
        self._delivered: Position | None = shard.checkpoint
        self._taken = self._start = shard.checkpoint
        self.who = f"{process.name}/{shard.name[-3:]}/{self._token}"

    def hold(self, processor: Any) -> None:
        """Run a record processor on the shard until it ends, dies or loses the lease.

        Raises:
            Failed: something does not hold.
        """
        conversation = Conversation(self._messages(), self._checkpoint)
        try:
            conversation.hold(processor)
        except Crash:
            self._process.alive = False
        except SystemExit as end:
            self._process.alive = False  # a child that exits ends the daemon
            self._shard.starts[self._start] -= 1  # no record has killed it
            self._world.trace.note(self.who, "the child ends", end.code)
        except ProtocolError as error:
            raise Failed(str(error)) from error
        if conversation.broken is not None:
            raise Failed(conversation.broken)

    def _messages(self) -> Iterator[Line]:
        for message in self._said():
            self._world.time.pass_(self._world.step_seconds)
            yield message
            self._world.pause()
            self._process.check()

    def _said(self) -> Iterator[Line]:
        world, shard, rng = self._world, self._shard, self._world.luck.rng
        world.trace.note(self.who, "takes the lease, from", shard.checkpoint)
        yield initialize(shard.name, shard.checkpoint)
        index, most = shard.start(), rng.choice([1, 2, 8])
        while True:
            if shard.token != self._token and (rng.random() < 0.5 or index >= len(shard.records)):
                world.trace.note(self.who, "learns that the lease is lost")
                yield {"action": "leaseLost"}
                return
            if world.luck.fails(world.faults.stop):
                world.trace.note(self.who, "is asked to stop")
                yield {"action": "shutdownRequested"}
                return
            self._jump()
            if index >= len(shard.records):
                break
            batch = shard.records[index : index + rng.randint(1, most)]
            index += len(batch)
            if world.luck.fails(world.faults.steal):
                world.trace.note(self.who, "loses the lease and does not know")
                self._steal()
            yield self._batch(batch, len(shard.records) - index)
        if shard.closed:
            yield from self._end()
        else:
            yield process_records((), 0)  # nothing new: a checkpoint that waited is taken now
            yield {"action": "shutdownRequested"}

    def _batch(self, batch: Sequence[Record], behind: int) -> Line:
        self._delivered = position_of(batch[-1])
        places = [f"{record.sequence_number[-3:]}.{record.sub_sequence_number}" for record in batch]
        self._world.trace.note(self.who, "gets", *places)
        return process_records(batch, behind * 1000)

    def _end(self) -> Iterator[Line]:
        self._world.trace.note(self.who, "is told that the shard ended")
        yield {"action": "shardEnded"}
        if not self._shard.ended and self._shard.token == self._token:
            raise Failed(f"{self.who}: the end of the shard was not checkpointed, and the child went on")

    def _jump(self) -> None:
        world = self._world
        if world.luck.fails(world.faults.jump):
            clock = self._process.clock
            clock.wrong_by = world.luck.rng.choice([0.0, world.faults.wrong_by(world.luck.rng)])
            world.trace.note(self.who, "its clock jumps to", clock.now().isoformat())

    def _checkpoint(self, action: str, number: str | None, sub: int | None) -> str | None:
        """Store a checkpoint, or say why not."""
        world = self._world
        world.pause()
        self._process.check()
        dies = world.luck.fails(world.faults.checkpoint_crash)
        if dies and world.luck.rng.random() < 0.5:
            self._die("before the checkpoint")
        error = self._refusal()
        if error is None:
            self._take(action, number, sub)
        world.trace.note(self.who, "checkpoint", number and number[-3:], sub, error or "taken")
        if dies:
            self._die("after the checkpoint")
        return error

    def _refusal(self) -> str | None:
        world = self._world
        if self._shard.token != self._token:
            return "ShutdownException"
        if world.luck.fails(world.faults.exit):
            return "InvalidStateException"
        if world.luck.fails(world.faults.checkpoint):
            return world.luck.rng.choice(REFUSALS)
        return None

    def _take(self, action: str, number: str | None, sub: int | None) -> None:
        shard, ended = self._shard, number is None and action == "shardEnded"
        if number is None and not ended:
            raise Failed(f"{self.who}: a checkpoint without a sequence number covers all that was delivered")
        position = self._delivered if number is None else self._position(number, sub)
        before = shard.start()
        shard.ended = ended
        if position is not None:
            if (
                self._delivered is None
                or position > self._delivered
                or (self._taken and position < self._taken)
            ):
                raise Failed(f"{self.who}: checkpoint at {position}, outside of what was delivered")
            shard.checkpoint = self._taken = position
        ahead = self._world.checks.durable(shard, shard.records[before : shard.start()])
        if ahead:
            raise Failed(f"{self.who}: the checkpoint is ahead of what is durable:\n{first_few(ahead)}")
        if wrong := self._world.recovers():
            raise Failed(f"{self.who}: a replay from this checkpoint would not recover:\n{first_few(wrong)}")

    def _position(self, number: str, sub: int | None) -> Position:
        places = {record.sequence_number for record in self._shard.records}
        if number not in places:
            raise Failed(f"{self.who}: checkpoint at {number}, which no record of the shard has")
        return int(number), sub or 0

    def _die(self, when: str) -> None:
        self._world.trace.note(self.who, f"{self._process.name} dies", when)
        self._process.die()
