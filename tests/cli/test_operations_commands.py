"""`doctor`, `status` and `top` as a person runs them: with nothing that answers, and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from command_line import run

NO_CLOUD = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""
NOBODY = ("--metrics", "127.0.0.1:9")


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULING_AWS__ENDPOINT_URL", NO_CLOUD)
    monkeypatch.setenv("SCHEDULING_WORKER__PORT", "0")
    monkeypatch.setenv("COLUMNS", "200")


def test_the_doctor_says_what_is_wrong_how_to_mend_it_and_what_it_could_not_look_at() -> None:
    done = run("doctor")
    assert (done.status, done.err) == (1, "")
    lines = done.out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("failed")]
    assert "stream scheduling-event-stream: cannot reach the local cloud" in lines[at]
    assert lines[at + 1].strip() == ("→ start it with `kcl-app local start`, or correct aws.endpoint_url")
    assert lines[at + 2].startswith("not checked  tables, bucket, permissions, clock")
    assert lines[-1].startswith("1 failed, ")


def test_the_doctor_speaks_json() -> None:
    done = run("doctor", "--json")
    told = json.loads(done.out)
    assert (done.status, told["ok"]) == (1, False)
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert states["stream scheduling-event-stream"] == "failed"
    assert states["java"] == states["kcl jars"] == states["python"] == "ok"


@pytest.mark.parametrize("role", ["worker", "horizon", "operator", "reader"])
def test_the_doctor_says_whose_needs_it_examined_and_that_aws_could_not_be_asked(role: str) -> None:
    done = run("doctor", "--role", role, "--json")
    told = json.loads(done.out)
    assert (done.status, told["role"]) == (1, role)
    (examined,) = [check for check in told["checks"] if check["name"] == "examined for"]
    assert examined["found"].startswith(f"{role}: what ")
    assert ("java" in {check["name"] for check in told["checks"]}) is (role == "worker")
    assert any("cannot reach" in check["found"] for check in told["checks"] if check["state"] == "failed")


def test_the_doctor_takes_no_role_that_it_does_not_know() -> None:
    done = run("doctor", "--role", "admin")
    assert done.status == 2
    assert "operator" in done.err


def test_the_doctor_tells_wrong_settings_as_a_check_and_looks_at_the_rest(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[stream]\nnmae = 'x'\n")
    done = run("doctor", "--config", str(config), "--json")
    checks = json.loads(done.out)["checks"]
    assert done.status == 1
    assert (checks[0]["name"], checks[0]["state"]) == ("settings", "failed")
    assert checks[0]["found"].startswith("stream.nmae: there is no such name here")
    assert "java" in {check["name"] for check in checks}


def test_a_status_without_anything_to_ask_says_so_with_status_1() -> None:
    done = run("status", *NOBODY, "--seconds", "0")
    assert (done.status, done.err) == (1, "")
    assert done.out.splitlines()[0].startswith("cannot tell: ")
    assert "not seen: http://127.0.0.1:9/metrics: no worker answers" in done.out
    assert "not seen: leases: cannot reach the local cloud" in done.out
    done = run("status", *NOBODY, "--seconds", "0", "--json")
    told = json.loads(done.out)
    assert (done.status, told["verdict"]["ok"], told["verdict"]["word"]) == (1, False, "cannot tell")


def test_top_without_a_terminal_is_one_picture() -> None:
    for more in ((), ("--once",)):
        done = run("top", *NOBODY, "--interval", "0.2", *more)
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith("cannot tell: ")


@pytest.mark.parametrize("command", ["doctor", "status", "top"])
def test_wrong_settings_are_never_a_traceback(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULING_STERAM__NAME", "x")
    done = run(command)
    assert done.status == (1 if command == "doctor" else 2)
    assert "SCHEDULING_STERAM__NAME (environment): no such setting" in done.out + done.err


def _at_a_terminal(terminal: int) -> None:
    """A terminal of its own, so that Ctrl-C on it is a signal; heard even if who runs the tests ignores it."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`kcl-app top` on a terminal of its own, of 80 columns."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(24, 80)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kcl_app.cli.main", "top", *NOBODY, "--interval", "0.2"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: _at_a_terminal(theirs),
        )
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.shown = b""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, text: bytes, seconds: float = 60) -> None:
        """Wait until it has shown something."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown[-2000:]
            if select.select([self._ours], [], [], 0.2)[0]:
                self.shown += os.read(self._ours, 65_536)

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def ended(self) -> int:
        """Its status; what it still wrote is taken in."""
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 65_536)
        status = self.process.wait(1)
        while select.select([self._ours], [], [], 0.1)[0]:
            self.shown += os.read(self._ours, 65_536)
        return status

    def restored(self) -> bool:
        """Whether the terminal is as it was: lines are echoed, and the first screen is back."""
        return termios.tcgetattr(self._theirs)[3] == self._before[3] and b"\x1b[?1049l" in self.shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._ours)
        os.close(self._theirs)


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_top_on_a_terminal_is_drawn_anew_in_another_size_and_leaves_it_as_it_was(key: bytes) -> None:
    terminal = Terminal()
    try:
        terminal.wait_for(b"q ends")
        assert b"\x1b[?1049h" in terminal.shown, "another screen, so that nothing scrolls away"
        assert b"\x1b[2J" not in terminal.shown.partition(b"cannot tell")[2], "drawn over, not wiped"
        before, terminal.shown = terminal.shown, b""
        terminal.resize(40, 120)
        terminal.wait_for(b"q ends")
        terminal.press(key)
        assert terminal.ended() == 0
        assert terminal.restored()
        assert b"Traceback" not in before + terminal.shown
    finally:
        terminal.close()
