"""Looks again, while a worker runs, whether what it needs is still there.

The KCL does not end when its credentials expire or its stream is gone: it loses its leases, or takes its shards for
ended, and goes on for ever without work. The children notice only what they need themselves, and only when there are
records. So the supervisor asks the questions of the start again: now and then, and soon after the KCL logs errors.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from kcl_app import logs
from kcl_app.errors import PreflightError

EVERY_SECONDS = 60.0
SOONEST_SECONDS = 5.0
"""Between two looks where there is reason to look."""
HOPELESS_SECONDS = 30.0
"""How long what cannot get better must last before the worker ends: a role's credentials may be renewed just now."""


class CloudWatch:
    """What the last looks found.

    Args:
        look: raises `PreflightError` where something is wrong; takes a finite time.
        errors: how many errors the daemon has logged so far.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        look: Callable[[], None],
        errors: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._errors = errors
        self._monotonic = monotonic
        self._looked = monotonic()
        self._errors_seen = 0
        self._wait = _jittered()
        self._hopeless_since: float | None = None
        self.trouble = ""
        """What is wrong, in one line; empty where nothing is."""
        self.hopeless = ""
        """The same, once it has lasted, and the worker cannot work without."""

    def run(self, ended: threading.Event) -> None:
        """Look until the end.

        Args:
            ended: set at the end.
        """
        while not ended.wait(1.0):
            if self.due():
                self.look()

    def due(self) -> bool:
        """Whether it is time to look."""
        waited = self._monotonic() - self._looked
        worried = bool(self.trouble) or self._errors() > self._errors_seen
        return waited >= (SOONEST_SECONDS if worried else self._wait)

    def look(self) -> None:
        """Look once."""
        self._errors_seen = self._errors()
        try:
            self._look()
        except PreflightError as error:
            self._found(str(error), hopeless=error.hopeless)
        except Exception:  # the next look may work, and the worker does without
            logs.get_logger().error("looking for stream and tables failed", exc_info=True)
        else:
            if self.trouble:
                logs.get_logger().info("stream and tables are there again")
            self.trouble, self._hopeless_since = "", None
        self._looked, self._wait = self._monotonic(), _jittered()

    def _found(self, trouble: str, *, hopeless: bool) -> None:
        if trouble != self.trouble:
            logs.get_logger().warning("the worker cannot work", why=trouble)
        self.trouble = trouble
        if not hopeless:
            self._hopeless_since = None
            return
        now = self._monotonic()
        if self._hopeless_since is None:
            self._hopeless_since = now
        elif now - self._hopeless_since >= HOPELESS_SECONDS:
            self.hopeless = trouble


def _jittered() -> float:
    return EVERY_SECONDS * random.uniform(0.8, 1.2)
