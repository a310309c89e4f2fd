"""A stream in memory, with what the daemon keeps about it: shards, their records, leases and checkpoints."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from processors.envelope import Record

Position = tuple[int, int]
"""A place in a shard: sequence number and sub-sequence number."""

ROUND_NUMBER = 10**55
"""Sequence numbers of a shard begin below this one and go past it, so that they do not all have as many digits."""


def position_of(record: Record) -> Position:
    """Where a record stands in its shard."""
    return int(record.sequence_number), record.sub_sequence_number


@dataclass
class Shard:
    """One shard, with its lease.

    Attributes:
        name: as the KCL names it.
        parents: the shards whose end must be checkpointed before this one starts.
        records: what it holds, in order.
        closed: whether it was split or merged, so that nothing more comes.
        checkpoint: the last record that counts as done; None where nothing does.
        ended: whether its end was checkpointed.
        token: the number of the lease; whoever took an earlier one has lost it.
        starts: how many leases began at each checkpoint.
    """

    name: str
    parents: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)
    closed: bool = False
    checkpoint: Position | None = None
    ended: bool = False
    token: int = 0
    starts: Counter[Position | None] = field(default_factory=Counter)

    def start(self) -> int:
        """The index of the first record after the checkpoint."""
        if self.checkpoint is None:
            return 0
        return sum(position_of(record) <= self.checkpoint for record in self.records)

    def take(self) -> int:
        """Begin a lease; its token."""
        self.token += 1
        self.starts[self.checkpoint] += 1
        return self.token

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.ended if self.closed else self.start() == len(self.records)


class FakeStream:
    """The shards of one stream.

    Args:
        rng: decides the sequence numbers: those of different shards do not compare.
        shards: how many there are at first.
        arrival: when the records arrive, in seconds since the epoch.
    """

    def __init__(self, rng: random.Random, shards: int = 1, arrival: float = 1_700_000_000.0) -> None:
        self._rng = rng
        self._arrival = arrival
        self._numbers: dict[str, int] = {}
        self.shards: dict[str, Shard] = {}
        for _ in range(shards):
            self._open(())

    def _open(self, parents: tuple[str, ...]) -> Shard:
        shard = Shard(f"shardId-{len(self.shards):012d}", parents)
        self.shards[shard.name] = shard
        self._numbers[shard.name] = ROUND_NUMBER - self._rng.randint(1, 20)
        return shard

    def open_shards(self) -> list[Shard]:
        """Those that take records."""
        return [shard for shard in self.shards.values() if not shard.closed]

    def put(self, shard: Shard, data: bytes, partition_key: str = "partition", joins: bool = False) -> Record:
        """Append a record.

        Args:
            shard: where; an open one.
            data: its bytes.
            partition_key: its partition key.
            joins: it is one with the record before it, as the Kinesis Producer Library aggregates them, and has the
                next sub-sequence number.
        """
        assert not shard.closed, f"{shard.name} is closed"
        last = shard.records[-1] if joins and shard.records else None
        if last is None:
            self._numbers[shard.name] += self._rng.randint(1, 9)
            number, sub = str(self._numbers[shard.name]), 0
        else:
            number, sub = last.sequence_number, last.sub_sequence_number + 1
        shard.records.append(Record(data, number, sub, partition_key, self._arrival))
        return shard.records[-1]

    def split(self, shard: Shard) -> list[Shard]:
        """Close a shard and open two children of it."""
        shard.closed = True
        return [self._open((shard.name,)), self._open((shard.name,))]

    def merge(self, one: Shard, other: Shard) -> Shard:
        """Close two shards and open one child of both."""
        one.closed = other.closed = True
        return self._open((one.name, other.name))

    def ready(self, started: Iterable[str]) -> list[Shard]:
        """The shards that may start now and have not."""
        begun = set(started)
        return [
            shard
            for shard in self.shards.values()
            if shard.name not in begun and all(self.shards[parent].ended for parent in shard.parents)
        ]
