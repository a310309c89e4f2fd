"""A store in memory: for tests, and for learning the system without a cloud."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence

from .base import Blobs, Key, Outcome, Put, Row, Store, Table

ROW_BYTES = 400 * 1024
"""The size of a DynamoDB item at most."""


def row_size(row: Row) -> int:
    """About the size of a row, as DynamoDB counts: names and values in UTF-8."""
    return sum(
        len(name) + (len(value.encode()) if isinstance(value, str) else 1 if value is None else 21)
        for name, value in row.items()
    )


class MemoryStore(Store):
    """All tables in dictionaries; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.tables: dict[Table, dict[str, dict[str, Row]]] = {table: {} for table in Table}

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        with self._lock:
            found = []
            for sk, row in sorted(self.tables[table].get(pk, {}).items()):
                if between is None or between[0] <= sk <= between[1]:
                    found.append({n: v for n, v in row.items() if attributes is None or n in attributes})
            return found

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        with self._lock:
            return {
                (pk, sk): dict(self.tables[table][pk][sk])
                for pk, sk in keys
                if sk in self.tables[table].get(pk, {})
            }

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        with self._lock:
            rows = [
                {n: v for n, v in row.items() if attributes is None or n in attributes}
                for partition in self.tables[table].values()
                for row in partition.values()
            ]
        yield from rows

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        with self._lock:
            return [self._put(put) for put in puts]

    def transact(self, puts: Sequence[Put]) -> Outcome:
        with self._lock:
            outcomes = {self._check(put) for put in puts} - {Outcome.APPLIED}
            if outcomes:
                return Outcome.CONFLICT if Outcome.CONFLICT in outcomes else outcomes.pop()
            for put in puts:
                self._put(put)
            return Outcome.APPLIED

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        with self._lock:
            pk, sk = key
            stored = self.tables[table].get(pk, {}).get(sk)
            if stored is None or stored.get(table.version) != expect:
                return Outcome.CONFLICT
            del self.tables[table][pk][sk]
            return Outcome.APPLIED

    def _check(self, put: Put) -> Outcome:
        pk, sk = put.key
        stored = self.tables[put.table].get(pk, {}).get(sk)
        if put.expect is None:
            if stored is not None:
                return Outcome.CONFLICT
        elif stored is None or stored.get(put.table.version) != put.expect:
            return Outcome.CONFLICT
        return Outcome.TOO_LARGE if row_size(dict(put.row)) > ROW_BYTES else Outcome.APPLIED

    def _put(self, put: Put) -> Outcome:
        outcome = self._check(put)
        if outcome is Outcome.APPLIED:
            pk, sk = put.key
            self.tables[put.table].setdefault(pk, {})[sk] = dict(put.row)
        return outcome


class MemoryBlobs(Blobs):
    """Blobs in a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self.blobs[key] = data

    def get(self, key: str) -> bytes | None:
        return self.blobs.get(key)

    def delete(self, key: str) -> None:
        self.blobs.pop(key, None)
