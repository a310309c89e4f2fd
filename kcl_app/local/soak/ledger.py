"""What the stream accepted, kept on disk by whoever sends: the one thing that the tables are held against.

One JSON line for each record: the shard and the sequence number that the stream gave it, when, its partition key, and
its bytes in base64. Lines are in the order of acceptance.
"""

from __future__ import annotations

import base64
import json
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from processors.envelope import Record


@dataclass(frozen=True, slots=True)
class Accepted:
    """One record that the stream has.

    Attributes:
        shard: which one took it.
        sequence_number: that it got there.
        at: when, in seconds since the epoch.
        partition_key: as sent.
        data: as sent.
    """

    shard: str
    sequence_number: str
    at: float
    partition_key: str
    data: bytes

    def record(self) -> Record:
        """As a worker gets it."""
        return Record(self.data, self.sequence_number, 0, self.partition_key, self.at)

    def line(self) -> bytes:
        """As it stands in the file."""
        fields = (
            self.shard,
            self.sequence_number,
            self.at,
            self.partition_key,
            base64.b64encode(self.data).decode(),
        )
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Accepted:
        """The inverse of `line`."""
        shard, number, at, key, data = json.loads(line)
        return cls(shard, number, at, key, base64.b64decode(data))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its number, comparable within its shard, when it was accepted, and where in the file."""

    number: int
    at: float
    offset: int
    size: int


class Ledger:
    """The file, and what is in it by shard. Safe to use from several threads.

    Args:
        path: of the file, which is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._lock = threading.Lock()
        self._end = 0
        self._shards: dict[str, list[Place]] = {}
        self.records = 0
        self.last_at = 0.0

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def add(self, accepted: list[Accepted]) -> None:
        """Write down what one call got accepted."""
        with self._lock:
            self._file.seek(self._end)
            for one in accepted:
                line = one.line()
                self._file.write(line)
                places = self._shards.setdefault(one.shard, [])
                place = Place(int(one.sequence_number), one.at, self._end, len(line))
                # Calls run side by side, so the last to be answered need not have the greatest number.
                places.insert(bisect_right(places, place.number, key=lambda p: p.number), place)
                self._end += len(line)
                self.records += 1
                self.last_at = max(self.last_at, one.at)
            self._file.flush()

    def shards(self) -> dict[str, list[Place]]:
        """What each shard has accepted, in its order."""
        with self._lock:
            return {shard: list(places) for shard, places in self._shards.items()}

    def after(self, shard: str, number: int) -> list[Place]:
        """What a shard has accepted behind a sequence number."""
        with self._lock:
            places = self._shards.get(shard, [])
            return places[bisect_right(places, number, key=lambda p: p.number) :]

    def between(self, shard: str, above: int, upto: int) -> list[Place]:
        """What a shard has accepted behind one sequence number, and up to another."""
        with self._lock:
            places = self._shards.get(shard, [])
            first, last = (bisect_right(places, number, key=lambda p: p.number) for number in (above, upto))
            return places[first:last]

    def read(self, place: Place) -> Accepted:
        """One record."""
        with self._lock:
            self._file.seek(place.offset)
            return Accepted.read(self._file.read(place.size))

    def all(self) -> Iterator[Accepted]:
        """Every record, in the order of acceptance, from the file."""
        with self.path.open("rb") as file:
            yield from map(Accepted.read, file)
