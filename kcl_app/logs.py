"""Structured logs: one JSON object a line on stderr, or something prettier on a terminal, and never a payload.

A line has ``timestamp`` (ISO 8601, UTC), ``level``, ``event`` (what happened, in few words) and whatever was bound:
``shard``, ``tenant``, ``event_id``. Python's own logging (boto3's, for one) comes out the same way, from warnings up.

What an event holds belongs to patients. So values go through a filter: keys that carry payloads are emptied, objects
are shown by type alone, and an exception shows its type and its frames, without local variables, and its message only
where the message is known to be ours or the platform's.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars as bound
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from kcl_app.settings import LogSettings

__all__ = ["bound", "configure", "get_logger", "log_uncaught", "relay"]

PAYLOAD_KEYS = frozenset(
    {"body", "content", "data", "data_base64", "input", "item", "items", "message_body", "payload", "raw"}
    | {"record", "records"}
)
"""Keys whose values are dropped, unless they are numbers: ``records=25`` is a count."""

DROPPED = "<dropped>"

_MODULES_WITH_SAFE_MESSAGES = ("kcl_app.", "processors.", "botocore.", "amazon_kclpy.")
_TYPES_WITH_SAFE_MESSAGES = (OSError, ImportError, MemoryError)
_SHOWN_AS_TEXT = (date, time, Decimal, PurePath, UUID)
_MOST_FRAMES = 30
_MOST_CAUSES = 5
_DEEPEST = 6


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logs of this process to one stream.

    Args:
        settings: the least level and the format; ``auto`` is pretty on a terminal, else JSON.
        stream: where to; stderr if not given. Never stdout in a child: that belongs to the KCL's protocol.
    """
    target = sys.stderr if stream is None else stream
    pretty = settings.format == "pretty" or (settings.format == "auto" and target.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            _safe_exception,
            _without_payloads,
            *_renderers(pretty, target.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _FromLogging)]:
        root.removeHandler(handler)
    root.addHandler(_FromLogging())
    root.setLevel(logging.WARNING)


def get_logger(**context: Any) -> FilteringBoundLogger:
    """A logger.

    Args:
        context: bound to each of its lines. For all loggers of a stretch of code use ``with bound(...)``.
    """
    logger: FilteringBoundLogger = structlog.get_logger(**context)
    return logger


def relay(fields: Mapping[str, Any]) -> None:
    """Log a line that another process made, with its own time and level.

    Args:
        fields: the line, parsed; without ``level`` it counts as info.
    """
    rest = {str(key): value for key, value in fields.items() if key not in ("event", "level")}
    level = logging.getLevelNamesMapping().get(str(fields.get("level", "info")).upper(), logging.INFO)
    get_logger().log(level, str(fields.get("event", "")), **rest)


def log_uncaught() -> None:
    """Log exceptions that nobody caught, in any thread, instead of Python's traceback, which shows messages."""

    def in_main(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, frames)
            return
        get_logger().critical("uncaught exception", exc_info=(kind, error, frames))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            name = args.thread.name if args.thread is not None else "unknown"
            get_logger().critical("uncaught exception", thread=name, exc_info=args.exc_value)

    sys.excepthook = in_main
    threading.excepthook = in_thread


class _FromLogging(logging.Handler):
    """Takes the records of Python's own logging."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger().log(
                record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
            )
        except Exception:  # a log line must not fail what it reports
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: the default prints the record's arguments, which may hold input."""


def _stamp(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    # A relayed line keeps the time that its own process gave it.
    if "timestamp" not in line:
        return _TIMESTAMP(_logger, _method, line)
    return line


_TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _safe_exception(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    given = line.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        line["exception"] = describe(error)
    return line


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without what it may hold of the input: its type, its frames, its causes.

    Args:
        error: the exception. Its message is shown for our own errors and the platform's, never for pydantic's or a
            plugin's, whose text may quote what they were given.

    Returns:
        ``type``, ``frames`` (innermost last), and where there are any, ``message`` and ``cause``.
    """
    outermost: dict[str, Any] = {}
    place = outermost
    current: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if current is None:
            break
        kind = type(current)
        place["type"] = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        if kind.__module__.startswith(_MODULES_WITH_SAFE_MESSAGES) or isinstance(
            current, _TYPES_WITH_SAFE_MESSAGES
        ):
            place["message"] = str(current)
        place["frames"] = _frames(current.__traceback__)
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
        if current is not None:
            place["cause"] = place = {}
    return outermost


def _frames(traceback: TracebackType | None) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_qualname}")
        traceback = traceback.tb_next
    return frames[-_MOST_FRAMES:]


def _without_payloads(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    return {str(key): _safe(str(key), value, 0) for key, value in line.items()}


def _safe(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if key.lower() in PAYLOAD_KEYS:
        return DROPPED
    if isinstance(value, str):
        return value
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(inner): _safe(str(inner), one, depth + 1) for inner, one in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_safe(key, one, depth + 1) for one in value]
    # Any other object's text could hold anything.
    return f"<{type(value).__name__}>"


def _renderers(pretty: bool, colors: bool) -> list[Any]:
    if not pretty:
        return [_json]
    return [_exception_as_text, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]


def _json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    first = {key: line.pop(key) for key in ("timestamp", "level", "event") if key in line}
    return json.dumps({**first, **line})


def _exception_as_text(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    described = line.get("exception")
    if isinstance(described, Mapping):
        line["exception"] = "\n".join(_text_of(described))
    return line


def _text_of(described: Mapping[str, Any]) -> list[str]:
    message = described.get("message")
    lines = [f"{described.get('type')}: {message}" if message else str(described.get("type"))]
    lines += [f"  at {frame}" for frame in described.get("frames", ())]
    cause = described.get("cause")
    return lines + (
        ["caused by " + (rest := _text_of(cause))[0], *rest[1:]] if isinstance(cause, Mapping) else []
    )
