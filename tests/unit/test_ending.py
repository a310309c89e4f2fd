"""How the supervisor sees a daemon to its end: with processes that stand in for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kcl_app.worker import ending, processes
from kcl_app.worker.cloud_watch import CloudWatch
from kcl_app.worker.daemon_output import DaemonOutput
from kcl_app.worker.ending import Ending
from kcl_app.worker.errors import WorkerError

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) if sys.argv[1:] else None
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Daemons that do not end when they are asked; killed in the end, with what they started."""
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        for one in processes.observe(process.pid):
            if one.kind == processes.CHILD:
                os.kill(one.pid, signal.SIGKILL)
        process.kill()
        process.communicate()


def daemon(started: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    """One that is up."""
    command = [sys.executable, "-c", STUBBORN, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def end_of(process: subprocess.Popen[str], grace_seconds: float) -> Ending:
    """Its end, which a signal has asked for; the KCL is up."""
    output = DaemonOutput(show_any=True)
    output.initialized = True
    return Ending(process, output, [signal.SIGTERM], CloudWatch(lambda: None, lambda: 0), grace_seconds)


def test_a_daemon_without_children_is_not_waited_for(
    started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The KCL would wait out its grace for shards that it was given and has not begun."""
    monkeypatch.setattr(ending, "IDLE_SECONDS", 0.2)
    process = daemon(started)
    end = end_of(process, 30)
    end.wait([])
    assert end.cut_off
    assert process.returncode == -signal.SIGKILL


def test_a_child_that_is_started_after_the_signal_is_not_waited_for(
    started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other worker lives, the KCL takes the shards anew that it has just let go."""
    monkeypatch.setattr(ending, "IDLE_SECONDS", 0.2)
    process = daemon(started, "with a child")
    end = end_of(process, 30)
    (child,) = (one for one in processes.observe(process.pid) if one.kind == processes.CHILD)
    real, seen = processes.observe, []

    def observe(pid: int) -> list[processes.Usage]:
        """The child there is was started only after the signal: it is not seen at first."""
        seen.append(pid)
        return [one for one in real(pid) if one.pid != child.pid or len(seen) > 2]

    monkeypatch.setattr(processes, "observe", observe)
    end.wait([])
    os.kill(child.pid, signal.SIGKILL)
    assert end.cut_off
    assert process.returncode == -signal.SIGKILL


def test_a_daemon_whose_child_is_at_work_has_its_whole_grace(
    started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "IDLE_SECONDS", 0.2)
    process = daemon(started, "with a child")
    end = end_of(process, 1.0)
    with pytest.raises(WorkerError, match=r"did not stop within 1 s and was killed"):
        end.wait([])
    assert not end.cut_off
    assert process.poll() is None, "the caller kills it"


def test_a_daemon_that_drops_records_is_killed_at_once(started: list[subprocess.Popen[str]]) -> None:
    """Its next checkpoint would pass them."""
    process = daemon(started, "with a child")
    output = DaemonOutput(show_any=True)
    output.initialized = True
    output.on_stdout("WARN\tShardConsumerSubscriber\tshardId-03: Caught exception from handleInput\t\n")
    end = Ending(process, output, [], CloudWatch(lambda: None, lambda: 0), 30)
    with pytest.raises(WorkerError, match=r"^the KCL dropped records of shardId-03, .* will be read again$"):
        end.wait([])
    assert end.cut_off
    assert process.returncode == -signal.SIGKILL


def test_a_child_whose_daemon_is_gone_is_found_and_ended_all_the_same(
    started: list[subprocess.Popen[str]],
) -> None:
    """The kernel has given it to another parent by then, which may be anybody."""
    process = daemon(started, "with a child")
    (before,) = (one for one in processes.observe(process.pid) if one.kind == processes.CHILD)
    process.kill()
    process.wait(10)
    (child,) = (one for one in processes.observe(process.pid) if one.kind != processes.SUPERVISOR)
    assert (child.kind, child.pid, child.started) == (processes.CHILD, before.pid, before.started)
    assert processes.end([child], 0) == 1
    assert [one.kind for one in processes.observe(process.pid)] == [processes.SUPERVISOR]
