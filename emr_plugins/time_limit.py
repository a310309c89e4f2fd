"""A limit on how long a call into a plugin may take.

Python runs signal handlers in its main thread, between any two steps of its own or when one interrupts a system call.
So a timer's signal ends a loop written in Python, and a wait for a lock or for the network, by an exception. It
cannot end code written in C that does not come back: for that a worker has its daemon's `timeoutInSeconds`.

Time is counted in ticks that the process has lived through, not by the clock. A process that was stopped for an hour
and goes on sees one tick, so it does not blame the plugin that it happened to be calling.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

TICKS = 10
"""Ticks that make up the limit."""

PATIENCE = 4
"""How many times its limit a call may take that catches what interrupts it, until `stuck` is called."""

try:
    # The same function as signal.getsignal, which then looks the handler up among the members of an enum: 2 µs a call.
    from _signal import getsignal as _getsignal  # type: ignore[import-not-found]
except ImportError:  # another implementation of Python
    from signal import getsignal as _getsignal


# Plain integers: an enum's member takes longer to hand over than the call itself.
_ALARM = int(getattr(signal, "SIGALRM", 0))
_REAL_TIME = int(getattr(signal, "ITIMER_REAL", 0))


class TimedOut(Exception):  # noqa: N818
    """A call took longer than it may, and was interrupted."""


class _TimeUp(BaseException):
    """Interrupts a call. No `Exception`, so that a plugin which catches those does not catch this."""


def is_interruption(error: BaseException) -> bool:
    """Whether this is what interrupts a call; whoever catches everything must raise it again."""
    return isinstance(error, _TimeUp)


class TimeLimit:
    """Limits calls by SIGALRM and the process's real-time timer.

    There is no limit outside the main thread, nor where the system has no such timer. Its handler stays; the one that
    was there before is called for alarms that come outside of calls, and a timer that others had runs on after a
    call. An alarm for which nobody else has a handler is let pass: it must not end the process. A process needs one
    instance; several are fine as long as none is used within a call of another.

    Args:
        seconds: how long a call may take.
        stuck: called, in the signal's handler, when a call has caught every interruption and gone on for `PATIENCE`
            times its limit. It should end the process.
    """

    def __init__(self, seconds: float, stuck: Callable[[], None] | None = None) -> None:
        self.seconds = seconds
        self._tick = seconds / TICKS
        self._stuck = stuck
        self._main = threading.main_thread().ident if hasattr(signal, "setitimer") else None
        self._handler = self._alarm  # one bound method, which can be compared by identity
        self._former: Any = None
        self._ours = False  # alarms are of this limit's timer
        self._running = False  # the call may be interrupted
        self._ticks = 0

    @property
    def spent(self) -> float:
        """How much of its limit the last call took, from 0 to 1, in full ticks; 0 where there is no limit."""
        return min(self._ticks / TICKS, 1.0) if threading.get_ident() == self._main else 0.0

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function; within a call that is limited already there is no second limit.

        Raises:
            TimedOut: it was interrupted, whatever it made of that: an answer that comes after is not to be trusted.
        """
        if self._running or threading.get_ident() != self._main:
            return function(*arguments)
        if _getsignal(_ALARM) is not self._handler:
            self._former = _others(signal.signal(_ALARM, self._handler))
        self._ticks = 0
        self._ours = True
        others = signal.setitimer(_REAL_TIME, self._tick, self._tick)
        since = time.monotonic() if others[0] else 0.0
        try:
            try:
                self._running = True
                result = function(*arguments)
            finally:
                self._running = False
        except KeyboardInterrupt:
            raise
        except BaseException:
            if self._ticks < TICKS:
                raise
            raise TimedOut from None
        finally:
            self._stop(others, since)
        if self._ticks >= TICKS:
            raise TimedOut
        return result

    def _stop(self, others: tuple[float, float], since: float) -> None:
        """End the timer and let that of others run on; alarms that come before it has ended do nothing any more."""
        self._running = False
        signal.setitimer(_REAL_TIME, 0)
        self._ours = False
        if others[0]:
            left = max(others[0] - (time.monotonic() - since), 1e-6)
            signal.setitimer(_REAL_TIME, left, others[1])
        if _getsignal(_ALARM) is not self._handler:  # the plugin set one of its own, and left it behind
            signal.signal(_ALARM, self._handler)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        if not self._ours:
            if callable(self._former):
                self._former(number, frame)
            return
        self._ticks += 1
        if not self._running or self._ticks < TICKS:
            return
        if self._ticks >= TICKS * PATIENCE and self._stuck is not None:
            self._stuck()
        raise _TimeUp


def for_a_while(things: Iterable[T], seconds: float) -> Iterator[T]:
    """Go through things until that has taken so long; through the first at least."""
    start = time.monotonic()
    for thing in things:
        yield thing
        if time.monotonic() - start > seconds:
            return


def _others(handler: Any) -> Any:
    """The handler that is nobody's limit: two that called each other would never come to an end."""
    owner = getattr(handler, "__self__", None)
    return owner._former if isinstance(owner, TimeLimit) else handler
