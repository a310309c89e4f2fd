"""Dead letters done again: their days are recomputed, their events go back onto the stream, and then they go.

    group by provider → recompute the days they name → put the events back, oldest first → drop the letters

A letter goes last, so that a crash anywhere leaves it to be redriven once more, which does no harm: the event has its
own version, time and sequence, and workers find it done. Days come first: if they fail still, the event stays here
too. A worker would only fail on it again, and write another letter for it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.reading_letters import StoredLetter, drop, raw_record
from kcl_app.engine.recomputing import (
    EVERY_DAY,
    GIVE_UP,
    Sleep,
    days_meant,
    persistently,
    recompute,
    stale_days,
)
from kcl_app.logs import get_logger
from kcl_app.put import MAX_RECORD_BYTES, Outgoing, patched
from kcl_app.stores.base import Blobs, Store
from processors.envelope import Record
from processors.errors import Fatal, Reject, Retry
from processors.keys import ProviderKey

AT_ONCE = 500
"""Letters between two times that the stream is waited for, at most."""
BYTES_AT_ONCE = 16 * 1024 * 1024
"""Bytes of their records, about: bounds memory."""

NEWER = "a newer version of this application wrote them"
STILL_STALE = "their days could not be computed and are still stale"

Send = Callable[[Sequence[Outgoing]], None]
"""Puts records onto the stream; returns once the stream has them all, and raises if it does not take them."""


@dataclass
class Redriven:
    """What redriving came to.

    Attributes:
        events: records put back onto the stream.
        days: provider-days recomputed.
        dropped: letters done with.
        kept: letters that stay, by why.
    """

    events: int = 0
    days: int = 0
    dropped: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def restored(record: Record, record_bytes: int) -> bytes:
    """A record's bytes as they go back onto the stream.

    An event that came without a `sequence` counted its place in the stream, and would count another now: so it is
    stamped with the one it had. All else stays byte for byte, as does what is no JSON object.

    Args:
        record: as it came.
        record_bytes: what workers take at most.

    Raises:
        Reject: with its sequence it would be larger than workers or the stream take.
    """
    if not _lacks_sequence(record.data):
        return record.data
    data = patched(record.data, {"sequence": record.sequence()})
    grown = len(data) > record_bytes >= len(record.data)
    if grown or len(data) + len(record.partition_key.encode()) > MAX_RECORD_BYTES:
        raise Reject("too_large", "with the sequence that it needs the record is too large to go back")
    return data


def _lacks_sequence(data: bytes) -> bool:
    """Whether it is a JSON object without a `sequence`, or with null for one."""
    try:
        found = json.loads(
            data.decode(), parse_int=str, parse_float=str
        )  # numbers may have thousands of digits
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("sequence") is None


class Redriver:
    """Redrives letters.

    Args:
        engine: on the same stores as the workers.
        store: the tables.
        blobs: where large records are.
        send: puts records onto the stream.
        record_bytes: what workers take of one record, at most.
        sleep: waits, in seconds.
    """

    def __init__(
        self,
        engine: BatchEngine,
        store: Store,
        blobs: Blobs,
        send: Send,
        record_bytes: int,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._engine = engine
        self._store = store
        self._blobs = blobs
        self._send = send
        self._record_bytes = record_bytes
        self._sleep = sleep
        self._sent: set[tuple[str, str, int]] = set()

    def run(
        self, letters: Sequence[StoredLetter], progress: Callable[[int], None] = lambda number: None
    ) -> Redriven:
        """Redrive letters.

        Args:
            letters: oldest first.
            progress: told of so many letters more that are done with, one way or the other.

        Raises:
            Retry: a store cannot be used now.
            Fatal: permissions or tables are missing.
            UserError: the stream takes nothing. The letters of events that it may not have got are still there.
        """
        done = Redriven()
        good = self._settled(letters, done, progress)
        pending: list[tuple[StoredLetter, Outgoing | None]] = []
        size = 0
        for letter in good:
            try:
                outgoing = self._outgoing(letter, len(pending) + 1)
            except Reject as reject:
                done.kept[reject.detail] += 1
                progress(1)
                continue
            pending.append((letter, outgoing))
            size += len(outgoing.data) if outgoing else 0
            if len(pending) == AT_ONCE or size >= BYTES_AT_ONCE:
                self._finish(pending, done, progress)
                pending, size = [], 0
        self._finish(pending, done, progress)
        return done

    def _settled(
        self, letters: Sequence[StoredLetter], done: Redriven, progress: Callable[[int], None]
    ) -> list[StoredLetter]:
        """The letters of which every day that they name is fresh, by now."""
        named: dict[ProviderKey, list[StoredLetter]] = {}
        for letter in letters:
            if letter.provider is not None and not letter.newer:
                named.setdefault(letter.provider, []).append(letter)
        kept: dict[StoredLetter, str] = {one: NEWER for one in letters if one.newer}
        in_a_row = 0
        for key, group in named.items():
            try:
                failing = self._recompute(key, group, done)
                in_a_row = 0
            except Retry as error:
                in_a_row += 1
                if in_a_row == GIVE_UP:
                    raise
                failing = dict.fromkeys(group, str(error))
            except Fatal:
                raise
            except Exception as error:  # one provider must not keep the others from being redriven
                get_logger().error("a provider could not be recomputed", tenant=key.tenant, exc_info=True)
                failing = dict.fromkeys(group, f"the engine raised {type(error).__name__}")
            kept |= failing
            self._engine.providers.forget(key)
        done.kept.update(kept.values())
        progress(len(kept))
        return [letter for letter in letters if letter not in kept]

    def _recompute(
        self, key: ProviderKey, letters: Sequence[StoredLetter], done: Redriven
    ) -> dict[StoredLetter, str]:
        """Recompute the days that letters of a provider name; those of which some are not fresh now, and why."""
        why = self._engine.host.cannot_compute(key)
        if why is not None:  # days that are right would be marked stale
            return dict.fromkeys(letters, why)
        named = {day for letter in letters for day in letter.days}
        every = any(not letter.days for letter in letters)

        def once() -> tuple[int, set[str]]:
            days = days_meant(self._engine, self._store, key, EVERY_DAY)
            wanted = {day for day in days if every or day.isoformat() in named}
            if wanted:
                with self._engine.dead_letters.naming(key.pk(), named):
                    recompute(self._engine, key, wanted, "redrive")
            return len(wanted), {day.isoformat() for day in stale_days(self._store, key, wanted)}

        try:
            number, stale = persistently(once, self._sleep)
        except Reject as reject:
            return dict.fromkeys(letters, reject.detail)
        done.days += number
        return {
            letter: STILL_STALE
            for letter in letters
            if stale and (not letter.days or stale & set(letter.days))
        }

    def _outgoing(self, letter: StoredLetter, number: int) -> Outgoing | None:
        """The record to put back; None where there is none, or where it is on the stream already."""
        place = letter.place()
        if place is None or place in self._sent:
            return None
        data = persistently(lambda: raw_record(self._store, self._blobs, letter), self._sleep)
        if data is None:
            raise Reject("invalid_data", "the raw record is gone")
        data = restored(letter.record(data), self._record_bytes)
        self._sent.add(place)
        return Outgoing(number, letter.partition_key or letter.id, data)

    def _finish(
        self,
        pending: Sequence[tuple[StoredLetter, Outgoing | None]],
        done: Redriven,
        progress: Callable[[int], None],
    ) -> None:
        """Send, and drop the letters once the stream has all."""
        records = [outgoing for _, outgoing in pending if outgoing is not None]
        if records:
            self._send(records)
            done.events += len(records)
        for letter, _ in pending:
            if persistently(lambda one=letter: drop(self._store, self._blobs, one), self._sleep):  # type: ignore[misc]
                done.dropped += 1
            else:
                done.kept["they were written again meanwhile"] += 1
            progress(1)
