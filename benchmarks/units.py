"""What DynamoDB charges for a call: read and write units by its published rules, from requests and answers alone.

A write costs one unit for each 1 KB of the larger of the item before and after, a strongly consistent read one for each
4 KB, an eventually consistent one half of that, and a transaction twice. A query is rounded up once for each page, a
batch of gets for each item. A write whose condition fails costs what the item there would.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Sizes = dict[str, int]
"""Bytes of each attribute, its name included."""

WRITE_BYTES, READ_BYTES = 1024, 4096

DATA_CALLS = frozenset(
    {
        "BatchExecuteStatement", "BatchGetItem", "BatchWriteItem", "DeleteItem", "ExecuteStatement",
        "ExecuteTransaction", "GetItem", "PutItem", "Query", "Scan", "TransactGetItems", "TransactWriteItems",
        "UpdateItem",
    }
)  # fmt: skip
"""Calls that are paid for; the others describe."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls, and the units that they took."""

    calls: float = 0.0
    write_units: float = 0.0
    read_units: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.write_units + other.write_units,
            self.read_units + other.read_units,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + Cost(-other.calls, -other.write_units, -other.read_units)


def value_bytes(value: Json) -> int:
    """Bytes of a typed value, such as ``{"S": "text"}``, as DynamoDB counts them."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content.lstrip("-").replace(".", "")) // 2 + 2
    if kind == "B":
        return len(base64.b64decode(content))
    if kind in ("SS", "NS", "BS"):
        return sum(value_bytes({kind[0]: one}) for one in content)
    if kind == "L":
        return 3 + sum(1 + value_bytes(one) for one in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + value_bytes(one) for name, one in content.items())
    return 1  # NULL, BOOL


def sizes_of(item: Json) -> Sizes:
    """Bytes of each of an item's attributes."""
    return {name: len(name.encode()) + value_bytes(value) for name, value in item.items()}


def write_units(size: int) -> int:
    """Units of a write of an item of so many bytes."""
    return max(1, math.ceil(size / WRITE_BYTES))


def read_units(size: int, consistent: bool) -> float:
    """Units of a read of so many bytes in all."""
    return max(1, math.ceil(size / READ_BYTES)) * (1.0 if consistent else 0.5)


_COLUMN = re.compile(r"SET\s+\"?(\w+)\"?\s*=\s*\?", re.IGNORECASE)
_KEY = re.compile(r"\"?\b(pk|sk)\"?\s*=\s*\?", re.IGNORECASE)
_FIELD = re.compile(r"'(\w+)'\s*:\s*\?")
_TABLE = re.compile(r"(?:INTO|UPDATE|FROM)\s+\"?([\w.-]+)\"?", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(#?\w+)\s*=\s*(:\w+)")

_Place = tuple[str, str, str]
"""Table, pk, sk."""


class Meter:
    """Adds up what calls cost. It remembers the size of every item written, so it must see all writes.

    Only for tables whose key is `pk` and `sk`, both strings, as all of ours are.
    """

    def __init__(self) -> None:
        self.cost = Cost()
        self._known: dict[_Place, Sizes] = {}

    def take(self, operation: str, request: Json, status: int, answer: Json) -> None:
        """Count one call.

        Args:
            operation: such as ``PutItem``.
            request: its body.
            status: of HTTP.
            answer: the answer's body.
        """
        if operation not in DATA_CALLS:
            return
        self.cost += Cost(1.0)
        read = getattr(self, f"_{operation.lower()}", None)
        failed = status >= 400 and not _condition_failed(answer)
        if read is None or failed:
            return  # what is refused outright costs nothing
        read(request, answer)

    def _write(self, place: _Place, sizes: Sizes | None, *, applied: bool, times: int = 1) -> None:
        """One write: the attributes afterwards, none where it is deleted."""
        before = sum(self._known.get(place, {}).values())
        after = sum(sizes.values()) if sizes is not None and applied else 0
        self.cost += Cost(0.0, times * write_units(max(before, after)))
        if applied and sizes is not None:
            self._known[place] = sizes
        elif applied:
            self._known.pop(place, None)

    def _putitem(self, request: Json, answer: Json) -> None:
        self._put(request, applied=not _condition_failed(answer))

    def _put(self, request: Json, *, applied: bool, times: int = 1) -> None:
        item = request["Item"]
        self._write(_place(request["TableName"], item), sizes_of(item), applied=applied, times=times)

    def _updateitem(self, request: Json, answer: Json) -> None:
        self._update(request, applied=not _condition_failed(answer))

    def _update(self, request: Json, *, applied: bool, times: int = 1) -> None:
        place = _place(request["TableName"], request["Key"])
        names, values = request.get("ExpressionAttributeNames", {}), request["ExpressionAttributeValues"]
        changed = {
            names.get(name, name): values[value]
            for name, value in _ASSIGNMENT.findall(request["UpdateExpression"])
        }
        sizes = {**sizes_of(request["Key"]), **self._known.get(place, {}), **sizes_of(changed)}
        self._write(place, sizes, applied=applied, times=times)

    def _deleteitem(self, request: Json, answer: Json) -> None:
        self._write(_place(request["TableName"], request["Key"]), None, applied=not _condition_failed(answer))

    def _batchwriteitem(self, request: Json, answer: Json) -> None:
        for table, wishes in request["RequestItems"].items():
            for wish in wishes:
                if "PutRequest" in wish:
                    self._put({"TableName": table, "Item": wish["PutRequest"]["Item"]}, applied=True)
                else:
                    self._write(_place(table, wish["DeleteRequest"]["Key"]), None, applied=True)

    def _transactwriteitems(self, request: Json, answer: Json) -> None:
        applied = not _condition_failed(answer)
        for wish in request["TransactItems"]:
            ((kind, of),) = wish.items()
            if kind == "Put":
                self._put(of, applied=applied, times=2)
            elif kind == "Update":
                self._update(of, applied=applied, times=2)
            elif kind == "Delete":
                self._write(_place(of["TableName"], of["Key"]), None, applied=applied, times=2)
            else:
                place = _place(of["TableName"], of["Key"])
                self._write(place, self._known.get(place, {}), applied=False, times=2)

    def _executestatement(self, request: Json, answer: Json) -> None:
        self._statement(request, applied=not _condition_failed(answer))

    def _batchexecutestatement(self, request: Json, answer: Json) -> None:
        outcomes: Iterable[Json] = answer.get("Responses", ())
        for statement, outcome in zip(request["Statements"], outcomes, strict=False):
            self._statement(statement, applied="Error" not in outcome)

    def _statement(self, statement: Json, *, applied: bool) -> None:
        """One PartiQL write, as our store writes them: every value is a parameter."""
        text, values = statement["Statement"], statement.get("Parameters", [])
        found = _TABLE.search(text)
        if found is None or text.lstrip().upper().startswith("SELECT"):
            raise ValueError(f"a statement that the meter does not know: {text[:40]}")
        table = found[1]
        if fields := _FIELD.findall(text):
            item = dict(zip(fields, values, strict=True))
            self._write(_place(table, item), sizes_of(item), applied=applied)
            return
        changes, _, conditions = text.partition(" WHERE ")
        columns = _COLUMN.findall(changes)
        key = dict(zip(_KEY.findall(conditions), values[len(columns) : len(columns) + 2], strict=True))
        place = _place(table, key)
        sizes = {
            **sizes_of(key),
            **self._known.get(place, {}),
            **sizes_of(dict(zip(columns, values, strict=False))),
        }
        self._write(place, sizes, applied=applied)

    def _getitem(self, request: Json, answer: Json) -> None:
        self._get(request["TableName"], answer.get("Item"), request)

    def _get(self, table: str, item: Json | None, request: Json, times: int = 1) -> None:
        size = self._size(table, item) if item else 0
        self.cost += Cost(0.0, 0.0, times * read_units(size, request.get("ConsistentRead", False)))

    def _batchgetitem(self, request: Json, answer: Json) -> None:
        for table, wish in request["RequestItems"].items():
            items = answer.get("Responses", {}).get(table, [])
            left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            missing = len(wish["Keys"]) - len(items) - len(left)
            for item in [*items, *[None] * missing]:
                self._get(table, item, wish)

    def _transactgetitems(self, request: Json, answer: Json) -> None:
        for wish, response in zip(request["TransactItems"], answer["Responses"], strict=True):
            self._get(wish["Get"]["TableName"], response.get("Item"), {"ConsistentRead": True}, 2)

    def _query(self, request: Json, answer: Json) -> None:
        size = sum(self._size(request["TableName"], item) for item in answer["Items"])
        self.cost += Cost(0.0, 0.0, read_units(size, request.get("ConsistentRead", False)))

    _scan = _query

    def _size(self, table: str, item: Json) -> int:
        """Bytes of an item that was read: all of it, also where only some attributes were asked for."""
        known = self._known.get(_place(table, item)) if "pk" in item and "sk" in item else None
        return sum((known or sizes_of(item)).values())


def _place(table: str, item: Json) -> _Place:
    return table, item["pk"]["S"], item["sk"]["S"]


def _condition_failed(answer: Json) -> bool:
    """Whether the answer is the one error that is charged for."""
    kind = str(answer.get("__type", ""))
    return kind.endswith(("ConditionalCheckFailedException", "TransactionCanceledException"))
