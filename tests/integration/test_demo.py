"""`make demo`, as a person runs it: it ends by itself, or on Ctrl-C, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pipelines import KCL_APP, environment, kcl_app, left_behind

from kcl_app.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


@pytest.fixture
def settings(private_settings: Any, local_cloud_venv: Path) -> Settings:
    """Of a cloud that the demo starts itself; its virtual environment is made once for all tests."""
    made: Settings = private_settings(worker={"port": 0})
    made.local.directory.mkdir(parents=True, exist_ok=True)
    (made.local.directory / "venv").symlink_to(local_cloud_venv)
    return made


def test_it_shows_everything_and_ends_by_itself(settings: Settings, tmp_path: Path) -> None:
    shown = kcl_app("demo", env=environment(settings, tmp_path, COLUMNS="120"))
    assert "3,000 of 3,000" in shown
    for figure in ("events/s", "worst lag", "items written", "provider-days recomputed", "spans in them"):
        assert figure in shown
    for event in ("cancelled", "vacation day", "no free time", "12:00–20:00"):
        assert event in shown
    assert "/metrics" in shown
    assert left_behind(tmp_path) == []


def test_ctrl_c_ends_all_that_it_started(settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "demo.log").open("wb") as out:
        demo = subprocess.Popen(
            [*KCL_APP, "demo"],
            env=environment(settings, tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    log = settings.local.directory / "demo-worker.log"
    end = time.monotonic() + 120
    while not (log.exists() and "worker started" in log.read_text()):
        assert demo.poll() is None, (tmp_path / "demo.log").read_text()
        assert time.monotonic() < end, "the worker did not start"
        time.sleep(0.2)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(90) == 130
    assert left_behind(tmp_path) == []
