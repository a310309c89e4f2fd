"""What ends a worker otherwise than as asked, and with which exit status."""

from __future__ import annotations

import signal

COULD_NOT_WORK = 1
"""Something is missing or refused, or the daemon or a child ended by itself."""


class WorkerError(Exception):
    """The worker could not start, or ended otherwise than it should; one line for a person.

    Args:
        message: what is wrong, where, what to do.
        status: exit status of the process.
    """

    def __init__(self, message: str, status: int = COULD_NOT_WORK) -> None:
        super().__init__(message)
        self.status = status


def hurried(number: int) -> WorkerError:
    """The end of a worker that was asked twice.

    Args:
        number: the last signal. The status is what a shell shows of a process that it killed: 143 or 130.
    """
    name = signal.Signals(number).name
    return WorkerError(
        f"stopped at once, since {name} came a second time; what was not checkpointed will be read again",
        128 + number,
    )
