"""Event patterns, so far the exact values: what matches, and what is no pattern and where."""

from __future__ import annotations

from typing import Any

import pytest

from emr_plugins.patterns import EventPattern, InvalidPattern

EVENT = {
    "eventName": "MODIFY",
    "kind": "appointment",
    "newImage": {
        "status": "booked",
        "capacity": 1,
        "price": 1.5,
        "urgent": True,
        "remote": False,
        "zero": 0,
        "note": None,
        "empty": "",
        "codes": ["new", "follow-up", 3, None],
        "nothing": [],
        "weekly": [{"days": ["mon"]}],
        "deep": {"er": {"still": "here"}},
    },
}


def new(**image: Any) -> dict[str, Any]:
    return {"newImage": image}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({}, True),
        ({"kind": ["appointment"]}, True),
        ({"kind": ["slot", "appointment"]}, True),
        ({"kind": ("appointment",)}, True),
        ({"kind": ["slot"]}, False),
        ({"kind": ["Appointment"]}, False),
        ({"kind": ["appoint"]}, False),
        ({"kind": ["appointment"], "eventName": ["MODIFY"]}, True),
        ({"kind": ["appointment"], "eventName": ["INSERT"]}, False),
        (new(status=["booked"]), True),
        ({"kind": ["appointment"], **new(status=["booked", "noshow"])}, True),
        ({"kind": ["appointment"], **new(status=["noshow"])}, False),
        (new(capacity=[1]), True),
        (new(capacity=[1.0]), True),
        (new(price=[1.5]), True),
        (new(capacity=["1"]), False),
        (new(capacity=[2]), False),
        (new(urgent=[True]), True),
        (new(urgent=[False]), False),
        (new(remote=[False]), True),
        (new(note=[None]), True),
        (new(note=["x", None]), True),
        (new(note=[""]), False),
        (new(note=[0]), False),
        (new(empty=[""]), True),
        (new(empty=[None]), False),
        (new(deep={"er": {"still": ["here"]}}), True),
        (new(deep={"er": {"still": ["gone"]}}), False),
        (new(deep={"er": {"gone": ["here"]}}), False),
        (new(deep=["here"]), False),
    ],
)
def test_a_field_must_have_one_of_the_values(pattern: dict[str, Any], matches: bool) -> None:
    assert EventPattern(pattern).matches(EVENT) is matches


@pytest.mark.parametrize(
    ("value", "field"),
    [(1, "urgent"), (0, "remote"), (True, "capacity"), (False, "zero"), ("true", "urgent")],
)
def test_booleans_are_not_numbers(value: Any, field: str) -> None:
    assert not EventPattern(new(**{field: [value]})).matches(EVENT)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (new(codes=["new"]), True),
        (new(codes=["follow-up", "other"]), True),
        (new(codes=[3]), True),
        (new(codes=[None]), True),
        (new(codes=["other"]), False),
        (new(nothing=["new"]), False),
        (new(nothing=[None]), False),
        (new(weekly=["mon"]), False),
        (new(weekly={"days": ["mon"]}), False),
    ],
)
def test_of_an_array_one_element_is_enough(pattern: dict[str, Any], matches: bool) -> None:
    assert EventPattern(pattern).matches(EVENT) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        {"oldImage": {"status": ["booked"]}},
        {"missing": [None]},
        {"kind": {"of": ["x"]}},
        new(missing=["", None, 0]),
    ],
)
def test_a_field_that_is_not_there_matches_nothing(pattern: dict[str, Any]) -> None:
    assert not EventPattern(pattern).matches(EVENT)


def test_only_the_empty_pattern_matches_everything() -> None:
    assert EventPattern({}).everything
    assert EventPattern({}).matches({})
    assert not EventPattern({"kind": ["slot"]}).everything


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "the pattern: must be an object"),
        (None, "the pattern: must be an object"),
        ("kind", "the pattern: must be an object"),
        ({1: ["x"]}, "the pattern: names must be texts"),
        ({"kind": "slot"}, "kind: must be an object or a list of values"),
        ({"kind": 1}, "kind: must be an object or a list of values"),
        ({"kind": None}, "kind: must be an object or a list of values"),
        ({"kind": []}, "kind: must be an object or a list of values"),
        ({"newImage": {"status": "booked"}}, "newImage.status: must be an object or a list of values"),
        ({"newImage": {}}, "newImage: must not be empty"),
        ({"newImage": {"deep": {}}}, "newImage.deep: must not be empty"),
        ({"newImage": {1: ["x"]}}, "newImage: names must be texts"),
        ({"newImage": {"status": [["booked"]]}}, "newImage.status: only exact values are understood"),
        ({"newImage": {"status": [{"prefix": "b"}]}}, "newImage.status: only exact values are understood"),
        ({"a": ["x"], "b": {"c": {"d": [object()]}}}, "b.c.d: only exact values are understood"),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_path(pattern: Any, message: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        EventPattern(pattern)
    assert str(caught.value) == message
