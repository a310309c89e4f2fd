"""Which checks must find a plugin that is wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WRONG: dict[type[Any], tuple[frozenset[str], str]] = {}
"""Plugin → the checks that must fail, and a part of what the first of them says."""


def found_by(*checks: str, says: str) -> Callable[[type[Any]], type[Any]]:
    def note(plugin: type[Any]) -> type[Any]:
        WRONG[plugin] = (frozenset(checks), says)
        return plugin

    return note
