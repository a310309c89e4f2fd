"""Durable marks of attempts: a record that ends its process is found and set aside, rather than tried for ever.

A batch that fails is run again by the process itself. But a plugin can end the process (`os._exit`, a fault in C code,
all memory used up) or hang where nothing can interrupt it, until the daemon ends all. Then the next process starts from
the same checkpoint with the same records. So each process, before its first batch on a shard, writes down where it
starts. The third that starts there without a checkpoint in between goes record by record, and writes down each before
it is tried. A record that has ended two of these is not tried again.

A start is named by its first record, so that nothing needs to be erased: after a checkpoint the next is elsewhere.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from kcl_app.clock import Clock
from kcl_app.stores.base import Outcome, Put, Row, Store, Table
from processors.envelope import Record
from processors.errors import Fatal, Retry
from processors.items import SCHEMA

PARTITION = "#attempts"
"""The partition of the dead-letter table that holds the marks: tenants are percent-encoded, so none is called so."""

STARTS = 2
"""Processes that may end on the way from one checkpoint to the next before records are tried one by one."""

TRIES = 2
"""Processes that a record may end when it is tried alone."""

KEPT_SECONDS = 30 * 86_400
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Mark:
    """What is written down of a shard.

    Attributes:
        start: the first record after the checkpoint, as its place in the stream.
        starts: processes that began there.
        tries: for each record that was tried alone and did not come through since, how many processes tried it.
        version: changes with every write.
    """

    start: str
    starts: int = 0
    tries: Mapping[str, int] = field(default_factory=dict)
    version: str = ""


class Attempts:
    """The marks of the shards of one process.

    Args:
        store: the tables.
        clock: the clock.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._marks: dict[str, Mark] = {}
        self._trying: dict[str, str] = {}

    def careful(self, shard: str, first: Record) -> bool:
        """Whether the records of a shard must be tried one by one. Marks this process' start if it is not yet.

        Args:
            shard: its id.
            first: the first record of the first batch.

        Raises:
            Retry: the mark cannot be written now.
        """
        if shard not in self._marks:
            self._write(shard, lambda stored: self._started(stored, first.sequence()))
        return self._marks[shard].starts > STARTS

    def hopeless(self, shard: str, record: Record) -> bool:
        """Whether a record is not to be tried any more; marks that it is being tried now if it is.

        Args:
            shard: where a start is marked.
            record: the record to be tried alone.

        Raises:
            Retry: the mark cannot be written now.
        """
        place, passed = record.sequence(), self._trying.get(shard)
        if passed == place:
            return False  # this process tries it again, since a store could not be used
        mark = self._marks[shard]
        if mark.tries.get(place, 0) >= TRIES:
            return True

        def tried(stored: Mark | None) -> Mark:
            tries = {one: count for one, count in mark.tries.items() if one != passed}
            return replace(stored or mark, tries={**tries, place: tries.get(place, 0) + 1})

        self._write(shard, tried)
        self._trying[shard] = place
        return False

    def survived(self, shard: str) -> None:
        """Take this process' part of the mark back: it ends in good order, or gives the shard up, so nothing ended it.

        Args:
            shard: marked by this process or not.
        """
        mark, trying = self._marks.pop(shard, None), self._trying.pop(shard, None)
        if mark is None:
            return

        def without(stored: Mark | None) -> Mark:
            if stored is None or stored.start != mark.start:
                return stored or mark  # others have gone on: there is nothing of ours in it
            tries = {**stored.tries}
            if trying is not None:
                tries[trying] = tries.get(trying, 1) - 1
            return replace(
                stored,
                starts=max(0, stored.starts - 1),
                tries={one: count for one, count in tries.items() if count > 0},
            )

        with suppress(Retry, Fatal):  # it is not worth keeping a process that must go
            self._write(shard, without)
        self._marks.pop(shard, None)

    @staticmethod
    def _started(stored: Mark | None, start: str) -> Mark:
        if stored is None or stored.start != start:
            return Mark(start, 1)
        return replace(stored, starts=stored.starts + 1)

    def _write(self, shard: str, change: Callable[[Mark | None], Mark]) -> None:
        mine: list[Mark] = []
        for _ in range(ROUNDS):
            stored = self._read(shard)
            if stored is not None and stored in mine:  # only the answer was lost, or late
                self._marks[shard] = stored
                return
            mark = replace(change(stored), version=uuid.uuid4().hex)
            mine.append(mark)
            put = Put(Table.DEAD_LETTERS, self._row(shard, mark), stored.version if stored else None)
            if self._store.write([put]) == [Outcome.APPLIED]:
                self._marks[shard] = mark
                return
        raise Retry("the mark of an attempt cannot be written")

    def _read(self, shard: str) -> Mark | None:
        key = (PARTITION, shard)
        row = self._store.get(Table.DEAD_LETTERS, [key]).get(key)
        if row is None:
            return None
        return Mark(
            str(row["start"]),
            _number(row["starts"]),
            json.loads(str(row["tries"])),
            str(row["write_version"]),
        )

    def _row(self, shard: str, mark: Mark) -> Row:
        return {
            "pk": PARTITION,
            "sk": shard,
            "start": mark.start,
            "starts": mark.starts,
            "tries": json.dumps(mark.tries),
            "write_version": mark.version,
            "schema": SCHEMA,
            "updated_at": self._clock.now().isoformat(),
            "expires_at": int(self._clock.seconds()) + KEPT_SECONDS,
        }


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
