"""The real child, as the daemon starts it: its standard output holds the protocol and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INITIALIZE = {
    "action": "initialize",
    "shardId": "shardId-000000000000",
    "sequenceNumber": "TRIM_HORIZON",
    "subSequenceNumber": 0,
}
EMPTY: dict[str, Any] = {"action": "processRecords", "records": [], "millisBehindLatest": 0}

NOISY = '''
"""Imported by every Python process that finds it: a library, or a plugin, that prints."""

import builtins
import os
import subprocess
import sys
import threading

import prometheus_client

started = prometheus_client.Gauge.set


def loud(*args, **kwargs):
    print("printed")
    sys.__stdout__.write("written to the first stdout\\n")
    sys.__stdout__.flush()
    os.write(1, b"written to descriptor 1\\n")
    subprocess.run(["echo", "printed by another process"], check=True)
    return started(*args, **kwargs)


if sys.argv[0] == "-m":
    prometheus_client.Gauge.set = loud
'''
STRAY = ["printed", "written to the first stdout", "written to descriptor 1", "printed by another process"]


def environment(path: Path) -> dict[str, str]:
    """Local settings, no AWS, and a folder with a module that Python imports as it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCHEDULING_", "AWS_"))}
    root = Path(__file__).resolve().parents[2]
    return kept | {"PYTHONPATH": f"{path}{os.pathsep}{root}", "AWS_EC2_METADATA_DISABLED": "true"}


class Child:
    """The process."""

    def __init__(self, path: Path, **over: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kcl_app.worker.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(path) | over,
            text=True,
        )

    def say(self, line: dict[str, Any]) -> dict[str, Any]:
        """Send a line; the next one that comes back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        for answer in self.process.stdout:
            if answer.strip():
                found: dict[str, Any] = json.loads(answer)
                return found
        raise AssertionError("the child closed its output")

    def end(self) -> tuple[int, str, str]:
        """Close its input; its status, and what else it wrote on stdout and stderr."""
        rest, errors = self.process.communicate(timeout=60)
        return self.process.returncode, rest, errors


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Child]:
    """A child."""
    child = Child(tmp_path)
    yield child
    child.process.kill()
    child.process.communicate()


@pytest.fixture
def noisy(tmp_path: Path) -> Iterator[Child]:
    """A child in which everything prints."""
    (tmp_path / "sitecustomize.py").write_text(NOISY)
    child = Child(tmp_path)
    yield child
    child.process.kill()
    child.process.communicate()


def test_whatever_prints_lands_on_stderr_and_the_protocol_stays_clean(noisy: Child) -> None:
    """`print`, the first stdout, descriptor 1 and processes that are started: all of them are kept apart."""
    assert noisy.say(INITIALIZE) == {"action": "status", "responseFor": "initialize"}
    assert noisy.say(EMPTY) == {"action": "status", "responseFor": "processRecords"}
    status, rest, errors = noisy.end()
    assert status == 0
    assert rest.strip() == ""
    for stray in STRAY:
        assert stray in errors


def test_the_end_of_its_input_ends_it_with_success(quiet: Child) -> None:
    quiet.say(INITIALIZE)
    status, rest, _ = quiet.end()
    assert (status, rest.strip()) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_do_not_end_it(quiet: Child, number: signal.Signals) -> None:
    """The Java process says when to stop."""
    quiet.say(INITIALIZE)
    quiet.process.send_signal(number)
    assert quiet.say(EMPTY) == {"action": "status", "responseFor": "processRecords"}
    assert quiet.say({"action": "shutdownRequested"}) == {
        "action": "status",
        "responseFor": "shutdownRequested",
    }
    assert quiet.end()[0] == 0


def test_its_logs_are_json_on_stderr_and_name_the_shard(quiet: Child) -> None:
    quiet.say(INITIALIZE)
    _, _, errors = quiet.end()
    lines = [json.loads(line) for line in errors.splitlines()]
    (taken,) = [line for line in lines if line["event"] == "shard taken"]
    assert taken["shard"] == INITIALIZE["shardId"]


def test_wrong_settings_end_it_before_it_says_anything(tmp_path: Path) -> None:
    child = Child(tmp_path, SCHEDULING_HORIZON__DAYS="0")
    status, output, errors = child.end()
    assert status == 70
    assert output == ""
    assert "horizon.days" in errors
