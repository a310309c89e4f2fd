"""Many patterns at once: an event is compared with few of them, found by one field of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from .flat import flatten
from .index import Index
from .pattern import MANY, MISSING, EventPattern, Path, Rule, find, rule_matches

Name = TypeVar("Name", bound=Hashable)


class PatternSet(Generic[Name]):
    """Patterns by name.

    A rule is found by the one of its fields that fewest others share, of those that an index can find: values,
    beginnings and ends of texts, ranges of numbers. Rules with none, such as those of `exists` or `anything-but` alone,
    are compared with every event.

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
        ways = [[(one, leads) for one in rule for leads in one.leaf.found_by()] for _, rule in self._rules]
        shared = Counter(
            key for of_rule in ways for key in {(one.path, *lead) for one, leads in of_rule for lead in leads}
        )
        self._indexes: dict[tuple[Path, tuple[tuple[str, ...], ...]], Index] = {}
        self._always: list[int] = []
        for number, of_rule in enumerate(ways):
            if not of_rule:
                self._always.append(number)
                continue
            one, leads = min(of_rule, key=lambda way: max(shared[way[0].path, *lead] for lead in way[1]))
            index = self._indexes.setdefault((one.path, one.dotted), Index())
            for kind, value in leads:
                index.add(kind, value, number)
        for index in self._indexes.values():
            index.build()

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
