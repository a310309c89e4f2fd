"""Plugins that do everything wrong, in a real worker: it survives, and every other plugin is unharmed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hostile
import pytest
from conftest import StartCloud
from fhir_examples import example
from pipelines import (
    PipelineWorker,
    differences,
    environment,
    ndjson,
    processed,
    said_by_try,
    stored,
    wait_until,
)

from kcl_app import wiring
from kcl_app.engine.attempts import PARTITION
from kcl_app.settings import PROJECT_ROOT, Settings
from kcl_app.stores.base import Table

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

HORIZON = 5
TODAY = "2026-03-09"
CALL_SECONDS = 3.0
START_SECONDS = 180.0

BOTH = {
    "print": None, "write": None, "mutate": None, "well": None,
    "raise": "plugin_failed", "exit": "plugin_failed", "worst": "plugin_failed", "interrupt": "plugin_failed",
    "generator": "plugin_failed", "recurse": "plugin_failed", "reject": "invalid_data",
    "nothing": "plugin_nonsense", "garbage": "plugin_nonsense", "endless": "too_large",
    "sleep": "plugin_timeout", "spin": "plugin_timeout",
}  # fmt: skip
"""What is done in `decode` → the reason of its dead letter; None: its slot is free, as if nothing had been."""
APART = {
    "_exit": "plugin_failed", "kill": "plugin_failed", "segfault": "plugin_failed", "allocate": "plugin_failed",
    "close": "plugin_failed",
}  # fmt: skip
"""What only a plugin in a process of its own may do."""
THEN = {
    "print": None, "write": None, "well": None, "raise": "plugin_failed", "exit": "plugin_failed",
    "worst": "plugin_failed", "garbage": "plugin_nonsense", "overlap": "plugin_nonsense",
}  # fmt: skip
"""The same of `spans`: its days are stale for that reason."""


def event(emr: str, id_: str, type_: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "source": "/tenants/t",
        "type": type_,
        "tenant": "t",
        "emr": emr,
    }
    return {**envelope, "time": "2026-03-01T09:00:00Z", "subject": subject, "data": data}


def told(emr: str, do: str, then: str = "well") -> dict[str, Any]:
    """An event that tells a hostile plugin what to do."""
    name = f"{emr}-{do}-{then}"
    times = {"start": f"{TODAY}T14:00:00Z", "end": f"{TODAY}T15:00:00Z"}
    data = {"do": do, "then": then, "id": name, "provider": name, "patient": "Quandle, Zebulon"}
    return event(emr, name, "told", name, {**data, **times})


def good_events() -> list[dict[str, Any]]:
    """Those of other plugins."""
    found = []
    for number in range(20):
        hours = {"id": f"wh-{number}", "provider_id": f"p{number}", "time_zone": "America/New_York"}
        weekly = [{"days": ["mon", "tue", "wed"], "start": "09:00", "end": "17:00"}]
        booking = {"id": f"ap-{number}", "provider_id": f"p{number}", "status": "booked"}
        times = {"start": f"{TODAY}T14:{number:02d}:00Z", "end": f"{TODAY}T15:00:00Z"}
        provider = f"p{number}"
        found += [
            event("standard", f"h{number}", "working_hours", provider, {**hours, "weekly": weekly}),
            event("standard", f"a{number}", "appointment", provider, {**booking, **times}),
            event("fhir_r4", f"f{number}", "Slot", provider, {**_slot(number), **times}),
        ]
    return found


def _slot(number: int) -> dict[str, Any]:
    return {**example("Slot-example"), "id": f"slot-{number}", "status": "free"}


def mixed(good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bad ones among the good, so that they share batches."""
    found = []
    for number, one in enumerate(good):
        found += [one, *bad[number :: len(good)]]
    return found


def letters(settings: Settings) -> list[dict[str, Any]]:
    rows = wiring.store(settings).scan(Table.DEAD_LETTERS)
    return [dict(row) for row in rows if row["pk"] != PARTITION]


def test_the_worker_survives_them_and_the_other_plugins_are_unharmed(
    cloud: StartCloud, tmp_path: Path
) -> None:
    plugins = tmp_path / "site"
    plugins.mkdir()
    hostile.install(plugins)
    settings = cloud(
        shards=1,
        today=TODAY,
        horizon={"days": HORIZON},
        plugins={
            "isolation": {"hostile_apart": "process"},
            "isolation_memory_mb": 160,
            "call_seconds": CALL_SECONDS,
            # Nobody is suspended here: each of their doings is to be seen.
            "suspend_after_failures": 1000,
            "suspend_after_timeouts": 1000,
        },
    )
    path = os.pathsep.join([str(plugins), str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")])
    env = environment(settings, tmp_path, PYTHONPATH=path)
    bad = [told(emr, do) for emr in ("hostile", "hostile_apart") for do in BOTH]
    bad += [told("hostile_apart", do) for do in APART]
    bad += [told(emr, "well", then) for emr in ("hostile", "hostile_apart") for then in THEN]
    bad += [told("hostile_apart", "well", "_exit"), told("hostile_apart", "well", "allocate")]
    good = good_events()
    events = mixed(good, bad)
    # Put as a partner's producer would: past `kcl-app put`, which asks the plugins which providers an event names.
    _put_on_stream(settings, events)

    worker = PipelineWorker(env, tmp_path / "worker.log")
    try:
        wait_until("all processed", lambda: processed([worker]) >= len(events), [worker], START_SECONDS)
        status, body = worker.get("readyz")
        samples = worker.samples()
        assert samples.sum("scheduling_children_exited_total") == 0, worker.output()[-3000:]
        assert worker.stop() == 0
    finally:
        if worker.process.poll() is None:
            worker.kill()

    alone = said_by_try(ndjson(tmp_path / "good.ndjson", good), environment(settings, tmp_path), HORIZON)
    found = [line for line in differences(settings, alone) if "not known to try" not in line]
    assert found == [], "other plugins' days are what they are without the hostile ones"

    reasons = {str(one.get("event_id")): str(one["reason"]) for one in letters(settings)}
    for do, reason in BOTH.items():
        for emr in ("hostile", "hostile_apart"):
            assert reasons.get(f"{emr}-{do}-well") == reason, (emr, do)
    for do, reason in APART.items():
        # On a busy machine what allocates meets its limit of time before that of memory.
        also = "plugin_timeout" if do == "allocate" else reason
        assert reasons.get(f"hostile_apart-{do}-well") in (reason, also), do

    days = {
        (pk, day): row for (pk, day), row in stored(settings).items() if "#hostile" in pk and day == TODAY
    }
    for emr in ("hostile", "hostile_apart"):
        for then, reason in THEN.items():
            row = days[f"t#{emr}#{emr}-well-{then}", TODAY]
            assert row["status"] == ("fresh" if reason is None else "stale"), (emr, then, row)
    for then in ("_exit", "allocate"):
        assert days[f"t#hostile_apart#hostile_apart-well-{then}", TODAY]["status"] == "stale"
    (span,) = json.loads(str(days["t#hostile#hostile-print-well", TODAY]["spans"]))
    assert (span["start"], span["location_id"]) == (f"{TODAY}T14:00:00Z", "well")

    assert status == 200, "the other plugins run"
    assert json.loads(body)["plugins_refused"] == hostile.REFUSED
    assert samples.sum("scheduling_plugins_refused") == len(hostile.REFUSED)
    assert "Quandle" not in worker.output()


def _put_on_stream(settings: Settings, events: list[dict[str, Any]]) -> None:
    client = wiring.kinesis(settings)
    for first in range(0, len(events), 100):
        entries: list[Any] = [
            {"Data": json.dumps(one).encode(), "PartitionKey": f"t#{one['emr']}#{one['subject']}"}
            for one in events[first : first + 100]
        ]
        answer = client.put_records(StreamName=settings.stream.name, Records=entries)
        assert answer["FailedRecordCount"] == 0
