"""Structured logs: one JSON object a line on stderr, or something prettier on a terminal, and never a payload.

A line has ``timestamp`` (ISO 8601, UTC), ``level``, ``event`` (what happened, in few words) and whatever was bound:
``shard``, ``tenant``, ``event_id``. Python's own logging (boto3's, for one) comes out the same way, from warnings up.

What an event holds belongs to patients. So values go through a filter: keys that carry payloads or secrets are emptied,
objects are shown by type alone, and an exception shows its type and its frames, without local variables, and its
message only where the message is known to be ours or the platform's. Nobody vouches for what a plugin logs, by Python's
logging or by structlog: of such a line only its level, its logger and its length are shown.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
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

__all__ = ["bound", "configure", "get_logger", "log_uncaught", "relay", "unseal"]

PAYLOAD_KEYS = frozenset(
    {"body", "content", "data", "data_base64", "input", "item", "items", "message_body", "payload", "raw"}
    | {"record", "records"}
)
"""Keys whose values are dropped, unless they are numbers: ``records=25`` is a count."""

DROPPED = "<dropped>"
FOREIGN = "a line that kcl-app did not log"
"""What stands in place of a line that something else logged, a plugin perhaps."""
PLUGIN_REFUSED = "plugin refused"
"""The event of a log line by which the supervisor learns of it: `plugin` and `why`."""

_SECRET_KEY = re.compile(
    r"secret|password|passwd|credential|authorization|private_?key|api_?key|(^|_)token$", re.I
)
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # an access key id of AWS
    r"|(?<=://)[^/\s:@]+:[^\s@]+(?=@)"  # user and password in a URL
    r"|(?i:(?<=secret_access_key=)|(?<=session_token=)|(?<=password=))[^\s&;,\"']+"
)
"""What gives a secret away in a text, whoever wrote it."""

_NAME = "kcl_app"
_SEAL = "seal"
_LOGGERS = ("asyncio", "boto3", "botocore", "kcl_app", "s3transfer", "urllib3")
"""Loggers of Python's own logging whose messages hold no input."""
_BOUND = frozenset({"event_id", "shard", "tenant"})
"""What we bind for all loggers of a process; anything else there was bound by something that is not ours."""

_MODULES_WITH_SAFE_MESSAGES = ("kcl_app.", "processors.", "botocore.")
_UNSAFE_MESSAGES = ("ParamValidationError",)
"""Exceptions of these modules that quote what they were given all the same."""
_TYPES_WITH_SAFE_MESSAGES = (OSError, ImportError, MemoryError)
_SHOWN_AS_TEXT = (date, time, Decimal, PurePath, UUID)
_MOST_FRAMES = 30
_MOST_CAUSES = 5
_DEEPEST = 6


class _OurWriter(structlog.WriteLogger):
    """Writes the lines of our own loggers; those of others get structlog's."""


def configure(
    settings: LogSettings, stream: TextIO | None = None, *, show_any: bool = False, seal: str = ""
) -> None:
    """Send all logs of this process to one stream.

    Args:
        settings: the least level and the format; ``auto`` is pretty on a terminal, else JSON.
        stream: where to; stderr if not given. Never stdout in a child: that belongs to the KCL's protocol.
        show_any: show also what nobody vouches for as it is: for who tries a plugin on their own machine.
        seal: a text that nothing else in the process knows, put into each JSON line, so that whoever reads the stream
            can tell our lines from what a plugin prints (see `unseal`).
    """
    target = sys.stderr if stream is None else stream

    def writer(*names: str) -> structlog.WriteLogger:
        return _OurWriter(target) if names == (_NAME,) else structlog.WriteLogger(target)

    pretty = settings.format == "pretty" or (settings.format == "auto" and target.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *([] if show_any else [_only_ours]),
            _with_what_is_bound,
            _stamp,
            _safe_exception,
            _without_payloads,
            *_renderers(pretty, target.isatty(), seal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=writer,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _FromLogging)]:
        root.removeHandler(handler)
    root.addHandler(_FromLogging(show_any))
    root.setLevel(logging.WARNING)


def get_logger(**context: Any) -> FilteringBoundLogger:
    """A logger.

    Args:
        context: bound to each of its lines. For all loggers of a stretch of code use ``with bound(...)``.
    """
    logger: FilteringBoundLogger = structlog.get_logger(_NAME, **context)
    return logger


def unseal(text: str, seal: str) -> dict[str, Any] | None:
    """A line that another process of ours logged, parsed; None for anything else, which may hold anything.

    Args:
        text: the line.
        seal: the one that the process got; empty takes every JSON object that looks like a line.
    """
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
        return None
    return fields if fields.pop(_SEAL, "") == seal or not seal else None


def relay(fields: Mapping[str, Any]) -> None:
    """Log a line that another process made, with its own time and level.

    Args:
        fields: the line, parsed; without ``level`` it counts as info.
    """
    rest = {str(key): value for key, value in fields.items() if key not in ("event", "level", _SEAL)}
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

    def __init__(self, show_any: bool) -> None:
        super().__init__()
        self._show_any = show_any

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message, name = record.getMessage(), record.name
            if self._show_any or name.split(".")[0] in _LOGGERS:
                get_logger().log(record.levelno, message, logger=name, exc_info=record.exc_info)
            else:
                get_logger().log(record.levelno, FOREIGN, logger=name[:80], characters=len(message))
        except Exception:  # a log line must not fail what it reports
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: the default prints the record's arguments, which may hold input."""


def _only_ours(logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    if isinstance(logger, _OurWriter):
        return line
    return {"event": FOREIGN, "level": line.get("level"), "characters": len(str(line.get("event", "")))}


def _with_what_is_bound(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    context = structlog.contextvars.get_contextvars()
    return {**{key: value for key, value in context.items() if key in _BOUND}, **line}


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
        ours = kind.__module__.startswith(_MODULES_WITH_SAFE_MESSAGES)
        if kind.__name__ not in _UNSAFE_MESSAGES and (ours or isinstance(current, _TYPES_WITH_SAFE_MESSAGES)):
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
    if key.lower() in PAYLOAD_KEYS or _SECRET_KEY.search(key):
        return DROPPED
    if isinstance(value, str):
        return _SECRET.sub(DROPPED, value)
    if isinstance(value, _SHOWN_AS_TEXT):
        return _SECRET.sub(DROPPED, str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(inner): _safe(str(inner), one, depth + 1) for inner, one in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_safe(key, one, depth + 1) for one in value]
    # Any other object's text could hold anything.
    return f"<{type(value).__name__}>"


def _renderers(pretty: bool, colors: bool, seal: str) -> list[Any]:
    if not pretty:
        return [functools.partial(_json, seal)]
    return [_exception_as_text, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]


def _json(seal: str, _logger: WrappedLogger, _method: str, line: EventDict) -> str:
    first = {key: line.pop(key) for key in ("timestamp", "level", "event") if key in line}
    return json.dumps({**({_SEAL: seal} if seal else {}), **first, **line})


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
