"""The document that patterns see of a change of an item: made from the item, or from a record of DynamoDB Streams.

    {"eventName": "INSERT|MODIFY|REMOVE", "tenant", "emr", "kind", "keys": {"pk", "sk"}, "newImage", "oldImage"}

An image is there where that side of the change is; the key tells several kinds of items in one table apart:
``{"keys": {"sk": [{"prefix": "appointment#"}]}}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from processors.impacts import Change
from processors.items import BODIES, Item, body_from_json
from processors.keys import ProviderKey

EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")


def of_change(provider: ProviderKey, change: Change) -> dict[str, Any]:
    """The document of a change as a provider sees it.

    Args:
        provider: whose copy of the item changes.
        change: the item before and after.
    """
    some = change.new or change.old
    assert some is not None  # a change has one side at least
    document: dict[str, Any] = {
        "eventName": "INSERT" if change.old is None else "REMOVE" if change.new is None else "MODIFY",
        "tenant": provider.tenant,
        "emr": provider.emr,
        "kind": some.kind,
        "keys": {"pk": provider.pk(), "sk": some.key.sk()},
    }
    if change.new is not None:
        document["newImage"] = _image(change.new)
    if change.old is not None:
        document["oldImage"] = _image(change.old)
    return document


def of_stream_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same document, of a record of the DynamoDB stream of `scheduling-items`.

    Args:
        record: as Lambda and Kinesis get it: ``eventName``, and ``dynamodb`` with ``Keys``, ``NewImage`` and
            ``OldImage`` of typed values (``{"S": "a"}``, ``{"N": "1"}``). Both images come with the view
            NEW_AND_OLD_IMAGES alone.

    Raises:
        ValueError: it is none; the message says which part is wrong.
    """
    name = record.get("eventName")
    if name not in EVENT_NAMES:
        raise ValueError(f"eventName: must be one of {', '.join(EVENT_NAMES)}")
    change = record.get("dynamodb")
    if not isinstance(change, Mapping) or not isinstance(change.get("Keys"), Mapping):
        raise ValueError("dynamodb.Keys: is required")
    keys = _plain_map(change["Keys"], "dynamodb.Keys")
    pk, sk = str(keys.get("pk", "")).split("#"), str(keys.get("sk", ""))
    if len(pk) != 3 or "#" not in sk:
        raise ValueError("dynamodb.Keys: must be of an item: pk tenant#emr#provider, sk kind#id")
    kind, id_ = sk.split("#", 1)
    document: dict[str, Any] = {
        "eventName": name,
        "tenant": unquote(pk[0]),
        "emr": unquote(pk[1]),
        "kind": kind,
        "keys": keys,
    }
    for image, given in (("newImage", "NewImage"), ("oldImage", "OldImage")):
        if isinstance(row := change.get(given), Mapping):
            plain = _plain_map(row, f"dynamodb.{given}")
            document[image] = {
                "kind": kind,
                "id": unquote(id_),
                **_body(kind, plain.get("body"), f"dynamodb.{given}.body"),
            }
    return document


def _body(kind: str, text: Any, where: str) -> dict[str, Any]:
    """A stored body with all of its fields: those that have their defaults are not stored."""
    if kind not in BODIES:
        raise ValueError(f"dynamodb.Keys: there is no kind of item {kind!r}")
    try:
        return body_from_json(kind, text).model_dump(mode="json")
    except (ValidationError, TypeError):
        raise ValueError(f"{where}: is no body of such an item") from None


def plain_value(typed: Any, where: str = "value") -> Any:
    """A value of DynamoDB as JSON has it: numbers are numbers, sets are lists, binary stays base64 text.

    Args:
        typed: such as ``{"N": "1.5"}``.
        where: what to call it in a message.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(typed, Mapping) or len(typed) != 1:
        raise ValueError(f'{where}: must be a typed value, such as {{"S": "a"}}')
    ((kind, value),) = typed.items()
    if kind == "NULL":
        return None
    if kind in ("S", "B") and isinstance(value, str):
        return value
    if kind == "BOOL" and isinstance(value, bool):
        return value
    if kind == "N":
        return _number(value, where)
    if kind == "M" and isinstance(value, Mapping):
        return _plain_map(value, where)
    if kind == "L" and isinstance(value, list):
        return [plain_value(one, f"{where}[{at}]") for at, one in enumerate(value)]
    if kind in ("SS", "BS") and isinstance(value, list):
        return list(value)
    if kind == "NS" and isinstance(value, list):
        return [_number(one, where) for one in value]
    raise ValueError(f"{where}: {kind} is no type of DynamoDB's, or its value does not fit it")


def _plain_map(typed: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {name: plain_value(value, f"{where}.{name}") for name, value in typed.items()}


def _number(text: Any, where: str) -> int | float:
    try:
        return int(text)
    except (TypeError, ValueError):
        pass
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: N must be a number as text")
    return number


def _image(item: Item) -> dict[str, Any]:
    return {"kind": item.kind, "id": item.key.id, **item.body.model_dump(mode="json")}
