"""One event pattern: compiled once, matched often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .flat import Member, Values, flatten
from .matchers import InvalidPattern, Leaf, Test, leaf

MAX_ALTERNATIVES = 1000
"""What all ``$or`` of a pattern may multiply to, as in EventBridge."""

Path = tuple[str, ...]
MISSING, MANY = object(), object()
"""What `find` says instead of a value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field that a pattern names.

    Attributes:
        path: names from the outside in.
        leaf: what it may be.
        test: the same, compiled; `leaf.absent` apart.
        absent: whether it may be missing.
        dotted: for each step of the path, the longer names by which an event may have the rest of it.
        wanted: what may be there, as it was given.
    """

    path: Path
    leaf: Leaf
    test: Test
    absent: bool
    dotted: tuple[tuple[str, ...], ...]
    wanted: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The path as it is written."""
        return ".".join(self.path)


Rule = tuple[Field, ...]
"""Fields that must all match; a pattern with `$or` is several."""


class EventPattern:
    """One pattern of the EventBridge event pattern language.

    Args:
        pattern: objects whose leaves are lists of values and filters.

    Raises:
        InvalidPattern: it cannot be understood; the message names the path.
    """

    def __init__(self, pattern: Mapping[str, Any]) -> None:
        self.rules: tuple[Rule, ...] = tuple(_rules(pattern))
        self.everything = not any(self.rules)
        """Whether it matches whatever there is."""

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, decoded from JSON, has all that the pattern names.

        Where a list holds objects, all fields of the pattern within it must match in the same object.
        """
        return any(rule_matches(rule, event) for rule in self.rules)

    def fields(self) -> Iterator[Field]:
        """All fields of all rules."""
        for rule in self.rules:
            yield from rule


def rule_matches(rule: Rule, event: Mapping[str, Any]) -> bool:
    """Whether all fields of a rule match."""
    for field in rule:
        value = find(event, field.path, field.dotted)
        if value is MANY:
            return _consistent(rule, 0, flatten(event), {})
        if not (field.absent if value is MISSING else field.test(value)):
            return False
    return True


def find(event: Mapping[str, Any], path: Path, dotted: Sequence[Sequence[str]]) -> Any:
    """The scalar that an event has at a path.

    Args:
        event: decoded from JSON.
        path: where to look.
        dotted: for each step, the longer names by which the event may have the rest.

    Returns:
        it; `MISSING` where there is none; `MANY` where a list or a name with dots is on the way: only `flatten` can
        tell then.
    """
    node: Any = event
    for name, longer in zip(path, dotted, strict=True):
        if type(node) is not dict:
            return MANY if isinstance(node, Mapping | list | tuple) else MISSING
        for other in longer:
            if other in node:
                return MANY
        if name not in node:
            return MISSING
        node = node[name]
    if type(node) is dict:
        return MISSING
    return MANY if isinstance(node, Mapping | list | tuple) else node


def _consistent(rule: Rule, at: int, values: Values, chosen: Mapping[int, int]) -> bool:
    """Whether the fields from `at` on can all be found in the same elements of the lists that they share."""
    if at == len(rule):
        return True
    field = rule[at]
    found = values.get(field.path)
    if found is None:
        return field.absent and _consistent(rule, at + 1, values, chosen)
    for value, members in found:
        if not field.test(value) or (both := _together(chosen, members)) is None:
            continue
        if _consistent(rule, at + 1, values, both):
            return True
    return False


def _together(chosen: Mapping[int, int], members: Sequence[Member]) -> Mapping[int, int] | None:
    if not members:
        return chosen
    both = dict(chosen)
    for list_, index in members:
        if both.setdefault(list_, index) != index:
            return None
    return both


def _rules(pattern: object) -> list[Rule]:
    found = _expand(pattern, ())
    if len(found) > MAX_ALTERNATIVES:
        raise InvalidPattern(f"the pattern: its $or multiply to more than {MAX_ALTERNATIVES} alternatives")
    for rule in found:
        named = [field.name for field in rule]
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise InvalidPattern(f"{twice}: is named twice; put all of its values into one list")
    return [tuple(sorted(rule, key=_cheapest_first)) for rule in found]


def _cheapest_first(field: Field) -> tuple[bool, int]:
    return bool(field.leaf.tests or field.leaf.folded), len(field.path)


def _expand(pattern: object, path: Path) -> list[list[Field]]:
    """The alternatives of a pattern, each a list of fields."""
    where = ".".join(path) or "the pattern"
    if not isinstance(pattern, Mapping):
        raise InvalidPattern(f"{where}: must be an object")
    if path and not pattern:
        raise InvalidPattern(f"{where}: an empty object matches nothing; leave it out")
    rules: list[list[Field]] = [[]]
    for name, value in pattern.items():
        if not isinstance(name, str):
            raise InvalidPattern(f"{where}: names must be texts")
        if name == "$or" and _is_or(value):
            more = [rule for one in value for rule in _expand(one, path)]
        else:
            more = _named(name, value, (*path, *name.split(".")))
        rules = [[*rule, *other] for rule in rules for other in more]
        if len(rules) > MAX_ALTERNATIVES:
            raise InvalidPattern(f"{where}: $or multiply to more than {MAX_ALTERNATIVES} alternatives")
    return rules


def _named(name: str, value: object, path: Path) -> list[list[Field]]:
    if isinstance(value, Mapping):
        return _expand(value, path)
    where = ".".join(path)
    if not isinstance(value, list | tuple):
        raise InvalidPattern(f"{where}: must be an object, or a list of values as [{_shown(value)}]")
    made = leaf(value, where)
    return [[Field(path, made, made.test(), made.absent, _dotted(path), tuple(value))]]


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _is_or(value: object) -> bool:
    """A list of at least two objects, none of which is a filter; anything else is a field of that name."""
    if not isinstance(value, list | tuple) or len(value) < 2:
        return False
    return all(isinstance(one, Mapping) and one and not set(one) & _RESERVED for one in value)


_RESERVED = frozenset(
    {
        "anything-but",
        "cidr",
        "equals-ignore-case",
        "exactly",
        "exists",
        "numeric",
        "prefix",
        "suffix",
        "wildcard",
    }
)


def _dotted(path: Path) -> tuple[tuple[str, ...], ...]:
    """At each step, the names with dots that hold this step and some of the next."""
    return tuple(
        tuple(".".join(path[at:end]) for end in range(at + 2, len(path) + 1)) for at in range(len(path))
    )
