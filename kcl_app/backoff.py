"""How long to wait before something is tried again."""

from __future__ import annotations

import random


def pause(attempt: int, longest: float, *, base: float = 0.2, least: float = 0.05) -> float:
    """Seconds to wait: exponential backoff with jitter, so that those who failed together do not return together.

    Args:
        attempt: how many tries have failed before, from 0.
        longest: seconds, at most.
        base: seconds, at most, before the second try; the bound doubles with each.
        least: seconds, at least.
    """
    return random.uniform(least, min(longest, base * 2.0 ** min(attempt, 30)))
