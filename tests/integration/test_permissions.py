"""The permissions in deploy/ecs/service.yaml are the calls that are made: none is missing, none is too many.

One history calls all that each process of ours can call, on a local cloud that writes down what IAM would be asked.
Commands call it `localhost`, and the worker 127.0.0.1, so that the two can be told apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import recording_cloud
import service_template as template
from asked import RARE, TESTS, asked
from command_line import event
from pipelines import (
    NO_WORKER,
    Environment,
    PipelineWorker,
    environment,
    kcl_app,
    ndjson,
    processed,
    wait_until,
)
from service_template import Allowed

from kcl_app import wiring
from kcl_app.doctor.needs import NOT_TRIED
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak import resharding
from kcl_app.settings import Settings

LOOKS = {
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "s3:ListBucket",
}
"""What the doctor alone asks with an operator's role."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


@dataclass
class Recorder:
    """A local cloud that writes down who asks it for what."""

    settings: Settings
    folder: Path
    file: Path

    def environment(self, host: str) -> Environment:
        """Of a process that calls the cloud by one of its names."""
        url = str(self.settings.aws.endpoint_url).replace("127.0.0.1", host)
        aws = self.settings.aws.model_copy(update={"endpoint_url": url})
        return environment(self.settings.model_copy(update={"aws": aws}), self.folder)

    def asked(self, host: str) -> Allowed:
        """What processes that call it so have asked for since `forget`."""
        return asked(self.file, self.settings, host)

    def forget(self) -> None:
        """What was asked so far; all of it is written down again if it comes again."""
        self.file.unlink(missing_ok=True)

    def during(self, command: Callable[[], object]) -> Allowed:
        """What commands ask for while this runs."""
        self.forget()
        command()
        return self.asked("localhost")


@pytest.fixture
def recorder(
    private_settings: Callable[..., Settings],
    local_cloud_venv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Recorder]:
    """A local cloud with two shards that close as Kinesis' do."""
    settings = private_settings(horizon={"days": 5}, limits={"record_bytes": 1_048_576})
    file = tmp_path / "asked.ndjson"
    program = recording_cloud.program(file, resharding.__file__)
    local = LocalCloud(settings, venv=local_cloud_venv, program=program)
    monkeypatch.setitem(wiring.LOCAL_CREDENTIALS, "AWS_ACCESS_KEY_ID", TESTS)
    try:
        local.start(shards=2)
        yield Recorder(settings, tmp_path, file)
    finally:
        local.stop(save=False)


@pytest.fixture
def workers(recorder: Recorder) -> Iterator[Callable[[], PipelineWorker]]:
    """Starts workers, and sees to it that nothing of them is left."""
    started: list[PipelineWorker] = []

    def start() -> PipelineWorker:
        log = recorder.folder / f"worker-{len(started)}.log"
        started.append(PipelineWorker(recorder.environment("127.0.0.1"), log))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def traffic(env: Environment, settings: Settings) -> list[dict[str, Any]]:
    """All that a worker can meet: items that are new, changed or handed over, and what it has to set aside."""
    arguments = ["--providers", "6", "--days", "5", "--events", "600", "--seed", "6", "--handovers", "0.1"]
    events = [json.loads(line) for line in kcl_app("simulate", *arguments, env=env).splitlines()]
    large = event("visit", {"one": "x" * 200_000, "two": "x" * 200_000}, id="large", emr="unknown")
    return [*events, event("visit", {"text": "x"}, id="small", emr="unknown"), large, full_day(settings)]


def moved(number: int) -> dict[str, Any]:
    """Working hours of one provider, in another zone each time."""
    zone = ("Europe/Paris", "Asia/Tokyo", "America/New_York", "UTC")[number]
    hours = {"id": "wh", "provider_id": "moves", "version": number + 1, "time_zone": zone, "weekly": []}
    return event("working_hours", hours, id=f"moved-{number}")


def full_day(settings: Settings) -> dict[str, Any]:
    """A day past the horizon with more spans than the limit that `strict` sets allows."""
    on = wiring.clock(settings).today("UTC") + timedelta(days=15)
    spans = [
        {"start": f"{on}T{hour:02}:{minute:02}:00Z", "end": f"{on}T{hour:02}:{minute + 15:02}:00Z"}
        for hour in range(8, 18)
        for minute in (0, 30)
    ]
    data = {"provider_id": "full", "date": on.isoformat(), "version": 1, "spans": spans}
    return event("availability", data, id="full")


def strict(env: Environment) -> Environment:
    """Settings under which that day enters the horizon, and cannot be written."""
    return {
        **env,
        "SCHEDULING_HORIZON": json.dumps({"days": 30}),
        "SCHEDULING_LIMITS": json.dumps({"document_bytes": 1000, "record_bytes": 1_048_576}),
    }


def split(settings: Settings) -> None:
    """Split the first shard."""
    kinesis, stream = wiring.kinesis(settings), settings.stream.name
    first = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    kinesis.split_shard(StreamName=stream, ShardToSplit=first, NewStartingHashKey=str(2**126))


def forget_the_advance(settings: Settings) -> None:
    """As if the horizon job had died before it noted how far it came."""
    client, name = wiring.dynamodb(settings), settings.tables.providers
    for row in client.scan(TableName=name)["Items"]:
        client.put_item(TableName=name, Item={**row, "last_day": row["first_day"]})


def lose_everything(settings: Settings) -> None:
    """Empty the tables, as if they had been restored to before the first event."""
    client = wiring.dynamodb(settings)
    for name in settings.tables.names().values():
        for row in client.scan(TableName=name)["Items"]:
            client.delete_item(TableName=name, Key={"pk": row["pk"], "sk": row["sk"]})


def test_each_role_may_do_what_its_processes_do_and_nothing_else(
    recorder: Recorder, workers: Callable[[], PipelineWorker]
) -> None:
    settings, env = recorder.settings, recorder.environment("localhost")
    events = traffic(env, settings)

    def put(number: int) -> None:
        again = [{**one, "id": f"{one['id']}-{number}"} for one in events[-200:]]
        sent = [*(again if number else events), moved(number)]
        kcl_app("put", str(ndjson(recorder.folder / f"{number}.ndjson", sent)), env=env)

    def settled(worker: PipelineWorker, number: int) -> None:
        wait_until("settled", lambda: processed([worker]) >= number, [worker], 240)

    # A producer.
    found = {template.PRODUCER: recorder.during(lambda: put(0))}

    # A worker: the first start, a reshard, a daemon that is killed while it leads, and another worker after it.
    recorder.forget()
    worker = workers()
    settled(worker, len(events) + 1)
    split(settings)
    put(1)
    settled(worker, len(events) + 202)
    worker.jvm().kill()
    assert worker.process.wait(60) == 1
    second = workers()
    put(2)
    settled(second, 201)
    assert second.stop() == 0
    # A slow run meets some of what is rare.
    found[template.WORKER] = recorder.asked("127.0.0.1") | set(RARE)
    # What the doctor tries then is that, no more and no less, but for what trying would change.
    assert recorder.during(lambda: kcl_app("doctor", env=env)) == {
        one for one in found[template.WORKER] if one[0] not in NOT_TRIED
    }

    # The hourly job, on days that nobody has computed yet; one of them cannot be written, twice.
    def advance() -> None:
        kcl_app("advance-horizon", env=strict(env))
        forget_the_advance(settings)
        kcl_app("advance-horizon", env=strict(env))

    found[template.HORIZON] = recorder.during(advance)

    # Whoever reads spans.
    today = wiring.clock(settings).today("UTC").isoformat()
    whose = ("--tenant", "demo", "--emr", "standard", "--provider", "p00001")
    found[template.READER] = recorder.during(
        lambda: kcl_app("spans", *whose, "--from", today, "--to", today, env=env)
    )

    # An operator, with each command that mends.
    def mend() -> None:
        letters = [
            json.loads(line) for line in kcl_app("dead-letters", "list", "--json", env=env).splitlines()
        ]
        large = next(one["id"] for one in letters if one.get("event_id") == "large")
        kcl_app("dead-letters", "show", large, env=env)
        kcl_app("dead-letters", "list", "--tenant", "t", env=env)
        lose_everything(settings)
        kcl_app("replay", "--from", "1h", env=env)
        put(3)
        kcl_app("replay", "--from", "1h", env=env)
        for _ in range(2):
            kcl_app("recompute", "--tenant", "t", "--emr", "standard", env=strict(env), status=1)
        kcl_app("recompute", "--tenant", "t", env=env)
        kcl_app("dead-letters", "redrive", "--reason", "unknown_emr", "--yes", env=env)
        kcl_app("replay", "--from", "1h", env=env)
        kcl_app("dead-letters", "drop", "--reason", "unknown_emr", "--yes", env=env)
        kcl_app("status", "--count", "10", *NO_WORKER, env=env, status=1)

    found[template.OPERATOR] = recorder.during(mend)
    # The doctor tries all that the role allows. Only what it looks at on its own account counts as needed for that.
    tried = recorder.during(lambda: kcl_app("doctor", "--role", "operator", env=env))
    found[template.OPERATOR] |= {one for one in tried if one[0] in LOOKS}
    missing = {name: sorted(asked - template.allowed(name)) for name, asked in found.items()}
    assert not any(missing.values()), missing
    never_used = {name: sorted(template.allowed(name) - asked) for name, asked in found.items()}
    assert not any(never_used.values()), never_used
