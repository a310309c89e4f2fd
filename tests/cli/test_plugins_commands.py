"""`kcl-app plugins`: what is said of packages that are installed, broken ones too; and the packages that are made."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from kcl_app.cli.plugins.new import generate

Install = Callable[..., Path]

PLUGIN = """
from pydantic import BaseModel, ConfigDict, Field

from emr_plugins.api import API_VERSION, ItemChange, Slot, StandardEnginePlugin

print("this is printed by {module}")


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int = Field(3, ge=1, description="How many.")


class Plugin(StandardEnginePlugin):
    name = "{name}"
    api_version = {api}

    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        zone: str | None = Field(None, description="[bold]Its[/bold] zone.")
        inner: Inner = Inner()

    patterns = ({{"kind": ["slot"]}},)

    def decode(self, event, context):
        {decode}

    def spans(self, day, items, context):
        return super().spans(day, items, context)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package where Python finds it, with the metadata that pip would have written."""

    def make(name: str, package: str = "", *, api: str = "API_VERSION", decode: str = "return []") -> Path:
        package = package or f"{name}-package"
        module = re.sub(r"\W", "_", package)
        folder = tmp_path / package
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)
        (folder / module).mkdir()
        source = PLUGIN.format(name=name, api=api, decode=decode, module=module)
        (folder / module / "__init__.py").write_text(source)
        info = folder / f"{module}-2.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text(f"[emr_plugins]\n{name} = {module}:Plugin\n")
        return folder / module

    return make


def listed(**environment: str) -> dict[str, dict[str, Any]]:
    done = run("plugins", "list", "--json")
    assert done.status == 0
    return {one["name"]: one for one in json.loads(done.out)}


def test_the_list_tells_what_runs_what_is_refused_and_what_is_left_out(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("fine")
    install("old", api="0")
    install("unwanted")
    allow = '["fine", "old", "gone"]'
    monkeypatch.setenv("SCHEDULING_PLUGINS__ALLOW", allow)
    found = listed()
    assert found["fine"] == {
        "name": "fine", "distribution": "fine-package", "version": "2.1", "state": "runs", "isolated": False, "why": "",
    }  # fmt: skip
    assert (found["old"]["state"], found["old"]["version"]) == ("refused", "2.1")
    assert "it was written for version 0 of the plugin API" in found["old"]["why"]
    assert (found["unwanted"]["state"], found["unwanted"]["why"]) == (
        "left out",
        "plugins.allow leaves it out",
    )
    assert (found["gone"]["state"], found["gone"]["distribution"]) == ("refused", "")
    assert found["standard"]["state"] == "runs"


def test_two_plugins_of_one_name_are_both_refused_by_their_packages(install: Install) -> None:
    install("twin", "one-package")
    install("twin", "other-package")
    done = run("plugins", "list", "--json")
    twins = [one for one in json.loads(done.out) if one["name"] == "twin"]
    assert {(one["distribution"], one["state"]) for one in twins} == {
        ("one-package", "refused"),
        ("other-package", "refused"),
    }
    done = run("plugins", "show", "twin")
    assert (done.status, done.line()) == (
        1,
        "kcl-app: two plugins are called twin: of one-package and other-package; uninstall one of them",
    )


def test_the_table_has_a_line_for_each_plugin(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    install("old", api="0")
    done = run("plugins", "list")
    (line,) = [line for line in done.out.splitlines() if "old-package" in line]
    assert re.search(r"old +│ old-package +│ 2.1 +│ refused: it was written for version 0", line)


def test_what_is_isolated_says_so_and_is_not_imported_here(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install("apart")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    monkeypatch.setenv("SCHEDULING_PLUGINS__ISOLATION", '{"apart": "process"}')
    one = listed()["apart"]
    assert one["isolated"]
    assert "apart_package" not in sys.modules


def test_show_tells_all_that_a_person_must_know(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("fine")
    monkeypatch.setenv("COLUMNS", "140")
    done = run("plugins", "show", "fine", "--json")
    shown = json.loads(done.out)
    assert "this is printed by fine_package" in done.err
    assert shown["api_version"] == 1
    assert shown["own"] == ["decode", "spans"]
    assert shown["patterns"] == [{"kind": ["slot"]}]
    assert shown["entry_point"] == "fine_package:Plugin"
    assert (shown["event_types"], shown["samples"]) == ([], 0)
    settings = {one["name"]: one for one in shown["settings"]}
    assert settings["zone"] == {
        "name": "zone", "type": "text, or unset", "default": None, "required": False,
        "description": "[bold]Its[/bold] zone.",
    }  # fmt: skip
    assert (settings["inner.days"]["type"], settings["inner.days"]["default"]) == (
        "whole number, 1 or more",
        3,
    )
    text = run("plugins", "show", "fine").out
    assert "fine-package 2.1" in text
    assert '{"kind": ["slot"]}' in text
    assert "[bold]Its[/bold] zone." in text
    assert "its own: decode, spans; the standard engine's: impact" in text


def test_show_names_the_event_types_of_the_standard_format_and_of_shipped_samples(install: Install) -> None:
    shown = json.loads(run("plugins", "show", "standard", "--json").out)
    assert set(shown["event_types"]) >= {"appointment", "slot", "time_off", "working_hours"}
    folder = install("fine") / "conformance_samples"
    folder.mkdir()
    (folder / "some.json").write_text('[{"type": "b", "data": 1}, {"type": "a", "data": 1}, {"data": 2}]')
    shown = json.loads(run("plugins", "show", "fine", "--json").out)
    assert (shown["event_types"], shown["samples"]) == (["a", "b", "sample"], 3)


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_plugin_that_is_refused_or_not_there_is_one_line(command: str, install: Install) -> None:
    install("old", api="0")
    done = run("plugins", command, "old")
    assert done.status == 1
    assert done.out == ""
    assert done.err.splitlines()[-1] == (
        "kcl-app: plugin old of old-package 2.1 is refused: it was written for version 0 of the plugin API; "
        "this is version 1"
    )
    done = run("plugins", command, "standart")
    assert done.status == 2
    assert "no installed plugin is called standart (did you mean standard?); installed are: " in done.line()


def test_a_plugin_that_cannot_be_imported_says_in_which_line(install: Install) -> None:
    folder = install("broken")
    file = folder / "__init__.py"
    file.write_text(file.read_text() + "\nnonesuch()\n")
    line = len(file.read_text().splitlines())
    done = run("plugins", "show", "broken")
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "kcl-app: plugin broken of broken-package 2.1 is refused: it failed to load: NameError: name 'nonesuch' is "
        f"not defined (at __init__.py:{line})"
    )
    file.write_text("")
    done = run("plugins", "check", "broken")
    assert "it failed to load: " in done.err.splitlines()[-1]
    assert "Plugin" in done.err.splitlines()[-1]


def outcomes(text: str) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in json.loads(text)}


def test_check_tells_what_failed_and_how_to_mend_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    folder = install("wrong", decode="raise KeyError('x')") / "conformance_samples"
    folder.mkdir()
    (folder / "some.json").write_text('{"data": {}}')
    done = run("plugins", "check", "wrong")
    assert done.status == 1
    assert re.search(r"│ ✗ │ decodes_every_sample +│", done.out)
    assert "\n✗ decodes_every_sample\n  The rule: every sample is understood" in done.out
    assert "decode raised KeyError" in done.out
    assert "To mend it: raise Reject for what cannot be understood" in done.out
    assert re.search(r"\d+ checks, \d+ passed, \d+ failed", done.out)
    told = run("plugins", "check", "wrong", "--json")
    assert told.status == 1
    assert outcomes(told.out)["decodes_every_sample"] == "failed"
    assert outcomes(told.out)["registers"] == "passed"


GOOD = (
    "return [ItemChange('s', Slot(status='free', start='2026-03-09T14:00:00Z', end='2026-03-09T15:00:00Z'), "
    "(context.settings.zone or 'p1',))] if event.type == 'open' else []"
)


def test_check_takes_samples_and_a_tenants_settings(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("fine", decode=GOOD)
    done = run("plugins", "check", "fine", "--json")
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "it ships no samples, so most checks had nothing to look at: --samples GLOB"
    )
    (tmp_path / "one.json").write_text('{"type": "open", "data": {}}')
    (tmp_path / "two.json").write_text('{"type": "other", "data": {}}')
    glob = str(tmp_path / "*.json")
    told = outcomes(run("plugins", "check", "fine", "--samples", glob, "--json").out)
    assert told["decodes_every_sample"] == "failed"
    one = ("plugins", "check", "fine", "--samples", str(tmp_path / "one.json"), "--json")
    assert outcomes(run(*one).out)["decodes_every_sample"] == "passed"
    monkeypatch.setenv("SCHEDULING_TENANTS", '{"t": {"plugins": {"fine": {"no_such": 1}}}}')
    done = run(*one, "--tenant", "t")
    assert (done.status, done.err.splitlines()[-1]) == (
        2,
        "kcl-app: tenants.t.plugins.fine.no_such: there is no such name here",
    )
    monkeypatch.setenv("SCHEDULING_TENANTS", '{"t": {"plugins": {"fine": {"zone": "p2"}}}}')
    assert outcomes(run(*one, "--tenant", "t").out)["settings"] == "passed"
    monkeypatch.setenv("SCHEDULING_ANY_TENANT", "false")
    done = run(*one, "--tenant", "u")
    assert (done.status, done.err.splitlines()[-1]) == (
        2,
        "kcl-app: --tenant: the settings list no tenant u",
    )
    done = run("plugins", "check", "fine", "--samples", "none/*.json")
    assert done.status == 2
    assert "no file matches" in done.err.splitlines()[-1]


# new ------------------------------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_package_has_all_that_one_needs(tmp_path: Path) -> None:
    done = run("plugins", "new", "north_west", "--directory", str(tmp_path))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"made {tmp_path}/north-west-plugin\n")
    made = files(tmp_path / "north-west-plugin")
    assert {
        ".gitignore", "README.md", "pyproject.toml", "setup.cfg", "src/north_west_plugin/__init__.py",
        "src/north_west_plugin/plugin.py", "src/north_west_plugin/conformance_samples/visits.json",
        "src/north_west_plugin/conformance_samples/rejects/wrong.json", "tests/test_conformance.py",
        "tests/test_decode.py",
    } <= set(made)  # fmt: skip
    assert all(f"  {name}\n" in done.out for name in made)
    assert "class NorthWestPlugin(StandardEnginePlugin):" in made["src/north_west_plugin/plugin.py"]
    assert "north_west = north_west_plugin:NorthWestPlugin" in made["setup.cfg"]
    for name, text in made.items():
        assert "cookiecutter" not in text, name
        assert "{{" not in text, name
        if name.endswith(".py"):
            compile(text, name, "exec")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Acme",
            "'Acme' cannot be the name of a plugin: it is the `emr` of its events, of lower-case letters, ",
        ),
        ("north-west", "such as north_west"),
        ("2x", "such as x"),
        ("../up", "such as up"),
        ("", "'' cannot be the name of a plugin"),
        ("a" * 65, "64 at most"),
        ("standard", "standard is a plugin that scheduling-kcl-app brings itself: choose another name"),
        ("fhir_r4", "fhir_r4 is a plugin that scheduling-kcl-app brings itself: choose another name"),
    ],
)
def test_a_name_that_cannot_be_is_one_line(name: str, said: str, tmp_path: Path) -> None:
    done = run("plugins", "new", name, "--directory", str(tmp_path))
    assert done.status == 2
    assert said in done.line()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over_unless_it_is_forced(tmp_path: Path) -> None:
    folder = tmp_path / "acme-plugin"
    generate("acme", tmp_path)
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    before = files(folder)
    done = run("plugins", "new", "acme", "--directory", str(tmp_path))
    assert (done.status, done.line()) == (
        2,
        f"kcl-app: {folder} is there already: choose another name or --directory, or --force to write into it",
    )
    assert files(folder) == before
    done = run("plugins", "new", "acme", "--directory", str(tmp_path), "--force")
    assert done.status == 0
    after = files(folder)
    assert after["README.md"].startswith("# acme-plugin")
    assert after["notes.txt"] == "mine"


def test_a_folder_that_is_not_there_and_a_file_in_the_way_are_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    done = run("plugins", "new", "acme", "--directory", str(gone))
    assert (done.status, done.line()) == (2, f"kcl-app: --directory: there is no folder {gone}")
    (tmp_path / "acme-plugin").write_text("a file")
    for more in ((), ("--force",)):
        done = run("plugins", "new", "acme", "--directory", str(tmp_path), *more)
        assert (done.status, done.line()) == (
            2,
            f"kcl-app: {tmp_path}/acme-plugin is there already: choose another name or --directory",
        )


def test_nothing_is_written_into_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert run("plugins", "new", "acme", "--directory", str(tmp_path)).status == 0
    assert list(home.iterdir()) == []
