"""The dashboards: as the code makes them, as Grafana reads them, and about metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from monitoring import RULES, filled_in, rules, tool

from kcl_app.metrics import ALL
from kcl_app.plan import Prices
from kcl_app.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "config" / "grafana" / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
PAGES = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
WIDTH = 24
"""Columns of Grafana's grid."""

NOWHERE: dict[str, str] = {}
"""Metrics on no dashboard and in no rule, and why that is right."""

Board = dict[str, Any]

boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())


def panels(board: Board) -> list[dict[str, Any]]:
    """All but the titles of rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: Board) -> Iterator[str]:
    for panel in panels(board):
        yield from (target["expr"] for target in panel.get("targets", []))


def test_there_are_the_four_dashboards() -> None:
    assert set(BOARDS) == {"overview", "shard", "plugin", "cost"}
    assert len({board["uid"] for board in BOARDS.values()}) == 4


def test_the_files_are_what_the_code_makes() -> None:
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "generate_dashboards.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@boards
def test_grafanas_own_model_reads_it_without_loss(board: Board) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    for panel in again["panels"]:
        assert panel.keys()
    assert again == board


@boards
def test_every_panel_says_what_is_good_and_where_to_go_on(board: Board) -> None:
    known = {rule["alert"] for rule in rules() if "alert" in rule}
    for panel in panels(board):
        assert panel["title"]
        if panel["type"] == "text":
            continue
        told = panel["description"]
        assert " Good: " in told, panel["title"]
        assert told.endswith(".")
        linked = {link["url"] for link in panel.get("links", [])}
        runbooks = set(re.findall(r"docs/runbooks/(\w+)\.md", told))
        assert linked == {f"${{runbooks}}/{name}.md" for name in runbooks}, panel["title"]
        assert runbooks <= known
        assert "unit" in panel["fieldConfig"]["defaults"] or panel["type"] in ("table", "state-timeline")
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))


@boards
def test_panels_fill_the_grid_and_do_not_overlap(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells
    for row in {y for _, y in taken}:
        assert {x for x, y in taken if y == row} == set(range(WIDTH)), f"a hole in line {row}"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@boards
def test_what_can_be_chosen_is_used(board: Board) -> None:
    variables = [one["name"] for one in board["templating"]["list"]]
    assert variables[:3] == ["datasource", "job", "instance"]
    assert variables[-1] == "runbooks"
    text = json.dumps(board)
    assert all(re.search(rf"\$\{{?{name}\b", text) for name in variables)
    used = set(re.findall(r"\$([a-z_]+)", " ".join(queries(board)))) - {"__rate_interval"}
    assert used <= set(variables)


def test_the_overview_answers_in_its_upper_row() -> None:
    upper = [panel["title"] for panel in panels(BOARDS["overview"]) if panel["gridPos"]["y"] == 0]
    assert upper == [
        "State",
        "Worst lag",
        "Lag gained per second",
        "Visible within 60 s",
        "Records per second",
        "Dead letters, last hour",
        "Stale days, last hour",
        "Workers ready",
    ]
    below = [panel for panel in panels(BOARDS["overview"]) if panel["gridPos"]["y"] == 4]
    assert below[0]["title"] == "What is wrong, and what to do"
    assert "ALERTS" in below[0]["targets"][0]["expr"]


def test_the_prices_are_those_of_the_plan() -> None:
    typed_in = {one["name"]: one["query"] for one in BOARDS["cost"]["templating"]["list"]}
    for name, value in vars(Prices()).items():
        if name in typed_in:
            assert float(typed_in[name]) == value


def test_every_query_is_promql(tmp_path: Path) -> None:
    """Prometheus' own parser reads them all, as rules."""
    made = [
        {"record": f"query:{name}:{number}", "expr": filled_in(expr, board)}
        for name, board in BOARDS.items()
        for number, expr in enumerate(queries(board))
    ]
    assert len(made) > 80
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    done = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Names of metrics -----------------------------------------------------------------------------------------------------


def exported() -> dict[str, str]:
    """What a scrape shows: name of a series → name of its metric."""
    found = {}
    for metric in ALL:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found.update({f"{metric.name}{ending}": metric.name for ending in endings})
    return found


def names(text: str) -> set[str]:
    """Names that look like those of metrics."""
    return set(re.findall(r"(?<![\w:/.-])scheduling_[a-z0-9_]*[a-z0-9](?![\w:]*\()", text))


RULE_TEXT = " ".join(file.read_text(encoding="utf-8") for file in RULES)
BOARD_TEXT = " ".join(
    json.dumps(board["panels"]) + json.dumps(board["templating"]) for board in BOARDS.values()
)


@pytest.mark.parametrize("text", [RULE_TEXT, BOARD_TEXT], ids=["rules", "dashboards"])
def test_rules_and_dashboards_name_series_that_exist(text: str) -> None:
    assert names(text) - set(exported()) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_docs_name_metrics_that_exist(page: Path) -> None:
    known = set(exported()) | {metric.name for metric in ALL} | {"scheduling_kcl_app"}
    assert names(page.read_text(encoding="utf-8")) - known == set()


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    seen = {exported()[name] for name in names(RULE_TEXT) | names(BOARD_TEXT) if name in exported()}
    assert {metric.name for metric in ALL} - seen == set(NOWHERE)


def test_rules_and_dashboards_ask_for_labels_that_a_metric_has() -> None:
    labels = {metric.name: {*metric.labels, "job", "instance", "le"} for metric in ALL}
    for text in [
        *(str(rule["expr"]) for rule in rules()),
        *(q for board in BOARDS.values() for q in queries(board)),
    ]:
        for name, inside in re.findall(r"(scheduling_[a-z0-9_]+)\{([^}]*)\}", text):
            asked = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", inside))
            assert asked <= labels[exported()[name]], f"{name}: {asked}"
