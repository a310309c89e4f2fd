"""Many patterns at once: an event is compared with few of them, found by one field of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .flat import flatten
from .matchers import fold, plain
from .pattern import MANY, MISSING, EventPattern, Field, Path, Rule, find, rule_matches

Name = TypeVar("Name", bound=Hashable)

_KINDS = ("exact", "folded", "prefixes", "suffixes")


@dataclass
class _Index:
    """What is looked up of one field: value → the numbers of rules."""

    exact: dict[Any, list[int]] = field(default_factory=dict)
    folded: dict[str, list[int]] = field(default_factory=dict)
    prefixes: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    suffixes: dict[int, dict[str, list[int]]] = field(default_factory=dict)

    def add(self, kind: str, value: Any, rule: int) -> None:
        """Let a value of the field lead to a rule."""
        if kind == "exact":
            self.exact.setdefault(value, []).append(rule)
        elif kind == "folded":
            self.folded.setdefault(value, []).append(rule)
        else:
            ends = self.prefixes if kind == "prefixes" else self.suffixes
            ends.setdefault(len(value), {}).setdefault(value, []).append(rule)

    def find(self, value: Any) -> Iterator[int]:
        """The rules that a value leads to."""
        yield from self.exact.get(plain(value), ())
        if type(value) is str:
            if self.folded:
                yield from self.folded.get(fold(value), ())
            for length, texts in self.prefixes.items():
                yield from texts.get(value[:length], ())
            for length, texts in self.suffixes.items():
                if length <= len(value):
                    yield from texts.get(value[len(value) - length :], ())


class PatternSet(Generic[Name]):
    """Patterns by name.

    A rule is found by the one of its fields that fewest others share, of those with values, prefixes or suffixes. Rules
    with none are compared with every event.

    Args:
        patterns: name → pattern.

    Raises:
        InvalidPattern: one cannot be understood.
    """

    def __init__(self, patterns: Mapping[Name, EventPattern | Mapping[str, Any]]) -> None:
        self._rules: list[tuple[Name, Rule]] = []
        for name, given in patterns.items():
            pattern = given if isinstance(given, EventPattern) else EventPattern(given)
            self._rules += [(name, rule) for rule in pattern.rules]
        self._order = {name: number for number, name in enumerate(patterns)}
        shared = Counter(
            (one.path, kind, value) for _, rule in self._rules for one in rule for kind, value in _values(one)
        )
        self._indexes: dict[tuple[Path, tuple[tuple[str, ...], ...]], _Index] = {}
        self._always: list[int] = []
        for number, (_, rule) in enumerate(self._rules):
            candidates = [(one, list(_values(one))) for one in rule]
            candidates = [(one, values) for one, values in candidates if values]
            if not candidates:
                self._always.append(number)
                continue
            one, values = min(
                candidates, key=lambda given: max(shared[given[0].path, *value] for value in given[1])
            )
            index = self._indexes.setdefault((one.path, one.dotted), _Index())
            for kind, value in values:
                index.add(kind, value, number)

    def matching(self, event: Mapping[str, Any]) -> list[Name]:
        """The names of the patterns that an event matches, in the order in which they were given."""
        found = {
            self._rules[number][0]
            for number in self._candidates(event)
            if rule_matches(self._rules[number][1], event)
        }
        return sorted(found, key=self._order.__getitem__)

    def _candidates(self, event: Mapping[str, Any]) -> Iterable[int]:
        candidates = set(self._always)
        values = None
        for (path, dotted), index in self._indexes.items():
            value = find(event, path, dotted)
            if value is MANY:
                values = flatten(event) if values is None else values
                for one, _ in values.get(path, ()):
                    candidates.update(index.find(one))
            elif value is not MISSING:
                candidates.update(index.find(value))
        return candidates


def _values(one: Field) -> Iterator[tuple[str, Any]]:
    """What can lead to a field's rule; nothing where anything else may, too."""
    if one.absent or one.leaf.tests:
        return
    for kind in _KINDS:
        for value in getattr(one.leaf, kind):
            yield kind, value
