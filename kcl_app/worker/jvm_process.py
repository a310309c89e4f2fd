"""The Java daemon as a process: started so that it cannot outlive this one, and read line by line."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from kcl_app import logs

_PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start it. Linux ties its life to the calling thread, so only from the main one, before others are started.

    Args:
        command: the program and its arguments.
        environment: all of its environment variables.

    Raises:
        OSError: it cannot be run.
    """
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        bufsize=1,
        # A terminal's Ctrl-C goes to the whole foreground group; the daemon must hear of it from us alone.
        start_new_session=True,
        preexec_fn=_tied_to_this_process() if sys.platform == "linux" else None,
    )


def read(stream: IO[str] | None, take: Callable[[str], None], name: str) -> threading.Thread:
    """Read its output in a thread, until it ends.

    Args:
        stream: its stdout or stderr.
        take: called with each line.
        name: the thread's.
    """

    def run() -> None:
        for line in stream or ():
            try:
                take(line)
            except Exception:  # the reading must go on, or the daemon would wait for room in the pipe
                logs.get_logger().error("line lost", exc_info=True)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _tied_to_this_process() -> Callable[[], None]:
    # Loaded here, since hardly anything is safe to do between fork and exec.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
