"""The KCL's lease table: which worker has which shard, and how far each has come.

The table is the KCL's own and is only read here. One row is one shard: its checkpoint, and the worker that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

START, END = -1, 10**80

Checkpoint = tuple[int, int]
"""Sequence and sub-sequence number, comparable within a shard; `START` before the first, `END` at a shard's end."""

SHARD_END = "SHARD_END"


def checkpoint_of(row: dict[str, Any]) -> Checkpoint:
    """The checkpoint in a row of the KCL's lease table."""
    text = str(row.get("checkpoint", {}).get("S", "TRIM_HORIZON"))
    if text == SHARD_END:
        return END, 0
    if not text.isdigit():
        return START, 0
    return int(text), int(row.get("checkpointSubSequenceNumber", {}).get("N", 0))


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard's row.

    Attributes:
        shard: its id.
        owner: the worker that has it, as the KCL calls it; None: nobody.
        checkpoint: sequence number, or `TRIM_HORIZON`, `LATEST`, `SHARD_END`.
        parents: shards that it was made of.
        counter: counts up with each renewal, which comes three times in the failover time.
    """

    shard: str
    owner: str | None
    checkpoint: str
    parents: tuple[str, ...] = ()
    counter: int = 0

    @property
    def ended(self) -> bool:
        """Whether all of a closed shard is processed."""
        return self.checkpoint == SHARD_END


def lease_of(row: dict[str, Any]) -> Lease:
    """A row of the KCL's lease table."""
    return Lease(
        str(row["leaseKey"]["S"]),
        str(row.get("leaseOwner", {}).get("S", "")) or None,
        str(row.get("checkpoint", {}).get("S", "TRIM_HORIZON")),
        tuple(sorted(str(parent) for parent in row.get("parentShardId", {}).get("SS", []))),
        int(row.get("leaseCounter", {}).get("N", 0)),
    )


def scan(dynamodb: DynamoDBClient, application: str, *, consistent: bool = True) -> Iterator[dict[str, Any]]:
    """All rows as DynamoDB has them.

    Args:
        dynamodb: of the KCL's tables, which stay with the stream.
        application: name of the KCL application, and so of its lease table.
        consistent: whether what was just written is seen, at twice the price.

    Raises:
        ResourceNotFoundException: the KCL has not made its table yet.
    """
    pages = dynamodb.get_paginator("scan")
    for page in (
        pages.paginate(TableName=application, ConsistentRead=True)
        if consistent
        else pages.paginate(TableName=application)
    ):
        yield from (dict(row) for row in page["Items"])


def rows(dynamodb: DynamoDBClient, application: str) -> Iterator[dict[str, Any]]:
    """As `scan`, consistently; none where the KCL has not made its table yet."""
    try:
        yield from scan(dynamodb, application)
    except dynamodb.exceptions.ResourceNotFoundException:
        return


def leases(dynamodb: DynamoDBClient, application: str) -> list[Lease]:
    """All leases, by shard. Arguments as of `scan`."""
    return sorted((lease_of(row) for row in rows(dynamodb, application)), key=lambda lease: lease.shard)


class Renewals:
    """Who renews their leases. An owner that died still stands in the table; what stops is the counter.

    Args:
        failover_seconds: a lease that is not renewed for so long is anybody's.
    """

    def __init__(self, failover_seconds: float) -> None:
        self._failover = failover_seconds
        self._moved: dict[str, tuple[tuple[str | None, int], float, bool]] = {}

    def look(self, leases: list[Lease], now: float) -> None:
        """Take in what was read.

        Args:
            leases: all there are.
            now: of a clock for durations, in seconds.
        """
        for lease in leases:
            mark = (lease.owner, lease.counter)
            before = self._moved.get(lease.shard)
            if before is None or before[0] != mark:
                self._moved[lease.shard] = (mark, now, before is not None)

    def unsure(self, now: float) -> set[str]:
        """Shards with an owner that has neither renewed since they were first seen, nor had the time to."""
        return {
            shard
            for shard, (mark, since, moved) in self._moved.items()
            if mark[0] is not None and not moved and now - since <= self._failover
        }

    def silent(self, now: float) -> set[str]:
        """Shards whose owner does not renew the lease any more."""
        return {
            shard
            for shard, (mark, since, _) in self._moved.items()
            if mark[0] is not None and now - since > self._failover
        }
