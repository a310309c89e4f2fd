"""An event as its fields: what each path holds, and in which elements of which lists it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Member = tuple[int, int]
"""A list (by number) and the index of an element in it."""

Values = dict[tuple[str, ...], list[tuple[Any, tuple[Member, ...]]]]
"""Path → the scalars there, each with the list elements that it is in."""


def flatten(event: Mapping[str, Any]) -> Values:
    """All fields of an event. Empty lists and objects are none."""
    values: Values = {}
    lists = 0
    left: list[tuple[Any, tuple[str, ...], tuple[Member, ...]]] = [(event, (), ())]
    while left:
        node, path, members = left.pop()
        if isinstance(node, Mapping):
            left.extend((value, (*path, *name.split(".")), members) for name, value in node.items())
        elif isinstance(node, list | tuple):
            lists += 1
            left.extend((value, path, (*members, (lists, index))) for index, value in enumerate(node))
        else:
            values.setdefault(path, []).append((node, members))
    return values
