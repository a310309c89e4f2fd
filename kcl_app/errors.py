"""Errors that a person meets."""

from __future__ import annotations


class UserError(Exception):
    """Something that a person can mend; shown as one line, and the command ends with `status`.

    Args:
        message: what is wrong, where, and what to do.
        status: 1 where the work could not be done, 2 where the call itself was wrong.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
