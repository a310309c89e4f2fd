"""Dead letters as they are stored: which there are, what each holds, and taking one away."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kcl_app.stores.base import Blobs, Key, Outcome, Row, Store, Table
from kcl_app.stores.rows import newer_schema
from processors.envelope import Record
from processors.errors import Retry
from processors.keys import ProviderKey, decode_part, encode_part

NOBODY = "-"
"""The partition of letters whose tenant is not known."""

ID_CHARACTERS = 12
"""Of a letter's id as it is shown; a beginning that fits one letter alone will do."""

_HEAD = (
    "pk",
    "sk",
    "reason",
    "detail",
    "origin",
    "tenant",
    "emr",
    "event_id",
    "event_source",
    "event_type",
    "plugin",
    "provider",
    "days",
    "sequence_number",
    "sub_sequence_number",
    "partition_key",
    "arrived_at",
    "dead_at",
    "raw_key",
    "write_version",
    "schema",
    "expires_at",
)
"""Everything but the raw record."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter without its raw record.

    Attributes:
        key: its row's.
        id: short, made of the key; what people name it by.
        reason: the short word.
        detail: what is wrong.
        origin: the shard or the job that it comes from.
        tenant: whose it is, or None where that could not be read.
        emr: which EMR's, or None.
        event_id: of the envelope, or None; so are `event_source` and `event_type`.
        plugin: which plugin it is about, or None.
        provider: whose days it leaves stale, or None.
        days: the local dates that it leaves stale; with a provider and no days, all of them.
        sequence_number: of the record at its origin, or None where there is no record.
        sub_sequence_number: the place in an aggregated record.
        partition_key: of the record.
        arrived_at: when the stream took the record, in seconds since the epoch.
        dead_at: when the letter was written (RFC 3339, UTC).
        raw_key: where the record is, if it is in the bucket.
        write_version: of the row.
        newer: the schema number of a letter that a newer version wrote, else 0.
    """

    key: Key
    id: str
    reason: str
    detail: str
    origin: str
    tenant: str | None
    emr: str | None
    event_id: str | None
    event_source: str | None
    event_type: str | None
    plugin: str | None
    provider: ProviderKey | None
    days: tuple[str, ...]
    sequence_number: str | None
    sub_sequence_number: int
    partition_key: str
    arrived_at: int | None
    dead_at: str
    raw_key: str | None
    write_version: str
    newer: int

    def place(self) -> tuple[str, str, int] | None:
        """Where its record stood: letters of one record have the same."""
        if self.sequence_number is None:
            return None
        return self.origin, self.sequence_number, self.sub_sequence_number

    def record(self, data: bytes) -> Record:
        """Its record as it came."""
        return Record(
            data,
            self.sequence_number or "0",
            self.sub_sequence_number,
            self.partition_key,
            float(self.arrived_at or 0),
        )


@dataclass(frozen=True)
class Selection:
    """Which letters are meant; what is None does not matter.

    Attributes:
        ids: ids or beginnings of ids.
        reason: the short word.
        tenant: whose.
        plugin: which plugin they are about; where that is not said, whose format the event has.
        emr: which EMR's.
        since: set aside then or later.
        until: set aside then or earlier.
    """

    ids: tuple[str, ...] = ()
    reason: str | None = None
    tenant: str | None = None
    plugin: str | None = None
    emr: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def named(self) -> bool:
        """Whether anything is asked for at all."""
        return self != Selection()

    def takes(self, letter: StoredLetter) -> bool:
        """Whether a letter is meant, apart from ids."""
        dead_at = datetime.fromisoformat(letter.dead_at)
        return (
            self.reason in (None, letter.reason)
            and self.tenant in (None, letter.tenant)
            and self.plugin in (None, letter.plugin or letter.emr)
            and self.emr in (None, letter.emr)
            and (self.since is None or dead_at >= self.since)
            and (self.until is None or dead_at <= self.until)
        )


class NoSuchLetter(LookupError):  # noqa: N818
    """An id that fits no letter, or several; the text says which."""


def find(store: Store, selection: Selection, now: float) -> list[StoredLetter]:
    """The letters that are meant, oldest first.

    Args:
        store: the tables.
        selection: which.
        now: seconds since the epoch; what has expired does not count.

    Raises:
        NoSuchLetter: an id that fits no letter, or several.
    """
    letters = [letter for letter in _all(store, selection.tenant, now) if selection.takes(letter)]
    if selection.ids:
        named = {}
        for id_ in selection.ids:
            letter = _one(letters, id_)
            if letter is None:
                passed_over = id_ and any(one.id.startswith(id_) for one in _all(store, None, now))
                why = "the filters pass over the dead letter" if passed_over else "there is no dead letter"
                raise NoSuchLetter(f"{why} {id_}")
            named[letter.key] = letter
        letters = list(named.values())
    return sorted(letters, key=lambda letter: (letter.dead_at, letter.key))


def _one(letters: Sequence[StoredLetter], id_: str) -> StoredLetter | None:
    fitting = [letter for letter in letters if letter.id.startswith(id_)]
    if not fitting or not id_:
        return None
    if len(fitting) > 1:
        raise NoSuchLetter(f"{len(fitting)} dead letters begin with {id_}; give more of the id")
    return fitting[0]


def _all(store: Store, tenant: str | None, now: float) -> Iterator[StoredLetter]:
    if tenant is not None:
        rows: Iterator[Row] = iter(store.query(Table.DEAD_LETTERS, encode_part(tenant), None, _HEAD))
    else:
        rows = store.scan(Table.DEAD_LETTERS, _HEAD)
    for row in rows:
        expires_at = row.get("expires_at")
        expired = isinstance(expires_at, int) and expires_at <= now
        if not str(row["pk"]).startswith("#") and not expired:  # marks of attempts stand under ``#``
            yield _letter(row)


def _letter(row: Row) -> StoredLetter:
    key = (str(row["pk"]), str(row["sk"]))
    provider = _provider(_text(row, "provider"))
    sub, arrived = row.get("sub_sequence_number"), row.get("arrived_at")
    return StoredLetter(
        key=key,
        id=hashlib.sha256("\n".join(key).encode()).hexdigest()[:ID_CHARACTERS],
        reason=_text(row, "reason") or "",
        detail=_text(row, "detail") or "",
        origin=_text(row, "origin") or "",
        tenant=_text(row, "tenant") or (provider.tenant if provider else None),
        emr=_text(row, "emr") or (provider.emr if provider else None),
        event_id=_text(row, "event_id"),
        event_source=_text(row, "event_source"),
        event_type=_text(row, "event_type"),
        plugin=_text(row, "plugin"),
        provider=provider,
        days=tuple(json.loads(_text(row, "days") or "[]")),
        sequence_number=_text(row, "sequence_number"),
        sub_sequence_number=sub if isinstance(sub, int) else 0,
        partition_key=_text(row, "partition_key") or "",
        arrived_at=arrived if isinstance(arrived, int) else None,
        dead_at=_text(row, "dead_at") or "1970-01-01T00:00:00+00:00",
        raw_key=_text(row, "raw_key"),
        write_version=_text(row, "write_version") or "",
        newer=newer_schema(row),
    )


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _provider(text: str | None) -> ProviderKey | None:
    if text is None:
        return None
    tenant, emr, provider = (decode_part(part) for part in text.split("#"))
    return ProviderKey(tenant, emr, provider)


def raw_record(store: Store, blobs: Blobs, letter: StoredLetter) -> bytes | None:
    """A letter's raw record; None where it has none, or where it is gone.

    Raises:
        Retry: a store cannot be used now.
    """
    if letter.raw_key is not None:
        return blobs.get(letter.raw_key)
    row = store.get(Table.DEAD_LETTERS, [letter.key]).get(letter.key)
    text = _text(row, "raw") if row is not None else None
    return base64.b64decode(text) if text is not None else None


def drop(store: Store, blobs: Blobs, letter: StoredLetter) -> bool:
    """Take a letter away, and its record in the bucket.

    Returns:
        Whether it is gone; not where somebody has written it again since it was read.

    Raises:
        Retry: a store cannot be used now.
    """
    for _ in range(5):
        outcome = store.delete(Table.DEAD_LETTERS, letter.key, letter.write_version)
        if outcome is Outcome.UNKNOWN:
            continue
        gone = outcome is Outcome.APPLIED or not store.get(Table.DEAD_LETTERS, [letter.key])
        if gone and letter.raw_key is not None:
            blobs.delete(letter.raw_key)
        return gone
    raise Retry("a dead letter cannot be deleted: every answer of the table is lost")
