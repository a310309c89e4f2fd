"""Several workers on one stream: one is added, one is stopped, all are replaced, as a deployment does it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleet import Fleet, Trickle
from pipelines import PipelineWorker, differences, environment, kcl_app, said_by_try, wait_until

from kcl_app import wiring
from kcl_app.engine.attempts import PARTITION
from kcl_app.stores.base import Table

if TYPE_CHECKING:
    from conftest import StartCloud

SHARDS = 8
RATE = 25
EVENTS = 20_000
"""More than there is time for."""
HORIZON = 14
SECONDS = 180.0
"""How long anything may take that takes a few seconds on a machine with nothing else to do."""
CALM_SECONDS = 40.0
"""A handover that takes no longer leaves time to catch up within the minute of the SLO."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


def test_workers_come_and_go_and_nothing_is_lost_or_late(cloud: StartCloud, tmp_path: Path) -> None:
    settings = cloud(
        shards=SHARDS,
        horizon={"days": HORIZON},
        stream={"failover_milliseconds": 3000, "max_records": 200},
        worker={"jvm_options": ["-XX:+UseSerialGC", "-Xmx256m", "-XX:TieredStopAtLevel=1"]},
    )
    env = environment(settings, tmp_path)
    arguments = ["--providers", "60", "--days", "10", "--events", str(EVENTS), "--seed", "7"]
    simulated = kcl_app("simulate", *arguments, "--disorder", "0.05", "--duplicates", "0.05", env=env)
    trickle = Trickle(settings, simulated.encode().splitlines(keepends=True), RATE)
    fleet = Fleet(settings, env, tmp_path, SHARDS)
    begin = time.monotonic()
    slowest = 0.0

    def stop(one: PipelineWorker) -> str:
        nonlocal slowest
        found = fleet.stop(one, SECONDS)
        slowest = max([slowest, *found.read.values()])
        return found.line()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {what}; shards {fleet.shares()}")

    def all_read() -> bool:
        return len(fleet.reading()) == SHARDS

    try:
        with trickle.running():
            for _ in range(3):
                fleet.start()
            wait_until("all shards read", all_read, fleet.running, SECONDS)
            tell("all shards are read")
            # Before that events had to wait for the very first start of an application.
            wait_until("three workers share", lambda: fleet.shares()[0] >= 1, fleet.running, SECONDS)
            tell("three workers share them")
            fleet.measure_from_now()

            fourth = fleet.start()
            wait_until("the fourth has some", lambda: fleet.shares()[0] >= 1, fleet.running, SECONDS)
            tell("a fourth has its share")
            assert max(fleet.shares()) < SHARDS - 2, "nobody has nearly all of them"

            tell(f"one is stopped, {stop(fleet.running[0])}")
            wait_until("all shards read", all_read, fleet.running, SECONDS)

            for old in [one for one in fleet.running if one is not fourth]:
                new = fleet.start()
                ready = lambda new=new: new.get("readyz")[0] == 200  # noqa: E731
                wait_until("the new one is ready", ready, [new], SECONDS)
                tell(f"one is replaced, {stop(old)}")
            last = fleet.start()
            wait_until("the new one is ready", lambda: last.get("readyz")[0] == 200, [last], SECONDS)
            tell(f"the last is replaced, {stop(fourth)}")
            wait_until("all shards read", all_read, fleet.running, SECONDS)

        sent = tmp_path / "sent.ndjson"
        sent.write_bytes(b"".join(trickle.sent))
        wanted = said_by_try(sent, env, HORIZON)
        assert len(wanted) >= 50 * HORIZON
        wait_until("as try says", lambda: not differences(settings, wanted), fleet.running, SECONDS)
        assert not [row for row in wiring.store(settings).scan(Table.DEAD_LETTERS) if row["pk"] != PARTITION]
        inside, total = fleet.within_slo()
        tell(f"{len(trickle.sent)} events sent, {inside:.0f} of {total:.0f} visible within 60 s")
        assert total > 1000
        # On a machine so busy that a child alone takes that long to start, nobody could keep it.
        if slowest < CALM_SECONDS:
            assert inside >= 0.99 * total, "the SLO, with every replay counted as an event of its own"
        assert [one.stop() for one in fleet.running] == [0] * len(fleet.running)
        assert differences(settings, wanted) == [], "nothing that was still under way came after"
    finally:
        fleet.kill()
