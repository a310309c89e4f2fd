"""The alert rules at work: a real Prometheus scrapes a real worker, which is broken in three ways and mended again.

What fires must be what was broken, and nothing that gets anybody up for another reason; mended, it must clear. Rules
and limits are those of `config/prometheus/rules`, with time that runs quicker; see `monitoring.quicker`.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import free_port
from monitoring import JOB, RULES, Prometheus, alerts, filled_in, prometheus, quicker
from pipelines import PipelineWorker, environment, wait_until

from kcl_app import wiring
from kcl_app.local.soak.faults import THROTTLE
from kcl_app.local.soak.proxy import Proxy
from kcl_app.settings import PROJECT_ROOT, Settings
from processors.keys import ProviderKey

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

QUICKER, LEAST = 30, 10.0
"""Five minutes are ten seconds here; nothing is shorter than that, so that a range holds some scrapes."""
SCRAPE_SECONDS = 2.0
START_SECONDS = 180.0
FIRE_SECONDS = 150.0
"""How long an alert may take to fire or to clear; on a machine that is not busy it is a fifth of that."""

LATE = ("SchedulingLateEventsBurnFast",)
SLOW = ("SchedulingLateEventsBurnSlow",)
"""What was held up by the frozen child may be late, where the machine is busy."""

EMPTY_WHEN_ALL_IS_WELL = {
    "What is wrong, and what to do",
    "Dead letters by reason",
    "Silence of watched feeds",
    "When watched feeds last sent",
    "Calls of the stores throttled",
    "Retries",
    "Calls into plugins that fail",
    "Failures by outcome",
    "Suspensions that began",
    "Memory of isolated plugins",
}
"""Panels of what went wrong, and of tenants that are watched on demand."""

PAGES = {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "page"}

FLAKY = '''
"""A plugin that fails on every visit while a file is there."""

import os

from emr_plugins.api import API_VERSION
from emr_plugins.standard import StandardPlugin


class FlakyPlugin(StandardPlugin):
    name = "flaky"
    api_version = API_VERSION

    def decode(self, event, context):
        if os.path.exists(os.environ["FLAKY_FAILS"]):
            raise RuntimeError("as it was told")
        return super().decode(event.model_copy(update={"type": "appointment"}), context)
'''


def install(folder: Path) -> None:
    """Put the plugin where Python and its entry points are found, as pip would."""
    folder.mkdir()
    (folder / "flaky_plugin.py").write_text(FLAKY)
    info = folder / "flaky_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flaky-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emr_plugins]\nflaky = flaky_plugin:FlakyPlugin\n")


class Traffic:
    """Visits of forty providers, a few a second, onto the stream; every other one by the plugin that can fail.

    Args:
        settings: straight to the cloud.
    """

    def __init__(self, settings: Settings) -> None:
        self._kinesis = wiring.kinesis(settings)
        self._stream = settings.stream.name
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Until the end of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join(20)

    def _run(self) -> None:
        for number in itertools.count():
            if self._end.wait(0.5):
                return
            sent = [visit(number * 5 + place) for place in range(5)]
            try:
                self._kinesis.put_records(StreamName=self._stream, Records=sent)  # type: ignore[arg-type]
            except Exception:  # the next may work; alerts say whether enough does
                continue


def visit(number: int) -> dict[str, Any]:
    """One record: a provider's visit, booked, by the plugin `flaky` or in the standard format."""
    flaky = number % 2 == 0
    provider, emr = f"p{number % 40}", "flaky" if flaky else "standard"
    hour = number % 8
    event = {
        "specversion": "1.0",
        "id": f"v-{number}",
        "source": "/tenants/acme",
        "type": "visit" if flaky else "appointment",
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "tenant": "acme",
        "emr": emr,
        "subject": provider,
        "data": {
            "id": f"a-{number % 400}",
            "provider_id": provider,
            "start": f"2026-03-09T{9 + hour:02}:00:00Z",
            "end": f"2026-03-09T{9 + hour:02}:30:00Z",
            "status": "booked",
        },
    }
    return {"Data": json.dumps(event).encode(), "PartitionKey": ProviderKey("acme", emr, provider).pk()}


class Watch:
    """What fires, from one question to the next.

    Args:
        server: Prometheus.
        worker: must not end meanwhile.
    """

    def __init__(self, server: Prometheus, worker: PipelineWorker) -> None:
        self._server, self._worker = server, worker

    def until(self, what: str, is_so: Callable[[set[str]], bool], may_page: Collection[str]) -> set[str]:
        """Wait until what fires now is as it should be; every page on the way must be one that may come.

        Returns:
            All that fired on the way.
        """
        seen: set[str] = set()
        now: set[str] = set()

        def look() -> bool:
            nonlocal now
            now = {labels["alertname"] for labels in self._server.firing()}
            seen.update(now)
            wrong = now & PAGES - set(may_page)
            assert not wrong, f"waiting for: {what}; {wrong} fire: {self._server.firing()}"
            return is_so(now)

        try:
            wait_until(what, look, [self._worker], FIRE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"firing now: {sorted(now)}, before: {sorted(seen)}\n{error}") from None
        return seen

    def fire(self, *expected: str, may_page: Collection[str] = ()) -> set[str]:
        """Wait until all of these fire."""
        wanted = set(expected)
        return self.until(f"firing: {wanted}", lambda now: now >= wanted, {*wanted, *may_page})

    def clear(self, may_page: Collection[str]) -> set[str]:
        """Wait until nothing fires any more, but for what looks back for a day."""
        return self.until("all clear", lambda now: now <= {*SLOW}, may_page)


def write_rules(folder: Path) -> None:
    """The project's rules, with time that runs quicker."""
    folder.mkdir()
    for file in RULES:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        text = yaml.safe_dump(quicker(document, QUICKER, LEAST), sort_keys=False, width=1000)
        (folder / file.name).write_text(text, encoding="utf-8")


@pytest.fixture
def settings(cloud: StartCloud) -> Settings:
    """Of a local cloud with two shards; the judge looks back twenty seconds, and suspensions are quick."""
    return cloud(
        shards=2,
        horizon={"days": 2},
        today="2026-03-09",
        stream={"failover_milliseconds": 3000},
        worker={"judge_seconds": 20},
        plugins={"suspend_after_failures": 3, "suspension_seconds": 2, "longest_suspension_seconds": 4},
    )


@pytest.fixture
def door(settings: Settings) -> Iterator[Proxy]:
    """In front of the tables: calls through it can be throttled."""
    port = int((settings.aws.endpoint_url or "").rsplit(":", 1)[1])
    proxy = Proxy(port, random.Random(7), 1.0)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture
def fails(tmp_path: Path) -> Path:
    """While this file is there, the plugin fails."""
    return tmp_path / "fails"


@pytest.fixture
def worker(settings: Settings, door: Proxy, fails: Path, tmp_path: Path) -> Iterator[PipelineWorker]:
    """A worker whose tables are behind the door; the KCL's own are not."""
    install(tmp_path / "plugin")
    aws = settings.aws.model_copy(update={"dynamodb_endpoint_url": f"http://127.0.0.1:{door.port}"})
    path = f"{tmp_path / 'plugin'}{os.pathsep}{PROJECT_ROOT}"
    env = environment(
        settings.model_copy(update={"aws": aws}), tmp_path, PYTHONPATH=path, FLAKY_FAILS=str(fails)
    )
    one = PipelineWorker(env, tmp_path / "worker.log")
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.kill()


def test_what_is_broken_fires_and_clears_and_nothing_else_gets_anybody_up(
    settings: Settings, door: Proxy, fails: Path, worker: PipelineWorker, tmp_path: Path
) -> None:
    def at_work() -> bool:
        seen = worker.samples()
        unowned = seen.all("scheduling_leases_unowned")
        return (
            seen.sum("scheduling_shards_owned") == 2
            and seen.sum("scheduling_worker_ready") == 1
            and seen.sum("scheduling_shard_state", state="ok") == 2
            and bool(unowned)
            and unowned[0][1] == 0
        )

    write_rules(tmp_path / "rules")
    wait_until("at work on both shards", at_work, [worker], START_SECONDS)
    with Traffic(settings).flowing():
        target = (worker.url() or "").removeprefix("http://").removesuffix("/metrics")
        with prometheus(tmp_path, free_port(), [target], SCRAPE_SECONDS) as server:
            watch = Watch(server, worker)
            wait_until("scraped", lambda: len(server.query(f"up{{job='{JOB}'}} == 1")) == 1, [worker], 60)

            # A child that is frozen: its worker answers, and nothing of its shard gets done.
            (child, *_) = worker.jvm().children()
            child.suspend()
            try:
                watch.fire("SchedulingShardStalled", "SchedulingCheckpointStuck", may_page=LATE)
                stalled = {one["shard"] for one in server.firing() if one["alertname"] != LATE[0]}
                assert len(stalled) == 1, "the other shard goes on"
            finally:
                child.resume()
            watch.clear({"SchedulingShardStalled", "SchedulingCheckpointStuck", *LATE})

            # With everything well again, every panel of every dashboard has something to show.
            assert without_data(server) == set()

            # A plugin that fails on whatever it is given.
            fails.touch()
            expected = "SchedulingPluginSuspended", "SchedulingDeadLettersMany", "SchedulingDeadLettersGrow"
            watch.fire(*expected)
            (suspended,) = {
                (one["plugin"], one["method"])
                for one in server.firing()
                if one["alertname"] == "SchedulingPluginSuspended"
            }
            assert suspended == ("flaky", "decode")
            fails.unlink()
            watch.clear(expected)

            # Tables that are too busy: nobody has to get up, for every call is tried again.
            door.set_faults([THROTTLE])
            seen = watch.fire("SchedulingStoreThrottled")
            door.set_faults([])
            seen |= watch.clear(())
            assert not seen & PAGES

            ever = server.query('group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
            known = {"SchedulingStoreThrottled", "SchedulingPluginFails", "SchedulingShardFallsBehind"}
            known |= {"SchedulingShardStalled", "SchedulingCheckpointStuck", *expected, *LATE, *SLOW}
            assert {labels["alertname"] for labels, _ in ever} <= known
    assert worker.stop() == 0


def without_data(server: Prometheus) -> set[str]:
    """Panels of the dashboards that have nothing to show, but for those that say so when all is well."""
    found = set()
    for file in sorted((PROJECT_ROOT / "config" / "grafana" / "dashboards").glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                if not server.query(filled_in(target["expr"], board)):
                    found.add(panel["title"])
    return found - EMPTY_WHEN_ALL_IS_WELL
