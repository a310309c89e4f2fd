"""`make bench` on a load of a few hundred events: every side runs, and the figures have the shape that is promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kcl_app.settings import PROJECT_ROOT, Settings

FIGURES = {
    "events_per_s", "python_cpu_us_per_event", "jvm_cpu_us_per_event", "p50_s", "p95_s", "p99_s", "rss_mb_start",
    "rss_mb_end", "write_units_per_event", "read_units_per_event", "calls_per_event",
}  # fmt: skip


@pytest.mark.integration
def test_all_sides_run_and_leave_nothing_behind(
    local_cloud_venv: Path,
    private_settings: Callable[..., Settings],
    environment_of: Callable[[Settings], dict[str, str]],
    tmp_path: Path,
) -> None:
    settings = private_settings(local={"directory": local_cloud_venv.parent})
    figures = tmp_path / "figures.json"
    arguments = [
        "--json", str(figures), "--loads", "burst", "--scale", "0.001", "--dynamodb", "ministack",
        "--naive-events", "60", "--naive-seconds", "60", "--metered-events", "0",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *arguments],
        env={**os.environ, **environment_of(settings), "TMPDIR": str(tmp_path)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    sides = json.loads(figures.read_text())["loads"]["burst"]
    assert set(sides) == {"null", "naive", "ours"}
    for side, found in sides.items():
        assert set(found) >= FIGURES
        assert found["events"] > 0
        if side != "null":  # which takes less for so few than the system's clock of CPU time can tell
            assert found["python_cpu_us_per_event"] > 0, side
    assert sides["ours"]["probes_seen"] == sides["ours"]["probes"] > 0
    assert sides["null"]["p99_s"] is None
    assert not list(tmp_path.glob("kcl-app-bench-*"))
