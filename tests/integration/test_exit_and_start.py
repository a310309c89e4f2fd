"""What keeps a worker from starting is one clear line and the right status, by the real command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty_cloud import FaultyCloud
from pipelines import Environment, environment

from kcl_app.settings import PROJECT_ROOT, Settings, load

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

COMMAND = [sys.executable, "-m", "kcl_app.cli.main", "worker", "--port", "0"]
NOBODY = "http://127.0.0.1:9"
"""Nothing listens there."""


def once(env: Environment, *, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """A worker that cannot start."""
    return subprocess.run(COMMAND, env=env, capture_output=True, text=True, timeout=seconds)


def of(settings: Settings, folder: Path, **more: str) -> Environment:
    return environment(settings, folder, **more)


@pytest.fixture
def unreachable(tmp_path: Path) -> Environment:
    settings = load(aws={"region": "us-east-1", "endpoint_url": NOBODY})
    return of(settings, tmp_path)


@pytest.fixture
def faulty(cloud: StartCloud) -> Iterator[tuple[FaultyCloud, Settings]]:
    """A local cloud behind a door, and the settings that go through the door."""
    settings = cloud(shards=1)
    with FaultyCloud(settings.aws.endpoint_url or "").open() as door:
        through = settings.aws.model_copy(update={"endpoint_url": door.url, "read_timeout_seconds": 1})
        yield door, settings.model_copy(update={"aws": through})


def test_no_java_is_one_line(tmp_path: Path) -> None:
    done = once({**os.environ, "JAVA_HOME": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == f"kcl-app: JAVA_HOME has no bin/java: {tmp_path}; correct or unset it\n"


def test_a_java_that_cannot_be_run_is_one_line(cloud: StartCloud, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/nowhere/interpreter\n")
    java.chmod(0o755)
    done = once(of(cloud(shards=1), tmp_path, JAVA_HOME=str(tmp_path)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"kcl-app: cannot run {java}: No such file or directory\n"
    assert list(tmp_path.glob("kcl-app-worker-*")) == []


def test_options_that_java_refuses_and_a_heap_that_is_too_small_are_told(
    cloud: StartCloud, tmp_path: Path
) -> None:
    settings = cloud(shards=1)
    for options, told in (
        (("-XX:NoSuchOption",), "Unrecognized VM option 'NoSuchOption'"),
        (("-Xmx8m",), "java.lang.OutOfMemoryError: Java heap space"),
    ):
        worker = settings.worker.model_copy(update={"jvm_options": options})
        done = once(of(settings.model_copy(update={"worker": worker}), tmp_path), seconds=120)
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 1
        assert last.startswith("kcl-app: the Kinesis Client Library ended by itself (status "), done.stderr
        assert told in last
        assert list(tmp_path.glob("kcl-app-worker-*")) == []


def test_the_base_install_says_what_is_missing(tmp_path: Path) -> None:
    """An environment that has nothing but Python."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-m", "kcl_app.cli.main", "worker"],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "kcl-app: typer is not installed; install the command's parts with "
        "pip install 'scheduling-kcl-app[worker]', or [plugins] to write a plugin\n"
    )


def test_a_missing_stream_table_or_bucket_is_one_line(cloud: StartCloud, tmp_path: Path) -> None:
    settings = cloud(shards=1)
    where = f"in the local cloud at {settings.aws.endpoint_url}, region us-east-1"
    for change, missing in (
        ({"stream": settings.stream.model_copy(update={"name": "other"})}, "stream other"),
        ({"tables": settings.tables.model_copy(update={"spans": "other"})}, "table other"),
        ({"tables": settings.tables.model_copy(update={"dead_letter_bucket": "other"})}, "bucket other"),
    ):
        done = once(of(settings.model_copy(update=change), tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"kcl-app: there is no {missing} {where}; make it with `kcl-app local start`\n"


def test_a_taken_port_is_one_line(cloud: StartCloud, tmp_path: Path) -> None:
    settings = cloud(shards=1)
    port = (settings.aws.endpoint_url or "").rsplit(":", 1)[1]
    done = subprocess.run(
        [*COMMAND[:-1], port], env=of(settings, tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"kcl-app: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --port\n"
    )


def test_what_aws_refuses_or_does_not_answer_is_one_line(
    faulty: tuple[FaultyCloud, Settings], tmp_path: Path
) -> None:
    door, settings = faulty
    env = of(settings, tmp_path)
    where = f"the local cloud at {door.url}, region us-east-1"
    for code, told in (
        ("ExpiredTokenException", f"AWS refuses the credentials (ExpiredTokenException) for {where}; "),
        (
            "UnrecognizedClientException",
            f"AWS refuses the credentials (UnrecognizedClientException) for {where}",
        ),
        (
            "AccessDeniedException",
            "the credentials may not call DescribeStreamSummary on stream scheduling-event-stream "
            f"in {where}; allow it in their IAM policy",
        ),
    ):
        door.refuse(code)
        done = once(env)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"kcl-app: {told}")
        assert done.stderr.count("\n") == 1
    door.let_through()
    door.silence()
    done = once(env, seconds=30)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kcl-app: cannot reach {where} (ReadTimeoutError); ")


def test_a_signal_during_the_checks_ends_it_with_0(
    faulty: tuple[FaultyCloud, Settings], tmp_path: Path
) -> None:
    door, settings = faulty
    slow = settings.model_copy(update={"aws": settings.aws.model_copy(update={"read_timeout_seconds": 60})})
    door.silence()
    process = subprocess.Popen(COMMAND, env=of(slow, tmp_path), stderr=subprocess.PIPE, text=True)
    try:
        assert door.waiting.wait(30), "it asks for the stream"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, errors = process.communicate(timeout=15)
        assert (process.returncode, time.monotonic() - began < 5) == (0, True)
        assert '"event": "stopped before the start"' in errors
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("to", [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&-"])
def test_output_that_is_full_or_closed_changes_no_status(unreachable: Environment, to: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {to}', "sh", *COMMAND],
        env=unreachable,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_no_room_for_the_workers_own_files_is_one_line(cloud: StartCloud, tmp_path: Path) -> None:
    """No file may be longer than nothing, which to a program is a full disk: an error where it writes."""
    settings = cloud(shards=1)
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    limited += "from kcl_app.cli.main import main; sys.argv = ['kcl-app', 'worker', '--port', '0']; main()"
    done = subprocess.run(
        [sys.executable, "-c", limited],
        env=of(settings, tmp_path, PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("kcl-app: No usable temporary directory found in ")
    assert done.stderr.count("\n") == 1
