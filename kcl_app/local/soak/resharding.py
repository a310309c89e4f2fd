"""The local cloud with shards that close as Kinesis' do. Run by the local cloud's own Python, as a program.

ministack drops a shard that is split or merged, together with the records in it that nobody has read yet. In Kinesis
a closed shard stays until its records expire: it takes no more records, readers read it to its end, and are told there
which shards go on from it. Here ministack's handlers are wrapped so that it does the same. While a file says so, it
also throttles reads of the stream: the KCL's calls of Kinesis cannot be answered from outside, being HTTP/2.

    python resharding.py ministack [FILE with the fraction of GetRecords calls that are throttled]
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLOSED = "ending_sequence_number"
"""The attribute of a closed shard; it is saved with the state as all others are."""

Answer = tuple[int, dict[str, str], Any]
Handler = Callable[[dict[str, Any]], Answer]


def with_closed_shards(kinesis: Any) -> None:
    """Wrap the handlers of ministack's module for Kinesis.

    Args:
        kinesis: the module ``ministack.services.kinesis``.
    """
    kinesis._split_shard = _closing(kinesis, kinesis._split_shard, ("ShardToSplit",))
    kinesis._merge_shards = _closing(kinesis, kinesis._merge_shards, ("ShardToMerge", "AdjacentShardToMerge"))
    kinesis._get_records = _ending(kinesis, kinesis._get_records)
    kinesis._describe_stream_summary = _counting_open(kinesis, kinesis._describe_stream_summary)
    kinesis._route_to_shard = _route
    kinesis._shard_out = _described(kinesis._shard_out)
    kinesis._expire_records = _expire


def _closing(kinesis: Any, handler: Handler, names: tuple[str, ...]) -> Handler:
    """A split or a merge that leaves the parents where they are, closed."""

    def handle(data: dict[str, Any]) -> Answer:
        _, stream = kinesis._resolve_stream(data)
        shards = stream["shards"] if stream else {}
        named = [str(data.get(key)) for key in names]
        parents = {name: shards[name] for name in named if name in shards}
        if any(CLOSED in parent for parent in parents.values()):
            refused: Answer = kinesis.error_response_json(
                "InvalidArgumentException", "the shard is closed already", 400
            )
            return refused
        answer = handler(data)
        if answer[0] == 200:
            # Of before the first of a child, whose starting number has just been given.
            ending = min(
                shard["starting_sequence_number"] for shard in shards.values() if _is_child(shard, parents)
            )
            for name, parent in parents.items():
                parent[CLOSED] = f"{int(ending) - 1:030d}"
                shards[name] = parent
        return answer

    return handle


def _is_child(shard: dict[str, Any], parents: dict[str, Any]) -> bool:
    return shard["parent_shard_id"] in parents or shard["adjacent_parent_shard_id"] in parents


def _ending(kinesis: Any, handler: Handler) -> Handler:
    """GetRecords that says where a closed shard ends, and which shards go on from it."""

    def handle(data: dict[str, Any]) -> Answer:
        status, headers, body = handler(data)
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        state = kinesis._shard_iterators.get(answer["NextShardIterator"])
        shards = kinesis._streams.get(state["stream"])["shards"]
        name = state["shard_id"]
        if CLOSED not in shards[name] or state["position"] < len(shards[name]["records"]):
            return status, headers, body
        del kinesis._shard_iterators[answer.pop("NextShardIterator")]
        answer["ChildShards"] = [
            {
                "ShardId": child,
                "ParentShards": [
                    parent
                    for parent in (shard["parent_shard_id"], shard["adjacent_parent_shard_id"])
                    if parent is not None
                ],
                "HashKeyRange": {
                    "StartingHashKey": shard["starting_hash_key"],
                    "EndingHashKey": shard["ending_hash_key"],
                },
            }
            for child, shard in shards.items()
            if _is_child(shard, {name: None})
        ]
        ended: Answer = kinesis.json_response(answer)
        return ended

    return handle


def with_throttling(kinesis: Any, file: Path) -> None:
    """Let GetRecords be throttled while a file is there, which holds the fraction of the calls."""
    handler: Handler = kinesis._get_records

    def handle(data: dict[str, Any]) -> Answer:
        try:
            fraction = float(file.read_text())
        except (OSError, ValueError):  # not there, or just being written
            fraction = 0.0
        if random.random() < fraction:
            code = "ProvisionedThroughputExceededException"
            refused: Answer = kinesis.error_response_json(code, "Rate exceeded for shard", 400)
            return refused
        return handler(data)

    kinesis._get_records = handle


def _counting_open(kinesis: Any, handler: Handler) -> Handler:
    def handle(data: dict[str, Any]) -> Answer:
        status, headers, body = handler(data)
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        _, stream = kinesis._resolve_stream(data)
        answer["StreamDescriptionSummary"]["OpenShardCount"] = sum(
            CLOSED not in shard for shard in stream["shards"].values()
        )
        counted: Answer = kinesis.json_response(answer)
        return counted

    return handle


def _route(hash_key: int, stream: dict[str, Any]) -> str:
    for name, shard in stream["shards"].items():
        if CLOSED not in shard and int(shard["starting_hash_key"]) <= hash_key <= int(
            shard["ending_hash_key"]
        ):
            return str(name)
    raise LookupError("no open shard has this hash key")


def _described(describe: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
    def described(name: str, shard: dict[str, Any]) -> dict[str, Any]:
        found = describe(name, shard)
        if CLOSED in shard:
            found["SequenceNumberRange"]["EndingSequenceNumber"] = shard[CLOSED]
        return found

    return described


def _expire(stream: dict[str, Any]) -> None:
    """Records are in the order of their arrival; to look at every one of them in every call takes too long."""
    oldest = time.time() - stream["RetentionPeriodHours"] * 3600
    for shard in stream["shards"].values():
        records = shard["records"]
        if records and records[0]["ApproximateArrivalTimestamp"] < oldest:
            shard["records"] = [one for one in records if one["ApproximateArrivalTimestamp"] >= oldest]


def main() -> None:
    """Be ministack, but for this."""
    kinesis = importlib.import_module("ministack.services.kinesis")
    with_closed_shards(kinesis)
    if len(sys.argv) > 2:
        with_throttling(kinesis, Path(sys.argv[2]))
    sys.argv = sys.argv[:1]
    importlib.import_module("ministack.app").main()


if __name__ == "__main__":
    main()
