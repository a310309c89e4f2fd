"""The soak itself: three minutes of load and every kind of fault; and the local cloud that it needs for that."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipelines import KCL_APP, environment, left_behind

from kcl_app import wiring
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak import resharding, schedule
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

STREAM = "scheduling-event-stream"


@pytest.fixture
def settings(private_settings: Callable[..., Settings], local_cloud_venv: Path) -> Settings:
    """Of a cloud that is started elsewhere; its virtual environment is made once for all tests."""
    made = private_settings()
    made.local.directory.mkdir(parents=True, exist_ok=True)
    (made.local.directory / "venv").symlink_to(local_cloud_venv)
    return made


def soak(settings: Settings, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "soak.log").open("wb") as out:
        return subprocess.Popen(
            [*KCL_APP, "soak", *arguments],
            env=environment(settings, folder, COLUMNS="120"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def test_three_minutes_of_every_fault_lose_nothing(settings: Settings, tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    running = soak(settings, tmp_path, "--minutes", "3", "--seed", "1", "--rate", "60", "--json", str(result))
    try:
        status = running.wait(850)
    finally:
        running.kill()
    said = (tmp_path / "soak.log").read_text()
    assert status == 0, said[-6000:]
    report: dict[str, Any] = json.loads(result.read_text())
    assert report["good"]
    assert (report["differences"], report["wrong"]) == ({}, [])
    assert set(report["faults"]) | set(report["left_out"]) == {
        k for kinds in schedule.TRACKS.values() for k in kinds
    }
    assert len(report["faults"]) >= 15, said
    assert report["records"] >= report["events"] > 5000
    assert report["restarts"] >= 4
    assert report["processed"]["events applied"] > 1000
    assert report["processed"]["events replayed"] > 0
    assert set(report["expected_letters"]) == {"not_json", "invalid_envelope", "invalid_data", "unknown_emr"}
    assert report["checkpoints_looked_up"] > 50
    assert report["provider_days"] > 500
    assert report["items"] > 1000
    for shown in ("drained", "differences", "kill a whole worker", "stood still for"):
        assert shown in said
    assert left_behind(tmp_path) == []
    assert list(tmp_path.glob("kcl-app-soak-*")) == [], "nothing is kept where all is well"


def test_a_signal_ends_all_of_it(settings: Settings, tmp_path: Path) -> None:
    running = soak(settings, tmp_path, "--minutes", "3")
    end = time.monotonic() + 120
    while not any("worker started" in log.read_text() for log in tmp_path.glob("kcl-app-soak-*/w*.log")):
        assert running.poll() is None, (tmp_path / "soak.log").read_text()
        assert time.monotonic() < end, "the workers did not start"
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 130
    assert left_behind(tmp_path) == []


@pytest.fixture
def cloud(private_settings: Callable[..., Settings], local_cloud_venv: Path) -> Iterator[LocalCloud]:
    """A local cloud with shards that close."""
    settings = private_settings()
    throttle = settings.local.directory / "throttle"
    program = ("-P", resharding.__file__, "ministack", str(throttle))
    local = LocalCloud(settings, venv=local_cloud_venv, program=program)
    try:
        local.start(shards=2)
        yield local
    finally:
        local.stop(save=False)


def read(kinesis: KinesisClient, shard: str) -> tuple[list[bytes], list[str] | None]:
    """A shard's records, and the shards that go on from it if it has an end."""
    iterator: str | None = kinesis.get_shard_iterator(
        StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    found: list[bytes] = []
    for _ in range(20):
        assert iterator is not None
        page = kinesis.get_records(ShardIterator=iterator, Limit=3)
        found += [record["Data"] for record in page["Records"]]
        iterator = page.get("NextShardIterator")
        if iterator is None:
            return found, [child["ShardId"] for child in page["ChildShards"]]
        if not page["Records"]:
            break
    return found, None


def test_shards_that_are_split_and_merged_are_read_to_their_end_and_kept_over_a_restart(
    cloud: LocalCloud,
) -> None:
    kinesis = wiring.kinesis(cloud.settings)

    def put_first(text: str) -> str:
        # Hash key 1 lies in the first shard, whatever becomes of it.
        return kinesis.put_record(
            StreamName=STREAM, Data=text.encode(), PartitionKey="k", ExplicitHashKey="1"
        )["ShardId"]

    for number in range(7):
        assert put_first(f"before-{number}") == "shardId-000000000000"
    kinesis.split_shard(StreamName=STREAM, ShardToSplit="shardId-000000000000", NewStartingHashKey="1000")
    assert put_first("after the split") == "shardId-000000000002"
    kinesis.merge_shards(
        StreamName=STREAM, ShardToMerge="shardId-000000000003", AdjacentShardToMerge="shardId-000000000001"
    )
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2
    with pytest.raises(kinesis.exceptions.InvalidArgumentException):
        kinesis.split_shard(StreamName=STREAM, ShardToSplit="shardId-000000000000", NewStartingHashKey="500")

    for _ in range(2):
        before = [f"before-{number}".encode() for number in range(7)]
        assert read(kinesis, "shardId-000000000000") == (
            before,
            ["shardId-000000000002", "shardId-000000000003"],
        )
        assert read(kinesis, "shardId-000000000003") == ([], ["shardId-000000000004"])
        assert read(kinesis, "shardId-000000000002") == ([b"after the split"], None)
        shards = {one["ShardId"]: one for one in kinesis.list_shards(StreamName=STREAM)["Shards"]}
        closed = {
            name for name, one in shards.items() if "EndingSequenceNumber" in one["SequenceNumberRange"]
        }
        assert closed == {f"shardId-00000000000{number}" for number in (0, 1, 3)}
        merged = shards["shardId-000000000004"]
        assert {merged["ParentShardId"], merged["AdjacentParentShardId"]} == {
            "shardId-000000000001",
            "shardId-000000000003",
        }
        assert cloud.stop()
        cloud.start()


def test_reads_are_throttled_while_a_file_says_so(cloud: LocalCloud) -> None:
    kinesis = wiring.kinesis(cloud.settings)
    throttle = cloud.directory / "throttle"
    throttle.write_text("1.0")
    with pytest.raises(kinesis.exceptions.ProvisionedThroughputExceededException):
        read(kinesis, "shardId-000000000000")
    throttle.unlink()
    assert read(kinesis, "shardId-000000000000") == ([], None)
