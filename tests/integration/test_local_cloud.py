"""The local cloud, really started: it deploys, keeps its state, and is stopped for certain; `put` fills its stream."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.simulate import Params, simulate
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = pytest.mark.integration

Environment = Callable[[Settings], dict[str, str]]


def records_of(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Everything on the stream, shard by shard, in order."""
    kinesis = wiring.kinesis(settings)
    name = settings.stream.name
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        records = found.setdefault(shard["ShardId"], [])
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            page = kinesis.get_records(ShardIterator=iterator)
            records += [{**record} for record in page["Records"]]
            if not page["Records"]:
                break
            iterator = page["NextShardIterator"]
    return found


def test_it_deploys_and_keeps_what_it_holds_over_stop_and_start(
    cloud: StartCloud, local_cloud_venv: Path
) -> None:
    settings = cloud()
    local = LocalCloud(settings, venv=local_cloud_venv)
    status = local.status()
    tables = settings.tables
    assert status.running
    assert status.shards == ((settings.stream.name, 4),)
    assert set(status.tables) == {tables.items, tables.spans, tables.providers, tables.dead_letters}
    stream = wiring.kinesis(settings).describe_stream_summary(StreamName=settings.stream.name)
    assert stream["StreamDescriptionSummary"]["RetentionPeriodHours"] == 168
    dynamodb = wiring.dynamodb(settings)
    for table in (tables.items, tables.spans, tables.dead_letters):
        ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}

    wiring.kinesis(settings).put_record(StreamName=settings.stream.name, Data=b"kept", PartitionKey="k")
    dynamodb.put_item(TableName=tables.items, Item={"pk": {"S": "a"}, "sk": {"S": "b"}})
    wiring.s3(settings).put_object(Bucket=tables.dead_letter_bucket, Key="k", Body=b"kept")
    assert status.pid is not None
    local.start()
    assert local.status().pid == status.pid, "a second start leaves it as it is"
    assert local.stop()
    assert not psutil.pid_exists(status.pid) or psutil.Process(status.pid).status() == psutil.STATUS_ZOMBIE
    assert not local.status().running
    assert not local.stop()

    local.start()
    assert local.status().pid != status.pid
    assert [r["Data"] for records in records_of(settings).values() for r in records] == [b"kept"]
    item = dynamodb.get_item(TableName=tables.items, Key={"pk": {"S": "a"}, "sk": {"S": "b"}})
    assert "Item" in item
    assert wiring.s3(settings).get_object(Bucket=tables.dead_letter_bucket, Key="k")["Body"].read() == b"kept"


def test_another_number_of_shards_needs_a_fresh_start(cloud: StartCloud, local_cloud_venv: Path) -> None:
    settings = cloud(shards=2, stream={"name": "other-stream"})
    local = LocalCloud(settings, venv=local_cloud_venv)
    with pytest.raises(UserError, match=r"has 2 shards.*--fresh --shards 3"):
        local.start(shards=3)
    assert local.status().shards == (("other-stream", 2),)
    wiring.dynamodb(settings).put_item(
        TableName=settings.tables.items, Item={"pk": {"S": "a"}, "sk": {"S": "b"}}
    )
    local.start(fresh=True, shards=3)
    assert local.status().shards == (("other-stream", 3),)
    assert wiring.dynamodb(settings).scan(TableName=settings.tables.items)["Count"] == 0


def test_a_port_that_somebody_has_is_named_with_its_holder(
    private_settings: Callable[..., Settings], local_cloud_venv: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        settings = private_settings(aws={"endpoint_url": f"http://127.0.0.1:{port}"})
        with pytest.raises(
            UserError, match=rf"^port {port} cannot be used .*pid {os.getpid()}\).*another port"
        ):
            LocalCloud(settings, venv=local_cloud_venv).start()


def test_a_process_that_only_has_the_same_number_is_never_killed(
    private_settings: Callable[..., Settings],
) -> None:
    settings = private_settings()
    settings.local.directory.mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        try:
            record = {"pid": other.pid, "started": psutil.Process(other.pid).create_time() - 100, "port": 1}
            (settings.local.directory / "cloud.json").write_text(json.dumps(record))
            assert not LocalCloud(settings).stop()
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize(
    "endpoint", [None, "http://10.0.0.1:4566", "https://127.0.0.1:4566", "http://127.0.0.1"]
)
def test_an_endpoint_that_is_not_of_this_machine_is_refused(
    private_settings: Callable[..., Settings], endpoint: str | None
) -> None:
    with pytest.raises(UserError, match=r"aws\.endpoint_url"):
        LocalCloud(private_settings(aws={"endpoint_url": endpoint}, local={"directory": Path("x")}))


def test_put_brings_every_simulated_event_to_the_stream_in_each_providers_order(
    cloud: StartCloud, environment_of: Environment, tmp_path: Path
) -> None:
    settings = cloud()
    events = list(simulate(Params(20, 14, 5000, 3, date(2026, 3, 2), disorder=0.05, duplicates=0.05)))
    file = tmp_path / "events.ndjson"
    lines = [json.dumps(event) for event in events]
    lines[6:6] = ["", "no event"]
    file.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "kcl_app.cli.main", "put", str(file)],
        env=environment_of(settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr
        == "line 8: not_json: the record is not a JSON text in UTF-8, or is nested too deeply to be read\n"
    )
    assert done.stdout.startswith("sent 5000 events in ")
    assert done.stdout.endswith("refused 1 lines\n")

    shards = records_of(settings)
    assert len(shards) == 4
    assert all(shards.values()), "the providers spread over all shards"
    expected: dict[str, list[str]] = {}
    for event in events:
        expected.setdefault(event["subject"], []).append(event["id"])
    found: dict[str, list[str]] = {}
    sequences: Counter[str] = Counter()
    for records in shards.values():
        for record in records:
            event = json.loads(record["Data"])
            found.setdefault(event["subject"], []).append(event["id"])
            sequences[event.pop("sequence")] += 1
    assert found == expected
    assert len(sequences) == 5000


def test_the_commands_tell_what_runs(
    cloud: StartCloud, environment_of: Environment, local_cloud_venv: Path
) -> None:
    settings = cloud(shards=1)
    command = [sys.executable, "-m", "kcl_app.cli.main", "local"]
    run = {"env": environment_of(settings), "capture_output": True, "text": True, "timeout": 120}
    status = subprocess.run([*command, "status"], **run)  # type: ignore[call-overload]
    assert status.returncode == 0
    assert status.stdout.startswith(f"running  {settings.aws.endpoint_url}\n")
    assert f"stream   {settings.stream.name} (1 shards)\n" in status.stdout
    assert subprocess.run([*command, "stop"], **run).returncode == 0  # type: ignore[call-overload]
    assert subprocess.run([*command, "stop"], **run).returncode == 0  # type: ignore[call-overload]
    stopped = subprocess.run([*command, "status"], **run)  # type: ignore[call-overload]
    assert (stopped.returncode, stopped.stdout) == (1, f"stopped  {settings.aws.endpoint_url}\n")
