"""Errors that a person meets."""

from __future__ import annotations

from typing import Literal


class UserError(Exception):
    """Something that a person can mend; shown as one line, and the command ends with `status`.

    Args:
        message: what is wrong, where, and what to do.
        status: 1 where the work could not be done, 2 where the call itself was wrong.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


Kind = Literal["missing", "not ready", "credentials", "denied", "unreachable", "failed"]
"""What sort of trouble it is."""


class PreflightError(Exception):
    """Something is missing or wrong; the message says what, where and what to do, in one line.

    Args:
        wrong: what and where.
        mend: what to do.
        hopeless: whether the worker surely cannot work: what it needs is gone, or its credentials are refused.
        kind: what sort of trouble it is.
    """

    def __init__(self, wrong: str, mend: str = "", *, hopeless: bool = False, kind: Kind = "failed") -> None:
        super().__init__(f"{wrong}; {mend}" if mend else wrong)
        self.wrong = wrong
        self.mend = mend
        self.hopeless = hopeless
        self.kind = kind
