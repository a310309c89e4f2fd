"""What a person on call runs under each role of deploy/ecs/service.yaml, on a cloud that refuses all else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import recording_cloud
import service_template as template
from asked import OURS, TESTS, asked
from command_line import event
from pipelines import NO_WORKER, Environment, environment, kcl_app, ndjson
from service_template import Allowed

from kcl_app import wiring
from kcl_app.doctor.needs import KCL_TABLES, NOT_TRIED, OWNER_INDEX, ROLES, WORKER, On, name_of
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


@dataclass
class Guarded:
    """A local cloud that knows one role."""

    settings: Settings
    env: Environment
    file: Path

    def allow(self, allowed: Allowed) -> None:
        """Refuse all else from now on, and forget what was asked."""
        self.file.unlink(missing_ok=True)
        self.file.with_suffix(".allowed").write_text(json.dumps([OURS, sorted(allowed)]))

    def asked(self) -> Allowed:
        """What was asked since."""
        return asked(self.file, self.settings)

    def doctor(self, role: str, status: int) -> dict[str, dict[str, Any]]:
        """The checks by their names."""
        told = json.loads(kcl_app("doctor", "--role", role, "--json", env=self.env, status=status))
        assert told["role"] == role
        return {check["name"]: check for check in told["checks"]}

    def everything(self) -> dict[str, Any]:
        """All that is kept: rows, records, objects and their versions."""
        dynamodb, kinesis = wiring.dynamodb(self.settings), wiring.kinesis(self.settings)
        found: dict[str, Any] = {}
        for name in dynamodb.list_tables()["TableNames"]:
            rows = dynamodb.scan(TableName=name)["Items"]
            found[name] = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
        stream = self.settings.stream.name
        for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
            start = kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            records = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
            found[shard["ShardId"]] = [record["SequenceNumber"] for record in records]
        versions = wiring.s3(self.settings).list_object_versions(
            Bucket=self.settings.tables.dead_letter_bucket
        )
        found["bucket"] = [versions.get("Versions"), versions.get("DeleteMarkers")]
        return found


@pytest.fixture
def guarded(
    private_settings: Callable[..., Settings],
    local_cloud_venv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Guarded]:
    """A local cloud with some data, and with the KCL's tables as if a worker had made them."""
    monkeypatch.setitem(wiring.LOCAL_CREDENTIALS, "AWS_ACCESS_KEY_ID", TESTS)
    settings = private_settings(worker={"port": 0})
    file = tmp_path / "asked.ndjson"
    local = LocalCloud(settings, venv=local_cloud_venv, program=recording_cloud.program(file))
    try:
        local.start(shards=1)
        dynamodb = wiring.dynamodb(settings)
        for on, key in KCL_TABLES.items():
            owners: dict[str, Any] = {
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": OWNER_INDEX,
                        "KeySchema": [{"AttributeName": "leaseOwner", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                ]
            }
            attributes = [key, "leaseOwner"] if on is On.LEASES else [key]
            dynamodb.create_table(
                TableName=name_of(on, settings),
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in attributes],
                BillingMode="PAY_PER_REQUEST",
                **(owners if on is On.LEASES else {}),
            )
        shard = wiring.kinesis(settings).list_shards(StreamName=settings.stream.name)["Shards"][0]["ShardId"]
        lease: Any = {
            "leaseKey": {"S": shard},
            "checkpoint": {"S": "TRIM_HORIZON"},
            "leaseCounter": {"N": "1"},
        }
        dynamodb.put_item(TableName=settings.stream.application, Item=lease)
        env = environment(settings, tmp_path)
        kcl_app("put", str(ndjson(tmp_path / "one.ndjson", [event("visit", {}, id="one")])), env=env)
        letters, spans = settings.tables.dead_letters, settings.tables.spans
        rows: list[tuple[str, str, dict[str, Any]]] = [
            (letters, "t", {"reason": {"S": "invalid_data"}, "expires_at": {"NULL": True}}),
            (letters, "#", {"reason": {"NULL": True}}),
            (letters, "old", {"reason": {"S": "x"}, "expires_at": {"N": "1"}}),
            (spans, "d", {"status": {"S": "stale"}, "reason": {"S": "plugin_failed: it raised"}}),
            (spans, "e", {"status": {"S": "fresh"}, "reason": {"NULL": True}}),
        ]
        for name, pk, more in rows:
            dynamodb.put_item(TableName=name, Item={"pk": {"S": pk}, "sk": {"S": "1"}, **more})
        yield Guarded(settings, env, file)
    finally:
        local.stop(save=False)


def test_doctor_asks_exactly_what_a_role_allows_finds_nothing_denied_and_changes_nothing(
    guarded: Guarded,
) -> None:
    before = guarded.everything()
    for word, role in ROLES.items():
        allowed = template.allowed(role.resource)
        guarded.allow(allowed)
        checks = guarded.doctor(word, 0)
        assert not [one for one in checks.values() if one["state"] == "failed"]
        assert guarded.asked() == {one for one in allowed if one[0] not in NOT_TRIED}, word
    assert guarded.everything() == before


def test_doctor_names_each_action_that_is_taken_away_and_the_statement_to_add_it_to(guarded: Guarded) -> None:
    allowed = template.allowed(WORKER.resource)
    for need in WORKER.needs:
        resources = {resource for _, resource in allowed if _is(resource, need.on, guarded.settings)}
        taken = {(action, one) for action in need.actions for one in resources if action not in NOT_TRIED}
        if not taken:
            continue
        guarded.allow(allowed - taken)
        (check,) = [
            one
            for one in guarded.doctor("worker", 1).values()
            if one["name"].startswith("permissions") and one["state"] == "failed"
        ]
        for action, resource in taken - {("kinesis:GetRecords", "stream/scheduling-event-stream")}:
            assert action in check["found"]
            assert action in check["mend"]
            if not action.startswith("s3:"):
                assert f":{resource}" in check["mend"]
        assert f"to statement {need.statement} of WorkerRole in deploy/ecs/service.yaml" in check["mend"]


def _is(resource: str, on: On, settings: Settings) -> bool:
    """Whether it is what a statement is about."""
    kind = {On.STREAM: "stream", On.BUCKET: "bucket", On.OBJECTS: "object"}.get(on, "table")
    return resource == f"{kind}/{name_of(on, settings)}"


def test_status_asks_little_and_shows_the_rest_where_a_role_may_not_count(guarded: Guarded) -> None:
    tables = guarded.settings.tables
    stream, leases = f"stream/{guarded.settings.stream.name}", f"table/{guarded.settings.stream.application}"
    little = {
        ("dynamodb:Scan", f"table/{tables.dead_letters}"),
        ("dynamodb:Scan", leases),
        ("kinesis:ListShards", stream),
        ("kinesis:GetShardIterator", stream),
        ("kinesis:GetRecords", stream),
    }

    def status(*more: str) -> dict[str, Any]:
        return dict(json.loads(kcl_app("status", "--json", *NO_WORKER, *more, env=guarded.env, status=1)))

    guarded.allow(template.allowed(template.OPERATOR))
    told = status()
    assert guarded.asked() == little
    assert told["missing"] == ["http://127.0.0.1:9/metrics: no worker answers"]
    assert (told["letters"]["by"], told["letters"]["complete"]) == ({"invalid_data": 1}, True)
    assert told["stale"] is None
    told = status("--count", "30")
    assert told["stale"] == {"number": 1, "by": {"plugin_failed": 1}, "looked_at": 2, "complete": True}
    assert guarded.asked() == little | {("dynamodb:Scan", f"table/{tables.spans}")}
    assert kcl_app("top", "--once", *NO_WORKER[:2], env=guarded.env).startswith("stands still: ")

    # As in a worker's own task.
    guarded.allow(template.allowed(template.WORKER))
    told = status("--count", "30")
    assert told["verdict"]["word"] == "stands still"
    assert [shard["lag_from"] for shard in told["shards"]] == ["stream"]
    assert told["letters"] is told["stale"] is None
    for what, table in (("dead letters", tables.dead_letters), ("stale provider-days", tables.spans)):
        (line,) = [line for line in told["missing"] if line.startswith(what)]
        assert line.startswith(f"{what}: not allowed: the credentials may not call Scan on table {table} in ")
