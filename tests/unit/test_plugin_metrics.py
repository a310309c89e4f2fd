"""What plugins do wrong can be seen: in metrics of all children together, in the log, and in how a child ends."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from emr_plugins.api import API_VERSION, Context, Event, StandardEnginePlugin
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app import wiring
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings
from kcl_app.stores.memory import MemoryStore
from kcl_app.worker.metrics_directory import MetricsDirectory
from processors.envelope import Record
from processors.keys import ProviderKey

CHILD = """
import sys
from prometheus_client import CollectorRegistry
from emr_plugins.breaker import Breakers, Call, Policy
from kcl_app.engine.observing import MetricsObserver
from kcl_app.logs import configure
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import LogSettings
configure(LogSettings(format="json"))
observer = MetricsObserver(WorkerMetrics(CollectorRegistry()))
now = [0.0]
breakers = Breakers(Policy(timeouts=1), lambda: now[0], lambda: 1.0, observer.plugin_suspended)
call = Call("acme", "spans", "t", "p1")
for line in sys.stdin:
    if line == "hang\\n":
        breakers.failed(call, 1.0)
    else:
        now[0] += 1000
        assert breakers.refusal(call) is None
        breakers.succeeded(call, 0.0)
    print("done", flush=True)
"""

SCOPES = {"method": "spans", "plugin": "acme", "scope": "provider"}


class Child:
    """A process with a plugin that hangs or works when told to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, what: str) -> None:
        """Let it go on, and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        """As the kernel would."""
        self.process.kill()
        self.process.communicate(timeout=10)


def suspended(folder: MetricsDirectory) -> tuple[float | None, float | None]:
    """Suspensions in force and begun, over all children."""
    registry = CollectorRegistry()
    registry.register(folder)
    labels: Any = SCOPES
    return (
        registry.get_sample_value("scheduling_plugin_suspended", labels),
        registry.get_sample_value("scheduling_plugin_suspensions_total", labels),
    )


def test_a_suspension_in_any_child_shows_until_it_is_over_or_the_child_is_dead(tmp_path: Path) -> None:
    folder = MetricsDirectory(tmp_path)
    one, other = Child(tmp_path), Child(tmp_path)
    one.tell("hang")
    other.tell("hang")
    assert suspended(folder) == (2, 2)
    other.tell("work")
    assert suspended(folder) == (1, 2), "the last to speak does not hide the other"
    one.kill()
    folder.bury({one.process.pid})
    assert suspended(folder) == (0, 2)
    other.kill()


class Raising(StandardEnginePlugin):
    """Understands nothing."""

    name = "raising"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Any:
        """Raise."""
        raise RuntimeError


def test_the_engine_of_a_worker_suspends_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    for plugin in (StandardPlugin(), Raising()):
        registry.add(plugin, "tests", "1")
    monkeypatch.setattr(wiring, "registry", lambda settings: registry)
    monkeypatch.setattr(wiring, "store", lambda settings, *_: MemoryStore())
    collected = CollectorRegistry()
    settings = Settings.model_validate({"plugins": {"suspend_after_failures": 3}})
    engine = wiring.engine(settings, WorkerMetrics(collected))
    events = [
        b'{"specversion":"1.0","id":"%d","source":"s","type":"x","time":"2026-01-01T00:00:00Z","tenant":"t",'
        b'"emr":"raising","subject":"p%d","data":{}}' % (number, number)
        for number in range(5)
    ]
    engine.run([Record(data, f"{n:056d}", 0, "p", 0.0) for n, data in enumerate(events)], "shard-0")
    counted = {
        outcome: collected.get_sample_value(
            "scheduling_plugin_failures_total", {"plugin": "raising", "method": "decode", "outcome": outcome}
        )
        for outcome in ("raised", "refused")
    }
    assert counted == {"raised": 3, "refused": 2}
    labels = {"plugin": "raising", "method": "decode", "scope": "tenant"}
    assert collected.get_sample_value("scheduling_plugin_suspended", labels) == 1
    for reason, number in (("plugin_failed", 3), ("plugin_suspended", 2)):
        name = "scheduling_dead_letters_total"
        assert collected.get_sample_value(name, {"reason": reason}) == number
    assert b"scheduling_plugin_suspended" in generate_latest(collected)


def test_commands_ask_plugins_without_suspending_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `try` shows is the plugin's own answer, each time."""
    registry = Registry()
    for plugin in (StandardPlugin(), Raising()):
        registry.add(plugin, "tests", "1")
    monkeypatch.setattr(wiring, "registry", lambda settings: registry)
    host = wiring.plugin_host(Settings.model_validate({"plugins": {"suspend_after_failures": 2}}))
    assert host.spans(ProviderKey("t", "raising", "p"), "UTC", date(2026, 3, 9), []) == ()
    envelope = {"specversion": "1.0", "id": "1", "source": "s", "type": "x", "time": "2026-01-01T00:00:00Z"}
    event = Event.model_validate({**envelope, "tenant": "t", "emr": "raising", "data": {}})
    for _ in range(10):
        with pytest.raises(ValueError, match="plugin_failed"):
            host.decode(event)


STUCK = """
from emr_plugins.time_limit import TimeLimit
from kcl_app import wiring
from kcl_app.logs import configure
from kcl_app.settings import LogSettings
configure(LogSettings(format="json"))
def stuck():
    while True:
        try:
            input()
        except BaseException:
            pass
TimeLimit(0.1, wiring._end_stuck).call(stuck)
"""


def test_a_child_whose_plugin_cannot_be_interrupted_ends_and_says_so() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.wait(timeout=60) == 70
        assert child.stderr is not None
        (line,) = child.stderr.read().splitlines()
        assert '"event": "a plugin does not come back, and cannot be interrupted: the process ends"' in line
    finally:
        child.kill()
        child.communicate(timeout=10)
