"""`kcl-app patterns test`: what it says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kcl_app.cli.main import app
from kcl_app.errors import UserError

EVENT = {
    "kind": "appointment",
    "keys": {"sk": "appointment#1"},
    "newImage": {"status": "booked", "codes": []},
}


def run(folder: Path, pattern: Any, event: Any = EVENT, *more: str) -> tuple[int, str]:
    for name, content in (("pattern", pattern), ("event", event)):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    given = ["--pattern", str(folder / "pattern.json"), "--event", str(folder / "event.json"), *more]
    result = CliRunner().invoke(app, ["patterns", "test", *given])
    if isinstance(result.exception, UserError):
        return result.exception.status, str(result.exception)
    return result.exit_code, result.output


def test_a_match(tmp_path: Path) -> None:
    assert run(tmp_path, {"keys": {"sk": [{"prefix": "appointment#"}]}}) == (0, "It matches.\n")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ({"kind": ["slot"]}, '  kind: must be "slot", and it is "appointment"'),
        ({"kind": ["appointment"], "tenant": ["t"]}, '  tenant: must be "t", and it is not there'),
        ({"oldImage": {"status": ["x"]}}, '  oldImage.status: must be "x", and there is no oldImage'),
        (
            {"newImage": [{"prefix": "a"}]},
            '  newImage: must be {"prefix": "a"}, and there is an object, which has no value itself',
        ),
        ({"newImage": {"codes": [1]}}, "  newImage.codes: must be 1, and it is empty"),
    ],
)
def test_the_first_thing_that_fails(tmp_path: Path, pattern: Any, said: str) -> None:
    assert run(tmp_path, pattern) == (1, f"It does not match.\n{said}\n")


def test_each_alternative_has_its_reason(tmp_path: Path) -> None:
    status, said = run(tmp_path, {"$or": [{"kind": ["slot"]}, {"emr": ["x"]}]}, EVENT, "--json")
    assert status == 1
    told = json.loads(said)
    assert [one["path"] for one in told["obstacles"]] == ["kind", "emr"]
    assert told["matches"] is False


def test_elements_of_a_list_that_do_not_go_together(tmp_path: Path) -> None:
    status, said = run(tmp_path, {"a": {"x": [1], "y": [2]}}, {"a": [{"x": 1}, {"y": 2}]})
    assert status == 1
    assert "a.x, a.y" in said
    assert "not in the same element of a list" in said


@pytest.mark.parametrize(
    ("pattern", "event", "said"),
    [
        ({"a": []}, EVENT, "--pattern: a: an empty list matches nothing"),
        ("{", EVENT, "pattern.json is not JSON, line 1"),
        ({"a": [1]}, [1], "--event: must be a JSON object"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, pattern: Any, event: Any, said: str) -> None:
    status, message = run(tmp_path, pattern, event)
    assert status == 2
    assert said in message


def test_a_missing_file_and_two_standard_inputs(tmp_path: Path) -> None:
    for pattern, event, said in (("none.json", "-", "cannot read none.json"), ("-", "-", "only one of")):
        result = CliRunner().invoke(app, ["patterns", "test", "--pattern", pattern, "--event", event])
        assert isinstance(result.exception, UserError)
        assert (result.exception.status, said in str(result.exception)) == (2, True)
