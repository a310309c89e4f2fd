"""Step 1 and 2 of a batch: records → events → item changes, and the changes of each item brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .envelope import Event, Limits, Record, read_event
from .errors import Reject
from .items import Item, ItemChange, shared
from .keys import ItemKey, ProviderKey, encode_part
from .revisions import Revision
from .values import value

MAX_BODY_BYTES = 256 * 1024
"""Bytes of one item's fields as stored: a DynamoDB item holds 400 KB in all."""

MAX_ENCODED_TENANT = 1000
"""Bytes of a percent-encoded tenant: a DynamoDB partition key holds 2,048, with EMR, kind and id behind."""


@value
class Decoded:
    """A record that was understood.

    Attributes:
        record: as it came.
        event: the envelope.
        items: the items as they are from now on; each with the event's revision.
    """

    record: Record
    event: Event
    items: tuple[Item, ...]


@value
class Rejected:
    """A record that is set aside.

    Attributes:
        record: as it came.
        reason: the short word.
        detail: which field and why; holds no input value.
        event: the envelope, where it got that far.
    """

    record: Record
    reason: str
    detail: str
    event: Event | None = None


def decode(
    record: Record, plugins: Callable[[Event], Sequence[ItemChange]], limits: Limits
) -> Decoded | Rejected:
    """What a record says.

    Args:
        record: one record of the stream.
        plugins: turns an event into item changes, or raises a Reject.
        limits: sizes past which it is rejected.
    """
    event: Event | None = None
    try:
        event = read_event(record.data, limits)
        if len(encode_part(event.tenant)) > MAX_ENCODED_TENANT:
            raise Reject("too_large", "tenant: is too long")
        changes = plugins(event)
        if len(record.data) > MAX_BODY_BYTES // 16:  # no message grows more than that on its way to an item
            _check_bodies(changes)
    except Reject as reject:
        return Rejected(record, reject.reason, reject.detail, event)
    sequence = event.sequence if event.sequence is not None else record.sequence()
    tenant, emr, time = event.tenant, event.emr, Revision.text_of(event.time)
    return Decoded(
        record,
        event,
        tuple(
            [
                Item(
                    ItemKey(tenant, emr, change.kind, change.id),
                    _one_of(change.providers),
                    Revision(change.version, time, sequence),
                    shared(change.body),
                )
                for change in changes
            ]
        ),
    )


@lru_cache(maxsize=4096)
def _one_of(providers: tuple[str, ...]) -> tuple[str, ...]:
    """Equal ones are one value in memory."""
    return providers


def _check_bodies(changes: Iterable[ItemChange]) -> None:
    if any(len(change.body.json_text().encode()) > MAX_BODY_BYTES for change in changes):
        raise Reject("too_large", f"an item's fields take more than {MAX_BODY_BYTES} bytes")


def providers_named(items: Iterable[Item]) -> list[ProviderKey]:
    """The providers that items name, each once, in order."""
    return list(
        dict.fromkeys(
            ProviderKey(item.key.tenant, item.key.emr, provider)
            for item in items
            for provider in item.providers
        )
    )


@dataclass(slots=True, eq=False)
class Candidate:
    """One change of an item in a batch, and the record that it came in."""

    item: Item
    source: Decoded


@dataclass(slots=True, eq=False)
class ItemChanges:
    """All changes of one item in a batch, the newest first.

    Only a change that applied supersedes the older ones: if the newest turns out to be a reject, the next is tried.
    """

    key: ItemKey
    candidates: list[Candidate] = field(default_factory=list)


def coalesce(decoded: Iterable[Decoded]) -> list[ItemChanges]:
    """The changes of a batch by item, the newest revision of each first."""
    groups: dict[ItemKey, ItemChanges] = {}
    for source in decoded:
        for item in source.items:
            group = groups.get(item.key)
            if group is None:
                group = groups[item.key] = ItemChanges(item.key)
            group.candidates.append(Candidate(item, source))
    for group in groups.values():
        group.candidates.sort(key=lambda candidate: candidate.item.revision, reverse=True)
    return list(groups.values())
