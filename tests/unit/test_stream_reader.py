"""Reading shards: where it starts and ends, how it paces itself, and what it does where Kinesis will not."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from kpl import aggregated

from kcl_app.stream.reader import ATTEMPTS, PACE_SECONDS, Facts, Shard, StreamReader
from processors.errors import Fatal, Retry

T0 = datetime(2026, 3, 9, tzinfo=UTC)


def refusal(code: str) -> ClientError:
    """What boto3 raises."""
    return ClientError({"Error": {"Code": code, "Message": "secret payload"}}, "GetRecords")


def raw(number: int, data: bytes = b"x") -> dict[str, Any]:
    """A record as Kinesis gives it."""
    return {
        "Data": data,
        "SequenceNumber": str(number),
        "PartitionKey": "p",
        "ApproximateArrivalTimestamp": datetime.fromtimestamp(T0.timestamp() + number, UTC),
    }


def page(*numbers: int, behind: int = 0, then: str | None = "next") -> dict[str, Any]:
    """An answer of GetRecords."""
    answer = {"Records": [raw(number) for number in numbers], "MillisBehindLatest": behind}
    return answer | ({"NextShardIterator": then} if then else {})


class Kinesis:
    """Answers GetRecords from a script, and notes what it was asked; time passes only while somebody sleeps."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.iterators: list[dict[str, Any]] = []
        self.asked: list[tuple[float, dict[str, Any]]] = []
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def get_shard_iterator(self, **request: Any) -> Any:
        """An iterator named by its number."""
        self.iterators.append(request)
        return {"ShardIterator": f"iterator-{len(self.iterators)}"}

    def get_records(self, **request: Any) -> Any:
        """The next of the script."""
        self.asked.append((self.now, request))
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reader(self) -> StreamReader:
        """A reader on it."""
        return StreamReader(cast(Any, self), "events", sleep=self.sleep, monotonic=lambda: self.now)

    def read(self) -> list[list[str]]:
        """The sequence numbers of each page of a shard."""
        pages = self.reader().read("shard-1", T0.timestamp())
        return [[record.sequence_number for record in one.records] for one in pages]


def test_a_closed_shard_is_read_to_its_end() -> None:
    kinesis = Kinesis(page(1, 2, behind=9), page(behind=5), page(3, then=None))
    assert kinesis.read() == [["1", "2"], [], ["3"]]
    assert kinesis.iterators == [
        {
            "StreamName": "events",
            "ShardId": "shard-1",
            "ShardIteratorType": "AT_TIMESTAMP",
            "Timestamp": T0,
        }
    ]


def test_an_open_shard_is_read_to_its_newest_record() -> None:
    kinesis = Kinesis(page(behind=5000), page(1, behind=0), page(behind=0))
    assert kinesis.read() == [[], ["1"], []]


def test_pages_say_when_their_last_record_came() -> None:
    kinesis = Kinesis(page(1, 7, behind=1), page())
    pages = list(kinesis.reader().read("s", 0))
    assert [one.arrived for one in pages] == [T0.timestamp() + 7, None]


def test_it_leaves_most_of_a_shards_reads_to_workers() -> None:
    kinesis = Kinesis(*[page(number, behind=1) for number in range(10)], page())
    kinesis.read()
    times = [at for at, _ in kinesis.asked]
    assert times[0] == 100.0, "no wait before the first"
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= PACE_SECONDS


@pytest.mark.parametrize(
    "error",
    [
        refusal("ProvisionedThroughputExceededException"),
        refusal("LimitExceededException"),
        refusal("InternalFailure"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_what_is_throttled_or_not_answered_is_asked_again_later(error: Exception) -> None:
    kinesis = Kinesis(page(1, behind=1), error, error, page(2, behind=1), page())
    assert kinesis.read() == [["1"], ["2"], []]
    asked = [request["ShardIterator"] for _, request in kinesis.asked]
    assert asked == ["iterator-1", "next", "next", "next", "next"]
    assert kinesis.asked[2][0] - kinesis.asked[1][0] >= 0.1


def test_an_outage_that_lasts_ends_it_with_retry() -> None:
    kinesis = Kinesis(*[refusal("ProvisionedThroughputExceededException")] * ATTEMPTS)
    with pytest.raises(Retry, match=r"the stream events cannot be read now \(Provisioned"):
        kinesis.read()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ResourceNotFoundException", "there is no stream events"),
        ("AccessDeniedException", "refuses to be read: AccessDeniedException"),
    ],
)
def test_a_refusal_is_fatal_and_quotes_nothing(code: str, said: str) -> None:
    with pytest.raises(Fatal, match=said) as raised:
        Kinesis(refusal(code)).read()
    assert "secret" not in str(raised.value)


def test_an_expired_iterator_is_made_anew_behind_the_last_record() -> None:
    expired = refusal("ExpiredIteratorException")
    kinesis = Kinesis(expired, page(1, 2, behind=1), expired, page(3, behind=1), page())
    assert kinesis.read() == [["1", "2"], ["3"], []]
    assert [one["ShardIteratorType"] for one in kinesis.iterators] == [
        "AT_TIMESTAMP",
        "AT_TIMESTAMP",
        "AFTER_SEQUENCE_NUMBER",
    ]
    assert kinesis.iterators[2]["StartingSequenceNumber"] == "2"


def test_aggregated_records_come_apart_and_the_iterator_goes_on_behind_the_whole() -> None:
    packed = page(1, behind=1)
    packed["Records"] = [raw(7, aggregated([("a", b"1"), ("b", b"2")]))]
    kinesis = Kinesis(packed, refusal("ExpiredIteratorException"), page())
    (first, *_) = kinesis.reader().read("s", 0)
    assert [(one.sequence_number, one.sub_sequence_number, one.data) for one in first.records] == [
        ("7", 0, b"1"),
        ("7", 1, b"2"),
    ]
    assert kinesis.iterators[-1]["StartingSequenceNumber"] == "7"


def test_the_oldest_record_may_come_after_empty_answers() -> None:
    kinesis = Kinesis(page(behind=9), page(behind=9), page(4, behind=1))
    assert kinesis.reader().oldest("s") == T0.timestamp() + 4
    assert kinesis.iterators[0]["ShardIteratorType"] == "TRIM_HORIZON"
    assert {request["Limit"] for _, request in kinesis.asked} == {1}
    assert Kinesis(page()).reader().oldest("s") is None
    assert Kinesis(page(then=None)).reader().oldest("s") is None


class Listed:
    """A stream with two pages of shards."""

    def list_shards(self, **request: Any) -> Any:
        """One page, and the other by its token alone."""
        if request == {"StreamName": "events"}:
            return {
                "Shards": [{"ShardId": "s2", "ParentShardId": "s0", "AdjacentParentShardId": "s1"}],
                "NextToken": "t",
            }
        assert request == {"NextToken": "t"}
        return {"Shards": [{"ShardId": "s1"}, {"ShardId": "s0"}]}

    def describe_stream_summary(self, **request: Any) -> Any:
        """Two days."""
        assert request == {"StreamName": "events"}
        summary = {"RetentionPeriodHours": 48, "StreamCreationTimestamp": T0}
        return {"StreamDescriptionSummary": summary}


def test_shards_with_their_parents_and_how_long_records_stay() -> None:
    reader = StreamReader(cast(Any, Listed()), "events")
    assert reader.shards() == [Shard("s0", ()), Shard("s1", ()), Shard("s2", ("s0", "s1"))]
    assert reader.facts() == Facts(48 * 3600.0, T0.timestamp())
