"""The whole pipeline, with the real Kinesis Client Library and the local cloud: stream → worker → tables."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fhir_examples import example
from pipelines import (
    Environment,
    PipelineWorker,
    differences,
    environment,
    kcl_app,
    ndjson,
    processed,
    said_by_try,
    stored,
    wait_until,
)

from kcl_app import wiring
from kcl_app.engine.attempts import PARTITION
from kcl_app.scrape import Samples
from kcl_app.settings import Settings
from kcl_app.stores.base import Table
from processors.keys import ProviderKey

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

START_SECONDS = 180.0
HORIZON = 30

StartWorker = Callable[[Environment], PipelineWorker]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers, and sees to it that nothing of them is left."""
    started: list[PipelineWorker] = []

    def start(env: Environment) -> PipelineWorker:
        started.append(PipelineWorker(env, tmp_path / f"worker-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def simulated(path: Path, events: int, env: Environment) -> Path:
    """A file of simulated traffic: late and repeated events, appointments handed from provider to provider."""
    arguments = ["--providers", "100", "--days", "25", "--events", str(events), "--seed", "11"]
    arguments += ["--disorder", "0.05", "--duplicates", "0.05", "--handovers", "0.05"]
    path.write_text(kcl_app("simulate", *arguments, env=env))
    return path


def fhir_event(tenant: str, name: str, at: str) -> dict[str, Any]:
    """One of HL7's official examples as an event."""
    return {
        "specversion": "1.0",
        "id": f"{tenant}-{name}",
        "source": f"/tenants/{tenant}",
        "type": "fhir.resource.updated",
        "time": at,
        "tenant": tenant,
        "emr": "fhir_r4",
        "data": example(name),
    }


def spans_of(settings: Settings, tenant: str, provider: str) -> dict[str, list[tuple[str, str]]]:
    """Date → start and end of each stored span, for the days that have any."""
    pk = ProviderKey(tenant, "fhir_r4", provider).pk()
    return {
        date: [(span["start"], span["end"]) for span in json.loads(str(row["spans"]))]
        for (key, date), row in sorted(stored(settings).items())
        if key == pk and row["spans"] != "[]"
    }


def test_the_official_fhir_examples_come_out_as_computed_by_hand(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    # One clock over both: the role's hours are of 2012, slots and appointment of December 2013.
    settings = cloud(shards=2, today="2012-03-25", horizon={"days": 660})
    env = environment(settings, tmp_path)
    at = "2013-10-10T00:00:00Z"
    hours = {
        "specversion": "1.0",
        "id": "hours",
        "source": "/tenants/visits",
        "type": "working_hours",
        "time": at,
        "tenant": "visits",
        "emr": "fhir_r4",
        "data": {
            "id": "wh-1",
            "provider_id": "example",
            "version": 1,
            "time_zone": "UTC",
            "effective_from": "2013-12-09",
            "effective_until": "2013-12-10",
            "weekly": [{"days": ["mon", "tue"], "start": "08:00", "end": "12:00"}],
        },
    }
    slots = ["Schedule-example", "Slot-example", "Slot-1", "Slot-2", "Slot-3"]
    events = [fhir_event("slots", name, at) for name in slots]
    events += [fhir_event("roles", "PractitionerRole-example", at)]
    events += [
        hours,
        fhir_event("visits", "Appointment-example", at),
        fhir_event("visits", "Appointment-examplereq", at),
    ]
    sent = kcl_app("put", str(ndjson(tmp_path / "events.ndjson", events)), env=env)
    assert sent.startswith(f"sent {len(events)} events")

    one = worker(env)
    wait_until("all processed", lambda: processed([one]) >= len(events), [one], START_SECONDS)

    # Slot/example is free from 09:15 to 09:30; Slot/1, /2 and /3 are busy in three ways.
    assert spans_of(settings, "slots", "example") == {
        "2013-12-25": [("2013-12-25T09:15:00Z", "2013-12-25T09:30:00Z")]
    }
    # Mondays to Wednesdays 09:00–16:30, Thursdays and Fridays 09:00–12:00, until the period ends on a Saturday.
    assert spans_of(settings, "roles", "example") == {
        "2012-03-26": [("2012-03-26T09:00:00Z", "2012-03-26T16:30:00Z")],
        "2012-03-27": [("2012-03-27T09:00:00Z", "2012-03-27T16:30:00Z")],
        "2012-03-28": [("2012-03-28T09:00:00Z", "2012-03-28T16:30:00Z")],
        "2012-03-29": [("2012-03-29T09:00:00Z", "2012-03-29T12:00:00Z")],
        "2012-03-30": [("2012-03-30T09:00:00Z", "2012-03-30T12:00:00Z")],
    }
    # Appointment/example takes 09:00–11:00 on Tuesday the 10th.
    assert spans_of(settings, "visits", "example") == {
        "2013-12-09": [("2013-12-09T08:00:00Z", "2013-12-09T12:00:00Z")],
        "2013-12-10": [
            ("2013-12-10T08:00:00Z", "2013-12-10T09:00:00Z"),
            ("2013-12-10T11:00:00Z", "2013-12-10T12:00:00Z"),
        ],
    }
    # Appointment/examplereq has no start: rejected with its reason, and the raw record kept.
    (letter,) = (row for row in wiring.store(settings).scan(Table.DEAD_LETTERS) if row["pk"] != PARTITION)
    assert (letter["reason"], letter["tenant"], letter["event_id"]) == (
        "invalid_data",
        "visits",
        "visits-Appointment-examplereq",
    )
    assert "start" in str(letter["detail"])
    raw = json.loads(base64.b64decode(str(letter["raw"])))
    assert raw["data"] == example("Appointment-examplereq")
    assert one.samples().sum("scheduling_dead_letters_total", reason="invalid_data") == 1
    assert one.stop() == 0


def test_two_workers_on_four_shards_come_to_what_try_says(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    settings = cloud(
        shards=4, horizon={"days": HORIZON}, stream={"failover_milliseconds": 3000, "max_records": 5000}
    )
    env = environment(settings, tmp_path)
    workers = [worker(env), worker(env)]

    def owned() -> float:
        return sum(one.samples().sum("scheduling_shards_owned") for one in workers)

    def shared() -> bool:
        return min(one.samples().sum("scheduling_shards_owned") for one in workers) >= 1

    file = simulated(tmp_path / "events.ndjson", 50_000, env)
    pieces = [
        file.read_bytes().splitlines(keepends=True)[start : start + 1000] for start in range(0, 50_000, 1000)
    ]

    def put(number: int) -> None:
        piece = tmp_path / "piece.ndjson"
        piece.write_bytes(b"".join(b"".join(pieces.pop(0)) for _ in range(number)))
        assert kcl_app("put", str(piece), env=env).startswith(f"sent {number * 1000} events")

    # The KCL shares leases out by load, so there must be some; most events come once both have shards.
    wait_until("taking shards", lambda: owned() >= 4, workers, START_SECONDS)
    while not shared() and len(pieces) > 25:
        put(1)
        time.sleep(1)
    wait_until("sharing the shards", shared, workers, START_SECONDS)
    put(len(pieces))

    wanted = said_by_try(file, env, HORIZON)
    assert len(wanted) == 100 * HORIZON

    # A shard that moves in the middle of a batch is counted where it was and where it is now, so the count may be
    # there before the last batch is: what ends the wait is the tables.
    def through() -> bool:
        caught_up = all(one.samples().max("scheduling_read_lag_seconds") == 0 for one in workers)
        return processed(workers) >= 50_000 and caught_up and not differences(settings, wanted)

    wait_until("through all events", through, workers, 900)
    samples = [one.samples() for one in workers]
    assert min(one.sum("scheduling_records_total") for one in samples) > 0, "both have worked"
    for one in samples:
        # More events than records: those that a worker had taken, not settled, when the shard moved away.
        assert one.sum("scheduling_events_total") >= one.sum("scheduling_records_total"), (
            "every event is counted"
        )
        assert_metrics_are_complete(one)
    assert sum(one.sum("scheduling_records_total") for one in samples) >= 50_000, "every record was settled"
    assert not [row for row in wiring.store(settings).scan(Table.DEAD_LETTERS) if row["pk"] != PARTITION]
    assert [one.stop() for one in workers] == [0, 0]
    assert differences(settings, wanted) == [], "nothing that was still under way came after"


def assert_metrics_are_complete(samples: Samples) -> None:
    """The figures that dashboards stand on are there, by shard where they should be, and no pid label is."""
    for name in (
        "scheduling_lag_seconds",
        "scheduling_records_total",
        "scheduling_record_bytes_total",
        "scheduling_checkpoint_age_seconds",
    ):
        found = samples.all(name)
        assert found, name
        assert all(set(labels) == {"shard"} for labels, _ in found), name
    for name in (
        "scheduling_items_total",
        "scheduling_provider_days_total",
        "scheduling_spans_total",
        "scheduling_batch_duration_seconds_count",
        "scheduling_plugin_duration_seconds_count",
        "scheduling_build_info",
    ):
        assert samples.sum(name) > 0, name
    assert samples.sum("scheduling_process_resident_memory_bytes", process="jvm") > 0
    assert samples.sum("scheduling_process_cpu_seconds_total", process="child") > 0
    assert samples.max("scheduling_checkpoint_age_seconds") < 60


def test_a_worker_killed_in_the_middle_leaves_nothing_out(
    cloud: StartCloud, worker: StartWorker, tmp_path: Path
) -> None:
    settings = cloud(
        shards=2, horizon={"days": HORIZON}, stream={"failover_milliseconds": 3000, "max_records": 500}
    )
    env = environment(settings, tmp_path)
    file = simulated(tmp_path / "events.ndjson", 12_000, env)
    assert kcl_app("put", str(file), env=env).startswith("sent 12000 events")
    first = worker(env)
    wait_until("at work", lambda: processed([first]) >= 1000, [first], START_SECONDS)
    time.sleep(1.3)  # wherever in a batch that may be
    counted = processed([first])
    # Nothing of ours gets to finish or to say goodbye. The Java process is spared so that it gives the leader's lock
    # back; otherwise the KCL waits two minutes for that to expire.
    first.kill(java=False)
    assert counted < 12_000, "it was killed before it was through"

    second = worker(env)

    def through() -> bool:
        samples = second.samples()
        return samples.sum("scheduling_shards_owned") == 2 and counted + processed([second]) >= 12_000

    wait_until("through all events", through, [second], 300)
    wanted = said_by_try(file, env, HORIZON)
    wait_until("equal to what try says", lambda: not differences(settings, wanted), [second], 60)
    assert second.stop() == 0
