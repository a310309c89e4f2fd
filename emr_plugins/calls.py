"""One call into a plugin: refused while the plugin is suspended, measured, limited in time, and its answer checked.

However a call ends, it ends as a value or as a `Reject`, and is counted with the plugin's breakers. Whatever looks at
what a plugin raised or returned calls code of the plugin's, so it is done within the limit.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from processors.errors import Reject

from .answers import Nonsense
from .breaker import Breakers, Call, Scope
from .time_limit import TimedOut, TimeLimit, is_interruption

T = TypeVar("T")

Timer = Callable[[str, str], AbstractContextManager[Any]]
"""Measures a call: plugin name, method."""

Failed = Callable[[str, str, str], None]
"""Told of a call that failed: plugin name, method, and `raised`, `nonsense`, `timeout` or `refused`."""

_OUTCOMES = {
    "plugin_failed": "raised",
    "plugin_nonsense": "nonsense",
    "plugin_timeout": "timeout",
    "plugin_suspended": "refused",
}

_SUSPENDED: dict[Scope, str] = {
    "provider": "for this provider, since it took too long",
    "tenant": "for this tenant, since it failed for one provider after the other, or took too long",
    "all": "for everybody, since it failed for one tenant after the other, or took too long",
}

_OWN_FILES = frozenset(
    str(Path(__file__).parent / f"{name}.py")
    for name in ("calls", "host", "time_limit", "isolation/__main__", "isolation/plugin", "isolation/process")
)


class Elsewhere(Exception):  # noqa: N818
    """A plugin's call failed in another process.

    Args:
        said: what it did, as "raised KeyError at acme.py:12"; holds no input.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class WrongSettings(Exception):  # noqa: N818
    """A tenant's settings are wrong, says another process: which field of them and why, without its value."""


class PluginCalls:
    """Makes calls into plugins.

    Args:
        timer: measures each.
        limit: of time; none if None.
        breakers: say who is suspended; nobody ever is if None.
        failed: told of each that failed.
    """

    def __init__(
        self,
        timer: Timer | None = None,
        limit: TimeLimit | None = None,
        breakers: Breakers | None = None,
        failed: Failed | None = None,
    ) -> None:
        self._timer: Timer = timer or (lambda plugin, method: nullcontext())
        self._limit = limit
        self._breakers = breakers
        self._failed: Failed = failed or (lambda plugin, method, outcome: None)

    def make(
        self,
        call: Call,
        ask: Callable[[], Any],
        check: Callable[[Any], T],
        rejects: Callable[[Reject], Reject],
        *,
        ready: Callable[[], None] | None = None,
        timed: bool = True,
    ) -> T:
        """Make a call.

        Args:
            call: whose.
            ask: calls the plugin.
            check: what it returned → what is handed on; raises `Nonsense` for what cannot be.
            rejects: what the plugin itself rejected, as it is handed on.
            ready: waits until the plugin can be asked, which is not the call's time; None where it always can.
            timed: whether it is measured here, as one; else `ask` does it.

        Raises:
            Reject: the plugin rejected the input, or it failed, or it is suspended.
        """
        plugin, method = call.plugin, call.method
        if self._breakers is not None and (scope := self._breakers.refusal(call)) is not None:
            reject = Reject("plugin_suspended", f"plugin {plugin}: {method} is suspended {_SUSPENDED[scope]}")
            self.tell(call, reject)
            raise reject
        result: T | _Refused
        spent = 0.0
        try:
            if ready is not None:
                ready()
            with self._timer(plugin, method) if timed else nullcontext():
                if self._limit is None:
                    result = _attempt(call, ask, check, rejects)
                else:
                    result = self._limit.call(_attempt, call, ask, check, rejects)
                    spent = self._limit.spent
        except TimedOut:
            assert self._limit is not None  # nobody else raises it
            why = f"plugin {plugin}: {method} took more than {self._limit.seconds:g} s"
            result, spent = _Refused(Reject("plugin_timeout", why), True), 1.0
        except Elsewhere as error:  # it could not be made ready, which may have taken long
            result = _Refused(Reject("plugin_failed", f"plugin {plugin}: {method} {error.said}"), True)
            spent = 1.0
        if not isinstance(result, _Refused):
            if self._breakers is not None:
                self._breakers.succeeded(call, spent)
            return result
        if result.failure:
            self.tell(call, result.reject)
        if self._breakers is not None:
            ended = self._breakers.failed if result.failure else self._breakers.rejected
            ended(call, spent)
        raise result.reject

    def tell(self, call: Call, reject: Reject) -> None:
        """Tell of a failure, as `make` does: for those who remember what a call came to, and make it no more.

        Args:
            call: whose.
            reject: what it was set aside as.
        """
        self._failed(call.plugin, call.method, _OUTCOMES[reject.reason])


class _Refused:
    """What a call came to that has no result.

    Args:
        reject: what it is set aside as.
        failure: whether the plugin failed, rather than its input.
    """

    def __init__(self, reject: Reject, failure: bool) -> None:
        self.reject = reject
        self.failure = failure


def _attempt(
    call: Call, ask: Callable[[], Any], check: Callable[[Any], T], rejects: Callable[[Reject], Reject]
) -> T | _Refused:
    """Ask and check. Nothing but an interruption leaves it."""
    name = f"plugin {call.plugin}: "
    asked = False
    try:
        try:
            returned = ask()
            asked = True
            return check(returned)
        except Nonsense as error:
            return _Refused(Reject("plugin_nonsense", name + str(error)), True)
        except Reject as reject:
            return _Refused(rejects(reject), False)
    except BaseException as error:  # a plugin that exits must not take the shard along
        if is_interruption(error) or _pressed(error):
            raise
        if isinstance(error, Elsewhere):
            return _Refused(Reject("plugin_failed", f"{name}{call.method} {error.said}"), True)
        if asked:
            why = f"{call.method} returned what raises {described(error)}"
            return _Refused(Reject("plugin_nonsense", name + why), True)
        return _Refused(Reject("plugin_failed", f"{name}{call.method} raised {described(error)}"), True)


def _pressed(error: BaseException) -> bool:
    """Whether somebody pressed Ctrl-C. Where that is ignored, as in a worker's child, the plugin itself raised it."""
    return (
        isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def described(error: BaseException) -> str:
    """What was raised and where: the type and the line, but not the message, which may hold input."""
    try:
        at = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            file = frame.f_code.co_filename
            if file not in _OWN_FILES:
                at = f" at {_plain(Path(file).name)}:{line}"
        return _plain(type(error).__name__) + at
    except BaseException as another:  # even that may be the plugin's code
        if is_interruption(another):
            raise
        return "something"


def _plain(name: str) -> str:
    """A name that could stand in source code; one made at run time may hold anything."""
    return name if re.fullmatch(r"[\w.<> -]{1,80}", name, re.ASCII) else "something"
