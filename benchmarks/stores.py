"""Stores that answer at once: every write applies, every read finds nothing. They show what the rest costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table

NULL_STORE = "BENCH_NULL_STORE"
"""The variable that gives a child these."""


class NullStore(Store):
    """As the product sees tables."""

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        return []

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        return {}

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        return iter(())

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        return [Outcome.APPLIED] * len(puts)

    def transact(self, puts: Sequence[Put]) -> Outcome:
        return Outcome.APPLIED

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        return Outcome.APPLIED


class NullDynamoDB:
    """As boto3's client of DynamoDB, as far as the naive side uses it."""

    class exceptions:  # noqa: N801 - boto3's name
        """The errors of the service."""

        class ConditionalCheckFailedException(Exception):  # noqa: N818 - boto3's name
            """Never raised here."""

    def update_item(self, **_request: Any) -> dict[str, Any]:
        """Nothing was there."""
        return {}

    def query(self, **_request: Any) -> dict[str, Any]:
        """Nothing is there."""
        return {"Items": []}

    def put_item(self, **_request: Any) -> dict[str, Any]:
        """Written."""
        return {}
