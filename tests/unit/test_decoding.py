"""Records → events → item changes; and the changes of each item of a batch, the newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from processors.decoding import (
    MAX_BODY_BYTES,
    MAX_ENCODED_TENANT,
    Decoded,
    Rejected,
    coalesce,
    decode,
    providers_named,
)
from processors.envelope import Event, Limits, Record
from processors.errors import Reject
from processors.items import ItemChange, body_from_json
from processors.keys import ProviderKey
from processors.revisions import Revision, kinesis_sequence

CANCELLED = body_from_json("appointment", '{"status":"cancelled"}')
LIMITS = Limits()


def record(sequence_number: str = "7", sub: int = 0, **over: Any) -> Record:
    """A record with an envelope; None takes an attribute away."""
    envelope = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/tenants/acme",
        "type": "t",
        "time": "2026-03-01T01:02:03.5+01:00",
        "tenant": "acme",
        "emr": "standard",
        "sequence": "0001",
        "data": {},
    } | over
    data = json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()
    return Record(data, sequence_number, sub)


def gives(*changes: ItemChange) -> Any:
    """A plugin that makes these changes of every event."""
    return lambda event: changes


def decoded(given: Record, *changes: ItemChange) -> Decoded:
    """A record that can be understood."""
    one = decode(given, gives(*changes), LIMITS)
    assert isinstance(one, Decoded)
    return one


def test_an_item_gets_its_key_from_the_event_and_the_change_and_its_revision_from_all_three() -> None:
    one = decoded(record(), ItemChange("a", CANCELLED, ("p1", "p2"), 4))
    (item,) = one.items
    assert tuple(item.key) == ("acme", "standard", "appointment", "a")
    assert item.providers == ("p1", "p2")
    assert item.revision == Revision(4, "2026-03-01T00:02:03.500000Z", "0001")
    assert item.body is CANCELLED


def test_a_record_without_a_sequence_counts_its_place_in_the_shard() -> None:
    one = decoded(
        record("49590338271490256608559692538361571095921575989136588898", 3, sequence=None), *changes(1)
    )
    assert one.items[0].revision.sequence == kinesis_sequence(
        "49590338271490256608559692538361571095921575989136588898", 3
    )


def test_the_place_in_a_shard_sorts_as_numbers_do() -> None:
    places = [("9", 0), ("10", 0), ("10", 2), ("10", 11), ("1" * 56, 0)]
    assert [kinesis_sequence(*place) for place in places] == sorted(
        kinesis_sequence(*place) for place in places
    )


def changes(*numbers: int) -> list[ItemChange]:
    """A change of each of some items."""
    return [ItemChange(f"a{number}", CANCELLED, ("p1",)) for number in numbers]


def test_an_event_may_change_nothing_or_many_items() -> None:
    assert decoded(record()).items == ()
    assert [item.key.id for item in decoded(record(), *changes(1, 2)).items] == ["a1", "a2"]


def refuse(event: Event) -> Sequence[ItemChange]:
    """A plugin that cannot understand."""
    raise Reject("invalid_data", "data.start: is required")


@pytest.mark.parametrize(
    ("given", "reason", "enveloped"),
    [
        (Record(b"{"), "not_json", False),
        (Record(b"\xff"), "not_json", False),
        (Record(b""), "not_json", False),
        (Record(b"null"), "invalid_envelope", False),
        (record(time=None), "invalid_envelope", False),
        (Record(b'"' + b"x" * LIMITS.record_bytes + b'"'), "too_large", False),
        (record(), "invalid_data", True),
        (record(tenant="é" * 128, source="other"), "invalid_data", True),
        (record(tenant="\U0001f600" * 100, source="other"), "too_large", True),
    ],
)
def test_what_cannot_be_understood_is_a_value_with_its_reason(
    given: Record, reason: str, enveloped: bool
) -> None:
    one = decode(given, refuse, LIMITS)
    assert isinstance(one, Rejected)
    assert (one.record, one.reason) == (given, reason)
    assert (one.event is not None) is enveloped


def test_a_tenants_longest_name_still_fits_into_every_key() -> None:
    """DynamoDB: 2,048 bytes for a partition key, with the longest EMR, kind and id behind."""
    assert MAX_ENCODED_TENANT + len("#") + 64 + len("#item#working_hours#") + 900 <= 2048


def test_an_item_whose_fields_do_not_fit_into_its_table_is_rejected() -> None:
    week = {
        "days": ["mon"],
        "start": "09:00",
        "end": "10:00",
        "service_types": [f"{n:0>250}" for n in range(50)],
    }
    text = json.dumps({"weekly": [week] * 30})
    big = ItemChange("a", body_from_json("working_hours", text), ("p1",))
    one = decode(record(data=json.loads(text)), gives(big), LIMITS)
    assert isinstance(one, Rejected)
    assert one.reason == "too_large"
    small = ItemChange("a", body_from_json("working_hours", json.dumps({"weekly": [week] * 10})), ("p1",))
    assert len(small.body.json_text()) < MAX_BODY_BYTES
    assert isinstance(decode(record(data=json.loads(text)), gives(small), LIMITS), Decoded)


def test_the_providers_named_come_once_each_in_order() -> None:
    one = decoded(
        record(),
        ItemChange("a", CANCELLED, ("p2", "p1")),
        ItemChange("b", CANCELLED, ("p1", "p3")),
        ItemChange("c", CANCELLED, ()),
    )
    assert providers_named(one.items) == [ProviderKey("acme", "standard", p) for p in ("p2", "p1", "p3")]


def test_the_changes_of_an_item_come_together_the_newest_first() -> None:
    batch = [
        decoded(record(sequence="0002"), *changes(1)),
        decoded(record(sequence="0001"), *changes(2, 1)),
        decoded(record(sequence="0003"), *changes(1)),
        decoded(record(sequence="0003", emr="other"), *changes(1)),
    ]
    groups = {
        tuple(group.key): [c.item.revision.sequence for c in group.candidates] for group in coalesce(batch)
    }
    assert groups == {
        ("acme", "standard", "appointment", "a1"): ["0003", "0002", "0001"],
        ("acme", "standard", "appointment", "a2"): ["0001"],
        ("acme", "other", "appointment", "a1"): ["0003"],
    }


def test_every_candidate_knows_its_record() -> None:
    first, second = decoded(record("1"), *changes(1)), decoded(record("2"), *changes(1))
    (group,) = coalesce([first, second])
    assert [candidate.source for candidate in group.candidates] == [first, second], "copies keep their order"
