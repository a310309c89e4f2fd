"""Reading the answer: the spans of a provider between two dates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from kcl_app.stores.base import Store, Table
from kcl_app.stores.rows import newer_schema, refuse_newer
from processors.keys import ProviderKey


@dataclass(frozen=True, slots=True)
class Answer:
    """One provider-day as stored.

    Attributes:
        date: the provider's local date, as text.
        spans: as published.
        status: `fresh`, or `stale`: then it is not to be relied on.
        reason: why it is stale.
        as_of: time of the newest event in it.
        computed_at: when it was computed; empty where it cannot be read.
        plugin: by which plugin; empty likewise.
    """

    date: str
    spans: list[dict[str, Any]]
    status: str
    reason: str | None
    as_of: str | None
    computed_at: str
    plugin: str


def spans(store: Store, provider: ProviderKey, first: date, last: date, now: float) -> Iterator[Answer]:
    """A provider's days from `first` to `last`, those that have not expired by `now` (seconds since the epoch)."""
    for row in store.query(Table.SPANS, provider.pk(), (first.isoformat(), last.isoformat())):
        expires_at = row.get("expires_at")
        if isinstance(expires_at, int) and expires_at <= now:
            continue  # DynamoDB deletes what has expired when it gets to it
        if number := newer_schema(row):
            reason = str(refuse_newer(number))
            yield Answer(str(row["sk"]), [], "stale", reason, None, "", "")
            continue
        yield Answer(
            str(row["sk"]),
            json.loads(str(row["spans"])),
            str(row["status"]),
            _text(row["reason"]),
            _text(row["as_of"]),
            str(row["computed_at"]),
            str(row["plugin"]),
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
