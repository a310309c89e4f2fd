"""`doctor`, `status` and `top` beside a real worker: well, behind a door that refuses, and once the worker has died."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faulty_cloud import FaultyCloud
from pipelines import PipelineWorker, environment, kcl_app, wait_until

from kcl_app.metrics import STATES

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

START_SECONDS = 300.0


def test_one_minute_on_call(cloud: StartCloud, tmp_path: Path) -> None:
    settings = cloud(shards=2, horizon={"days": 5})
    env = environment(settings, tmp_path, COLUMNS="200")

    def doctor(status: int, **more: str) -> dict[str, dict[str, Any]]:
        told = json.loads(kcl_app("doctor", "--json", env={**env, **more}, status=status))
        assert told["ok"] is (status == 0)
        return {check["name"]: check for check in told["checks"]}

    checks = doctor(0)
    assert checks["KCL table scheduling-kcl-app"]["found"] == "not there yet: the first worker makes it"
    assert checks["permissions: table scheduling-items"]["state"] == "ok"
    # What it tried has changed nothing.
    assert kcl_app("dead-letters", "list", env=env) == "0 dead letters\n"

    one = PipelineWorker(env, tmp_path / "worker.log")
    try:
        wait_until(
            "reading",
            lambda: len(one.samples().all("scheduling_lag_seconds")) == 2,
            [one],
            START_SECONDS,
        )
        events = tmp_path / "events.ndjson"
        events.write_text(kcl_app("simulate", "--providers", "5", "--days", "3", "--events", "60", env=env))
        events.write_text(events.read_text() + "nonsense\n")
        kcl_app("put", str(events), env=env, status=1)
        wait_until(
            "processed", lambda: one.samples().sum("scheduling_events_total") >= 60, [one], START_SECONDS
        )
        url = str(one.url()).removeprefix("http://").removesuffix("/metrics")
        asked = ("--metrics", url)

        told = json.loads(kcl_app("status", "--json", *asked, env=env))
        assert told["verdict"]["ok"] is True
        assert {shard["lag_from"] for shard in told["shards"]} == {"worker"}
        assert {shard["state"] for shard in told["shards"]} <= set(STATES)
        assert len({shard["owner"] for shard in told["shards"]}) == 1
        assert all(shard["checkpoint_age_seconds"] is not None for shard in told["shards"])
        assert told["workers"][0]["shards"] == 2
        assert [plugin["name"] for plugin in told["plugins"]] == ["standard"]
        assert told["missing"] == []
        assert kcl_app("top", "--once", *asked, env=env).startswith("keeps up: ")
        checks = doctor(0, SCHEDULING_WORKER=json.dumps({"port": int(url.rpartition(":")[2])}))
        assert checks["worker"]["found"].endswith(": ready")
        assert checks["permissions: KCL table scheduling-kcl-app"]["state"] == "ok"

        with FaultyCloud(settings.aws.endpoint_url or "").open() as door:
            refused = {"SCHEDULING_AWS": json.dumps({"endpoint_url": door.url})}
            door.refuse("AccessDeniedException")
            checks = doctor(1, **refused)
            assert checks["permissions: stream scheduling-event-stream"]["state"] == "failed"
            told = json.loads(kcl_app("status", "--json", *asked, env={**env, **refused}, status=1))
            assert told["verdict"]["word"] == "cannot tell"
            assert len(told["shards"]) == 2, "what the worker says is shown all the same"
            assert any("may not call" in line for line in told["missing"])

        # Killed with all its processes, it still stands in the lease table.
        one.kill()
        told = json.loads(kcl_app("status", "--json", *asked, env=env, status=1))
        assert told["verdict"]["word"] == "stands still"
        assert {shard["phase"] for shard in told["shards"]} == {"its owner is gone"}
        assert {shard["lag_from"] for shard in told["shards"]} == {"stream"}
    finally:
        if one.process.poll() is None:
            one.kill()
