"""What a store can do: read partitions, and write on the condition that what was read still stands.

Every table has the same shape: a partition key `pk`, a sort key `sk`, and one attribute that changes with every
write, on which conditions are made. So one small protocol serves all tables, and a store in memory can stand in for
DynamoDB anywhere (a contract test holds both to the same behaviour).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from processors.values import value

Value = str | int | None
Row = dict[str, Value]
Key = tuple[str, str]
"""pk and sk."""


class Table(Enum):
    """The tables, each with the attribute that its writes are conditional on."""

    ITEMS = ("items", "revision")
    SPANS = ("spans", "write_version")
    PROVIDERS = ("providers", "write_version")
    DEAD_LETTERS = ("dead_letters", "write_version")

    def __init__(self, setting: str, version: str) -> None:
        self.setting = setting
        self.version = version


@value
class Put:
    """A row replaced whole, if the row there is the one that was read.

    Attributes:
        table: where.
        row: pk, sk, and all other attributes; the same names for every row of a kind.
        expect: the version attribute's value that was read; None: there was no row.
    """

    table: Table
    row: Mapping[str, Value]
    expect: str | None

    @property
    def key(self) -> Key:
        """pk and sk."""
        return str(self.row["pk"]), str(self.row["sk"])


class Outcome(Enum):
    """What became of one write."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """The row was not the one that was read: nothing was written."""
    UNKNOWN = "unknown"
    """The answer was lost: it may have been written, or be yet to come. Read again."""
    TOO_LARGE = "too_large"
    """The row is larger than the store takes: nothing was written."""


class Store(Protocol):
    """Reads are strongly consistent. What cannot be done now raises `Retry`; nothing is partly done in silence."""

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        """All rows of a partition in the order of sk.

        Args:
            table: which.
            pk: the partition.
            between: first and last sk, both included.
            attributes: the only ones wanted; all if None.
        """

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        """The rows there are under some keys."""

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        """All rows, in no order.

        Args:
            table: which.
            attributes: the only ones wanted; all if None.
        """

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Write each by itself (keys differ); outcomes in the same order."""

    def transact(self, puts: Sequence[Put]) -> Outcome:
        """Write all (100 at most) or none."""

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        """Delete a row, if it is the one that was read; CONFLICT where it is another, or gone.

        Args:
            table: where.
            key: pk and sk.
            expect: the version attribute's value that was read.
        """


class Blobs(Protocol):
    """Where what is too large for a table goes."""

    def put(self, key: str, data: bytes) -> None:
        """Store bytes under a key, replacing what was there."""

    def get(self, key: str) -> bytes | None:
        """The bytes under a key; None where there are none."""

    def delete(self, key: str) -> None:
        """Delete what is under a key, if there is anything."""
