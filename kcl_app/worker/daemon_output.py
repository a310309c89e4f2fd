"""What the Java daemon and its children print, as structured log lines.

The daemon logs on stdout, as `logback.xml` lays it out. On stderr it repeats its children's stderr, line by line, and
prints what Java itself has to say. A child's line is a JSON object that `kcl_app.logs` made; anything else there was
printed by something that should not: a plugin, perhaps, and it could be a payload.
"""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from kcl_app import logs
from kcl_app.worker.daemon import INITIALIZED, SHUTDOWN_FAILED, DaemonLine, parse_line

_LONGEST = 1500
_SAYS_NOTHING = (
    "Picked up",
    "For more",
    "Usage:",
    "#",
    "Error: Could not create",
    "Error: A fatal exception",
)
"""How lines of Java begin that explain nothing; its reason is on a line of its own."""
_OF_CHILDREN = "MultiLangShardRecordProcessor"
_CHILD_ENDED = re.compile(r"^Child process exited with value: (\d+)")
_CHILD_FAILED = re.compile(r"^(Failed to start client executable|Encountered an error while trying to )")
"""What the daemon says just before it ends itself because of a child."""
_CHILD_SILENT = re.compile(r"^Timedout to get status message for \S+ action for shard (\S+)\. Terminating")
_SKIPPED = re.compile(r"^(\S+): Caught exception from handleInput")
"""What the KCL says (ShardConsumerSubscriber) when it could make no task of records: it drops them and goes on."""
_EXPLAINS_SECONDS = 30.0
"""How long before the end of a child or of the daemon an error may have come that explains it."""
_OF_RUNTIME = re.compile(
    r"^(java\.|software\.amazon\.|Caused by: (java|software)|\tat |\s*at |Error(:| occurred)|Exception in thread"
    r"|Terminating due to|OpenJDK|Picked up|Unrecognized|Invalid |Improperly |Conflicting |For more information"
    r"|Usage:|#"
    r"|Traceback \(most|  File \"|(ImportError|ModuleNotFoundError): |\S+: (No module named|Error while finding))"
)
"""What Java and Python print when they cannot start: no child has begun, so no input can be in it."""
_OF_PYTHON = re.compile(r"^\S+: (No module named|Error while finding) |^(ImportError|ModuleNotFoundError): ")
"""Of these, a child's last words."""
_OF_RUNTIME_LATER = re.compile(
    r"(OpenJDK [\w -]+warning: .*|Terminating due to java\.lang\.OutOfMemoryError.*"
    r"|java\.lang\.\w+Error(: [\w ]{1,60})?"
    r"|\s+at [\w.$/<>]+\([\w.$ ]*(:\d+)?\)|# A fatal error has been detected by the Java Runtime Environment:"
    r"|Traceback \(most recent call last\):|  File \"[^\"]{1,300}\", line \d+, in [\w<>.]+"
    r"|(ImportError|ModuleNotFoundError|\S+): No module named '?[\w.]+'?)"
)
"""The same once children work: whole lines that a plugin would not print of a message, however they begin."""


class DaemonOutput:
    """Logs the daemon's lines, and remembers what they say about its state.

    Args:
        show_any: log lines that nobody vouches for as they are; else only how long they were.
        seal: what the children's own lines carry (`kcl_app.logs.configure`); none if empty.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self, *, show_any: bool, seal: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._show_any = show_any
        self._seal = seal
        self._children_work = False
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._child_error = (-math.inf, "")
        self._daemon_error = (-math.inf, "")
        self._child_end = ""
        self._refused: dict[str, str] = {}
        self.child_failed = False
        """A child ended, or could not be used, without being asked to: the daemon is about to end with it."""
        self.records_skipped = False
        """The KCL has dropped records, and a checkpoint of later ones would pass them."""
        self.errors = 0
        """Errors that the daemon logged."""
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
        self._note(parsed)
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
        fields = logs.unseal(text, self._seal)
        if fields is None:
            self._other(text)
            return
        self._children_work = True
        if fields.get("event") == logs.PLUGIN_REFUSED:
            with self._lock:
                self._refused[str(fields.get("plugin"))] = str(fields.get("why"))[:_LONGEST]
        if fields.get("level") in ("error", "critical"):
            self._remember(child=_child_summary(fields))
        logs.relay(fields)

    def plugins_refused(self) -> dict[str, str]:
        """Installed plugins that do not run, as the children have told: name → why."""
        with self._lock:
            return dict(sorted(self._refused.items()))

    def _note(self, line: DaemonLine) -> None:
        """What a line of the daemon's log says of its state."""
        shutdown_failed = (line.logger, line.message[: len(SHUTDOWN_FAILED[1])]) == SHUTDOWN_FAILED
        self.initialized |= (line.logger, line.message[: len(INITIALIZED[1])]) == INITIALIZED
        self.shutdown_failed |= shutdown_failed
        if line.logger == _OF_CHILDREN:
            self.child_failed |= _CHILD_FAILED.match(line.message) is not None
            ended = _CHILD_ENDED.match(line.message)
            # One that leaves in the middle of its work is no better for saying that all is well.
            if ended and (ended.group(1) != "0" or self.child_failed):
                self._remember(child_end=f"a shard's child ended with {_child_status(int(ended.group(1)))}")
        if silent := _CHILD_SILENT.match(line.message):
            self._remember(child_end=f"the child of {silent.group(1)} answered nothing for too long")
        if skipped := _SKIPPED.match(line.message):
            self.records_skipped = True
            self._remember(
                child_end=f"the KCL dropped records of {skipped.group(1)}, so no checkpoint may pass them"
            )
        if line.level == "error" and not shutdown_failed:
            self.errors += 1
            self._remember(daemon=_summary(line))

    def hint(self) -> str:
        """Why the daemon ended: a child's last error; else how a child ended; else the daemon's own last error.

        In this order, since each follows from the one before. Errors of long ago explain nothing.
        """
        oldest = self._monotonic() - _EXPLAINS_SECONDS
        with self._lock:
            child, daemon = (
                what if at >= oldest else "" for at, what in (self._child_error, self._daemon_error)
            )
            return child or self._child_end or daemon

    def _other(self, text: str) -> None:
        of_runtime = _OF_RUNTIME_LATER.fullmatch if self._children_work else _OF_RUNTIME.match
        safe = of_runtime(text) is not None
        if safe and not text.startswith((" ", "\t", *_SAYS_NOTHING)):
            if _OF_PYTHON.search(text):
                self._remember(child=text[:300])
            else:
                self._remember(daemon=text[:300])
        logger = logs.get_logger(source="stderr")
        if safe or self._show_any:
            logger.warning(text[:_LONGEST])
        else:
            logger.warning("a line that is no log line", characters=len(text))

    def _remember(self, *, child: str = "", child_end: str = "", daemon: str = "") -> None:
        now = self._monotonic()
        with self._lock:
            self._child_error = (now, child) if child else self._child_error
            self._child_end = self._child_end or child_end
            self._daemon_error = (now, daemon) if daemon else self._daemon_error
        self.child_failed |= bool(child_end)


def _child_status(code: int) -> str:
    # Java tells of a signal as a shell does: 128 and its number.
    if code > 128:
        try:
            return f"status {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"status {code}"


def _child_summary(fields: dict[str, Any]) -> str:
    parts = [str(fields["event"])]
    exception = fields.get("exception")
    if isinstance(exception, dict):
        parts += [str(exception[key]) for key in ("type", "message") if exception.get(key)]
    # Our own lines tell the reason so; a type alone says little, and is told where there is nothing better.
    parts += [str(reason)] if (reason := fields.get("why") or fields.get("error_type")) else []
    shard = f" ({fields['shard']})" if fields.get("shard") else ""
    return ": ".join(parts)[:300] + shard


def _summary(line: DaemonLine) -> str:
    cause = line.stack.split(" | ")[0]
    return f"{line.message}: {cause}"[:300] if cause else line.message[:300]
