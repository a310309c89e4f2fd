"""Pairs of a pattern and an event, made from a seed: about half of them match, and some patterns are wrong."""

from __future__ import annotations

import random
from typing import Any

NAMES = ["a", "b", "c", "kind"]
TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "AbC",
    "b",
    "ba",
    "a*b",
    "a\\b",
    "é",
    "É",
    "straße",
    "10.0.0.7",
    "10.0.1.9",
    "2001:db8::1",
    "5",
]
NUMBERS: list[int | float] = [0, 1, 5, 5.0, -3, 2.5, 1000000, 0.1, -0.25]
NETWORKS = ["10.0.0.0/24", "10.0.0.7/32", "10.0.0.0/8", "10.0.0.6/31", "2001:db8::/32", "2001::/16"]
"""None of ``/0``: AWS's engine compares addresses as hexadecimal texts, and numbers then lie within them all."""
WILDCARDS = ["*", "a*", "*b", "a*b", "*a*", "a\\*b", "a\\\\b", "a*b*c", "ab", ""]
WRONG: list[Any] = [
    [],
    {},
    "a",
    5,
    [[1]],
    [{"prefix": 5}],
    [{"wildcard": "a**"}],
    [{"wildcard": "a\\b"}],
    [{"wildcard": "a\\"}],
    [{"numeric": []}],
    [{"numeric": [">"]}],
    [{"numeric": ["<", 1, ">", 5]}],
    [{"numeric": [">", 5, "<", 1]}],
    [{"numeric": [">", "a"]}],
    [{"numeric": [">", 1, "<", 5, "=", 2]}],
    [{"cidr": "10.0.0.7"}],
    [{"cidr": "10.0.0.0/33"}],
    [{"cidr": "x/24"}],
    [{"exists": "yes"}],
    [{"exists": True, "prefix": "a"}],
    [{"anything-but": []}],
    [{"anything-but": [None]}],
    [{"anything-but": None}],
    [{"anything-but": True}],
    [{"anything-but": ["a", 1]}],
    [{"anything-but": {"exists": True}}],
    [{"anything-but": {"prefix": 5}}],
    [{"anything-but": {"prefix": []}}],
    [{"anything-but": {"prefix": {"equals-ignore-case": "a"}}}],
    [{"equals-ignore-case": 5}],
    [{"equals-ignore-case": ["a"]}],
    [{"suffix": {"prefix": "a"}}],
    [{"no-such-filter": 1}],
    [{}],
]

Case = tuple[dict[str, Any], dict[str, Any]]


def case(seed: int) -> Case:
    """A pattern and an event."""
    rng = random.Random(seed)
    event = _object(rng, 3)
    pattern = _pattern(rng, event, 3)
    if rng.random() < 0.08:
        pattern[rng.choice(NAMES)] = rng.choice(WRONG)
    return pattern, event


def _scalar(rng: random.Random) -> Any:
    return rng.choice(
        [rng.choice(TEXTS), rng.choice(TEXTS), rng.choice(NUMBERS), rng.choice([True, False, None])]
    )


def _value(rng: random.Random, depth: int) -> Any:
    roll = rng.random()
    if depth and roll < 0.25:
        return _object(rng, depth - 1)
    if depth and roll < 0.45:
        return [_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return _scalar(rng)


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(NAMES, rng.randint(1, 3))
    if rng.random() < 0.05:
        names.append("a.b" if "a" not in names else "c.d")
    return {name: _value(rng, depth) for name in names}


def _pattern(rng: random.Random, event: Any, depth: int) -> dict[str, Any]:
    """One that the event might match: mostly of names and values that it has."""
    pattern: dict[str, Any] = {}
    dotted: dict[str, Any] = {}
    taken: set[str] = set()
    known = [name for name in event if "." not in name] if isinstance(event, dict) else []
    for name in rng.sample(NAMES, rng.randint(1, 2)):
        if known and rng.random() < 0.7:
            name = rng.choice(known)
        if name in taken:
            continue
        inner = event.get(name) if isinstance(event, dict) else None
        if isinstance(inner, list) and inner:
            inner = rng.choice(inner)
        if depth and (isinstance(inner, dict) or rng.random() < 0.1) and rng.random() < 0.9:
            nested = _pattern(rng, inner, depth - 1)
            (other, value), *more = nested.items()
            # Not where a name stands by itself as well: a path named twice is refused here, and not by AWS's engine.
            if not more and other != "$or" and name not in pattern and rng.random() < 0.15:
                dotted[f"{name}.{other}"] = value
                taken.add(name)
            else:
                pattern[name] = nested
        else:
            pattern[name] = _leaf(rng, inner)
    pattern |= dotted
    if depth and rng.random() < 0.15:
        free = [name for name in NAMES if not any(one.split(".")[0] == name for one in pattern)]
        if len(free) >= 2:
            pattern["$or"] = [
                {name: [_matcher(rng, event.get(name) if isinstance(event, dict) else None)]}
                for name in free[:2]
            ]
    return pattern


def _leaf(rng: random.Random, value: Any) -> list[Any]:
    """Values and filters. A wildcard stands alone: beside others AWS's engine matches what none of them does."""
    values = [_matcher(rng, value) for _ in range(rng.randint(1, 2))]
    alone = [one for one in values if "wildcard" in str(one)]
    return alone[:1] or values


def _matcher(rng: random.Random, value: Any) -> Any:
    near = value if not isinstance(value, dict | list) and rng.random() < 0.6 else _scalar(rng)
    text = near if isinstance(near, str) and rng.random() < 0.7 else rng.choice(TEXTS)
    number = near if isinstance(near, int | float) and not isinstance(near, bool) else rng.choice(NUMBERS)
    kind = rng.randrange(16)
    if kind < 4:
        return near
    if kind == 4:
        return {"prefix": text[: rng.randint(0, 2)]}
    if kind == 5:
        return {"suffix": text[-1:]}
    if kind == 6:
        return {rng.choice(["prefix", "suffix"]): {"equals-ignore-case": text[:2].swapcase()}}
    if kind == 7:
        return {"equals-ignore-case": text.swapcase()}
    if kind == 8:
        return {"wildcard": rng.choice(WILDCARDS)}
    if kind == 9:
        return {"numeric": [rng.choice(["=", "<", "<=", ">", ">="]), number]}
    if kind == 10:
        return {
            "numeric": [
                rng.choice([">", ">="]),
                number - 1,
                rng.choice(["<", "<="]),
                number + rng.choice([0, 1]),
            ]
        }
    if kind == 11:
        return {"exists": rng.random() < 0.6}
    if kind == 12:
        return {"cidr": rng.choice(NETWORKS)}
    if kind == 13:
        return {"anything-but": rng.choice([text, number, [text, "zz"], [number, 7]])}
    if kind == 14:
        return {
            "anything-but": {
                rng.choice(["prefix", "suffix", "equals-ignore-case"]): rng.choice([text, [text, "q"]])
            }
        }
    return {"anything-but": {"wildcard": rng.choice(WILDCARDS)}}
