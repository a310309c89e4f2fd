"""Tables in memory that take no copy of an item which bears a mark, as if it were larger than a row may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kcl_app.engine import upserting
from kcl_app.stores.base import Outcome, Put, Row, Table
from kcl_app.stores.memory import MemoryStore

LARGER_THAN_A_ROW = "larger-than-a-row"
"""The mark, anywhere in the body."""


def marked(row: Row) -> bool:
    """Whether a row bears the mark."""
    return LARGER_THAN_A_ROW in str(row.get("body"))


class SmallRows(MemoryStore):
    """A store in memory with rows that one need not fill to find out what happens then."""

    def _check(self, put: Put) -> Outcome:
        outcome = super()._check(put)
        too_large = put.table is Table.ITEMS and marked(dict(put.row))
        return Outcome.TOO_LARGE if too_large and outcome is Outcome.APPLIED else outcome


@contextmanager
def marks_are_size() -> Iterator[None]:
    """The engine takes a row with the mark for one that may be too large."""
    real = upserting.may_be_too_large
    upserting.may_be_too_large = lambda row: marked(row) or real(row)
    try:
        yield
    finally:
        upserting.may_be_too_large = real
