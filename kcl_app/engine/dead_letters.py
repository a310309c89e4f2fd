"""Step 7 of a batch: what was set aside, with its reason and the raw record, so that it can be looked at and redriven.

A letter's key is made of the record's place in the stream and of the days it is about, so that a replay finds its
letter written.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
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

    def send(self, letters: Iterable[Letter]) -> None:
        """Make letters durable; one that is there already stays.

        Raises:
            Retry: a store cannot take them now, or does not answer.
            Fatal: a store will not take them.
        """
        puts = {letter.key(): Put(Table.DEAD_LETTERS, self._row(letter), None) for letter in letters}
        pending: Sequence[Put] = list(puts.values())
        for _ in range(5):
            outcomes = self._store.write(pending) if pending else []
            if Outcome.TOO_LARGE in outcomes:
                raise Fatal("a dead letter does not fit into its table")
            # A conflict says that the letter is there; only a lost answer leaves that open.
            pending = [put for put, out in zip(pending, outcomes, strict=True) if out is Outcome.UNKNOWN]
            if not pending:
                return
        raise Retry("dead letters cannot be confirmed: every answer of the table is lost")

    def _row(self, letter: Letter) -> Row:
        pk, sk = letter.key()
        record, event = letter.record, letter.event
        raw = base64.b64encode(record.data).decode() if record else None
        blob = None
        if raw is not None and len(raw) > MAX_INLINE_BYTES:
            assert record is not None  # it had bytes
            blob = f"{pk}/{encode_part(sk)}"
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
            "write_version": sk,
            "schema": SCHEMA,
            "expires_at": int(self._clock.seconds()) + RETENTION_SECONDS,
        }
