"""Single questions to a worker, to the stream and to the tables."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kcl_app.status.facts import Count, StreamShard
from kcl_app.stream.leases import Lease

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient

SECONDS = 5.0
"""How long a worker may take to answer."""
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


def letters_in(dynamodb: DynamoDBClient, table: str, now: float, left: Callable[[], bool]) -> Count:
    """Dead letters, by reason.

    Args:
        dynamodb: is asked for a page of at most a megabyte at a time, not consistently: a read unit for each 8 KB.
        table: its name.
        now: seconds since the epoch; what has expired does not count.
        left: whether there is time left for a page after the first.
    """
    # Marks of attempts stand under ``#``.
    return _count(dynamodb, table, now, left, "NOT begins_with(pk, :other)", "#")


def stale_in(dynamodb: DynamoDBClient, table: str, now: float, left: Callable[[], bool]) -> Count:
    """Stale provider-days, by reason. Arguments as of `letters_in`."""
    return _count(dynamodb, table, now, left, "#status = :other", "stale", {"#status": "status"})


def _count(
    dynamodb: DynamoDBClient,
    table: str,
    now: float,
    left: Callable[[], bool],
    which: str,
    other: str,
    names: Mapping[str, str] | None = None,
) -> Count:
    asked: dict[str, Any] = {
        "TableName": table,
        # An `expires_at` that is no number is not less than one.
        "FilterExpression": f"{which} AND NOT expires_at <= :now",
        "ProjectionExpression": "#reason",
        "ExpressionAttributeNames": {"#reason": "reason", **(names or {})},
        "ExpressionAttributeValues": {":other": {"S": other}, ":now": {"N": str(int(now))}},
    }
    found: Counter[str] = Counter()
    looked = 0
    while True:
        answer = dynamodb.scan(**asked)
        looked += answer["ScannedCount"]
        # A day's reason has details after a colon.
        found.update(str(row.get("reason", {}).get("S", "")).partition(":")[0] for row in answer["Items"])
        last = answer.get("LastEvaluatedKey")
        if not last or not left():
            return Count(found.total(), dict(found), looked, not last)
        asked["ExclusiveStartKey"] = last
