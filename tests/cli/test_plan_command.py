"""`kcl-app plan` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run

CALL = ("plan", "--providers", "1000000", "--events-per-second", "100000")


def test_the_tables_name_shards_tasks_units_money_and_every_assumption() -> None:
    done = run(*CALL)
    assert (done.status, done.err) == (0, "")
    for word in (
        "shards",
        "Fargate tasks",
        "write units",
        "storage",
        "in all",
        "python_us",
        "shard_hour",
        "Left out",
    ):
        assert word in done.out


def test_json_is_one_document_with_the_assumptions_in_it() -> None:
    done = run(*CALL, "--json", "--headroom", "0.5", "--assume", "shard_hour=0.02", "--horizon-days", "30")
    assert done.status == 0
    found = json.loads(done.out)
    assert found["shards_by"]["records_in"] == 150
    assert found["dollars"]["Kinesis shards"] == pytest.approx(found["shards"] * 730 * 0.02)
    assert found["dollars_per_month"] == pytest.approx(sum(found["dollars"].values()))
    sources = {one["name"]: (one["value"], one["source"]) for one in found["assumptions"]}
    assert sources["headroom"] == (0.5, "given")
    assert sources["horizon_days"] == (30, "given")
    assert sources["shard_hour"] == (0.02, "given")
    assert sources["mean_share"] == (1.0, "assumed")


def test_the_settings_are_its_defaults(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("environment = 'local'\n[horizon]\ndays = 14\n[worker]\ncached_items = 5000\n")
    found = json.loads(run(*CALL, "--json", "--config", str(config)).out)
    values = {one["name"]: one["value"] for one in found["assumptions"]}
    assert (values["horizon_days"], values["cached_items"]) == (14, 5000)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--providers", "0", "--events-per-second", "1"), "providers must be more than 0, not 0"),
        (("--providers", "1", "--events-per-second", "-5"), "events_per_second must be more than 0, not -5"),
        (
            ("--providers", "1", "--events-per-second", "nan"),
            "events_per_second must be more than 0, not nan",
        ),
        ((*CALL[1:], "--assume", "shard_hour"), "--assume shard_hour: give it as NAME=NUMBER"),
        ((*CALL[1:], "--assume", "shard_hour=much"), "--assume shard_hour=much: give it as NAME=NUMBER"),
        ((*CALL[1:], "--task-vcpu", "3"), "task_vcpu must be one of 1, 2, 4, 8, 16, not 3"),
    ],
)
def test_nonsense_is_one_line_and_status_2(arguments: tuple[str, ...], line: str) -> None:
    done = run("plan", *arguments)
    assert (done.status, done.line()) == (2, f"kcl-app: plan: {line}")


def test_a_call_without_numbers_is_a_wrong_call() -> None:
    done = run("plan")
    assert done.status == 2
    assert "Missing option '--providers'" in done.err
