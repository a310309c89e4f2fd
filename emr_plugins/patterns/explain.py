"""Why a pattern does not match."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .flat import Values, flatten
from .pattern import EventPattern, Field, Rule, rule_matches

_SHOWN = 60


class Obstacle(NamedTuple):
    """The first field that hinders one alternative of a pattern.

    Attributes:
        path: of the field.
        wanted: what the pattern names there.
        found: what is there instead, in words.
    """

    path: str
    wanted: list[Any]
    found: str


def obstacles(pattern: EventPattern, event: Mapping[str, Any]) -> list[Obstacle]:
    """What hinders each alternative of a pattern; empty if it matches.

    Args:
        pattern: with `$or` it has several alternatives.
        event: decoded from JSON.
    """
    if pattern.matches(event):
        return []
    values = flatten(event)
    return [_obstacle(rule, event, values) for rule in pattern.rules]


def _obstacle(rule: Rule, event: Mapping[str, Any], values: Values) -> Obstacle:
    for field in rule:
        if not rule_matches((field,), event):
            return Obstacle(field.name, list(field.wanted), _found(field, event, values))
    together = ", ".join(field.name for field in rule)
    return Obstacle(
        together,
        [list(field.wanted) for field in rule],
        "each is there, but not in the same element of a list",
    )


def _found(field: Field, event: Mapping[str, Any], values: Values) -> str:
    found = values.get(field.path)
    if found is None:
        node: Any = event
        for at, name in enumerate(field.path):
            if not isinstance(node, Mapping) or name not in node:
                missing = ".".join(field.path[: at + 1])
                return "it is not there" if at + 1 == len(field.path) else f"there is no {missing}"
            node = node[name]
        return "there is an object, which has no value itself" if isinstance(node, Mapping) else "it is empty"
    shown = [_text(value) for value, _ in found[:3]]
    return f"it is {' and '.join(shown)}{' and others' if len(found) > 3 else ''}"


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
