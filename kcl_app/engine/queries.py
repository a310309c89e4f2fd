"""Reading what is stored: the spans of a provider between two dates, and which providers there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from kcl_app.stores.base import Row, Store, Table
from kcl_app.stores.rows import newer_schema, provider_of, refuse_newer
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


def known_providers(store: Store, tenant: str | None = None, emr: str | None = None) -> list[ProviderKey]:
    """The providers known, of one tenant and one EMR or of all, in order."""
    if tenant is not None and emr is not None:
        group = ProviderKey(tenant, emr, "").group()
        rows: Iterable[Row] = store.query(Table.PROVIDERS, group, None, ("pk", "sk"))
    else:
        rows = store.scan(Table.PROVIDERS, ("pk", "sk"))
    keys = (provider_of(row) for row in rows)
    return sorted(key for key in keys if tenant in (None, key.tenant) and emr in (None, key.emr))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
