"""The real child, as the daemon starts it: its standard output holds the protocol and nothing else."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

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

    def __init__(self, path: Path, errors: IO[str] | int = subprocess.PIPE, **over: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kcl_app.worker.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
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


RECORDS: dict[str, Any] = {
    "action": "processRecords",
    "millisBehindLatest": 0,
    "records": [
        {
            "action": "record",
            "data": base64.b64encode(b'{"specversion": "1.0"}').decode(),
            "partitionKey": "p",
            "sequenceNumber": "1",
            "subSequenceNumber": 0,
            "approximateArrivalTimestamp": 1_700_000_000_000,
        }
    ],
}
"""One record, which is a reject: its dead letter has to be stored."""


def test_a_batch_that_waits_for_its_tables_does_not_outlive_the_daemon(quiet: Child) -> None:
    """Nothing listens where the tables should be; a batch waits for minutes."""
    assert quiet.process.stdin is not None
    assert quiet.process.stderr is not None
    quiet.say(INITIALIZE)
    quiet.process.stdin.write(json.dumps(RECORDS) + "\n")
    quiet.process.stdin.flush()
    for line in quiet.process.stderr:
        if "the batch waits" in line:
            break
    assert quiet.process.poll() is None
    quiet.process.stdin.close()
    quiet.process.stdin = None
    assert quiet.process.wait(15) == 70


def test_a_log_that_nothing_can_take_is_no_reason_to_end(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        child = Child(tmp_path, errors=full)
    try:
        assert child.say(INITIALIZE) == {"action": "status", "responseFor": "initialize"}
        assert child.say(EMPTY) == {"action": "status", "responseFor": "processRecords"}
        assert child.end()[0] == 0
    finally:
        child.process.kill()
        child.process.communicate()


def test_no_room_for_its_metrics_ends_it_with_a_line_and_not_by_a_signal(tmp_path: Path) -> None:
    """Files may not be longer than a page, which is what a full disk is to it."""
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    )
    child = Child(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(metrics), PYTHONDONTWRITEBYTECODE="1")
    status, output, errors = child.end()
    assert (status, output) == (70, "")
    line = json.loads(errors.splitlines()[-1])
    assert line["event"] == "the child cannot start"
    assert "no room for metrics" in line["why"]
    assert str(metrics) in line["why"]
    assert list(metrics.iterdir()) == []


def test_its_metrics_have_their_room_on_the_disk_before_they_are_written(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    child = Child(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(metrics))
    child.say(INITIALIZE)
    files = sorted(metrics.iterdir())
    assert {"counter", "histogram"} < {file.name.rsplit("_", 1)[0] for file in files}
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size > 0 for file in files), "no holes"
    assert child.end()[0] == 0
