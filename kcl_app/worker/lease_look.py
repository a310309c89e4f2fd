"""Looks in the KCL's lease table for shards that nobody reads.

A worker knows its own shards, and none of them is missing from its point of view while another worker's are without an
owner. So each worker looks at all leases, now and then: one scan of a row for each shard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from kcl_app.stream.leases import Lease, lease_of, scan

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Renewals = Mapping[str, tuple[str | None, int]]
"""By lease: its owner, None if there is none, and the counter that the owner moves on to keep it."""


class LeaseLook:
    """Compares what it finds with what it found the last time.

    Args:
        dynamodb: where the KCL keeps its tables.
        table: its lease table, named as the application is.
        lease_seconds: how long a lease lasts without being renewed; looks that are no further apart tell nothing.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table: str,
        lease_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._looked = -math.inf
        self._found: int | None = None
        self._before: Renewals = {}

    def look(self) -> int | None:
        """Look once, unless the last time was a moment ago.

        Returns:
            leases that nobody holds; None while the KCL has not made its table.

        Raises:
            BotoCoreError, ClientError: the table cannot be read.
        """
        now = self._monotonic()
        if now - self._looked < self._lease_seconds:
            return self._found
        try:
            leases = [lease_of(row) for row in scan(self._dynamodb, self._table, consistent=False)]
        except self._dynamodb.exceptions.ResourceNotFoundException:
            return None
        self._found = len(unowned(leases, self._before))
        self._before, self._looked = renewals(leases), now
        return self._found


def renewals(leases: Iterable[Lease]) -> Renewals:
    """Owners and counters of leases, by lease."""
    return {one.shard: (one.owner, one.counter) for one in leases}


def unowned(leases: Iterable[Lease], before: Renewals) -> list[str]:
    """Leases that nobody holds, though their shards could be read.

    A lease without an owner for a moment is being handed over: it counts once it had none the last time as well. So
    does one whose owner has not renewed it since. That of a shard whose parents are not read to their ends has to wait.

    Args:
        leases: all there are.
        before: what was found the last time.
    """
    by_shard = {one.shard: one for one in leases}
    return sorted(
        key
        for key, one in by_shard.items()
        if not one.ended
        and before.get(key) == (one.owner, one.counter)
        and all(parent not in by_shard or by_shard[parent].ended for parent in one.parents)
    )
