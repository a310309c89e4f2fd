"""For tests of alerts: the rules as data, a quicker version of them, and a real Prometheus that evaluates them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcl_app.settings import PROJECT_ROOT

PROMETHEUS = PROJECT_ROOT / "config" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
JOB = "scheduling-kcl-app"
"""What prometheus.yml calls the job that scrapes workers; a test holds it to that."""

Rule = dict[str, Any]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
_PART = r"\d+(?:ms|[smhdwy])"
_DURATION = re.compile(rf"(?:{_PART})+")
_IN_EXPRESSION = re.compile(rf"(?<=\[)(?:{_PART})+(?=\])|(?<=offset )(?:{_PART})+")


def tool(name: str) -> str:
    """Where a program of Prometheus' package is; a test that needs it fails without it."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing; install Debian's package: apt-get install prometheus", pytrace=False)
    return found


def rules(files: Sequence[Path] = RULES) -> list[Rule]:
    """Every rule of these files, in their order."""
    return [
        rule
        for file in files
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts(files: Sequence[Path] = RULES) -> list[Rule]:
    """Every alerting rule of these files."""
    return [rule for rule in rules(files) if "alert" in rule]


def seconds_of(duration: str) -> float:
    """A duration of Prometheus in seconds."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"no duration: {duration}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def quicker(document: Mapping[str, Any], factor: float, least: float) -> dict[str, Any]:
    """A file of rules in which all time runs quicker, and nothing else is changed.

    Divided by the factor are: `interval`, `for` and `keep_firing_for`, ranges (``[5m]``) and offsets within
    expressions, and the values of limits whose names end in ``_seconds``. What would be shorter than `least` is that
    long, or as long as it was, so that a range still holds some scrapes; limits of less than that as well. Names of
    recorded series stay as they are, since other rules and dashboards know them by these.

    Args:
        document: of YAML.
        factor: how much quicker.
        least: in seconds.
    """

    def shorter(seconds: float) -> float:
        return max(seconds / factor, min(seconds, least))

    def span(match: re.Match[str]) -> str:
        return f"{round(shorter(seconds_of(match[0])) * 1000)}ms"

    groups = []
    for group in document["groups"]:
        made = {**group, "interval": "1s", "rules": []}
        for rule in group["rules"]:
            one = {**rule, "expr": str(rule["expr"])}
            name = str(rule.get("record", ""))
            if name.startswith("scheduling:limit:"):
                if name.endswith("_seconds"):
                    one["expr"] = repr(shorter(float(rule["expr"])))
            else:
                one["expr"] = _IN_EXPRESSION.sub(span, one["expr"])
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    one[key] = _DURATION.sub(span, rule[key])
            made["rules"].append(one)
        groups.append(made)
    return {"groups": groups}


def filled_in(expr: str, board: Mapping[str, Any]) -> str:
    """A dashboard's query as Grafana sends it while everything is chosen."""
    for variable in board["templating"]["list"]:
        typed_in = variable["type"] == "textbox"
        expr = re.sub(rf"\${variable['name']}\b", variable["query"] if typed_in else ".*", expr)
    return expr.replace("$__rate_interval", "1m")


class Prometheus:
    """A running server.

    Args:
        url: where it answers.
        process: it.
        log: what it printed.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url, self.process, self.log = url, process, log

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of an expression, now."""
        found = self.ask("query", query=expr)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def firing(self) -> list[dict[str, str]]:
        """Labels of the alerts that fire now."""
        return [one["labels"] for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def prometheus(folder: Path, port: int, targets: Sequence[str], interval: float) -> Iterator[Prometheus]:
    """A Prometheus on 127.0.0.1, with the rules of the folder ``rules`` within `folder`; ended with the block.

    Args:
        folder: for its configuration, its data and its log.
        port: a free one.
        targets: workers, as ``host:port``.
        interval: between two scrapes, in seconds.
    """
    config = {
        "global": {
            "scrape_interval": f"{interval:g}s",
            "scrape_timeout": f"{interval:g}s",
            "evaluation_interval": "1s",
        },
        "rule_files": [str(folder / "rules" / "*.yml")],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / "prometheus.log"
    command = [
        tool("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    server = Prometheus(f"http://127.0.0.1:{port}", process, log)
    try:
        end = time.monotonic() + 60
        while not server.ready():
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < end, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
