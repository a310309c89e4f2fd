"""Which item changes make a plugin recompute: EventBridge event patterns, so far the exact values.

A pattern is a JSON object shaped like the document it matches; each leaf is a list of values, one of which must be
there. An empty pattern matches everything.

    {"kind": ["appointment"], "newImage": {"status": ["booked", "cancelled"]}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class InvalidPattern(ValueError):  # noqa: N818
    """A pattern that cannot match anything as written; the message names the path."""


Exact = str | int | float | bool | None


class EventPattern:
    """One pattern.

    Args:
        pattern: nested objects whose leaves are lists of exact values.

    Raises:
        InvalidPattern: a leaf is not a list of texts, numbers, booleans or nulls.
    """

    def __init__(self, pattern: Mapping[str, Any]) -> None:
        self._fields = tuple(_fields(pattern, ()))
        self.everything = not self._fields
        """Whether it matches whatever there is."""

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether every field of the pattern has one of its values in the event."""
        return all(_has(event, path, values) for path, values in self._fields)


def _fields(pattern: object, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], frozenset[Any]]]:
    where = ".".join(path) or "the pattern"
    if not isinstance(pattern, Mapping):
        raise InvalidPattern(f"{where}: must be an object")
    if path and not pattern:
        raise InvalidPattern(f"{where}: must not be empty")
    found = []
    for name, value in pattern.items():
        if not isinstance(name, str):
            raise InvalidPattern(f"{where}: names must be texts")
        here = (*path, name)
        if isinstance(value, Mapping):
            found.extend(_fields(value, here))
            continue
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise InvalidPattern(f"{'.'.join(here)}: must be an object or a list of values")
        if not all(one is None or isinstance(one, str | int | float | bool) for one in value):
            raise InvalidPattern(f"{'.'.join(here)}: only exact values are understood")
        found.append((here, frozenset((type(one) is bool, one) for one in value)))
    return found


def _has(event: Mapping[str, Any], path: tuple[str, ...], values: frozenset[Any]) -> bool:
    node: Any = event
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    found = node if isinstance(node, list | tuple) else [node]
    return any((type(one) is bool, one) in values for one in found if not isinstance(one, Mapping | list))
