"""What patterns see of a change: the same from an item as from a record of DynamoDB Streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from emr_plugins.change_documents import of_change, of_stream_record, plain_value
from emr_plugins.patterns import EventPattern
from kcl_app.stores.dynamodb_json import to_value
from kcl_app.stores.rows import copy_row
from processors.impacts import Change, Impacts
from processors.items import Appointment, Item
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.upserts import Copy

PROVIDER = ProviderKey("clinic #1", "acme", "d/1")


def item(status: Any) -> Item:
    at = datetime(2026, 3, 9, 14, tzinfo=UTC)
    body = Appointment(status=status, start=at, end=at.replace(hour=15))
    return Item(ItemKey("clinic #1", "acme", "appointment", "v#1"), ("d/1",), Revision.of(1, at, "1"), body)


def stream_record(name: str, old: Item | None, new: Item | None) -> dict[str, Any]:
    images = {}
    for image, one in (("OldImage", old), ("NewImage", new)):
        if one is not None:
            row = copy_row(Copy(PROVIDER.provider, one, Impacts(), None), "now", None)
            images[image] = {name: to_value(value) for name, value in row.items()}
    keys = {key: next(iter(images.values()))[key] for key in ("pk", "sk")}
    return {"eventName": name, "dynamodb": {"Keys": keys, **images}}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("INSERT", None, "booked"), ("MODIFY", "booked", "cancelled"), ("REMOVE", "cancelled", None)],
)
def test_both_ways_come_to_the_same_document(name: str, old: str | None, new: str | None) -> None:
    before, after = (None if status is None else item(status) for status in (old, new))
    document = of_change(PROVIDER, Change(before, after))
    assert document == of_stream_record(stream_record(name, before, after))
    assert document["eventName"] == name
    assert EventPattern({"keys": {"sk": [{"prefix": "appointment#"}]}}).matches(document)
    assert not EventPattern({"keys": {"sk": [{"prefix": "slot#"}]}}).matches(document)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ({"S": "a"}, "a"),
        ({"N": "12"}, 12),
        ({"N": "1.5"}, 1.5),
        ({"N": "-1E2"}, -100.0),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"B": "YQ=="}, "YQ=="),
        ({"L": [{"N": "1"}, {"S": "x"}]}, [1, "x"]),
        ({"M": {"a": {"M": {}}}}, {"a": {}}),
        ({"NS": ["1", "2.5"]}, [1, 2.5]),
        ({"SS": ["a"]}, ["a"]),
    ],
)
def test_typed_values_become_those_of_json(typed: Any, value: Any) -> None:
    assert plain_value(typed) == value


@pytest.mark.parametrize(
    "typed", [{"N": "NaN"}, {"N": "x"}, {"N": None}, {"Q": "a"}, {"S": 1}, {}, {"S": "a", "N": "1"}, "a"]
)
def test_what_is_no_typed_value_is_refused(typed: Any) -> None:
    with pytest.raises(ValueError, match="value: "):
        plain_value(typed)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"eventName": "UPDATE"}, "eventName: must be one of INSERT, MODIFY, REMOVE"),
        ({"dynamodb": None}, "dynamodb.Keys: is required"),
        (
            {"dynamodb": {"Keys": {"pk": {"S": "a#b#item#slot#1"}, "sk": {"S": "owner"}}}},
            "dynamodb.Keys: must be of an item",
        ),
        (
            {
                "dynamodb": {
                    "Keys": {"pk": {"S": "a#b#c"}, "sk": {"S": "slot#1"}},
                    "NewImage": {"body": {"S": "{"}},
                }
            },
            "dynamodb.NewImage.body: is no body of such an item",
        ),
    ],
)
def test_a_record_that_is_of_no_item_is_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of_stream_record({**stream_record("INSERT", None, item("booked")), **over})
