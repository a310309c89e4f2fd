"""The page about the conformance kit: its tables are complete, and its examples run as a stranger would run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from conformance import wrong, wrong_days  # noqa: F401 - each notes its plugins
from conformance.rules import WRONG

from emr_plugins.testing import CHECKS, Options
from kcl_app.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "plugin-conformance.md").read_text(encoding="utf-8")
CONFORMANCE = PROJECT_ROOT / "tests" / "conformance"
ACME = """
from clinic import Clinic


class AcmePlugin(Clinic):
    name = "acme"
"""


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_check_is_in_the_table_with_what_it_proves() -> None:
    assert [(row[0], row[1]) for row in rows("The checks")] == [
        (f"`{one.name}`", one.proves) for one in CHECKS
    ]
    assert f"`pytest` finds {len(CHECKS)} tests" in PAGE


def test_every_option_is_in_the_table_with_its_default() -> None:
    defaults = {}
    for one in fields(Options):
        value = getattr(Options(), one.name)
        plain = value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
        defaults[f"`{one.name}`"] = "none" if value == () else f"`{plain}`"
    assert {row[0]: row[1] for row in rows("Options")} == {"`rejects`": "none", **defaults}


def test_the_number_of_wrong_plugins_is_right() -> None:
    assert f"{len(WRONG)} of them" in PAGE


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A folder with a plugin AcmePlugin and its samples."""
    shutil.copy(CONFORMANCE / "clinic.py", tmp_path)
    (tmp_path / "acme_plugin.py").write_text(ACME)
    (tmp_path / "samples").mkdir()
    shutil.copy(CONFORMANCE / "samples" / "clinic.json", tmp_path / "samples")
    return tmp_path


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_runs(acme: Path, number: int) -> None:
    source = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]
    file = acme / ("test_acme.py" if "class TestAcme" in source else "run_checks.py")
    file.write_text(source)
    tested = "class TestAcme" in source
    command = [
        sys.executable,
        *(["-m", "pytest", "-q", "-p", "no:cacheprovider"] if tested else []),
        file.name,
    ]
    done = subprocess.run(command, cwd=acme, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if tested:
        assert f"{len(CHECKS)} passed" in done.stdout
    else:
        assert done.stdout.splitlines() == [f"{one.name} passed " for one in CHECKS]


def test_the_message_shown_begins_its_lines_as_messages_do() -> None:
    shown = PAGE[PAGE.index("```\nThe rule") + 4 :].partition("```")[0]
    assert [line.partition(":")[0] for line in shown.splitlines()] == [
        "The rule", "The plugin", "Where", "To mend it",
    ]  # fmt: skip
