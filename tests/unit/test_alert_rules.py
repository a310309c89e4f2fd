"""The alert rules: promtool accepts them, each fires and keeps silent where it should, and each has its runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring import CASES, JOB, PROMETHEUS, RULES, Rule, alerts, quicker, rules, seconds_of, tool

from kcl_app.metrics import PIPELINE_AGE
from kcl_app.settings import PROJECT_ROOT

RUNBOOKS = PROJECT_ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "What patients see", "First look", "Mend", "Escalate"]
CONFIGURATIONS = ["prometheus.yml", "compose.yml"]
SEVERITIES = {"page": "**Page: somebody gets up.**", "ticket": "**Ticket: in working hours.**"}


def named(rule: Rule) -> str:
    """An alert's name, and the window that tells those of one name apart."""
    return " ".join([rule["alert"], *([rule["labels"]["window"]] if "window" in rule["labels"] else [])])


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> None:
    done = subprocess.run(
        [tool("promtool"), *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_every_rule() -> None:
    promtool("check", "rules", *(str(file) for file in RULES))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_promtool_accepts_the_configuration(name: str) -> None:
    promtool("check", "config", name)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_and_keep_silent_as_the_cases_say(file: Path) -> None:
    promtool("test", "rules", str(file))


def cases() -> list[dict[str, Any]]:
    return [
        case
        for file in CASES
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]


@pytest.mark.parametrize("rule", alerts(), ids=named)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(rule: Rule) -> None:
    of_it = [case["exp_alerts"] for case in cases() if case["alertname"] == rule["alert"]]
    window = rule["labels"].get("window")
    fires = [any(one["exp_labels"].get("window") == window for one in expected) for expected in of_it]
    assert any(fires), "one that fires is missing"
    assert not all(fires), "one that keeps silent is missing"
    assert all(one["exp_annotations"]["summary"] for expected in of_it for one in expected)


def test_the_cases_know_no_other_alert() -> None:
    assert {case["alertname"] for case in cases()} == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=named)
def test_every_alert_says_what_it_is_and_where_its_runbook_lies(rule: Rule) -> None:
    name, labels, annotations = rule["alert"], rule["labels"], rule["annotations"]
    assert re.fullmatch(r"Scheduling([A-Z][a-z]+)+", name)
    assert labels["severity"] in SEVERITIES
    assert set(labels) <= {"severity", "window"}
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["description"].endswith(".")
    assert not annotations["summary"].endswith(".")
    base = '{{ or $externalLabels.runbooks "docs/runbooks" }}'
    assert annotations["runbook_url"] == f"{base}/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n\n{SEVERITIES[labels['severity']]}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS


def test_every_runbook_is_of_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {rule["alert"] for rule in alerts()}


def test_the_page_on_alerts_has_a_row_for_each_with_its_severity() -> None:
    text = (PROJECT_ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|", text, re.MULTILINE)
    assert all(name == file for name, file, _ in rows)
    assert len(rows) == len({name for name, _, _ in rows})
    assert {(name, severity) for name, _, severity in rows} == {
        (rule["alert"], rule["labels"]["severity"]) for rule in alerts()
    }


def queries_of(page: Path) -> list[str]:
    return re.findall(r"^```promql\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_queries_of_the_runbooks_are_promql(tmp_path: Path) -> None:
    found = [query for page in sorted(RUNBOOKS.glob("*.md")) for query in queries_of(page)]
    assert len(found) >= len(list(RUNBOOKS.glob("*.md")))
    made = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    promtool("check", "rules", "--lint=none", str(file))


def test_limits_are_there_and_used() -> None:
    """A limit that is missing is no number, and its alert would keep silent for ever."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set(
        re.findall(r"scalar\((scheduling:limit:\w+)\)", " ".join(str(rule["expr"]) for rule in alerts()))
    )
    assert used == {name for name in recorded if name.startswith("scheduling:limit:")}


def test_recorded_series_are_there_and_used() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named_in_rules = set(re.findall(r"scheduling:\w+:\w+", " ".join(str(rule["expr"]) for rule in rules())))
    assert named_in_rules <= recorded
    boards = " ".join(path.read_text() for path in (PROJECT_ROOT / "config" / "grafana").rglob("*.json"))
    assert recorded <= named_in_rules | set(re.findall(r"scheduling:\w+:\w+", boards))


def test_the_promise_is_a_bucket_of_the_histogram() -> None:
    text = (PROMETHEUS / "rules" / "slo.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'le="([^"]+)"', text)) == {"60.0"}
    assert 60.0 in PIPELINE_AGE.buckets


def test_the_job_of_the_rules_is_that_of_the_configuration() -> None:
    for name in CONFIGURATIONS:
        config = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
        assert [one["job_name"] for one in config["scrape_configs"]] == [JOB]
    assert f"job_name: {JOB}\n" in (PROJECT_ROOT / "deploy" / "ecs" / "service.yaml").read_text(
        encoding="utf-8"
    )
    used = re.findall(r'job="([^"]+)"', " ".join(str(rule["expr"]) for rule in rules()))
    assert set(used) == {JOB}


# Rules that run quicker, for the test of a real worker ----------------------------------------------------------------


def test_durations_are_read_as_prometheus_reads_them() -> None:
    assert seconds_of("1h30m") == 5400
    assert seconds_of("250ms") == 0.25
    assert seconds_of("2w") == 1_209_600
    with pytest.raises(ValueError, match="no duration"):
        seconds_of("5")


def test_quicker_rules_differ_in_time_alone() -> None:
    given = {
        "groups": [
            {
                "name": "g",
                "rules": [
                    {"record": "scheduling:limit:wait_seconds", "expr": 600},
                    {"record": "scheduling:limit:share_ratio", "expr": 0.5},
                    {
                        "alert": "A",
                        "expr": "rate(x[1h]) > 5 and rate(x[5m] offset 10m) > 60 and y_5m > 3",
                        "for": "15m",
                        "labels": {"severity": "page"},
                    },
                    {"record": "x:y:rate1h", "expr": "rate(x[3s])"},
                ],
            }
        ]
    }
    (group,) = quicker(given, 60, 10)["groups"]
    wait, share, alert, short = group["rules"]
    assert (wait["expr"], share["expr"]) == ("10.0", "0.5")
    assert alert == {
        "alert": "A",
        "expr": "rate(x[60000ms]) > 5 and rate(x[10000ms] offset 10000ms) > 60 and y_5m > 3",
        "for": "15000ms",
        "labels": {"severity": "page"},
    }
    assert short == {"record": "x:y:rate1h", "expr": "rate(x[3000ms])"}


def test_the_projects_rules_are_rules_also_when_they_run_quicker(tmp_path: Path) -> None:
    for file in RULES:
        made = quicker(yaml.safe_load(file.read_text(encoding="utf-8")), 60, 10)
        assert len(rules([file])) == sum(len(group["rules"]) for group in made["groups"])
        (tmp_path / file.name).write_text(yaml.safe_dump(made))
    promtool("check", "rules", *(str(path) for path in tmp_path.glob("*.yml")))
