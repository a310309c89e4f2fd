"""Reads a Kinesis stream's shards from a point in time, beside whoever else reads them.

A shard gives five reads and two megabytes a second, to all its readers together. So this one takes at most two of the
five, and waits where it is told to slow down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app import backoff
from kcl_app.stream.aggregation import unpacked
from processors.envelope import Record
from processors.errors import Fatal, Retry

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PACE_SECONDS = 0.5
"""Between two reads of one shard: leaves workers three of its five reads a second."""
LIMIT = 2000
"""Records of one read, at most."""
ATTEMPTS = 12
"""Tries of a call that is throttled or not answered, with pauses of up to `LONGEST_PAUSE`."""
FIRST_ATTEMPTS = 3
"""Tries of the first question, which a person waits for."""
LONGEST_PAUSE = 10.0

_AGAIN = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "InternalFailure",
        "InternalFailureException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: its id, and those of the shards that it was made of (they may be gone)."""

    id: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the stream says of itself: seconds that it keeps records, and since when there is one (epoch seconds)."""

    retention_seconds: float
    created_at: float


@dataclass(frozen=True, slots=True)
class Page:
    """What one read gave.

    Attributes:
        records: de-aggregated, in order.
        arrived: when the last of them came, in seconds since the epoch; None where there are none.
    """

    records: list[Record]
    arrived: float | None


class StreamReader:
    """Reads one stream.

    Args:
        client: with finite timeouts.
        stream: its name.
        pace: seconds between two reads of one shard, at least.
        limit: records of one read, at most.
        sleep: waits, in seconds.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        *,
        pace: float = PACE_SECONDS,
        limit: int = LIMIT,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._stream = stream
        self._pace = pace
        self._limit = limit
        self._sleep = sleep
        self._monotonic = monotonic

    def facts(self) -> Facts:
        """What the stream says of itself.

        Raises:
            Retry: the stream does not answer.
            Fatal: it is not there, or refuses.
        """
        answer = self._call(self._client.describe_stream_summary, FIRST_ATTEMPTS, StreamName=self._stream)
        summary = answer["StreamDescriptionSummary"]
        return Facts(summary["RetentionPeriodHours"] * 3600.0, _seconds(summary["StreamCreationTimestamp"]))

    def shards(self) -> list[Shard]:
        """All shards there are records of, closed ones too, by id.

        Raises:
            Retry: the stream does not answer.
            Fatal: it is not there, or refuses.
        """
        found: list[Shard] = []
        request: dict[str, Any] = {"StreamName": self._stream}
        while True:
            answer = self._call(self._client.list_shards, **request)
            for shard in answer["Shards"]:
                parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                found.append(Shard(shard["ShardId"], tuple(parent for parent in parents if parent)))
            if not answer.get("NextToken"):
                return sorted(found, key=lambda shard: shard.id)
            request = {"NextToken": answer["NextToken"]}

    def oldest(self, shard: str) -> float | None:
        """When the oldest record of a shard came, in seconds since the epoch; None where it has none."""
        for page in self._pages(shard, {"ShardIteratorType": "TRIM_HORIZON"}, 1):
            if page.arrived is not None:
                return page.arrived
        return None

    def read(self, shard: str, since: float) -> Iterator[Page]:
        """A shard's records from a point in time, up to its end or to the newest that it has.

        Args:
            shard: which.
            since: seconds since the epoch.

        Raises:
            Retry: the stream does not answer.
            Fatal: it is not there, or refuses.
        """
        start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(since, UTC)}
        return self._pages(shard, start, self._limit)

    def _pages(self, shard: str, start: dict[str, Any], limit: int) -> Iterator[Page]:
        iterator: str | None = self._iterator(shard, start)
        last_read = -self._pace
        while iterator is not None:
            self._sleep(max(0.0, self._pace - (self._monotonic() - last_read)))
            last_read = self._monotonic()
            try:
                answer = self._call(self._client.get_records, ShardIterator=iterator, Limit=limit)
            except ClientError as error:
                if _code(error) != "ExpiredIteratorException":
                    raise self._refused(error) from error
                iterator = self._iterator(shard, start)  # five minutes have passed since the last read
                continue
            raw = answer["Records"]
            if raw:
                start = {
                    "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                    "StartingSequenceNumber": raw[-1]["SequenceNumber"],
                }
            records = [_record(one) for one in raw]
            yield Page(
                [user for record in records for user in unpacked(record)],
                records[-1].arrival if records else None,
            )
            caught_up = not raw and answer.get("MillisBehindLatest") == 0
            iterator = None if caught_up else answer.get("NextShardIterator")

    def _iterator(self, shard: str, start: dict[str, Any]) -> str:
        answer = self._call(self._client.get_shard_iterator, StreamName=self._stream, ShardId=shard, **start)
        return str(answer["ShardIterator"])

    def _call(self, function: Callable[..., Any], attempts: int = ATTEMPTS, **request: Any) -> Any:
        """A call, again with growing pauses while it is throttled or not answered."""
        why = ""
        for attempt in range(attempts):
            try:
                return function(**request)
            except ClientError as error:
                why = _code(error)
                if why == "ExpiredIteratorException":
                    raise
                if why not in _AGAIN:
                    raise self._refused(error) from error
            except BotoCoreError as error:
                why = type(error).__name__
            self._sleep(backoff.pause(attempt, LONGEST_PAUSE, base=0.5, least=0.1))
        raise Retry(f"the stream {self._stream} cannot be read now ({why})")

    def _refused(self, error: ClientError) -> Fatal:
        if _code(error) == "ResourceNotFoundException":
            return Fatal(f"there is no stream {self._stream}, or no longer that shard of it")
        return Fatal(f"the stream {self._stream} refuses to be read: {_code(error)}")


def _record(raw: Any) -> Record:
    arrival = _seconds(raw["ApproximateArrivalTimestamp"])
    return Record(raw["Data"], raw["SequenceNumber"], 0, raw["PartitionKey"], arrival)


def _seconds(moment: datetime | float) -> float:
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
