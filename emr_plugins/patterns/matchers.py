"""The values that one leaf of a pattern accepts: exact ones, and what EventBridge calls content filters."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Scalar = str | int | float | Decimal | bool | None
Compare = Callable[[Any, Any], bool]
Test = Callable[[Any], bool]
"""Whether it accepts a value of the event, which is no object and no list."""

Lead = tuple[str, Any]
"""What a set of patterns looks up to find those that may accept a value: a kind of index, and what stands in it."""


class InvalidPattern(ValueError):  # noqa: N818
    """A pattern that cannot be understood; the message names the path, and says what to write instead."""


_TRUE, _FALSE = object(), object()
"""True equals 1 in Python, and not in JSON."""


def plain(value: Any) -> Any:
    """A scalar as it is looked up: equal where JSON values are."""
    return (_TRUE if value else _FALSE) if type(value) is bool else value


@dataclass
class Leaf:
    """What one field must be: the list at a leaf of a pattern.

    Attributes:
        exact: values, as `plain` gives them.
        folded: texts whose case does not matter, folded.
        prefixes: beginnings of texts.
        suffixes: ends of texts.
        tests: all that is none of these.
        leads: for each of the tests what every value that it accepts is found by: two ways, perhaps the same; None
            where there is nothing.
        absent: whether it may be missing altogether.
    """

    exact: set[Any] = field(default_factory=set)
    folded: set[str] = field(default_factory=set)
    prefixes: set[str] = field(default_factory=set)
    suffixes: set[str] = field(default_factory=set)
    tests: list[Test] = field(default_factory=list)
    leads: list[tuple[Lead, Lead] | None] = field(default_factory=list)
    absent: bool = False

    def add(self, test: Test, lead: Lead | None = None, other: Lead | None = None) -> None:
        """One more way to be accepted."""
        self.tests.append(test)
        self.leads.append((lead, other or lead) if lead else None)

    def found_by(self) -> list[list[Lead]]:
        """The ways to find all that it accepts; none where anything else may be accepted, too."""
        if self.absent or None in self.leads:
            return []
        simple = {
            "exact": self.exact,
            "folded": self.folded,
            "prefix": self.prefixes,
            "suffix": self.suffixes,
        }
        plainly = [(kind, value) for kind, values in simple.items() for value in values]
        ways = [[*plainly, *(leads[way] for leads in self.leads if leads)] for way in (0, 1)]
        return ways[:1] if ways[0] == ways[1] else ways

    def test(self) -> Test:
        """All of it as one function; `absent` apart."""
        tests = list(self.tests)
        if self.prefixes:
            prefixes = tuple(self.prefixes)
            tests.append(lambda value: type(value) is str and value.startswith(prefixes))
        if self.suffixes:
            suffixes = tuple(self.suffixes)
            tests.append(lambda value: type(value) is str and value.endswith(suffixes))
        if self.folded:
            folded = frozenset(self.folded)
            tests.append(lambda value: type(value) is str and fold(value) in folded)
        if not self.exact and len(tests) == 1:
            return tests[0]
        exact = frozenset(self.exact)
        if _TRUE in exact or _FALSE in exact or tests:
            return lambda value: plain(value) in exact or any(test(value) for test in tests)
        # Of the values themselves only booleans may be taken for others.
        return lambda value: value in exact and type(value) is not bool


def fold(text: str) -> str:
    """Without case, character by character: as Java's toLowerCase and toUpperCase of single characters compare."""
    return (
        "".join([low if len(low := char.lower()) == 1 else char for char in text])
        if not text.isascii()
        else text.lower()
    )


def leaf(values: Sequence[Any], path: str) -> Leaf:
    """Understand the list at a leaf.

    Args:
        values: of the pattern.
        path: where it stands, for messages.

    Raises:
        InvalidPattern: it is empty, or something in it cannot be understood.
    """
    if not values:
        raise InvalidPattern(f"{path}: an empty list matches nothing; name at least one value")
    made = Leaf()
    for value in values:
        if isinstance(value, Mapping):
            _filter(made, value, path)
        elif is_scalar(value):
            made.exact.add(plain(value))
        else:
            raise InvalidPattern(
                f"{path}: a value must be a text, a number, true, false, null, or an object with a filter, "
                'such as {"prefix": "a"}'
            )
    return made


def is_scalar(value: object) -> bool:
    """Whether it is a JSON value that is neither object nor list, and finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        return value.is_finite()
    return value is None or isinstance(value, str | int)


def is_number(value: object) -> bool:
    """Whether it is a JSON number."""
    return is_scalar(value) and isinstance(value, int | float | Decimal) and not isinstance(value, bool)


_FILTERS = ("anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard")


def _filter(made: Leaf, given: Mapping[Any, Any], path: str) -> None:
    kind, value = _only(given, path, _FILTERS)
    where = f"{path}: {kind}"
    if kind == "prefix" or kind == "suffix":
        if isinstance(value, Mapping):
            _, text = _only(value, where, ("equals-ignore-case",))
            made.add(_folded_end(kind, _text(text, where)), (f"folded_{kind}", fold(text)))
        else:
            (made.prefixes if kind == "prefix" else made.suffixes).add(_text(value, where))
    elif kind == "equals-ignore-case":
        made.folded.add(fold(_text(value, where)))
    elif kind == "wildcard":
        parts = wildcard_parts(_text(value, where), where)
        made.add(wildcard(parts), *_wildcard_leads(parts))
    elif kind == "exists":
        if not isinstance(value, bool):
            raise InvalidPattern(f"{where}: must be true or false")
        if value:
            made.add(lambda value: True)
        else:
            made.absent = True
    elif kind == "numeric":
        made.add(numeric(value, where), ("range", _hull(value)))
    elif kind == "cidr":
        made.add(cidr(value, where))
    else:
        made.add(_anything_but(value, where))


def _only(given: Mapping[Any, Any], path: str, known: Sequence[str]) -> tuple[str, Any]:
    if len(given) != 1:
        raise InvalidPattern(f"{path}: an object here names exactly one filter of: {', '.join(known)}")
    ((kind, value),) = given.items()
    if kind not in known:
        raise InvalidPattern(f"{path}: there is no filter {kind!r} here; there is: {', '.join(known)}")
    return kind, value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidPattern(f"{where}: must be a text")
    return value


def _texts(value: object, where: str) -> list[str]:
    """One text, or a list of texts."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or not value or not all(isinstance(one, str) for one in value):
        raise InvalidPattern(f"{where}: must be a text or a list of texts")
    return list(value)


def _folded_end(kind: str, text: str) -> Test:
    wanted, length = fold(text), len(text)
    if kind == "prefix":
        return lambda value: type(value) is str and fold(value[:length]) == wanted
    return lambda value: (
        type(value) is str and len(value) >= length and fold(value[len(value) - length :]) == wanted
    )


def wildcard_parts(text: str, where: str) -> list[str]:
    r"""What stands between the ``*`` of a wildcard; ``\*`` and ``\\`` are the characters themselves.

    Raises:
        InvalidPattern: two ``*`` in a row, or another character after a backslash.
    """
    parts, part, at = [], "", 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            following = text[at + 1 : at + 2]
            if following not in ("*", "\\") or not following:
                raise InvalidPattern(f"{where}: after a backslash comes * or another backslash")
            part += following
            at += 1
        elif char == "*":
            if text[at + 1 : at + 2] == "*":
                raise InvalidPattern(f"{where}: two * in a row; one is enough")
            parts.append(part)
            part = ""
        else:
            part += char
        at += 1
    return [*parts, part]


def _wildcard_leads(parts: Sequence[str]) -> list[Lead]:
    if len(parts) == 1:
        return [("exact", parts[0])]
    return [lead for lead in (("prefix", parts[0]), ("suffix", parts[-1])) if lead[1]]


def wildcard(parts: Sequence[str]) -> Test:
    """Texts that have these parts in this order, the first at the beginning and the last at the end."""
    if len(parts) == 1:
        (only,) = parts
        return lambda value: type(value) is str and value == only
    first, *middle, last = parts
    shortest = sum(map(len, parts))

    def test(value: Any) -> bool:
        if type(value) is not str or len(value) < shortest:
            return False
        if not (value.startswith(first) and value.endswith(last)):
            return False
        # The leftmost place of each part leaves the most room for those that follow.
        start, end = len(first), len(value) - len(last)
        for one in middle:
            start = value.find(one, start, end)
            if start < 0:
                return False
            start += len(one)
        return start <= end

    return test


_BELOW: dict[str, Compare] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}
_ABOVE: dict[str, Compare] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
_COMPARE: dict[str, Compare] = {"=": lambda value, bound: value == bound, **_BELOW, **_ABOVE}


def numeric(given: object, where: str) -> Test:
    """``["=", 5]``, ``["<", 5]``, or a range as ``[">", 0, "<=", 5]``.

    Raises:
        InvalidPattern: anything else, or a range that holds nothing.
    """
    wrong = InvalidPattern(f'{where}: must be as ["=", 5], ["<", 5] or [">", 0, "<=", 5]')
    if not isinstance(given, list | tuple) or len(given) not in (2, 4):
        raise wrong
    operators, bounds = given[::2], given[1::2]
    if not all(map(is_number, bounds)) or not all(isinstance(one, str) for one in operators):
        raise wrong
    if len(operators) == 1:
        (operator,), (bound,) = operators, bounds
        compare = _COMPARE.get(operator)
        if compare is None:
            raise wrong
        return lambda value: _is_event_number(value) and bool(compare(value, bound))
    low, high = bounds
    above, below = _ABOVE.get(operators[0]), _BELOW.get(operators[1])
    if above is None or below is None:
        raise wrong
    if low >= high:
        raise InvalidPattern(f"{where}: the range holds nothing; the first bound must be below the second")
    return lambda value: _is_event_number(value) and above(value, low) and below(value, high)


def _hull(given: Sequence[Any]) -> tuple[Any, Any]:
    """The lowest and the highest number that `numeric` may accept."""
    low, high = -math.inf, math.inf
    for operator, bound in zip(given[::2], given[1::2], strict=True):
        low = bound if operator in ("=", *_ABOVE) else low
        high = bound if operator in ("=", *_BELOW) else high
    return low, high


def _is_event_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and type(value) is not bool


def cidr(given: object, where: str) -> Test:
    """Addresses of a network: ``10.0.0.0/24``, ``2001:db8::/32``.

    Raises:
        InvalidPattern: it is none.
    """
    text = _text(given, where)
    try:
        if "/" not in text or "%" in text:
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
        if network.prefixlen == network.max_prefixlen:
            raise InvalidPattern(f"{where}: a network of one address; name the address as a value instead")
    except InvalidPattern:
        raise
    except ValueError:
        raise InvalidPattern(f"{where}: must be a network, such as 10.0.0.0/24 or 2001:db8::/32") from None
    low, high, version = int(network.network_address), int(network.broadcast_address), network.version

    def test(value: Any) -> bool:
        if type(value) is not str or not _ADDRESS.fullmatch(value):
            return False
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return address.version == version and low <= int(address) <= high

    return test


_ADDRESS = re.compile(r"[0-9a-fA-F:.]{2,45}")

_BUT = ("equals-ignore-case", "prefix", "suffix", "wildcard")


def _anything_but(given: object, where: str) -> Test:
    """A field that is there, and is none of these."""
    if isinstance(given, Mapping):
        kind, value = _only(given, where, _BUT)
        texts = _texts(value, f"{where}: {kind}")
        refused = Leaf()
        if "" in texts and kind in ("prefix", "suffix"):
            raise InvalidPattern(f"{where}: {kind}: every text begins and ends with an empty one")
        for text in texts:
            _filter(refused, {kind: text}, where)
        test = refused.test()
        return lambda value: not test(value)
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values or not (all(isinstance(one, str) for one in values) or all(map(is_number, values))):
        raise InvalidPattern(
            f"{where}: must be a text or a number, a list of texts, a list of numbers, "
            f"or an object with one of: {', '.join(_BUT)}"
        )
    exact = frozenset(values)
    return lambda value: type(value) is bool or value not in exact
