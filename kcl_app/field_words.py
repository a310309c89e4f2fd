"""Words for the fields of settings: what a value may be, as a page or a command tells a person."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def kind_of(annotation: Any, metadata: list[Any]) -> str:
    """What a value may be, for a person: the type, and its range or pattern."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        kinds = [kind_of(one, metadata) for one in arguments if one is not type(None)]
        return ", or ".join([*kinds, "unset"] if type(None) in arguments else kinds)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (tuple, list, set, frozenset):
        return f"list of {kind_of(arguments[0], [])}s" if arguments else "list"
    if dict in (origin, annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "table"
    words = {
        "bool": "`true` or `false`",
        "int": "whole number",
        "float": "number",
        "str": "text",
        "Path": "path",
    }
    name = str(getattr(annotation, "__name__", annotation))
    return words.get(name, name) + _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    found: dict[str, Any] = {}
    for one in metadata:
        for name in ("gt", "ge", "lt", "le", "pattern", "min_length", "max_length"):
            if getattr(one, name, None) is not None:
                found[name] = getattr(one, name)
    low, high = found.get("ge"), found.get("le")
    parts = []
    if low is not None and high is not None:
        parts.append(f"{low} to {high}")
    elif low is not None:
        parts.append(f"{low} or more")
    elif high is not None:
        parts.append(f"at most {high}")
    if "gt" in found:
        parts.insert(0, f"above {found['gt']}")
    if "pattern" in found:
        parts.append(f"like `{found['pattern']}`")
    if "min_length" in found:
        parts.append(f"at least {found['min_length']} characters" if found["min_length"] > 1 else "not empty")
    return "".join(f", {part}" for part in parts)
