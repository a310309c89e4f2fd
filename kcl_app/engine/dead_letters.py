"""Step 7 of a batch: what was set aside, with its reason and the raw record, so that it can be looked at and redriven.

A letter's key is made of the record's place in the stream and of the days it is about, so that a replay finds its
letter written. Who finds a letter that names the days which it is about to mark stale writes a new `write_version` on
it: a letter is deleted on that condition, so nobody who saw the days fresh before can take it away.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kcl_app.clock import Clock
from kcl_app.stores.base import Blobs, Outcome, Put, Row, Store, Table
from processors.envelope import Event, Record
from processors.errors import Fatal, Retry
from processors.items import SCHEMA
from processors.keys import encode_part

RETENTION_SECONDS = 30 * 86_400
MAX_INLINE_BYTES = 350 * 1024
"""Base64 longer than this goes to the bucket: a DynamoDB item holds 400 KB."""

MAX_BLOB_KEY = 1024
"""Bytes of an S3 key, at most."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        reason: the short word.
        detail: what is wrong, for a person; no input values.
        origin: where it came from: a shard, or the name of a job.
        record: the raw record; None where no record is to blame.
        event: the envelope, where it could be read.
        plugin: which plugin it is about, or None.
        provider: for provider-days left stale: whose, as its key `tenant#emr#provider`.
        days: the local dates that it leaves stale.
    """

    reason: str
    detail: str
    origin: str
    record: Record | None = None
    event: Event | None = None
    plugin: str | None = None
    provider: str | None = None
    days: tuple[str, ...] = ()

    def key(self) -> tuple[str, str]:
        """pk (the tenant, or ``-``) and sk."""
        tenant = (
            encode_part(self.event.tenant)
            if self.event
            else self.provider.split("#")[0]
            if self.provider
            else "-"
        )
        place = self.record.sequence() if self.record else self.days[0] if self.days else ""
        about = "|".join((self.provider or "", *self.days))
        suffix = "#" + hashlib.sha256(about.encode()).hexdigest()[:32] if about else ""
        return tenant, f"{self.origin}#{place}{suffix}"


class DeadLetters:
    """Sends letters.

    Args:
        store: the tables.
        blobs: where large records go.
        clock: the clock.
    """

    def __init__(self, store: Store, blobs: Blobs, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._named: dict[str, frozenset[str]] = {}

    @contextmanager
    def naming(self, provider: str, days: Collection[str]) -> Iterator[None]:
        """While letters that stay name these days of a provider, no other is sent for them.

        Args:
            provider: its key `tenant#emr#provider`.
            days: local dates.
        """
        self._named[provider] = frozenset(days)
        try:
            yield
        finally:
            del self._named[provider]

    def send(self, letters: Iterable[Letter]) -> None:
        """Make letters durable; one that is there already stays.

        Raises:
            Retry: a store cannot take them now, or does not answer.
            Fatal: a store will not take them.
        """
        wanted = {letter.key(): letter for letter in letters if not self._stands(letter)}
        pending: Sequence[Put] = [
            Put(Table.DEAD_LETTERS, self._row(letter), None) for letter in wanted.values()
        ]
        for _ in range(5):
            outcomes = list(zip(pending, self._store.write(pending), strict=True)) if pending else []
            if any(outcome is Outcome.TOO_LARGE for _, outcome in outcomes):
                raise Fatal("a dead letter does not fit into its table")
            # A conflict says that the letter is there; only a lost answer leaves that open.
            found = [put for put, outcome in outcomes if outcome is Outcome.CONFLICT]
            pending = [put for put, outcome in outcomes if outcome is Outcome.UNKNOWN] + self._renewed(found)
            if not pending:
                return
        raise Retry("dead letters cannot be confirmed: every answer of the table is lost")

    def _stands(self, letter: Letter) -> bool:
        return bool(letter.days) and self._named.get(letter.provider or "", frozenset()).issuperset(
            letter.days
        )

    def _renewed(self, found: Sequence[Put]) -> list[Put]:
        """The writes that letters need which are there already: see the head of this file."""
        looked_at = [put for put in found if put.row["days"] is not None or put.row["raw_key"] is not None]
        if not looked_at:
            return []
        stored = self._store.get(Table.DEAD_LETTERS, [put.key for put in looked_at])
        writes = []
        for put in looked_at:
            row = stored.get(put.key)
            if row is None:
                raise Retry("a dead letter was dropped while it was being written again")
            version = put.row["write_version"]
            blob = put.row["raw_key"]
            if blob is not None and row["raw_key"] != blob:
                with suppress(Retry, Fatal):  # the letter that is there has its own; this one would expire
                    self._blobs.delete(str(blob))
            if put.row["days"] is not None and row["write_version"] != version:
                renewed = {**row, "write_version": version, "expires_at": put.row["expires_at"]}
                writes.append(Put(put.table, renewed, str(row["write_version"])))
        return writes

    def _row(self, letter: Letter) -> Row:
        pk, sk = letter.key()
        record, event = letter.record, letter.event
        version = uuid.uuid4().hex
        raw = base64.b64encode(record.data).decode() if record else None
        blob = None
        if raw is not None and len(raw) > MAX_INLINE_BYTES:
            assert record is not None  # it had bytes
            # A name of its own for each try, so that deleting a letter's blob can never take that of another.
            blob = f"{pk}/{encode_part(sk)}/{version}"
            if len(blob) > MAX_BLOB_KEY:
                blob = "sha256/" + hashlib.sha256(blob.encode()).hexdigest()
            self._blobs.put(blob, record.data)
            raw = None
        return {
            "pk": pk,
            "sk": sk,
            "reason": letter.reason,
            "detail": letter.detail,
            "origin": letter.origin,
            "tenant": event.tenant if event else None,
            "emr": event.emr if event else None,
            "event_id": event.id if event else None,
            "event_source": event.source if event else None,
            "event_type": event.type if event else None,
            "plugin": letter.plugin,
            "provider": letter.provider,
            "days": json.dumps(letter.days) if letter.days else None,
            "sequence_number": record.sequence_number if record else None,
            "sub_sequence_number": record.sub_sequence_number if record else None,
            "partition_key": record.partition_key if record else None,
            "arrived_at": int(record.arrival) if record else None,
            "dead_at": self._clock.now().isoformat(),
            "raw": raw,
            "raw_key": blob,
            "write_version": version,
            "schema": SCHEMA,
            "expires_at": int(self._clock.seconds()) + RETENTION_SECONDS,
        }
