"""Rows ↔ DynamoDB's JSON, and writes as PartiQL statements.

The JSON of a statement is put together from strings. What is the same for all rows of a kind, the statement's text, is
made once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from .base import Key, Put, Row, Value

_text = json.encoder.encode_basestring_ascii
"""A string as JSON; in ASCII, so that a lone surrogate reaches DynamoDB, which refuses it, rather than raise here."""


def statement(name: str, put: Put) -> str:
    """The JSON of the statement of BatchExecuteStatement that carries out one write.

    Args:
        name: of the table.
        put: the write.
    """
    row = put.row
    if put.expect is None:
        return f"{_insert(name, tuple(row))}{_parameters(row.values())}]}}"
    start, columns = _update(name, put.table.version, tuple(row))
    pk, sk = put.key
    last = f'{{"S":{_text(pk)}}},{{"S":{_text(sk)}}},{{"S":{_text(put.expect)}}}]}}'
    return f"{start}{_parameters([row[column] for column in columns])},{last}"


def batch(statements: Iterable[str]) -> bytes:
    """The request of BatchExecuteStatement."""
    return f'{{"ReturnConsumedCapacity":"TOTAL","Statements":[{",".join(statements)}]}}'.encode("ascii")


@lru_cache(1024)
def _insert(name: str, columns: tuple[str, ...]) -> str:
    fields = ", ".join(f"{_quoted(column, chr(39))}: ?" for column in columns)
    text = f"INSERT INTO {_quoted(name)} VALUE {{{fields}}}"
    return f'{{"Statement":{_text(text)},"Parameters":['


@lru_cache(1024)
def _update(name: str, version: str, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The start of the JSON, and the columns whose values come first."""
    changed = tuple(column for column in columns if column not in ("pk", "sk"))
    sets = " ".join(f"SET {_quoted(column)}=?" for column in changed)
    text = f'UPDATE {_quoted(name)} {sets} WHERE "pk"=? AND "sk"=? AND {_quoted(version)}=?'
    return f'{{"Statement":{_text(text)},"Parameters":[', changed


def _quoted(name: str, quote: str = '"') -> str:
    """A name in PartiQL, in which a quote is doubled within quotes."""
    return f"{quote}{name.replace(quote, quote * 2)}{quote}"


def _parameters(values: Iterable[Value]) -> str:
    return ",".join(
        [
            f'{{"S":{_text(value)}}}'
            if isinstance(value, str)
            else '{"NULL":true}'
            if value is None
            else f'{{"N":"{value}"}}'
            for value in values
        ]
    )


def to_value(value: Value) -> dict[str, Any]:
    """A value with its type, as DynamoDB takes it."""
    if value is None:
        return {"NULL": True}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def to_key(key: Key) -> dict[str, Any]:
    """A primary key, as DynamoDB takes it."""
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def to_row(item: Mapping[str, Mapping[str, Any]]) -> Row:
    """A row from an item as DynamoDB gives it."""
    row: Row = {}
    for name, typed in item.items():
        for kind, value in typed.items():
            row[name] = value if kind == "S" else int(value) if kind == "N" else None
    return row


def condition(version: str, expect: str | None) -> dict[str, Any]:
    """The condition on a row outside PartiQL: that it is the one that was read; none if `expect` is None."""
    if expect is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "#v = :v",
        "ExpressionAttributeNames": {"#v": version},
        "ExpressionAttributeValues": {":v": {"S": expect}},
    }


def only(attributes: Sequence[str] | None) -> dict[str, Any]:
    """What a read is asked for no more than these attributes with."""
    if attributes is None:
        return {}
    return {
        "ProjectionExpression": ", ".join(f"#{index}" for index in range(len(attributes))),
        "ExpressionAttributeNames": {f"#{index}": name for index, name in enumerate(attributes)},
    }
