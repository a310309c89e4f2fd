"""All commands: help, versions, and that whatever a person gets wrong is one line and a status, never a traceback."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import Done, run, run_alone
from rich.console import Console

from kcl_app.cli.main import app
from kcl_app.cli.spans import document, table
from kcl_app.engine import horizon
from kcl_app.engine.dead_letters import Letter
from kcl_app.engine.queries import Answer
from processors import __version__
from processors.errors import Fatal, Retry
from processors.keys import ProviderKey

NO_CLOUD = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""
SPANS = ("spans", "--tenant", "t", "--emr", "e", "--provider", "p")
DATES = ("--from", "2026-03-09", "--to", "2026-03-10")


def commands() -> list[tuple[str, ...]]:
    """Every command there is, those of groups included."""
    found: list[tuple[str, ...]] = []

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found.append(path)
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()
GROUPS = ((), ("local",), ("dead-letters",), ("patterns",), ("plugins",))
WITHOUT_SETTINGS = (("patterns", "test"), ("plugins", "new"))


def test_the_commands_are_those_promised() -> None:
    promised = {
        "worker",
        "local",
        "put",
        "simulate",
        "try",
        "spans",
        "advance-horizon",
        "recompute",
        "replay",
    }
    assert promised <= {path[0] for path in COMMANDS if path}
    assert {("local", "start"), ("local", "stop"), ("local", "status")} <= set(COMMANDS)
    assert {("plugins", name) for name in ("new", "list", "show", "check")} <= set(COMMANDS)
    assert {("dead-letters", name) for name in ("list", "show", "redrive", "drop")} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert (done.status, done.err) == (0, "")
    assert "Usage: kcl-app " + " ".join(command) in done.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_option_is_a_wrong_call(command: tuple[str, ...]) -> None:
    done = run(*command, "--no-such-option")
    assert done.status == 2
    assert "No such option" in done.err
    assert "Traceback" not in done.err


def test_the_version_is_the_packages() -> None:
    assert run("--version") == Done(0, f"kcl-app {__version__}\n", "")
    script = Path(sys.executable).with_name("kcl-app")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"kcl-app {__version__}\n"


def test_a_command_that_there_is_not() -> None:
    done = run("nonsense")
    assert done.status == 2
    assert "No such command" in done.err


WITH_SETTINGS: list[tuple[str, ...]] = [
    ("try", "-"),
    ("put", "-"),
    (*SPANS, *DATES),
    ("advance-horizon",),
    ("dead-letters", "list"),
    ("recompute", "--tenant", "t"),
    ("replay", "--from", "1h"),
    ("simulate", "--events", "1"),
    ("worker",),
    ("local", "status"),
    ("plugins", "list"),
    ("plugins", "show", "standard"),
    ("plugins", "check", "standard"),
]


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=lambda command: " ".join(command[:2]))
def test_settings_that_are_wrong_are_one_line_and_status_2(command: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[stream]\nnmae = 'x'\n")
    done = run(*command, "--config", str(config))
    assert done.status == 2
    assert done.line() == (
        f"kcl-app: stream.nmae: there is no such name here (in {config} or the environment; see docs/settings.md)"
    )
    gone = tmp_path / "gone.toml"
    done = run(*command, "--config", str(gone))
    assert (done.status, done.line()) == (2, f"kcl-app: cannot read {gone}: No such file or directory")


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=lambda command: " ".join(command[:2]))
def test_an_unknown_variable_is_one_line_and_status_2(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULING_STERAM__NAME", "x")
    done = run(*command)
    assert done.status == 2
    assert (
        done.line() == "kcl-app: SCHEDULING_STERAM__NAME (environment): no such setting; see docs/settings.md"
    )


@pytest.mark.parametrize("command", ["try", "put"])
def test_a_file_that_is_not_there_is_one_line_and_status_2(command: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    done = run(command, str(gone))
    assert (done.status, done.line()) == (2, f"kcl-app: cannot read {gone}: No such file or directory")
    done = run(command, str(tmp_path))
    assert (done.status, done.line()) == (2, f"kcl-app: cannot read {tmp_path}: Is a directory")


@pytest.mark.parametrize(
    "arguments",
    [
        ("try",),
        ("try", "-", "--today", "tomorrow"),
        ("try", "-", "--today", "2026-02-30"),
        ("try", "-", "--today", "03/09/2026"),
        ("try", "-", "--horizon", "0"),
        ("try", "-", "--horizon", "731"),
        ("try", "-", "--horizon", "x"),
        SPANS,
        (*SPANS, "--from", "2026-03-09", "--to", "soon"),
        ("simulate", "--events", "-1"),
        ("simulate", "--disorder", "2"),
        ("worker", "--port", "65536"),
        ("local", "start", "--shards", "0"),
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_a_wrong_call(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("today", ["9999-12-31", "0001-01-01"])
def test_a_today_that_no_calendar_reaches_is_one_line(today: str) -> None:
    done = run("try", "-", "--today", today)
    assert done.status == 2
    assert done.line().startswith("kcl-app: today: the year must lie between ")


def test_dates_the_wrong_way_round_are_one_line() -> None:
    done = run(*SPANS, "--from", "2026-03-10", "--to", "2026-03-09")
    assert (done.status, done.line()) == (2, "kcl-app: --to is before --from")


@pytest.mark.parametrize("command", [(*SPANS, *DATES), ("advance-horizon",)], ids=lambda command: command[0])
def test_without_a_cloud_it_is_one_line_and_status_1(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULING_AWS__ENDPOINT_URL", NO_CLOUD)
    done = run(*command)
    assert done.status == 1
    assert done.line() == (
        "kcl-app: DynamoDB cannot be reached (EndpointConnectionError) "
        "(is the local cloud running? `kcl-app local start`)"
    )


def test_what_ends_in_a_process_of_its_own_ends_the_same() -> None:
    done = run_alone(*SPANS, *DATES, SCHEDULING_AWS__ENDPOINT_URL=NO_CLOUD)
    assert done.status == 1
    assert done.line().startswith("kcl-app: DynamoDB cannot be reached")
    done = run_alone("try", "-", SCHEDULING_AWS="nonsense")
    assert done.status == 2
    assert done.line().startswith("kcl-app: SCHEDULING_AWS (environment): a list or a section must be JSON")


def test_a_reader_that_stops_reading_is_no_error_to_speak_of() -> None:
    done = subprocess.run(
        f"{sys.executable} -m kcl_app.cli.main simulate --events 20000 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.fixture
def day() -> Callable[..., Answer]:
    def make(spans: list[tuple[str, str]], status: str = "fresh", reason: str | None = None) -> Answer:
        shown = [
            {"start": a, "end": b, "location_id": "[/l1]", "service_types": ["a", "b"], "capacity": 2}
            for a, b in spans
        ]
        return Answer("2026-03-09", shown, status, reason, "2026-03-01T00:00:00Z", "now", "standard")

    return make


KEY = ProviderKey("t", "e", "p")


def test_spans_are_published_as_they_are_stored(day: Callable[..., Answer]) -> None:
    one = day([("2026-03-09T14:00:00Z", "2026-03-09T15:00:00Z")])
    assert document(KEY, one) == {
        "tenant": "t", "emr": "e", "provider_id": "p", "date": "2026-03-09", "spans": one.spans,
    }  # fmt: skip


def test_a_stale_day_says_so(day: Callable[..., Answer]) -> None:
    shown = document(KEY, day([], "stale", "plugin_failed: why"))
    assert (shown["status"], shown["reason"]) == ("stale", "plugin_failed: why")


def test_the_table_shows_times_and_takes_nothing_for_markup(day: Callable[..., Answer]) -> None:
    answers = [
        day([("2026-03-09T14:00:00Z", "2026-03-10T00:30:15Z")]),
        day([]),
        day([], "stale", "plugin_failed: [/nonsense]"),
    ]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table("p [/of] t\x1b", answers))
    text = console.export_text()
    assert "14:00 – 03-10 00:30:15" in text
    assert "[/l1]" in text
    assert "no free time" in text
    assert "stale: plugin_failed: [/nonsense]" in text
    assert "\x1b" not in text
    assert f"{date(2026, 3, 9):%a}" in text


@pytest.mark.parametrize(
    "command", [path for path in COMMANDS if path not in (*GROUPS, *WITHOUT_SETTINGS)], ids=" ".join
)
def test_every_command_takes_a_settings_file(command: tuple[str, ...]) -> None:
    assert "--config" in run(*command, "--help").out


class FailingEngine:
    """Advances every provider but two: one that a store cannot serve now, one that something is wrong with."""

    def __init__(self) -> None:
        self.settler = self.providers = self.dead_letters = self
        self.forgotten: list[str] = []
        self.letters: list[Letter] = []

    def advance(self, key: ProviderKey) -> bool:
        if key.provider == "busy":
            raise Retry("throttled")
        if key.provider == "odd":
            raise ValueError("an item of unknown kind")
        if key.provider == "gone":
            raise Fatal("no such table")
        return True

    def forget(self, key: ProviderKey) -> None:
        self.forgotten.append(key.provider)

    def send(self, letters: list[Letter]) -> None:
        self.letters += letters


def test_a_provider_that_cannot_be_advanced_does_not_keep_the_others_from_it() -> None:
    engine: Any = FailingEngine()
    keys = [ProviderKey("t", "e", name) for name in ("a", "busy", "odd", "z")]
    result = horizon.advance(engine, keys, lambda: None)
    assert (result.providers, result.advanced, result.failed) == (4, 2, 2)
    assert engine.forgotten == ["a", "busy", "odd", "z"]
    assert [(one.reason, one.provider) for one in engine.letters] == [("processing_failed", keys[2].pk())]


def test_tables_that_are_not_there_end_the_job() -> None:
    engine: Any = FailingEngine()
    with pytest.raises(Fatal):
        horizon.advance(engine, [ProviderKey("t", "e", "gone")], lambda: None)
