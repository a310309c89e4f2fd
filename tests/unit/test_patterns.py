"""Event patterns: what matches, and what is no pattern and where. tests/patterns/ compares them with AWS's engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from emr_plugins.patterns import EventPattern, InvalidPattern, PatternSet

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
        (new(weekly={"days": ["mon"]}), True),
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
        ({"kind": "slot"}, 'kind: must be an object, or a list of values as ["slot"]'),
        ({"kind": 1}, "kind: must be an object, or a list of values as [1]"),
        ({"kind": []}, "kind: an empty list matches nothing; name at least one value"),
        ({"newImage": {}}, "newImage: an empty object matches nothing; leave it out"),
        ({"newImage": {"deep": {}}}, "newImage.deep: an empty object matches nothing; leave it out"),
        ({"newImage": {1: ["x"]}}, "newImage: names must be texts"),
        (
            new(status=[["booked"]]),
            "newImage.status: a value must be a text, a number, true, false, null, or an",
        ),
        (new(status=[{"prefix": 1}]), "newImage.status: prefix: must be a text"),
        (
            new(status=[{"prefix": "a", "suffix": "b"}]),
            "newImage.status: an object here names exactly one filter",
        ),
        (
            new(status=[{"begins": "a"}]),
            "newImage.status: there is no filter 'begins' here; there is: anything-but",
        ),
        (
            new(status=[{"prefix": {"suffix": "a"}}]),
            "newImage.status: prefix: there is no filter 'suffix' here",
        ),
        (new(status=[{"wildcard": "a**"}]), "newImage.status: wildcard: two * in a row; one is enough"),
        (new(status=[{"wildcard": "a\\"}]), "newImage.status: wildcard: after a backslash comes"),
        (new(price=[{"numeric": [">", "1"]}]), "newImage.price: numeric: must be as"),
        (new(price=[{"numeric": [">", 5, "<", 5]}]), "newImage.price: numeric: the range holds nothing"),
        (new(price=[{"exists": 1}]), "newImage.price: exists: must be true or false"),
        (new(ip=[{"cidr": "10.0.0.1"}]), "newImage.ip: cidr: must be a network, such as 10.0.0.0/24"),
        (new(ip=[{"cidr": "10.0.0.1/32"}]), "newImage.ip: cidr: a network of one address"),
        (new(ip=[{"anything-but": []}]), "newImage.ip: anything-but: must be a text or a number"),
        (new(ip=[{"anything-but": {"prefix": ""}}]), "newImage.ip: anything-but: prefix: every text begins"),
        ({"a.b": [1], "a": {"b": [2]}}, "a.b: is named twice; put all of its values into one list"),
        ({"a": ["x"], "b": {"c": {"d": [object()]}}}, "b.c.d: a value must be a text"),
        (
            {"$or": [{str(n): [1]} for n in range(40)], "a": {"$or": [{str(n): [1]} for n in range(40)]}},
            "the pattern: $or multiply to more than 1000 alternatives",
        ),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_path(pattern: Any, message: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        EventPattern(pattern)
    assert str(caught.value).startswith(message)


IMAGE = {
    "status": "booked",
    "capacity": 5,
    "note": None,
    "ip": "10.0.0.7",
    "six": "2001:DB8::1",
    "ratio": 0.5,
}


@pytest.mark.parametrize(
    ("field", "matcher", "matches"),
    [
        ("status", {"prefix": "boo"}, True),
        ("status", {"prefix": "Boo"}, False),
        ("status", {"prefix": {"equals-ignore-case": "BOO"}}, True),
        ("status", {"suffix": "ked"}, True),
        ("status", {"suffix": {"equals-ignore-case": "KED"}}, True),
        ("status", {"suffix": {"equals-ignore-case": "overbooked"}}, False),
        ("status", {"equals-ignore-case": "BOOKED"}, True),
        ("status", {"wildcard": "b*k*d"}, True),
        ("status", {"wildcard": "b*k*k*d"}, False),
        ("status", {"wildcard": "booked*d"}, False),
        ("status", {"anything-but": "cancelled"}, True),
        ("status", {"anything-but": ["booked", "x"]}, False),
        ("status", {"anything-but": {"prefix": ["x", "boo"]}}, False),
        ("status", {"anything-but": {"wildcard": "*x*"}}, True),
        ("status", {"numeric": [">", 0]}, False),
        ("capacity", {"numeric": ["=", 5.0]}, True),
        ("capacity", {"numeric": [">", 4, "<=", 5]}, True),
        ("capacity", {"numeric": [">", 5]}, False),
        ("capacity", {"prefix": "5"}, False),
        ("ratio", {"numeric": ["<", 0.51]}, True),
        ("note", {"exists": True}, True),
        ("note", {"exists": False}, False),
        ("missing", {"exists": False}, True),
        ("missing", {"exists": True}, False),
        ("missing", {"anything-but": "x"}, False),
        ("ip", {"cidr": "10.0.0.0/29"}, True),
        ("ip", {"cidr": "10.0.0.8/29"}, False),
        ("six", {"cidr": "2001:db8::/64"}, True),
        ("six", {"cidr": "10.0.0.0/8"}, False),
        ("status", {"cidr": "10.0.0.0/8"}, False),
    ],
)
def test_filters(field: str, matcher: dict[str, Any], matches: bool) -> None:
    event = {"newImage": IMAGE}
    assert EventPattern(new(**{field: [matcher]})).matches(event) is matches
    assert EventPattern(new(**{field: ["never", matcher]})).matches(event) is matches
    nested = {"newImage": [{"other": 1}, IMAGE]}
    there = "exists" in matcher and field == "missing"
    assert EventPattern(new(**{field: [matcher]})).matches(nested) is (matches or (there and matches))


def test_fields_match_in_the_same_element_of_a_list() -> None:
    pattern = EventPattern({"a": {"x": [1], "y": [2]}})
    assert pattern.matches({"a": [{"x": 1, "y": 3}, {"x": 1, "y": 2}]})
    assert not pattern.matches({"a": [{"x": 1, "y": 3}, {"x": 3, "y": 2}]})


def test_or_and_dotted_names() -> None:
    pattern = EventPattern({"a.b": [1], "$or": [{"c": [1]}, {"d": [{"exists": True}]}]})
    assert pattern.matches({"a": {"b": 1}, "c": 1})
    assert pattern.matches({"a.b": 1, "d": 0})
    assert not pattern.matches({"a": {"b": 1}, "c": 2})


def test_an_or_that_is_no_list_of_patterns_is_a_field() -> None:
    assert EventPattern({"$or": ["x"]}).matches({"$or": "x"})


def test_a_set_tells_names_in_their_order() -> None:
    patterns: dict[str, dict[str, Any]] = {
        "b": {"kind": ["slot"]},
        "a": {"kind": [{"prefix": "sl"}]},
        "c": {"n": [{"numeric": [">", 1]}]},
        "d": {},
    }
    together = PatternSet(patterns)
    assert together.matching({"kind": "slot", "n": 2}) == ["b", "a", "c", "d"]
    assert together.matching({"kind": "slow"}) == ["a", "d"]
    with pytest.raises(InvalidPattern):
        PatternSet({"x": {"a": []}})


def test_a_set_says_what_its_patterns_say_one_by_one() -> None:
    chance = random.Random(5)
    leaves: list[Callable[[], Any]] = [
        lambda: {"numeric": ["=", chance.randrange(40)]},
        lambda: {"numeric": [chance.choice(["<", "<=", ">", ">="]), chance.randrange(40)]},
        lambda: {"numeric": [">=", low := chance.randrange(40), "<", low + chance.randrange(1, 9)]},
        lambda: {"wildcard": chance.choice(["a*", "*b", "a*b", "*a*", "*", "ab", r"a\**", "b*ab"])},
        lambda: {chance.choice(["prefix", "suffix"]): chance.choice(["", "a", "ab"])},
        lambda: {chance.choice(["prefix", "suffix"]): {"equals-ignore-case": chance.choice(["A", "éB"])}},
        lambda: {"equals-ignore-case": chance.choice(["AB", "É"])},
        lambda: {"anything-but": ["ab", "b"]},
        lambda: chance.choice(["ab", "a*b", 7, 7.5, True, None, ""]),
    ]
    for _ in range(30):
        patterns = {
            name: {
                field: [chance.choice(leaves)() for _ in range(chance.randrange(1, 3))] for field in fields
            }
            for name, fields in enumerate(chance.choices(["x", "y", "xy"], k=60))
        }
        together = PatternSet(patterns)
        for _ in range(60):
            event: dict[str, Any] = {
                field: chance.choice(
                    [
                        chance.randrange(-1, 50),
                        chance.random() * 40,
                        "ab",
                        "AB",
                        "bab",
                        "a*b",
                        "éb",
                        "",
                        True,
                        [3, "b"],
                    ]
                )
                for field in "xy"
            }
            alone = [name for name, one in patterns.items() if EventPattern(one).matches(event)]
            assert together.matching(event) == alone, (patterns, event)
