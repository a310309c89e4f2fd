"""What a check comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from kcl_app.errors import PreflightError


class State(Enum):
    """How what was looked at is."""

    OK = "ok"
    WARNING = "warning"
    """A worker works so, but something will go wrong one day, or less well than it could."""
    FAILED = "failed"
    """A worker cannot work so."""
    SKIPPED = "not checked"
    """It could not be looked at; `found` says why."""


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        state: how it is.
        found: what it is, or what is wrong, in one line.
        mend: what to do about it, most often a command; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """As published."""
        return {**asdict(self), "state": self.state.value}


def ok(name: str, found: str) -> Check:
    """Nothing is wrong."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, mend: str) -> Check:
    """A worker works, and yet."""
    return Check(name, State.WARNING, found, mend)


def failed(name: str, found: str, mend: str) -> Check:
    """A worker cannot work."""
    return Check(name, State.FAILED, found, mend)


def skipped(name: str, why: str, mend: str = "") -> Check:
    """It could not be looked at."""
    return Check(name, State.SKIPPED, why, mend)


Make = Callable[[], Iterator[Check]]


def made(name: str, make: Make) -> Iterator[Check]:
    """The checks that `make` makes; whatever stops it is told as a check, since a doctor must not fall ill.

    Args:
        name: what is told to be not checked then.
        make: makes checks.
    """
    try:
        yield from make()
    except PreflightError as error:
        yield failed(name, error.wrong, error.mend)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        yield skipped(name, f"could not be checked: {type(error).__name__}{': ' if why else ''}{why}")


def healthy(checks: Sequence[Check]) -> bool:
    """Whether a worker can work: nothing has failed."""
    return all(check.state is not State.FAILED for check in checks)


def summary(checks: Sequence[Check]) -> str:
    """How many checks came to what: ``1 failed, 2 warnings, 17 ok``."""
    numbers = {state: sum(check.state is state for check in checks) for state in State}
    words = {
        State.FAILED: "failed",
        State.WARNING: "warning" if numbers[State.WARNING] == 1 else "warnings",
        State.SKIPPED: "not checked",
        State.OK: "ok",
    }
    return ", ".join(f"{numbers[state]} {word}" for state, word in words.items() if numbers[state])
