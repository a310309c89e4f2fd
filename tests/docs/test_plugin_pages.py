"""The pages about plugins miss nothing of the API and the kit, and name nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from pages import prose

import emr_plugins.api
from kcl_app.cli.plugins import app
from kcl_app.settings import PROJECT_ROOT

REFERENCE = PROJECT_ROOT / "docs" / "plugin-reference.md"
TUTORIAL = PROJECT_ROOT / "docs" / "plugins.md"


def first_cells(page: Path, title: str) -> list[str]:
    """The names in the first column of the tables below a title."""
    parts = re.split(r"^## ", prose(page), flags=re.MULTILINE)
    (part,) = [part for part in parts if part.startswith(f"{title}\n")]
    cells = re.findall(r"^\| (`[^|]+`) \|", part, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_name_of_the_api_is_in_the_reference_and_no_other() -> None:
    found = first_cells(REFERENCE, "The API, version 1")
    of_the_class = {"name", "api_version", "patterns", "Settings", "decode", "impact", "spans"}
    assert len(set(found)) == len(found)
    assert set(found) - of_the_class == set(emr_plugins.api.__all__)
    assert of_the_class <= set(found)


def test_every_command_about_plugins_is_in_the_reference() -> None:
    found = {name.split()[2] for name in first_cells(REFERENCE, "Commands")}
    assert found == {command.name for command in app.registered_commands}


def test_the_examples_import_nothing_of_this_project_but_the_api_and_the_kit() -> None:
    sources = [*(PROJECT_ROOT / "examples").rglob("*.py")]
    template = PROJECT_ROOT / "kcl_app" / "cli" / "plugins" / "template"
    sources += [path for path in template.rglob("*") if "cookiecutter.py" in path.name]
    assert len(sources) > 5
    text = "".join(path.read_text(encoding="utf-8") for path in [*sources, TUTORIAL])
    found = set(
        re.findall(r"^(?:from|import) ((?:emr_plugins|processors|kcl_app)[\w.]*)", text, re.MULTILINE)
    )
    assert found == {"emr_plugins.api", "emr_plugins.testing"}
