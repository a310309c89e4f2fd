"""What a plugin's process answers: JSON, since whatever reads a pickle runs what is in it.

What it is asked is pickled: it trusts those who ask.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from emr_plugins.answers import Nonsense
from emr_plugins.calls import Elsewhere, WrongSettings
from processors import times
from processors.errors import Reject
from processors.impacts import EVERY_DAY, Instants, Touched
from processors.items import BODIES, ItemChange, body_from_json
from processors.spans import Span
from processors.times import Interval

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes. No table holds as much of one event or one provider-day."""

MAX_SAID = 1000
"""Characters of what is wrong with settings."""

_HEAD = struct.Struct(">I")
_WORDS = re.compile(r"[\w.,:;<>()' /-]{1,200}", re.ASCII)


def framed(message: bytes) -> bytes:
    """A message with its length in front."""
    return _HEAD.pack(len(message)) + message


def read_frame(read: Callable[[int], bytes], largest: int | None = None) -> bytes | None:
    """One message.

    Args:
        read: gives up to so many bytes, or none at the end.
        largest: bytes that it may have; any if None.

    Returns:
        it, or None where the other side has ended.

    Raises:
        Nonsense: it is larger.
    """
    head = _exactly(read, _HEAD.size)
    if head is None:
        return None
    (length,) = _HEAD.unpack(head)
    if largest is not None and length > largest:
        raise Nonsense(f"its process answered with more than {largest} bytes")
    return _exactly(read, length)


def _exactly(read: Callable[[int], bytes], length: int) -> bytes | None:
    parts = []
    while length:
        part = read(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def write_changes(changes: Sequence[ItemChange]) -> bytes:
    """What `decode` came to."""
    rows = [
        [one.id, one.kind, one.body.model_dump_json(exclude_defaults=True), one.providers, one.version]
        for one in changes
    ]
    return to_json({"ok": rows})


def read_changes(rows: Any) -> list[ItemChange]:
    """The inverse of `write_changes`, of the rows."""
    changes = []
    for id_, kind, body, providers, version in rows:
        if kind not in BODIES:
            raise ValueError(kind)
        changes.append(ItemChange(id_, body_from_json(kind, body), tuple(providers), version))
    return changes


def write_impact(intervals: Sequence[Interval] | None) -> bytes:
    """What `impact` came to."""
    return to_json({"ok": intervals})


def read_impact(rows: Any) -> list[Touched]:
    """The inverse of `write_impact`, of the rows."""
    if rows is None:
        return [EVERY_DAY]
    return [Instants(times.moment(low), times.moment(high)) for low, high in rows]


def write_spans(spans: Sequence[Span]) -> bytes:
    """What `spans` came to."""
    rows = [
        [
            times.instant(one.start),
            times.instant(one.end),
            one.location_id,
            one.service_types,
            one.capacity,
        ]
        for one in spans
    ]
    return to_json({"ok": rows})


def read_spans(rows: Any) -> list[Span]:
    """The inverse of `write_spans`, of the rows."""
    return [
        Span(times.moment(start), times.moment(end), location, tuple(services), capacity)
        for start, end, location, services, capacity in rows
    ]


def read_settings(wrong: Any) -> None:
    """Whether the model took a tenant's settings.

    Raises:
        WrongSettings: it did not; says which field and why.
    """
    if wrong is not None:
        said = str(wrong)[:MAX_SAID]
        raise WrongSettings(said if said.isprintable() else "they are not accepted")


def read_answer(answer: bytes, read: Callable[[Any], Any]) -> Any:
    """What a call came to.

    Args:
        answer: one message of a plugin's process.
        read: makes values of its rows.

    Raises:
        Reject: the plugin rejected its input.
        Nonsense: it returned what cannot be.
        Elsewhere: it raised.
    """
    try:
        message = from_json(answer, allow_inf_nan=False)
        ((kind, content),) = message.items()
        if kind == "ok":
            return read(content)
        if kind == "reject":
            reason, detail = map(str, content)
            failure: Exception = Reject(reason, detail)
        elif kind in ("nonsense", "raised") and _WORDS.fullmatch(content):
            failure = Nonsense(content) if kind == "nonsense" else Elsewhere(content)
        else:
            raise ValueError(kind)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, ArithmeticError):
        raise Nonsense("its process answered what cannot be read") from None
    raise failure
