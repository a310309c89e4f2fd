"""What the Java daemon and its children print, as structured log lines.

The daemon logs on stdout, as `logback.xml` lays it out. On stderr it repeats its children's stderr, line by line, and
prints what Java itself has to say. A child's line is a JSON object that `kcl_app.logs` made; anything else there was
printed by something that should not: a plugin, perhaps, and it could be a payload.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from typing import Any

from kcl_app import logs
from kcl_app.worker.daemon import INITIALIZED, SHUTDOWN_FAILED, DaemonLine, parse_line

_LONGEST = 1500
_CHILD_ENDED = re.compile(r"^Child process exited with value: (\d+)")
_OF_RUNTIME = re.compile(
    r"^(java\.|software\.amazon\.|Caused by: (java|software)|\tat |\s*at |Error(:| occurred)|Exception in thread"
    r"|Terminating due to|OpenJDK|Picked up|Unrecognized|For more information|Usage:|#"
    r"|Traceback \(most|  File \"|(ImportError|ModuleNotFoundError): |\S+: (No module named|Error while finding))"
)
"""What Java and Python print when they cannot start: no input can be in it."""


class DaemonOutput:
    """Logs the daemon's lines, and remembers what they say about its state.

    Args:
        show_any: log lines that nobody vouches for as they are; else only how long they were.
    """

    def __init__(self, *, show_any: bool) -> None:
        self._show_any = show_any
        self._lock = threading.Lock()
        self._child_error = ""
        self._child_end = ""
        self._daemon_error = ""
        self.initialized = False
        """The KCL has set up its leases and takes shards."""
        self.shutdown_failed = False
        """Its shutdown did not end within its grace."""

    def on_stdout(self, line: str) -> None:
        """A line of the daemon's own log."""
        text = line.rstrip("\r\n")
        if not text.strip():
            return
        parsed = parse_line(text)
        if parsed is None:
            self._other(text)
            return
        if (parsed.logger, parsed.message[: len(INITIALIZED[1])]) == INITIALIZED:
            self.initialized = True
        if (parsed.logger, parsed.message[: len(SHUTDOWN_FAILED[1])]) == SHUTDOWN_FAILED:
            self.shutdown_failed = True
        ended = (
            _CHILD_ENDED.match(parsed.message) if parsed.logger == "MultiLangShardRecordProcessor" else None
        )
        if ended and ended.group(1) != "0":
            self._remember(child_end=f"a shard's child ended with {_child_status(int(ended.group(1)))}")
        if parsed.level == "error" and (parsed.logger, parsed.message) != SHUTDOWN_FAILED:
            self._remember(daemon=_summary(parsed))
        fields: dict[str, Any] = {"event": parsed.message[:_LONGEST], "level": parsed.level, "source": "kcl"}
        fields["logger"] = parsed.logger
        if parsed.stack:
            fields["stack"] = parsed.stack[:_LONGEST]
        logs.relay(fields)

    def on_stderr(self, line: str) -> None:
        """A child's line, or one of Java itself."""
        text = line.rstrip("\r\n")
        if not text.strip():
            return
        fields = _child_line(text)
        if fields is None:
            self._other(text)
            return
        if fields.get("level") in ("error", "critical"):
            self._remember(child=_child_summary(fields))
        logs.relay(fields)

    def hint(self) -> str:
        """Why the daemon ended: a child's last error; else how a child ended; else the daemon's own last error.

        In this order, since each follows from the one before.
        """
        with self._lock:
            return self._child_error or self._child_end or self._daemon_error

    def _other(self, text: str) -> None:
        safe = _OF_RUNTIME.match(text) is not None
        if safe and not text.startswith((" ", "\t", "Picked up", "For more", "Usage:", "#")):
            self._remember(daemon=text[:300])
        logger = logs.get_logger(source="stderr")
        if safe or self._show_any:
            logger.warning(text[:_LONGEST])
        else:
            logger.warning("a line that is no log line", characters=len(text))

    def _remember(self, *, child: str = "", child_end: str = "", daemon: str = "") -> None:
        with self._lock:
            self._child_error = child or self._child_error
            self._child_end = self._child_end or child_end
            self._daemon_error = daemon or self._daemon_error


def _child_status(code: int) -> str:
    # Java tells of a signal as a shell does: 128 and its number.
    if code > 128:
        try:
            return f"status {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"status {code}"


def _child_line(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and isinstance(fields.get("event"), str) else None


def _child_summary(fields: dict[str, Any]) -> str:
    parts = [str(fields["event"])]
    exception = fields.get("exception")
    if isinstance(exception, dict):
        parts += [str(exception[key]) for key in ("type", "message") if exception.get(key)]
    shard = f" ({fields['shard']})" if fields.get("shard") else ""
    return ": ".join(parts)[:300] + shard


def _summary(line: DaemonLine) -> str:
    cause = line.stack.split(" | ")[0]
    return f"{line.message}: {cause}"[:300] if cause else line.message[:300]
