"""The supervisor's parts: books of processes, the daemon's output, checks, folder and port."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from prometheus_client import CollectorRegistry, Gauge

from kcl_app import logs
from kcl_app.errors import PreflightError
from kcl_app.settings import PROJECT_ROOT, AwsSettings, LogSettings, Settings, TableSettings
from kcl_app.worker import preflight, runtime_folder
from kcl_app.worker.cloud_watch import CloudWatch
from kcl_app.worker.daemon_output import DaemonOutput
from kcl_app.worker.http_server import WorkerServer
from kcl_app.worker.processes import ProcessBook, Usage


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    logs.configure(LogSettings(format="json"), written)
    yield written
    structlog.reset_defaults()


def child(pid: int, cpu: float) -> Usage:
    return Usage("child", pid, 0.0, cpu, 100)


def test_cpu_time_never_falls_when_a_child_ends_or_its_pid_is_taken_again() -> None:
    book = ProcessBook()
    seen = []
    for usages in ([child(1, 5), child(2, 1)], [child(2, 2)], [child(2, 0.5)], []):
        book.update(usages)
        seen.append(book.cpu_seconds["child"])
    assert seen == [6, 7, 7.5, 7.5]
    assert book.processes == {"jvm": 0, "child": 0, "plugin": 0, "supervisor": 0}
    assert book.memory_bytes == {}


def test_children_that_ended_are_counted_once_also_those_known_by_their_files_alone() -> None:
    book = ProcessBook()
    assert book.update([child(1, 0), child(2, 0)]) == set()
    assert book.update([child(2, 0)], also_known={2, 7}) == {1, 7}
    assert book.update([], also_known={2}) == {2}
    assert book.exited == 3


def test_the_daemons_lines_become_log_lines_and_tell_its_state(stream: io.StringIO) -> None:
    output = DaemonOutput(show_any=False)
    assert not output.initialized
    output.on_stdout("INFO\tScheduler\tInitialization complete. Starting worker loop.\t\n")
    assert output.initialized
    output.on_stdout("ERROR\tTask\tfailed\tjava.io.IOException: gone | at x\n")
    line = json.loads(stream.getvalue().splitlines()[1])
    assert (line["source"], line["logger"], line["level"]) == ("kcl", "Task", "error")
    assert line["stack"] == "java.io.IOException: gone | at x"
    assert output.hint() == "failed: java.io.IOException: gone"


def test_records_that_the_kcl_drops_are_heard_of(stream: io.StringIO) -> None:
    output = DaemonOutput(show_any=False)
    output.on_stdout("WARN\tShardConsumerSubscriber\tshardId-03: Something else\t\n")
    assert not output.records_skipped
    dropped = "shardId-03: Caught exception from handleInput"
    output.on_stdout(f"WARN\tShardConsumerSubscriber\t{dropped}\tjava.lang.RuntimeException: closed\n")
    assert output.records_skipped
    assert output.child_failed
    assert output.hint() == "the KCL dropped records of shardId-03, so no checkpoint may pass them"


def test_children_tell_which_plugins_do_not_run(stream: io.StringIO) -> None:
    output = DaemonOutput(show_any=False, seal="s")
    for line in ({"seal": "s", "plugin": "acme", "why": "no licence"}, {"plugin": "forged", "why": "x"}):
        output.on_stderr(json.dumps({"event": "plugin refused", "level": "warning", **line}) + "\n")
    assert output.plugins_refused() == {"acme": "no licence"}


def test_a_childs_end_explains_the_daemons_better_than_what_follows_from_it() -> None:
    output = DaemonOutput(show_any=False)
    output.on_stdout("INFO\tMultiLangShardRecordProcessor\tChild process exited with value: 137\t\n")
    output.on_stdout("ERROR\tMultiLangDaemon\tEncountered an error during shutdown.\tx\n")
    output.on_stdout("ERROR\tScheduler\tsomething\t\n")
    assert output.shutdown_failed
    assert output.hint() == "a shard's child ended with status 137 (SIGKILL)"
    output.on_stderr('{"event": "state unknown", "level": "error", "shard": "s-0"}\n')
    assert output.hint() == "state unknown (s-0)"


def test_a_childs_line_passes_and_what_is_no_log_line_is_not_shown(stream: io.StringIO) -> None:
    output = DaemonOutput(show_any=False)
    made = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", "event": "shard taken", "shard": "s-0"}
    output.on_stderr(json.dumps(made) + "\n")
    output.on_stderr("printed by a plugin: Jane Doe\n")
    output.on_stderr('{"patient": "Jane Doe"}\n')
    output.on_stderr("ModuleNotFoundError: No module named 'kcl_app'\n")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert found[0] == made
    assert "Jane" not in stream.getvalue()
    assert found[1]["characters"] == len("printed by a plugin: Jane Doe")
    assert found[3]["event"] == output.hint() == "ModuleNotFoundError: No module named 'kcl_app'"


def test_local_settings_show_what_is_printed(stream: io.StringIO) -> None:
    DaemonOutput(show_any=True).on_stderr("hello\n")
    assert json.loads(stream.getvalue())["event"] == "hello"


def test_an_unreachable_cloud_is_one_line() -> None:
    aws = AwsSettings(endpoint_url="http://127.0.0.1:9", connect_timeout_seconds=0.5)
    with pytest.raises(PreflightError, match="cannot reach the local cloud") as caught:
        preflight.check(Settings(aws=aws))
    assert "\n" not in str(caught.value)


def test_missing_credentials_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PreflightError, match="no AWS credentials for AWS us-east-1"):
        preflight.check(
            Settings(environment="production", tables=TableSettings(dead_letter_bucket="letters"))
        )


def test_an_abandoned_folder_is_removed_and_one_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, young = tmp_path / "kcl-app-worker-old", tmp_path / "kcl-app-worker-young"
    for folder in (abandoned, young):
        folder.mkdir()
        (folder / "lock").touch()
    long_ago = time.time() - 3600
    os.utime(abandoned, (long_ago, long_ago))
    with runtime_folder.runtime_folder() as mine:
        os.utime(mine, (long_ago, long_ago))
        with runtime_folder.runtime_folder() as other:
            assert other != mine
            assert mine.exists()
    assert {path.name for path in tmp_path.iterdir()} == {young.name}


def fetch(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_the_port_answers_metrics_health_and_readiness() -> None:
    registry = CollectorRegistry()
    Gauge("scheduling_thing", "A thing.", registry=registry).set(1)
    why = ["the KCL sets up its leases"]
    refused: dict[str, str] = {}
    server = WorkerServer("127.0.0.1", 0, registry, list, lambda: why, lambda: refused)
    server.start()
    try:
        status, kind, body = fetch(f"{server.url}/metrics")
        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert "scheduling_thing 1.0" in body
        accept: dict[str, Any] = {"Accept": "application/openmetrics-text;version=1.0.0"}
        status, kind, body = fetch(f"{server.url}/metrics", **accept)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        assert body.endswith("# EOF\n")
        assert fetch(f"{server.url}/healthz")[0] == 200
        status, _, body = fetch(f"{server.url}/readyz")
        assert status == 503
        assert json.loads(body) == {"status": "not ready", "why": why}
        why.clear()
        assert fetch(f"{server.url}/readyz")[0] == 200
        refused["acme"] = "it failed to load"
        status, _, body = fetch(f"{server.url}/readyz")
        assert status == 200, "the other plugins run"
        assert json.loads(body) == {"status": "ready", "plugins_refused": refused}
        assert fetch(f"{server.url}/other")[0] == 404
    finally:
        server.stop()


def test_a_page_that_fails_is_a_500_and_a_log_line(stream: io.StringIO) -> None:
    def broken() -> list[str]:
        raise RuntimeError("secret")

    server = WorkerServer("127.0.0.1", 0, CollectorRegistry(), broken, broken)
    server.start()
    try:
        assert fetch(f"{server.url}/readyz")[0] == 500
    finally:
        server.stop()
    assert json.loads(stream.getvalue())["event"] == "page failed"
    assert "secret" not in stream.getvalue()


class Looks:
    """What `CloudWatch` finds, look after look, on a clock that the test sets."""

    def __init__(self) -> None:
        self.found: Exception | None = None
        self.errors = 0
        self.now = 0.0
        self.looks = 0
        self.watch = CloudWatch(self.look, lambda: self.errors, lambda: self.now)

    def look(self) -> None:
        self.looks += 1
        if self.found:
            raise self.found

    def wait(self, seconds: int) -> int:
        """Let time pass; how many looks were taken."""
        before = self.looks
        for _ in range(seconds):
            self.now += 1
            if self.watch.due():
                self.watch.look()
        return self.looks - before


def test_the_cloud_is_looked_at_now_and_then_and_soon_after_an_error() -> None:
    looks = Looks()
    assert looks.wait(600) in range(8, 14)
    looks.errors += 1
    assert looks.wait(6) == 1
    assert looks.wait(40) == 0


def test_what_can_get_better_is_waited_for_and_what_cannot_ends_the_worker_once_it_lasts() -> None:
    looks = Looks()
    looks.errors, looks.found = 1, PreflightError("cannot reach it")
    looks.wait(300)
    assert (looks.watch.trouble, looks.watch.hopeless) == ("cannot reach it", "")

    looks.found = PreflightError("it is gone", hopeless=True)
    looks.wait(6)
    assert (looks.watch.trouble, looks.watch.hopeless) == ("it is gone", "")
    looks.found = None
    looks.wait(6)
    assert (looks.watch.trouble, looks.watch.hopeless) == ("", "")

    looks.errors, looks.found = 2, PreflightError("it is gone", hopeless=True)
    looks.wait(60)
    assert looks.watch.hopeless == "it is gone"


def test_a_look_that_fails_otherwise_ends_nothing(stream: io.StringIO) -> None:
    looks = Looks()
    looks.errors, looks.found = 1, RuntimeError("secret")
    looks.wait(300)
    assert (looks.watch.trouble, looks.watch.hopeless) == ("", "")
    assert "secret" not in stream.getvalue()


def test_a_child_that_leaves_in_the_middle_has_failed_whatever_its_status() -> None:
    output = DaemonOutput(show_any=False)
    output.on_stdout("INFO\tMultiLangShardRecordProcessor\tChild process exited with value: 0\t\n")
    assert not output.child_failed
    failed = "Encountered an error while trying to process records"
    output.on_stdout(f"ERROR\tMultiLangShardRecordProcessor\t{failed}\tx\n")
    assert output.child_failed
    output.on_stdout("INFO\tMultiLangShardRecordProcessor\tChild process exited with value: 0\t\n")
    assert output.hint() == "a shard's child ended with status 0"


def test_a_childs_reason_is_told() -> None:
    output = DaemonOutput(show_any=False)
    output.on_stderr(
        '{"event": "the child cannot start", "level": "error", "why": "no room", "shard": "s-0"}\n'
    )
    assert output.hint() == "the child cannot start: no room (s-0)"


def test_errors_of_long_ago_explain_nothing() -> None:
    now = [0.0]
    output = DaemonOutput(show_any=False, monotonic=lambda: now[0])
    output.on_stderr('{"event": "long over", "level": "error"}\n')
    output.on_stdout("ERROR\tTask\tlong over\t\n")
    now[0] = 3600.0
    assert output.hint() == ""
    output.on_stdout("INFO\tMultiLangShardRecordProcessor\tChild process exited with value: 70\t\n")
    assert output.hint() == "a shard's child ended with status 70"


def test_books_of_the_dead_on_a_full_disk_are_an_error_and_change_nothing(tmp_path: Path) -> None:
    """In a process that may not write long files, which would else be killed in the middle of a write (SIGBUS)."""
    script = """
import resource, sys
from pathlib import Path
from kcl_app.worker.metrics_directory import MetricsDirectory
from prometheus_client import Counter
folder = Path(sys.argv[1])
Counter("scheduling_things", "Things.").inc()
(file,) = folder.iterdir()
file.rename(folder / "counter_999999.db")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    MetricsDirectory(folder).bury({999999})
except OSError as error:
    print(error.strerror, sorted(path.name for path in folder.iterdir()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "no room for metrics: File too large ['counter_999999.db']\n", done.stderr


def test_a_last_resort_ends_the_process_and_what_it_names() -> None:
    script = """
import subprocess, sys
from kcl_app.worker import ending
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(other.pid, flush=True)
ending.last_resort(0.2, lambda: [other.pid, 2**22 + 1])
sys.stdin.read()
"""
    done = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout is not None
    other = int(done.stdout.readline())
    assert done.wait(30) == 1
    done.communicate()
    assert not psutil.pid_exists(other) or psutil.Process(other).status() == psutil.STATUS_ZOMBIE
