"""Standard error as a place for log lines that cannot fail whoever logs.

A full disk, or a reader that has gone away, must not end a worker, and a line that fails must not take the place of
what was about to happen: a child that logs why it ends has to end.
"""

from __future__ import annotations

import io
import os
from typing import TextIO, cast


class LogStream(io.TextIOBase):
    """Writes to a descriptor, without a buffer of its own that would be tried again at the end of the process.

    Args:
        target: where to, usually standard error; None where that is closed.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._descriptor = None if target is None else target.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._descriptor is not None and os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write what can be written; the rest is lost.

        Args:
            text: a line and its end.

        Returns:
            Its length, always.
        """
        left = text.encode("utf-8", "backslashreplace")
        try:
            while left and self._descriptor is not None:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            pass  # there is no better place to say so
        return len(text)


def log_stream(target: TextIO | None) -> TextIO:
    """`target` for `kcl_app.logs.configure`, so that logging cannot fail.

    Args:
        target: usually standard error; None where that is closed.
    """
    return cast(TextIO, LogStream(target))
