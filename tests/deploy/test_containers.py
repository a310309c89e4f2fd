"""The Dockerfile and compose.yaml: what no container engine is needed for to see that they fit everything else."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import Stage, stages
from service_template import container, properties

from kcl_app.settings import PREFIX, PROJECT_ROOT, Settings, load
from kcl_app.worker import ending

STAGES = stages()
LAST = STAGES[-1]
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_all_stages_come_from_one_pinned_image() -> None:
    first, *others = STAGES
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", first.base)
    assert not first.instructions
    assert {stage.base for stage in others} == {first.name}
    assert [stage.name for stage in others] == ["build", "local", "worker"]


def test_the_last_stage_installs_nothing_and_keeps_nothing_to_install_with() -> None:
    (run,) = LAST.all("RUN")
    assert run.startswith("python3 -m pip uninstall ")
    assert not re.search(r"apt|pip install|curl|wget|gcc|git\b", run)
    assert LAST.all("COPY") == [
        "--from=build /opt/kcl-app /opt/kcl-app",
        "config/production.toml /etc/kcl-app/",
    ]
    assert not LAST.all("ADD")


def test_the_last_stage_runs_as_the_user_of_the_task_and_stops_on_the_signal_that_the_worker_takes() -> None:
    assert LAST.all("USER") == [container("WorkerTask")["User"]]
    assert LAST.all("STOPSIGNAL") == ["SIGTERM"]
    assert LAST.words("ENTRYPOINT") == ["kcl-app"]
    assert LAST.words("CMD") == container("WorkerTask")["Command"]
    assert LAST.all("EXPOSE") == [str(Settings().worker.port)]


def test_the_one_place_to_write_to_is_a_volume_in_both() -> None:
    assert LAST.words("VOLUME") == [container("WorkerTask")["MountPoints"][0]["ContainerPath"]]
    assert "TMPDIR=/tmp" in LAST.all("ENV")[0]


def test_image_and_task_have_the_same_health_check() -> None:
    check = container("WorkerTask")["HealthCheck"]
    assert ["CMD", *LAST.words("HEALTHCHECK")] == check["Command"]
    (text,) = LAST.all("HEALTHCHECK")
    assert dict(re.findall(r"--([\w-]+)=(\d+)", text)) == {
        "interval": str(check["Interval"]),
        "timeout": str(check["Timeout"]),
        "start-period": str(check["StartPeriod"]),
        "retries": str(check["Retries"]),
    }


def test_every_step_of_a_build_is_a_script_that_is_tested() -> None:
    scripts = {
        script
        for stage in STAGES[1:-1]
        for text in [*stage.all("RUN"), *stage.all("ENTRYPOINT")]
        for script in re.findall(r"scripts/\w+\.sh", text)
    }
    assert scripts == {f"scripts/{path.name}" for path in (PROJECT_ROOT / "scripts").glob("*.sh")}
    tests = "".join(path.read_text() for path in (PROJECT_ROOT / "tests" / "integration").glob("*.py"))
    for script in scripts:
        assert os.access(PROJECT_ROOT / script, os.X_OK), script
        assert Path(script).name in tests, f"no test runs {script}"


def sources(stage: Stage) -> list[str]:
    """What a stage copies from the project."""
    copies = [text.split() for text in stage.all("COPY")]
    return [word for words in copies if not words[0].startswith("--from") for word in words[:-1]]


@pytest.mark.parametrize("source", [source for stage in STAGES for source in sources(stage)])
def test_what_is_copied_is_there_and_gets_to_the_builder(source: str) -> None:
    assert (PROJECT_ROOT / source).exists()
    lines = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert any(fnmatch(source, line[1:]) for line in lines if line.startswith("!"))


def test_nothing_else_gets_to_the_builder() -> None:
    copied = {source for stage in STAGES for source in sources(stage)}
    lines = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == copied


# compose.yaml ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    if "build" in service:
        assert service["build"]["target"] in [stage.name for stage in STAGES]
    else:
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_this_machine_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_files_that_a_service_mounts_are_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, mode = volume.partition(":")
        if source.startswith("."):
            assert (PROJECT_ROOT / source).is_dir(), source
            assert mode.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["cloud", "worker"])
def test_the_variables_of_a_service_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SERVICES[name]["environment"].items():
        assert key.startswith(PREFIX)
        monkeypatch.setenv(key, value)
    settings = load()
    assert settings.aws.endpoint_url == "http://127.0.0.1:4566", "which is the one place where it listens"
    if name == "worker":
        assert SERVICES[name]["network_mode"] == "service:cloud"
        assert settings.worker.bind == "0.0.0.0", "or Prometheus could not ask"
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert settings.worker.grace_seconds + ending.LAST_RESORT_SECONDS < grace


def inside(service: str, path: str) -> Path:
    """The file here that a service sees under a path."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if path.startswith(f"{target}/"):
            return Path(PROJECT_ROOT, source, path.removeprefix(f"{target}/"))
    raise AssertionError(f"{service} mounts no {path}")


def test_prometheus_scrapes_the_worker_and_reads_the_rules() -> None:
    (option,) = [one for one in SERVICES["prometheus"]["command"] if one.startswith("--config.file=")]
    config = yaml.safe_load(inside("prometheus", option.partition("=")[2]).read_text(encoding="utf-8"))
    (scrape,) = config["scrape_configs"]
    (target,) = scrape["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert SERVICES["worker"]["network_mode"] == f"service:{service}"
    assert int(port) == Settings().worker.port
    assert [inside("prometheus", one).parent.name for one in config["rule_files"]] == ["rules"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = inside("grafana", SERVICES["grafana"]["environment"]["GF_PATHS_PROVISIONING"])
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "dashboards.yml").read_text())["providers"]
    assert inside("grafana", provider["options"]["path"]) == PROJECT_ROOT / "config/grafana/dashboards"


def test_the_platform_of_the_tasks_is_that_of_a_usual_build() -> None:
    for task in ("WorkerTask", "HorizonTask", "OperatorTask"):
        assert properties(task)["RuntimePlatform"]["CpuArchitecture"] == "X86_64"
