"""Domain values ↔ rows: what stands in which attribute.

Every row of a kind has the same attributes, so that an update replaces it whole; an attribute without a value is null.
`schema` says which layout a row has.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from processors.errors import Reject
from processors.impacts import Impacts
from processors.items import BODIES, SCHEMA, Item, body_from_json
from processors.keys import ItemKey, ProviderKey, decode_part
from processors.revisions import Revision
from processors.times import moment, utc_text
from processors.upserts import Copy, Owner
from processors.values import value

from .base import Key, Row

OWNER_SK = "owner"


@lru_cache(maxsize=4096)
def texts(values: tuple[str, ...]) -> str:
    """Names as one text, in JSON."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=4096)
def texts_read(text: str) -> tuple[str, ...]:
    """The inverse of `texts`; equal ones are one value in memory."""
    return tuple(json.loads(text))


@lru_cache(maxsize=8192)
def _instant_text(at: int) -> str:
    return utc_text(moment(at))


@lru_cache(maxsize=4096)
def _day_text(day: date) -> str:
    """Every provider has documents of the same days: equal texts are one in memory."""
    return sys.intern(day.isoformat())


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def newer_schema(row: Row) -> int:
    """The `schema` of a row if it is newer than this program knows; 0 if it can be read."""
    number = row.get("schema")
    return number if isinstance(number, int) and number > SCHEMA else 0


def refuse_newer(number: int) -> Reject:
    """Why a row of a newer `schema` is left alone."""
    return Reject(
        "newer_schema",
        f"a newer version of this application wrote it (schema {number}; this one knows {SCHEMA} and older)",
    )


def _check(row: Row) -> None:
    if number := newer_schema(row):
        raise refuse_newer(number)


def copy_key(item: ItemKey, provider: str) -> Key:
    """Where an item's copy under a provider stands."""
    return ProviderKey(item.tenant, item.emr, provider).pk(), item.sk()


def owner_key(item: ItemKey) -> Key:
    """Where an item's owner record stands."""
    return item.owner_pk(), OWNER_SK


def copy_row(copy: Copy, updated_at: str, expires_at: int | None) -> Row:
    """A row of `scheduling-items` for one provider's copy."""
    item = copy.item
    pk, sk = copy_key(item.key, copy.provider)
    hull = item.body.hull()
    timed = hull is not None and hull[0] < hull[1]
    return {
        "pk": pk,
        "sk": sk,
        "kind": item.key.kind,
        "status": item.body.status,
        "starts_at": _instant_text(hull[0]) if hull is not None and timed else None,
        "ends_at": _instant_text(hull[1]) if hull is not None and timed else None,
        "providers": texts(item.providers),
        "revision": item.revision.encode(),
        "impacts": copy.impacts.encode(),
        "body": item.body.json_text(),
        "schema": SCHEMA,
        "updated_at": updated_at,
        "owner_expires_at": copy.owner_expires_at,
        "expires_at": expires_at,
    }


def name_of(row: Row) -> tuple[str, str]:
    """Kind and id of the item that a provider's copy is of, in whatever schema."""
    kind, _, encoded = str(row["sk"]).partition("#")
    return kind, decode_part(encoded)


def read_copy(row: Row, tenant: str, emr: str, provider: str) -> Copy:
    """The inverse of `copy_row`.

    Raises:
        Reject: a newer version wrote it.
    """
    _check(row)
    kind, id_ = name_of(row)
    if kind not in BODIES:
        raise ValueError(f"an item of unknown kind {kind}")
    item = Item(
        ItemKey(tenant, emr, kind, id_),
        texts_read(str(row["providers"])),
        Revision.decode(str(row["revision"])),
        body_from_json(kind, str(row["body"])),
    )
    return Copy(
        provider, item, Impacts.decode(str(row["impacts"] or "")), _number(row.get("owner_expires_at"))
    )


def owner_row(owner: Owner, updated_at: str) -> Row:
    """A row of `scheduling-items` for an item's owner record."""
    pk, sk = owner_key(owner.key)
    return {
        "pk": pk,
        "sk": sk,
        "kind": owner.key.kind,
        "providers": texts(owner.providers),
        "holders": texts(owner.holders),
        "revision": owner.revision.encode(),
        "impacts": owner.impacts.encode(),
        "schema": SCHEMA,
        "updated_at": updated_at,
        "expires_at": owner.expires_at,
    }


def read_owner(row: Row, key: ItemKey) -> Owner:
    """The inverse of `owner_row`.

    Raises:
        Reject: a newer version wrote it.
    """
    _check(row)
    return Owner(
        key,
        texts_read(str(row["providers"])),
        texts_read(str(row["holders"])),
        Revision.decode(str(row["revision"])),
        Impacts.decode(str(row["impacts"] or "")),
        _number(row.get("expires_at")),
    )


@value
class Document:
    """The document of one provider-day in `available-spans`.

    Attributes:
        provider: whose.
        day: the provider's local date.
        spans: JSON.
        count: how many spans these are; for metrics, not stored.
        status: `fresh`, or `stale` with a `reason`.
        as_of: time of the newest event in it, or None.
        plugin: which plugin computed it.
        plugin_version: of that plugin.
    """

    provider: ProviderKey
    day: date
    spans: str
    count: int
    status: str
    reason: str | None
    as_of: str | None
    plugin: str
    plugin_version: str


def document_row(document: Document, write_version: str, computed_at: str, expires_at: int) -> Row:
    """A row of `available-spans`."""
    return {
        "pk": document.provider.pk(),
        "sk": _day_text(document.day),
        "spans": document.spans,
        "status": document.status,
        "reason": document.reason,
        "as_of": document.as_of,
        "plugin": document.plugin,
        "plugin_version": document.plugin_version,
        "write_version": write_version,
        "computed_at": computed_at,
        "schema": SCHEMA,
        "expires_at": expires_at,
    }


@dataclass(frozen=True, slots=True)
class Known:
    """A row of `scheduling-providers`: a provider that is known, and for which days it has documents.

    Attributes:
        provider: whose.
        zone: of its calendar, when last written.
        first_day: the first day computed.
        last_day: the last day that counts as computed; workers compute a little further.
        write_version: changes with every write.
    """

    provider: ProviderKey
    zone: str
    first_day: date
    last_day: date
    write_version: str


def known_key(provider: ProviderKey) -> Key:
    """Where a provider stands in `scheduling-providers`."""
    return provider.group(), provider.pk().rpartition("#")[2]


def known_row(known: Known, updated_at: str) -> Row:
    """A row of `scheduling-providers`."""
    pk, sk = known_key(known.provider)
    return {
        "pk": pk,
        "sk": sk,
        "zone": known.zone,
        "first_day": known.first_day.isoformat(),
        "last_day": known.last_day.isoformat(),
        "write_version": known.write_version,
        "schema": SCHEMA,
        "updated_at": updated_at,
    }


def read_known(row: Row) -> Known:
    """The inverse of `known_row`.

    Raises:
        Reject: a newer version wrote it.
    """
    _check(row)
    return Known(
        provider_of(row),
        str(row["zone"]),
        date.fromisoformat(str(row["first_day"])),
        date.fromisoformat(str(row["last_day"])),
        str(row["write_version"]),
    )


def provider_of(row: Row) -> ProviderKey:
    """Whose row of `scheduling-providers` it is, in whatever schema."""
    tenant, emr = (decode_part(part) for part in str(row["pk"]).split("#"))
    return ProviderKey(tenant, emr, decode_part(str(row["sk"])))
