"""What is said of a message must not quote it: details are stored and logged where a patient's data may not be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

LEFT_OUT = "…"

_WORD = re.compile(r"[^\W_]+")
_QUOTES = re.compile(rf"{LEFT_OUT}(?:[\W_]{{0,2}}{LEFT_OUT})+")
_SEGMENT = re.compile(r"^[A-Z][A-Z0-9]{2}(?=\|)", re.MULTILINE)
_PLAIN = frozenset(
    """
    a after allowed already an and are array as at be before between boolean but by cannot characters code contains date
    does duplicate element empty end exactly expected extra field fields first for format from found has have id ids in
    integer invalid is it item items last least length less line list long longer malformed many message missing more
    most must name names neither no nor not null number numbers object of off offset on one only or out positive
    provider read reference required resource second segment segments set should start status string text than that the
    there this time times to too two type understood unexpected unknown unless unsupported value values version was when
    where which with without wrong zone
    """.split()  # noqa: SIM905 - one word a line would be a hundred lines
)
"""Words that details are made of, and that tell nothing of anybody."""


def without_quotes(detail: str, message: Any) -> str:
    """A detail in which whatever also stands in the message it is about is left out.

    Names of a message's fields (keys of JSON objects, segments of HL7 v2) stay, and so do the plainest words.

    Args:
        detail: what somebody says of the message.
        message: JSON values, text or bytes.
    """
    text = "\n".join(_texts(message))
    kept = _PLAIN.union(name.casefold() for name in _SEGMENT.findall(text))
    hay = "\n".join((text, json.dumps(text), ascii(text))).casefold()  # also as a detail may have escaped it

    def shown(match: re.Match[str]) -> str:
        word = match[0].casefold()
        if word in kept or (len(word) == 1 and not word.isdigit()) or word not in hay:
            return match[0]
        return LEFT_OUT

    return _QUOTES.sub(LEFT_OUT, _WORD.sub(shown, detail))


def _texts(message: Any) -> Iterator[str]:
    """The values in a message, as texts; not the names of its fields."""
    pending = [message]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            pending.extend(node.values())
        elif isinstance(node, list | tuple):
            pending.extend(node)
        elif isinstance(node, bytes):
            yield node.decode("utf-8", "replace")
        elif isinstance(node, str):
            yield node
        elif node is not None and not isinstance(node, bool):
            yield str(node)
