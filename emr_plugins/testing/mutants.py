"""Messages made wrong: every part of a sample removed, replaced by something else, or cut short."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
Mutant = tuple[str, Any]
"""What was done to the message, and what came of it."""

MOST_OF_A_SAMPLE = 250

_DEEP: Any = "x"
for _level in range(20):
    _DEEP = {"a": [_DEEP]}

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 2.5, 10**30, 1e308, float("nan"), float("inf"), "", " ", "x" * 70_000, "\0", "\u2028", "😀",
    [], {}, [None], [[[]]], {"a": {"b": []}}, _DEEP,
    "2026-13-45T25:61:61Z", "2026-02-30", "0000-00-00", "9999-12-31T23:59:59Z", "12:60", "99991231235959", "24:00",
    "-1", "1e400", "NaN",
)  # fmt: skip
"""Values that are wrong almost everywhere."""

GARBAGE: tuple[tuple[str, Any], ...] = (
    ("nothing at all (data is null)", None),
    ("a number", 42),
    ("an empty text", ""),
    ("a text that is no message", "this is no message\nof anybody"),
    ("an empty object", {}),
    ("an object of another EMR", {"kit": "no such field", "xs": [1, {"y": None}]}),
    ("a list of numbers", [1, 2, 3]),
)
"""What is no message in any format."""


def paths(node: Any, here: Path = ()) -> Iterator[Path]:
    """Every place in JSON, the whole left out."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*here, key)
        yield from paths(child, (*here, key))


def at(node: Any, path: Path) -> Any:
    """What stands at a place."""
    for key in path:
        node = node[key]
    return node


def replaced(node: Any, path: Path, value: Any) -> Any:
    """A copy with another value at one place."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(node, dict):
        return {key: replaced(child, rest, value) if key == first else child for key, child in node.items()}
    return [replaced(child, rest, value) if place == first else child for place, child in enumerate(node)]


def removed(node: Any, path: Path) -> Any:
    """A copy without what stands at one place."""
    first, rest = path[0], path[1:]
    if isinstance(node, dict):
        return {
            key: removed(child, rest) if key == first else child
            for key, child in node.items()
            if rest or key != first
        }
    return [
        removed(child, rest) if place == first else child
        for place, child in enumerate(node)
        if rest or place != first
    ]


def words(path: Path) -> str:
    """A place, for a message."""
    return "data" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


def mutants(message: Any, seed: int) -> Iterator[Mutant]:
    """Wrong messages made of a right one; the same ones every time.

    Args:
        message: JSON, text or bytes.
        seed: which of the many.
    """
    rng = random.Random(f"mutants {seed}")
    made = list(_of_text(message, rng) if isinstance(message, str | bytes) else _of_json(message, rng))
    yield from made if len(made) <= MOST_OF_A_SAMPLE else rng.sample(made, MOST_OF_A_SAMPLE)


def _of_json(message: Any, rng: random.Random) -> Iterator[Mutant]:
    for path in list(paths(message))[:400]:
        yield f"{words(path)} removed", removed(message, path)
        for value in rng.sample(WRONG, 8):
            yield f"{words(path)} replaced by {_short(value)}", replaced(message, path, value)
        old = at(message, path)
        if isinstance(old, str):
            for what, text in _texts(old):
                yield f"{words(path)} {what}", replaced(message, path, text)
        elif isinstance(old, list):
            yield f"{words(path)} with its last element twice", replaced(message, path, [*old, *old[-1:]])
            yield f"{words(path)} without its elements", replaced(message, path, [])


def _texts(old: str) -> Iterator[tuple[str, str]]:
    yield "cut in half", old[: len(old) // 2]
    yield "with its digits made 9", re.sub(r"\d", "9", old)
    yield "with its digits made 0", re.sub(r"\d", "0", old)
    yield "with spaces round it", f" {old} "
    yield "doubled", old + old


def _of_text(message: str | bytes, rng: random.Random) -> Iterator[Mutant]:
    if isinstance(message, bytes):
        for cut in (0, len(message) // 2):
            yield f"cut after {cut} bytes", message[:cut]
        yield "with a byte that is no UTF-8", message[:50] + b"\xff\xfe" + message[50:]
        for what, text in _of_text(message.decode("latin-1"), rng):
            yield what, text.encode("latin-1", "replace") if isinstance(text, str) else text
        return
    for cut in sorted({len(message) * n // 20 for n in range(20)}):
        yield f"cut after {cut} characters", message[:cut]
    lines = re.split(r"(\r\n|\r|\n)", message)
    for place in range(0, min(len(lines), 80), 2):
        yield f"without its line {place // 2 + 1}", "".join(lines[:place] + lines[place + 2 :])
        yield f"with its line {place // 2 + 1} twice", "".join([*lines[: place + 1], "\r", *lines[place:]])
        half = [*lines[:place], lines[place][: len(lines[place]) // 2], *lines[place + 1 :]]
        yield f"with its line {place // 2 + 1} cut in half", "".join(half)
    tokens = re.split(r"([|^~&,;<>\"'=\r\n\t])", message)
    fields = [place for place in range(0, len(tokens), 2) if tokens[place]]
    for place in rng.sample(fields, min(len(fields), 40)):
        for value in ("", "x" * 70_000, "20261345256161", "\0", "-1", "😀", "^^^^", "~~&&"):
            shown = _short(value)
            yield (
                f"with {shown} for {_short(tokens[place])}",
                "".join([*tokens[:place], value, *tokens[place + 1 :]]),
            )
    for _ in range(20):
        place = rng.randrange(len(message) + 1)
        sign = rng.choice("\0|^\\&~<>\"'{}\r\n\x1f,;😀")
        yield f"with {sign!r} at character {place}", message[:place] + sign + message[place:]
    yield "with its digits made 9", re.sub(r"\d", "9", message)
    yield "a hundred times", message * min(100, 200_000 // max(len(message), 1))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:30]}… ({len(text)} characters)"
