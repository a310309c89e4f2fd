"""What the Dockerfile does is done here, without a container engine: its scripts, and then what they made is run.

The worker runs as its image would have it: from an environment in which nothing can be installed, on a file system that
is read-only but for a temporary folder, and asked by the container's own health check how it is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import event
from dockerfile import stages
from pipelines import PipelineWorker, environment, kcl_app, ndjson, processed, wait_until

from kcl_app.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

INSTALL_WORKER = PROJECT_ROOT / "scripts" / "install_worker.sh"
INSTALL_LOCAL_CLOUD = PROJECT_ROOT / "scripts" / "install_local_cloud.sh"
RUN_LOCAL_CLOUD = PROJECT_ROOT / "scripts" / "run_local_cloud.sh"

READ_ONLY = (
    # A mount namespace of its own: nobody else sees any of this, and it is gone with the process.
    *("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-c"),
    'mount --make-rprivate / && mount --bind "$1" "$1" && mount --bind "$TMPDIR" "$TMPDIR" && '
    'mount -o remount,bind,ro / && mount -o remount,bind,ro "$1" && shift && exec "$@"',
    "read-only",
)
"""Runs a command with a file system that is read-only but for $TMPDIR; the folder that comes first, too."""

PLUGIN = """
from emr_plugins.standard import StandardPlugin

class Acme(StandardPlugin):
    name = "acme"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the image has, with a plugin of somebody else's in it."""
    folder = tmp_path_factory.mktemp("image")
    plugin = folder / "acme-plugin"
    plugin.mkdir()
    (plugin / "acme.py").write_text(PLUGIN)
    (plugin / "pyproject.toml").write_text(
        '[project]\nname = "acme-plugin"\nversion = "1.2.0"\n[tool.setuptools]\npy-modules = ["acme"]\n'
        '[project.entry-points.emr_plugins]\nacme = "acme:Acme"\n'
    )
    venv = folder / "kcl-app"
    build = {**os.environ, "PYTHON": sys.executable}
    command = [str(INSTALL_WORKER), str(venv), "worker", str(plugin)]
    done = subprocess.run(command, env=build, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("kcl-app ")
    return venv


def test_nothing_can_be_installed_into_what_runs(image: Path) -> None:
    for module in ("pip", "setuptools", "wheel"):
        done = subprocess.run(
            [image / "bin" / "python", "-c", f"import {module}"], capture_output=True, check=False
        )
        assert b"ModuleNotFoundError" in done.stderr, module
    assert not list((image / "bin").glob("pip*"))


def test_what_runs_is_the_project_and_not_this_checkout(image: Path) -> None:
    code = "import kcl_app, processors; print(kcl_app.__file__, processors.__file__)"
    done = subprocess.run(
        [image / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, check=True
    )
    for path in done.stdout.split():
        assert Path(path).is_relative_to(image)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    done = subprocess.run([INSTALL_WORKER, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert f"{tmp_path} is there already" in done.stderr


def test_the_worker_runs_on_a_read_only_file_system_and_its_health_check_says_so(
    image: Path, cloud: StartCloud, tmp_path: Path
) -> None:
    settings = cloud(shards=1, horizon={"days": 5}, plugins={"allow": ["acme"]})
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    env = environment(settings, scratch, HOME=str(scratch), PATH=f"{image / 'bin'}:{os.environ['PATH']}")
    data = {"id": "wh", "provider_id": "p", "version": 1, "weekly": []}
    events = ndjson(tmp_path / "events.ndjson", [event("working_hours", data, emr="acme")])
    kcl_app("put", str(events), env=env)

    command = [*READ_ONLY, str(image), str(image / "bin" / "kcl-app")]
    worker = PipelineWorker(env, tmp_path / "worker.log", command=command)
    try:
        wait_until("settled", lambda: processed([worker]) >= 1, [worker], 240)
        wait_until("ready", lambda: worker.get("readyz")[0] == 200, [worker], 60)
        url = str(worker.url()).removesuffix("/metrics")
        check = stages()[-1].words("HEALTHCHECK")
        here = [one.replace("http://127.0.0.1:9464", url) for one in check]
        assert subprocess.run([image / "bin" / here[0], *here[1:]], env=env, check=False).returncode == 0
        assert worker.stop() == 0
    finally:
        if worker.process.poll() is None:
            worker.kill()


def test_the_file_system_of_that_test_is_read_only(tmp_path: Path) -> None:
    venv, scratch = tmp_path / "venv", tmp_path / "tmp"
    for folder in (venv, scratch):
        folder.mkdir()
    script = f"touch {scratch}/may; touch {venv}/may-not; touch /etc/kcl-app-may-not; true"
    env = {**os.environ, "TMPDIR": str(scratch)}
    subprocess.run([*READ_ONLY, str(venv), "sh", "-c", script], env=env, capture_output=True, check=True)
    assert [one.name for one in scratch.iterdir()] == ["may"]
    assert not list(venv.iterdir())
    assert not Path("/etc/kcl-app-may-not").exists()


@pytest.fixture
def installed_cloud(
    private_settings: Callable[..., Settings], local_cloud_venv: Path, tmp_path: Path
) -> Iterator[tuple[Settings, dict[str, str]]]:
    """Settings of the local cloud's container, and their environment; its virtual environment is the project's own."""
    settings = private_settings()
    settings.local.directory.mkdir(parents=True)
    (settings.local.directory / "venv").symlink_to(local_cloud_venv)
    env = environment(settings, tmp_path)
    yield settings, env
    subprocess.run([sys.executable, "-m", "kcl_app.cli.main", "local", "stop"], env=env, check=False)


def test_the_container_of_the_local_cloud_runs_it_until_it_is_told_to_stop(
    installed_cloud: tuple[Settings, dict[str, str]], tmp_path: Path
) -> None:
    settings, env = installed_cloud
    venv = Path(sys.executable).parent.parent
    subprocess.run([INSTALL_LOCAL_CLOUD, venv, settings.local.directory], env=env, check=True, timeout=500)
    program = shutil.which("kcl-app", path=str(venv / "bin"))
    assert program is not None
    running = subprocess.Popen([RUN_LOCAL_CLOUD, program], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("The local cloud runs at ")
        # The health check of its stage.
        (check,) = [stage.words("HEALTHCHECK") for stage in stages() if stage.name == "local"]
        assert check[0] == "kcl-app"
        assert "table    scheduling-items" in kcl_app(*check[1:], env=env)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait(10)
    assert kcl_app(*check[1:], env=env, status=1).startswith("stopped")
