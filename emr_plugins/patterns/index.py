"""What a set of patterns looks up of one field: from a value to the rules that may accept it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .matchers import fold, plain

Texts = dict[int, dict[str, list[int]]]
"""Length of a text → the text → numbers of rules."""
Range = tuple[Any, Any, int]
"""Lowest and highest number, and the number of a rule."""

_SMALL = 8


class Ranges:
    """Ranges of numbers, and which of them hold a number: an interval tree, split at the middle of the bounds.

    Args:
        ranges: both ends included.
    """

    def __init__(self, ranges: list[Range]) -> None:
        self._here: tuple[list[Range], list[Range]] = (ranges, [])
        self._sides: tuple[Ranges, Ranges] | None = None
        self._middle: Any = None
        if len(ranges) <= _SMALL:
            return
        bounds = sorted(bound for low, high, _ in ranges for bound in (low, high))
        middle = bounds[len(bounds) // 2]
        below = [one for one in ranges if one[1] < middle]
        above = [one for one in ranges if one[0] > middle]
        around = [one for one in ranges if one[0] <= middle <= one[1]]
        self._middle = middle
        self._sides = Ranges(below), Ranges(above)
        self._here = (
            sorted(around, key=lambda one: one[0]),
            sorted(around, key=lambda one: one[1], reverse=True),
        )

    def find(self, value: Any) -> Iterator[int]:
        """The rules whose range holds a number."""
        by_low, by_high = self._here
        if self._sides is None:
            yield from (rule for low, high, rule in by_low if low <= value <= high)
            return
        if value <= self._middle:
            for low, _, rule in by_low:
                if low > value:
                    break
                yield rule
        else:
            for _, high, rule in by_high:
                if high < value:
                    break
                yield rule
        if value != self._middle:
            yield from self._sides[value > self._middle].find(value)


@dataclass
class Index:
    """What is looked up of one field: value → the numbers of rules."""

    exact: dict[Any, list[int]] = field(default_factory=dict)
    folded: dict[str, list[int]] = field(default_factory=dict)
    prefix: Texts = field(default_factory=dict)
    suffix: Texts = field(default_factory=dict)
    folded_prefix: Texts = field(default_factory=dict)
    folded_suffix: Texts = field(default_factory=dict)
    ranges: list[Range] = field(default_factory=list)
    tree: Ranges = field(default_factory=lambda: Ranges([]))

    def add(self, kind: str, value: Any, rule: int) -> None:
        """Let a value of the field lead to a rule; `build` comes after the last.

        Args:
            kind: `exact`, `folded`, `prefix`, `suffix`, `folded_prefix`, `folded_suffix` or `range`.
            value: as a `Lead` has it.
            rule: its number.
        """
        if kind == "range":
            self.ranges.append((*value, rule))
        elif kind in ("exact", "folded"):
            getattr(self, kind).setdefault(value, []).append(rule)
        else:
            getattr(self, kind).setdefault(len(value), {}).setdefault(value, []).append(rule)

    def build(self) -> None:
        """Make what `find` looks up of what was added."""
        self.tree = Ranges(self.ranges)

    def find(self, value: Any) -> Iterator[int]:
        """The rules that a value leads to."""
        yield from self.exact.get(plain(value), ())
        if type(value) is str:
            yield from _ends(value, self.prefix, self.suffix)
            if self.folded or self.folded_prefix or self.folded_suffix:
                folded = fold(value)
                yield from self.folded.get(folded, ())
                yield from _ends(folded, self.folded_prefix, self.folded_suffix)
        elif self.ranges and isinstance(value, int | float | Decimal) and type(value) is not bool:
            yield from self.tree.find(value)


def _ends(value: str, prefixes: Texts, suffixes: Texts) -> Iterator[int]:
    for length, texts in prefixes.items():
        yield from texts.get(value[:length], ())
    for length, texts in suffixes.items():
        if length <= len(value):
            yield from texts.get(value[len(value) - length :], ())
