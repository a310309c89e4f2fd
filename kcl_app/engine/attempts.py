"""Durable marks of attempts: a record that ends its process is found and set aside, rather than tried for ever.

A batch that fails is run again by the process itself. But a plugin can end the process (`os._exit`, a fault in C code,
all memory used up) or hang where nothing can interrupt it, until the daemon ends all. Then the next process starts from
the same checkpoint with the same record. So each process begins with one record alone, and writes down which before it
tries it. A record that has ended three processes so is not tried again. One that ends its process later, among others,
is the first before long, since each process checkpoints what it gets done.

A start is named by its record, so that nothing needs to be erased: after a checkpoint the next is elsewhere.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from kcl_app.clock import Clock
from kcl_app.stores.base import Outcome, Put, Row, Store, Table
from processors.envelope import Record
from processors.errors import Fatal, Retry
from processors.items import SCHEMA
from processors.keys import ProviderKey, decode_part

PARTITION = "#attempts"
"""The partition of the dead-letter table that holds the marks: tenants are percent-encoded, so none is called so."""

TRIES = 3
"""Processes that a record may end when it is tried alone."""

PROVIDERS_CHARACTERS = 90_000
"""Of the providers written down with a mark: a row holds 400 KB, and a character takes four bytes at most."""

KEPT_SECONDS = 30 * 86_400
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Mark:
    """What is written down of a shard.

    Attributes:
        record: the first record after the checkpoint, as its place in the stream.
        tries: processes that began with it.
        together: whether a process began several batches with it, to be checkpointed together. If it ended before that,
            it was on any of them.
        providers: whose days it may have touched, as their keys; known from the second try on.
        version: changes with every write.
    """

    record: str
    tries: int = 0
    together: bool = False
    providers: tuple[str, ...] = ()
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
        self._together: set[str] = set()  # shards whose mark is of several batches of this process

    def begin(self, shard: str, record: Record) -> int:
        """Mark that this process begins with a record, unless it has.

        Args:
            shard: its id.
            record: the one that is tried alone.

        Returns:
            How many processes have begun with it, this one included.

        Raises:
            Retry: the mark cannot be written now.
        """
        place = record.sequence()
        if shard not in self._marks or self._marks[shard].record != place:
            self._write(shard, lambda stored: _begun(stored, place))
            self._together.discard(shard)
        return self._marks[shard].tries

    def begin_together(self, shard: str, first: Record) -> None:
        """Mark that this process begins several batches that are checkpointed together.

        Args:
            shard: its id.
            first: the first record of the first of them.

        Raises:
            Retry: the mark cannot be written now.
        """
        place = first.sequence()

        def begun(stored: Mark | None) -> Mark:
            known = stored if stored is not None and stored.record == place else Mark(place)
            return replace(known, together=True)

        self._write(shard, begun)
        self._together.add(shard)

    def suspect(self, shard: str) -> bool:
        """Whether another process has ended at the record that this one began with, or soon after it."""
        mark = self._marks.get(shard)
        return mark is not None and (mark.tries > 1 or mark.together)

    def name(self, shard: str, providers: Collection[ProviderKey]) -> None:
        """Write down whose days the record may touch, before anything of it is stored.

        Raises:
            Retry: the mark cannot be written now.
        """
        names: list[str] = []
        room = PROVIDERS_CHARACTERS
        for name in sorted(key.pk() for key in providers):
            room -= len(name)
            if room > 0:
                names.append(name)
        mark = self._marks[shard]
        if not set(names) <= set(mark.providers):
            together = tuple(sorted({*mark.providers, *names}))
            self._write(shard, lambda stored: replace(stored or mark, providers=together))

    def named(self, shard: str) -> set[ProviderKey]:
        """Whose days the record may have touched."""
        keys = (name.split("#") for name in self._marks[shard].providers)
        return {ProviderKey(*(decode_part(part) for part in parts)) for parts in keys}

    def survived(self, shard: str) -> None:
        """Take this process' part of the mark back: it ends in good order, or gives the shard up, so nothing ended it.

        Args:
            shard: marked by this process or not.
        """
        mark = self._marks.pop(shard, None)
        if mark is None:
            return

        def without(stored: Mark | None) -> Mark:
            if stored is None or stored.record != mark.record:
                return stored or mark  # others have gone on: there is nothing of ours in it
            if shard in self._together:
                return replace(stored, together=False)
            return replace(stored, tries=max(0, stored.tries - 1))

        with suppress(Retry, Fatal):  # it is not worth keeping a process that must go
            self._write(shard, without)
        self._marks.pop(shard, None)

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
        tries = row.get("tries")  # whatever another release may have written, it must not end this process
        return Mark(
            str(row.get("record", "")),
            tries if isinstance(tries, int) else 0,
            row.get("together") == 1,
            tuple(json.loads(str(row.get("providers") or "[]"))),
            str(row["write_version"]),
        )

    def _row(self, shard: str, mark: Mark) -> Row:
        return {
            "pk": PARTITION,
            "sk": shard,
            "record": mark.record,
            "tries": mark.tries,
            "together": int(mark.together),
            "providers": json.dumps(mark.providers),
            "write_version": mark.version,
            "schema": SCHEMA,
            "updated_at": self._clock.now().isoformat(),
            "expires_at": int(self._clock.seconds()) + KEPT_SECONDS,
        }


def _begun(stored: Mark | None, place: str) -> Mark:
    if stored is None or stored.record != place:
        return Mark(place, 1)
    return replace(stored, tries=stored.tries + 1)
