"""Single questions to a worker, to the stream and to the tables."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from kcl_app.status.facts import Count, StreamShard
from kcl_app.stores.base import Row, Store, Table
from kcl_app.stream.leases import Lease

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

SECONDS = 5.0
"""How long a worker may take to answer."""
SCAN_ROWS = 20_000
"""Rows of a table that a count looks at, at most."""
PROBE_READS = 3
"""Reads of a shard that come back empty although there is more, until it is left at that."""


def readiness(url: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Why a worker is not ready, and which plugins it does not run with what reason."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=SECONDS) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except (OSError, ValueError):
        return (), {}
    try:
        said = json.loads(body)
        return tuple(map(str, said.get("why", ()))), {
            str(name): str(why) for name, why in said.get("plugins_refused", {}).items()
        }
    except (ValueError, AttributeError, TypeError):
        return (), {}


def list_shards(kinesis: KinesisClient, stream: str) -> list[StreamShard]:
    """All shards that the stream has records of."""
    found: list[StreamShard] = []
    asked: dict[str, Any] = {"StreamName": stream}
    while True:
        answer = kinesis.list_shards(**asked)
        for shard in answer["Shards"]:
            parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
            found.append(
                StreamShard(
                    shard["ShardId"],
                    "EndingSequenceNumber" not in shard["SequenceNumberRange"],
                    tuple(parent for parent in parents if parent),
                )
            )
        if not answer.get("NextToken"):
            return found
        asked = {"NextToken": answer["NextToken"]}


def behind(kinesis: KinesisClient, stream: str, lease: Lease, now: float) -> float:
    """How far a checkpoint is behind, in seconds: the age of the first record that it does not cover.

    Args:
        kinesis: is asked for one record.
        stream: its name.
        lease: of one of its shards.
        now: seconds since the epoch.
    """
    asked: dict[str, Any] = {"StreamName": stream, "ShardId": lease.shard}
    if lease.checkpoint.isdigit() and int(lease.checkpoint) > 0:
        asked |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": lease.checkpoint}
    else:
        asked["ShardIteratorType"] = "LATEST" if lease.checkpoint == "LATEST" else "TRIM_HORIZON"
    iterator: str | None = kinesis.get_shard_iterator(**asked)["ShardIterator"]
    lag = 0.0
    for _ in range(PROBE_READS):
        if not iterator:
            break
        answer = kinesis.get_records(ShardIterator=iterator, Limit=1)
        if answer["Records"]:
            arrived = answer["Records"][0].get("ApproximateArrivalTimestamp")
            return max(0.0, now - arrived.timestamp()) if arrived is not None else lag
        lag = answer.get("MillisBehindLatest", 0) / 1000
        if lag == 0:
            break
        iterator = answer.get("NextShardIterator")
    return lag


def letters_in(store: Store, now: float, left: Callable[[], bool]) -> Count:
    """Dead letters, by reason.

    Args:
        store: the tables.
        now: seconds since the epoch; what has expired does not count.
        left: whether there is time left.
    """
    rows = store.scan(Table.DEAD_LETTERS, ("pk", "reason", "expires_at"))
    # Marks of attempts stand under ``#``.
    return _count(
        rows, now, left, lambda row: None if str(row["pk"]).startswith("#") else str(row.get("reason"))
    )


def stale_in(store: Store, now: float, left: Callable[[], bool]) -> Count:
    """Stale provider-days, by reason. Arguments as `letters_in`."""
    rows = store.scan(Table.SPANS, ("pk", "status", "reason", "expires_at"))

    def reason(row: Row) -> str | None:
        return str(row.get("reason") or "").partition(":")[0] if row.get("status") == "stale" else None

    return _count(rows, now, left, reason)


def _count(
    rows: Iterator[Row], now: float, left: Callable[[], bool], counts_as: Callable[[Row], str | None]
) -> Count:
    found: Counter[str] = Counter()
    looked = 0
    complete = True
    for row in islice(rows, SCAN_ROWS + 1):
        if looked >= SCAN_ROWS or not left():
            complete = False
            break
        looked += 1
        expires_at = row.get("expires_at")
        reason = counts_as(row)
        if reason is not None and not (isinstance(expires_at, int) and expires_at <= now):
            found[reason] += 1
    return Count(sum(found.values()), dict(found), looked, complete)
