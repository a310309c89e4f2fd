"""The one clock. Settings can pin its date, so that historical data and replays have a horizon of their own."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

from processors import times


class Clock:
    """Where time comes from.

    Args:
        today: pins the date, in every zone; times of day go on.
    """

    def __init__(self, today: date | None = None) -> None:
        self._today = today

    def now(self) -> datetime:
        """The real time, in UTC: for `computed_at`, durations and logs."""
        return datetime.now(UTC)

    def seconds(self) -> float:
        """The real time, in seconds since the epoch."""
        return time.time()

    def today(self, zone: str) -> date:
        """The date in a zone, or the pinned one."""
        return self._today or datetime.now(times.zone(zone)).date()

    def expiry_at(self, at: float) -> int:
        """When, by the real time, something may go that by this clock may go at `at` (seconds since the epoch).

        A database deletes by the real time. Under a pinned date the same stretch of time lies ahead as would by
        that date, so that data of 2013 is not gone at once.
        """
        if self._today is not None:
            at += (self.now().date() - self._today).days * 86_400
        return int(at)

    def expiry_after(self, end: float, seconds: float) -> int:
        """As `expiry_at`: `seconds` after `end`, or after now if that is later."""
        return int(max(self.expiry_at(end), self.seconds()) + seconds)
