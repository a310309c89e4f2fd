"""The kit finds what is wrong: each wrong plugin fails the checks of its rule and no others; the right one none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance import wrong, wrong_days  # noqa: F401 - each notes its plugins
from conformance.clinic import Clinic
from conformance.rules import WRONG
from emr_plugins.testing import CHECKS, check

SAMPLES = Path(__file__).parent / "samples"


def results(plugin: Any) -> dict[str, Any]:
    found = check(
        plugin, SAMPLES / "clinic.json", rejects=SAMPLES / "clinic_rejects.json", runs=12, call_seconds=1
    )
    assert [one.name for one in found] == [one.name for one in CHECKS]
    return {one.name: one for one in found}


def test_the_right_one_passes_every_check() -> None:
    assert {one.outcome for one in results(Clinic).values()} == {"passed"}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_wrong_one_is_found_by_the_checks_of_its_rule(plugin: Any) -> None:
    expected, says = WRONG[plugin]
    found = results(plugin)
    failed = {name: one.message for name, one in found.items() if one.outcome == "failed"}
    assert set(failed) == expected, "\n\n".join(failed.values())
    assert any(says in message for message in failed.values()), failed
    for message in failed.values():
        lines = message.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["The rule", "The plugin", "Where", "To mend it"]
        assert all(line.partition(": ")[2].strip() for line in lines)


def test_every_check_finds_something() -> None:
    assert {name for names, _ in WRONG.values() for name in names} == {one.name for one in CHECKS}
