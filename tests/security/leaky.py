"""A plugin that does with a message what no plugin should: the type of the event says which."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import structlog

from emr_plugins.api import (
    API_VERSION,
    EVERY_DAY,
    Appointment,
    Change,
    Context,
    EmrPlugin,
    Event,
    Item,
    ItemChange,
    Reject,
    Span,
    Touched,
)

START, END = datetime(2026, 3, 9, 10, tzinfo=UTC), datetime(2026, 3, 9, 11, tzinfo=UTC)


LIKE_JAVA = (
    "Error: ",
    "# ",
    "  at ",
    "java.",
    "Usage: ",
    "Unrecognized ",
    "Caused by: java",
    "ImportError: ",
)
"""How lines of Java and of Python begin."""


class Quoting:
    """Something whose text is the message."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


class LeakyPlugin(EmrPlugin):
    """Decodes everything to one appointment of the provider `p1`, and leaks on the way."""

    name = "leaky"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """What the event's type says."""
        payload = event.payload()
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        return self._do(event.type, text, event.id)

    def _do(self, what: str, text: str, id_: str) -> Iterable[ItemChange]:
        good = ItemChange(id_, Appointment(status="booked", start=START, end=END), ("p1",))
        match what:
            case "raise":
                raise ValueError(text)
            case "raise_chained":
                try:
                    raise KeyError(text)
                except KeyError as error:
                    raise RuntimeError(f"while reading {text}") from error
            case "raise_validation":
                Appointment.model_validate({"status": text, "start": text, "end": [text], text: text})
            case "raise_os_error":
                raise FileNotFoundError(2, "No such file", text)
            case "exit":
                sys.exit(text)
            case "reject":
                raise Reject("invalid_data", f"PID-5: {text}")
            case "reject_reason":
                raise Reject(text, "odd")
            case "lazy":
                return self._lazy(good, text)
            case "nothing":
                return Quoting(text)  # type: ignore[return-value]
            case "nonsense":
                return [Quoting(text)]  # type: ignore[list-item]
            case "two":
                return [good, good]
            case "print":
                print(text)
                print(text, file=sys.stderr)
                os.write(2, text.encode())
                os.write(1, text.encode())
            case "print_like_java":
                flat = " ".join(text.split())
                for start in (
                    "Error: ",
                    "# ",
                    "  at ",
                    "java.",
                    "Usage: ",
                    "Unrecognized ",
                    "Caused by: java",
                    "ImportError: ",
                ):
                    os.write(2, f"{start}{flat}\n".encode())
            case "print_json":
                print(json.dumps({"event": text, "level": "error", "patient": text}))
            case "logging":
                logging.getLogger("leaky").error("cannot read %s", text)
                logging.getLogger("leaky").warning(f"cannot read {text}")
                try:
                    raise ValueError(text)
                except ValueError:
                    logging.getLogger("leaky.deep").exception(text)
            case "structlog":
                structlog.get_logger().error(text, patient=text, nested={"name": text})
            case "warnings":
                warnings.warn(text, stacklevel=1)
            case "impact_raises" | "spans_raises" | "spans_nonsense":
                good = ItemChange(f"{what}/{id_}", good.body, (what,))
        return [good]

    @staticmethod
    def _lazy(good: ItemChange, text: str) -> Iterator[ItemChange]:
        yield good
        raise ValueError(text)

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        """Every day, or an error."""
        some = change.new or change.old
        if some is not None and some.key.id.startswith("impact_raises"):
            raise ValueError(repr(change))
        return [EVERY_DAY]

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """None, or an error, or something else."""
        named: Any = [item.key.id for item in items]
        if any(one.startswith("spans_raises") for one in named):
            raise ValueError(f"{items!r} {context.settings!r}")
        if any(one.startswith("spans_nonsense") for one in named):
            return [Quoting(repr(items))]  # type: ignore[list-item]
        return []
