"""Fixtures that all tests share.

cloud               start a private local cloud, with its stream, tables and bucket; ended after the test
environment_of      the settings as environment variables, for a process that a test starts
local_cloud_venv    the local cloud's virtual environment, made once and then used by every run
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import asked
import pytest
import recording_cloud
from pipelines import environment

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.settings import PREFIX, PROJECT_ROOT, Settings, load


class StartCloud(Protocol):
    """Starts a local cloud of the test's own and gives its settings.

    Args:
        shards: of the stream; the template's number if not given.
        over: settings by section, as ``stream={"name": "other"}``; `aws.endpoint_url` and `local.directory` are
            chosen here unless given.
    """

    def __call__(self, *, shards: int | None = None, **over: Any) -> Settings: ...


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _only_the_settings_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell of whoever runs the tests has set must not change what they find."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def local_cloud_venv() -> Path:
    """The project's own virtual environment of the local cloud; made now unless it is there."""
    settings = load(local={"directory": PROJECT_ROOT / ".local"})
    cloud = LocalCloud(settings)
    cloud.install()
    return cloud.venv


@pytest.fixture
def private_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a local cloud on a free port, in a folder of the test's own; nothing is started."""

    def make(**over: Any) -> Settings:
        port = free_port()
        aws = {"region": "us-east-1", "endpoint_url": f"http://127.0.0.1:{port}", **over.pop("aws", {})}
        local = {"directory": tmp_path / f"cloud-{port}", **over.pop("local", {})}
        return load(aws=aws, local=local, **over)

    return make


@pytest.fixture
def cloud(
    local_cloud_venv: Path,
    private_settings: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StartCloud]:
    """Starts local clouds for one test, each with a port and a folder of its own.

    They are killed when the test is over, failed or not, without saving what they hold. What processes of ours have
    asked them for must be allowed by deploy/ecs/service.yaml.
    """
    started: list[LocalCloud] = []
    monkeypatch.setitem(wiring.LOCAL_CREDENTIALS, "AWS_ACCESS_KEY_ID", asked.TESTS)

    def record(number: int) -> Path:
        return tmp_path / f"asked-{number}.ndjson"

    def start(*, shards: int | None = None, **over: Any) -> Settings:
        for attempt in range(3):
            settings = private_settings(**over)
            program = recording_cloud.program(record(len(started)))
            local = LocalCloud(settings, venv=local_cloud_venv, program=program)
            started.append(local)
            try:
                local.start(shards=shards)
            except UserError as error:
                if attempt < 2 and str(error).startswith("port "):
                    continue  # somebody took the port since it was found free
                raise
            return settings
        raise AssertionError("the last attempt returns or raises")

    try:
        yield start
    finally:
        for local in started:
            local.stop(save=False)
    for number, local in enumerate(started):
        not_allowed = asked.asked(record(number), local.settings) - asked.permitted()
        assert not not_allowed, f"deploy/ecs/service.yaml does not allow {sorted(not_allowed)}"


@pytest.fixture
def environment_of() -> Callable[[Settings], dict[str, str]]:
    """Gives the environment in which `kcl-app` has the given settings, whatever its ``--config`` says."""
    return environment
