"""What the supervisor finds out about leases, the stream, memory and disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcl_app.stream.leases import Lease, lease_of
from kcl_app.worker.lease_look import LeaseLook, renewals, unowned
from kcl_app.worker.machine import room

Row = dict[str, Any]


def lease(
    counter: int, owner: str | None = "w1", checkpoint: str = "123", parents: tuple[str, ...] = ()
) -> Row:
    """A row of the KCL's lease table."""
    row: Row = {"leaseCounter": {"N": str(counter)}, "checkpoint": {"S": checkpoint}}
    if owner is not None:
        row["leaseOwner"] = {"S": owner}
    if parents:
        row["parentShardId"] = {"SS": list(parents)}
    return row


def leases(rows: dict[str, Row]) -> list[Lease]:
    return [lease_of({"leaseKey": {"S": key}, **row}) for key, row in rows.items()]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {"a": lease(1)}, []),
        ({"a": lease(1)}, {"a": lease(2)}, []),
        ({"a": lease(1)}, {"a": lease(1)}, ["a"]),
        ({"a": lease(1)}, {"a": lease(1, "w2")}, []),
        ({"a": lease(1)}, {"a": lease(1, None)}, []),
        ({"a": lease(1, None)}, {"a": lease(1, None)}, ["a"]),
        ({"a": lease(9, None, "SHARD_END")}, {"a": lease(9, None, "SHARD_END")}, []),
        (
            {"a": lease(1), "b": lease(0, None, parents=("a",))},
            {"a": lease(2), "b": lease(0, None, parents=("a",))},
            [],
        ),
        (
            {"a": lease(1, checkpoint="SHARD_END"), "b": lease(0, None, parents=("a",))},
            {"a": lease(1, checkpoint="SHARD_END"), "b": lease(0, None, parents=("a",))},
            ["b"],
        ),
        ({"b": lease(0, None, parents=("gone",))}, {"b": lease(0, None, parents=("gone",))}, ["b"]),
    ],
    ids=[
        "seen for the first time",
        "renewed",
        "its owner does not renew it",
        "taken over",
        "just given away",
        "nobody wants it",
        "read to its end",
        "its parent is still read",
        "its parent is read to its end",
        "its parent's lease was deleted",
    ],
)
def test_which_leases_nobody_holds(before: dict[str, Row], after: dict[str, Row], found: list[str]) -> None:
    assert unowned(leases(after), renewals(leases(before))) == found


class _NotFoundError(Exception):
    pass


class _Table:
    """A lease table of several pages, or none."""

    class exceptions:  # noqa: N801 - as boto3 calls it
        ResourceNotFoundException = _NotFoundError

    def __init__(self) -> None:
        self.rows: list[Row] | None = None

    def get_paginator(self, name: str) -> _Table:
        assert name == "scan"
        return self

    def paginate(self, **given: str) -> list[dict[str, list[Row]]]:
        assert given == {"TableName": "app"}
        if self.rows is None:
            raise _NotFoundError
        return [{"Items": [row]} for row in self.rows]


def test_leases_are_compared_with_those_of_the_look_before() -> None:
    table = _Table()
    now = [0.0]
    look = LeaseLook(table, "app", 10.0, lambda: now[0])  # type: ignore[arg-type]
    assert look.look() is None, "the KCL has not made its table yet"
    table.rows = [{"leaseKey": {"S": "a"}, **lease(1)}, {"leaseKey": {"S": "b"}, **lease(1)}]
    assert look.look() == 0
    table.rows[0]["leaseCounter"] = {"N": "2"}
    now[0] = 9.0
    assert look.look() == 0, "an owner may not have had to renew it yet"
    now[0] = 10.0
    assert look.look() == 1


def test_the_containers_limit_counts_where_it_is_less_than_the_machine_has(tmp_path: Path) -> None:
    v2, v1, none = tmp_path / "max", tmp_path / "limit", tmp_path / "none"
    v2.write_text("max\n")
    machine = room(tmp_path, (v2, none)).memory_limit_bytes
    assert machine > 0
    v1.write_text("9223372036854771712\n")
    assert room(tmp_path, (v2, v1)).memory_limit_bytes == machine, "no limit is a huge one there"
    v1.write_text("1048576\n")
    assert room(tmp_path, (v2, v1)).memory_limit_bytes == 1048576


def test_a_disk_that_cannot_be_asked_has_no_numbers(tmp_path: Path) -> None:
    found = room(tmp_path)
    assert found.disk_free_bytes is not None
    assert found.disk_size_bytes is not None
    assert 0 < found.disk_free_bytes <= found.disk_size_bytes
    assert room(tmp_path / "gone").disk_free_bytes is None
