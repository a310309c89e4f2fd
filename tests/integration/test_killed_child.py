"""A plugin that ends its process: real children, one after the other, on tables of the local cloud."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import StartCloud
from pipelines import environment

from kcl_app import wiring
from kcl_app.engine.attempts import PARTITION, TRIES
from kcl_app.settings import Settings
from kcl_app.stores.base import Row, Table
from processors.keys import ProviderKey

pytestmark = pytest.mark.integration

SHARD = "shardId-000000000000"
DEADLY = '''
"""A plugin that takes its whole process along."""

import os

from emr_plugins.api import API_VERSION
from emr_plugins.standard import StandardPlugin


class DeadlyPlugin(StandardPlugin):
    name = "deadly"
    api_version = API_VERSION

    def decode(self, event, context):
        if event.id == "deadly":
            os._exit(9)
        return super().decode(event, context)
'''


def install(folder: Path) -> None:
    """Put the plugin where Python and its entry points are found, as pip would."""
    (folder / "deadly_plugin.py").write_text(DEADLY)
    info = folder / "deadly_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emr_plugins]\ndeadly = deadly_plugin:DeadlyPlugin\n")


def record(number: int, id_: str, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """A record as the daemon sends it."""
    event = {
        "specversion": "1.0",
        "id": id_,
        "source": "/tenants/acme",
        "type": type_,
        "time": "2026-03-01T09:00:00Z",
        "tenant": "acme",
        "emr": "deadly",
        "subject": data["provider_id"],
        "sequence": f"{number:06d}",
        "data": data,
    }
    return {
        "action": "record",
        "data": base64.b64encode(json.dumps(event).encode()).decode(),
        "partitionKey": ProviderKey("acme", "deadly", data["provider_id"]).pk(),
        "sequenceNumber": f"{number:056d}",
        "subSequenceNumber": 0,
        "approximateArrivalTimestamp": 1_770_000_000_000,
    }


def hours(provider: str) -> dict[str, Any]:
    weekly = [{"days": ["mon"], "start": "09:00", "end": "12:00"}]
    return {"id": f"wh-{provider}", "provider_id": provider, "time_zone": "UTC", "weekly": weekly}


def booking(provider: str, id_: str) -> dict[str, Any]:
    at = "2026-03-09T09:00:00Z", "2026-03-09T10:00:00Z"
    return {"id": id_, "provider_id": provider, "start": at[0], "end": at[1], "status": "booked"}


class Life:
    """One process on the shard, and what the daemon hears of it.

    Args:
        env: its settings.
        records: all that come after the last checkpoint.
    """

    def __init__(self, env: dict[str, str], records: list[dict[str, Any]]) -> None:
        self.checkpoint: str | None = None
        self.processed = False
        start = {
            "action": "initialize",
            "shardId": SHARD,
            "sequenceNumber": "TRIM_HORIZON",
            "subSequenceNumber": 0,
        }
        delivery = {"action": "processRecords", "records": records, "millisBehindLatest": 0}
        with subprocess.Popen(
            [sys.executable, "-m", "kcl_app.worker.child"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(f"{json.dumps(start)}\n{json.dumps(delivery)}\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line) if line.strip() else {}
                if answer.get("action") == "checkpoint":
                    self.checkpoint = answer["sequenceNumber"]
                    process.stdin.write(json.dumps({**answer, "error": None}) + "\n")
                    process.stdin.flush()
                elif answer.get("responseFor") == "processRecords":
                    self.processed = True
                    process.stdin.close()
            self.log = process.stderr.read()
            self.status = process.wait(60)


def letters(settings: Settings) -> list[Row]:
    return [row for row in wiring.store(settings).scan(Table.DEAD_LETTERS) if row["pk"] != PARTITION]


def test_a_plugin_that_ends_its_process_costs_one_record_and_not_the_shard(
    cloud: StartCloud, tmp_path: Path
) -> None:
    settings = cloud(horizon={"days": 3}, today="2026-03-09")
    install(tmp_path)
    env = environment(settings, PYTHONPATH=f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[2]}")
    given = [
        record(1, "e1", "working_hours", hours("p1")),
        record(2, "e2", "working_hours", hours("p2")),
        record(3, "deadly", "anything", booking("p2", "a1")),
        record(4, "e4", "appointment", booking("p1", "a2")),
    ]
    deaths = 0
    while True:
        life = Life(env, given)
        if life.checkpoint is not None:
            given = [one for one in given if one["sequenceNumber"] > life.checkpoint]
        if life.processed:
            break
        assert life.status == 9, life.log
        assert not letters(settings)
        deaths += 1
    assert life.status == 0, life.log
    assert not given, "all is checkpointed"
    assert deaths == 2 + TRIES, "it comes first before long, and then it is tried alone"
    (letter,) = [row for row in letters(settings) if row["days"] is None]
    assert (letter["reason"], letter["event_id"]) == ("killed_worker", "deadly")
    documents = {(row["pk"], row["sk"]): row for row in wiring.store(settings).scan(Table.SPANS)}
    one, two = (documents[ProviderKey("acme", "deadly", name).pk(), "2026-03-09"] for name in ("p1", "p2"))
    assert (one["status"], two["status"]) == ("fresh", "fresh"), "what cannot be decoded changes nothing"
    assert json.loads(str(one["spans"]))[0]["start"] == "2026-03-09T10:00:00Z"
    assert json.loads(str(two["spans"]))[0]["start"] == "2026-03-09T09:00:00Z"
