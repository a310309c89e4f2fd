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
    """

    shard: str
    owner: str | None
    checkpoint: str
    parents: tuple[str, ...] = ()

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
    )


def rows(dynamodb: DynamoDBClient, application: str) -> Iterator[dict[str, Any]]:
    """All rows as DynamoDB has them, read consistently; none where the KCL has not made its table yet.

    Args:
        dynamodb: of the KCL's tables, which stay with the stream.
        application: name of the KCL application, and so of its lease table.
    """
    try:
        pages = dynamodb.get_paginator("scan").paginate(TableName=application, ConsistentRead=True)
        for page in pages:
            yield from (dict(row) for row in page["Items"])
    except dynamodb.exceptions.ResourceNotFoundException:
        return


def leases(dynamodb: DynamoDBClient, application: str) -> list[Lease]:
    """All leases, by shard. Arguments as `rows`."""
    return sorted((lease_of(row) for row in rows(dynamodb, application)), key=lambda lease: lease.shard)
