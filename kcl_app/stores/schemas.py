"""Layouts of rows by number: what a worker finds in the tables during a rolling upgrade, and after a rollback.

Every row carries the number of its layout as `schema`. A release that changes the layout reads the older ones, and can
write the one before while workers of the release before still run (`tables.write_schema`). So no worker has to read
what it does not know. If one must all the same, after a rollback, it leaves the items alone and says so: see
`kcl_app.stores.rows.refuse_newer`.

Whatever the layout, `pk`, `sk`, `schema`, `expires_at` and the attribute that writes are conditional on keep their
names and their meaning: an older worker must be able to see that a row is there, and that it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from processors.items import SCHEMA

Translate = Callable[[Table, Row], Row]
"""A row of one layout as a row of another; its `schema` too."""


@dataclass(frozen=True)
class Schemas:
    """The layouts that a program knows besides its own, the one of `kcl_app.stores.rows`.

    Attributes:
        readers: from an older layout's number to what makes rows of this program's layout of it.
        written: number of the layout to write.
        writers: from an older layout's number to what makes it of this program's rows.
    """

    readers: Mapping[int, Translate] = field(default_factory=dict)
    written: int = SCHEMA
    writers: Mapping[int, Translate] = field(default_factory=dict)


KNOWN = Schemas()
"""Those of this release. Schema 1 is the first, so there is none before it to read or to write."""


class SchemaStore(Store):
    """A store whose rows are translated on their way in and out.

    Reads that name the attributes they want must ask for what no layout changes; only `schema` is translated there.

    Args:
        inner: the tables.
        schemas: the layouts.

    Raises:
        ValueError: the layout to write is not among those that can be written.
    """

    def __init__(self, inner: Store, schemas: Schemas = KNOWN) -> None:
        if schemas.written != SCHEMA and schemas.written not in schemas.writers:
            known = ", ".join(str(number) for number in sorted({SCHEMA, *schemas.writers}))
            raise ValueError(f"cannot write schema {schemas.written}; this version writes {known}")
        self._inner = inner
        self._readers = schemas.readers
        self._writer = schemas.writers[schemas.written] if schemas.written != SCHEMA else None

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        rows = self._inner.query(table, pk, between, attributes)
        return [self._read(table, row, attributes) for row in rows]

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        return {key: self._read(table, row) for key, row in self._inner.get(table, keys).items()}

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        for row in self._inner.scan(table, attributes):
            yield self._read(table, row, attributes)

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        return self._inner.write(self._written(puts))

    def transact(self, puts: Sequence[Put]) -> Outcome:
        return self._inner.transact(self._written(puts))

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        return self._inner.delete(table, key, expect)

    def _read(self, table: Table, row: Row, attributes: Sequence[str] | None = None) -> Row:
        number = row.get("schema")
        reader = self._readers.get(number) if isinstance(number, int) else None
        if reader is None:
            return row
        return reader(table, row) if attributes is None else {**row, "schema": SCHEMA}

    def _written(self, puts: Sequence[Put]) -> Sequence[Put]:
        if (writer := self._writer) is None:
            return puts
        return [replace(put, row=writer(put.table, dict(put.row))) for put in puts]
