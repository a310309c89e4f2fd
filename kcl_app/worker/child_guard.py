"""Ends a child whose daemon is gone.

A child sees the end of its input only between two batches, and a batch that waits for its tables can take minutes.
Nothing that it still writes would be checkpointed, and another worker may have its shard by then. The worker's
supervisor kills what is left of its children; this is for when that was killed as well.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

GRACE_SECONDS = 2.0
"""For a child that is about to end by itself: the daemon closes its input in an orderly end, too."""

LAST_WORDS_SECONDS = 1.0


def end_with_input(
    descriptor: int,
    status: int,
    *,
    grace_seconds: float = GRACE_SECONDS,
    last_words: Callable[[], object] = lambda: None,
    end: Callable[[int], object] = os._exit,
) -> threading.Thread:
    """Watch the pipe that the daemon writes to, and end this process soon after it is closed.

    Args:
        descriptor: the reading end. Nothing is read from it.
        status: exit status.
        grace_seconds: how long the process may take to end by itself.
        last_words: called before the end, if there is one; not waited for beyond `LAST_WORDS_SECONDS`.
        end: ends the process at once, whatever its other threads do.
    """

    def watch() -> None:
        hang_up = select.poll()
        hang_up.register(descriptor, 0)  # asked for nothing, it tells of a hang-up and of nothing else
        hang_up.poll()
        time.sleep(grace_seconds)
        speaker = threading.Thread(target=last_words, name="last-words", daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS_SECONDS)
        end(status)

    thread = threading.Thread(target=watch, name="child-guard", daemon=True)
    thread.start()
    return thread
