"""Virtual time: it moves when somebody sleeps, and each process reads it off a clock of its own, which may be wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime

from kcl_app.clock import Clock
from processors import times


class VirtualTime:
    """The time in a simulation.

    Args:
        start: when it begins; aware.
    """

    def __init__(self, start: datetime) -> None:
        self.seconds = start.timestamp()

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.seconds += seconds


class VirtualClock(Clock):
    """One process's clock.

    Args:
        time: the true time.
        wrong_by: seconds that it is ahead; it may be changed at any moment, which is a jump.
    """

    def __init__(self, time: VirtualTime, wrong_by: float = 0.0) -> None:
        super().__init__()
        self._time = time
        self.wrong_by = wrong_by

    def now(self) -> datetime:
        """The time on this clock, in UTC."""
        return datetime.fromtimestamp(self.seconds(), UTC)

    def seconds(self) -> float:
        """The time on this clock, in seconds since the epoch."""
        return self._time.seconds + self.wrong_by

    def today(self, zone: str) -> date:
        """The date in a zone by this clock."""
        return datetime.fromtimestamp(self.seconds(), times.zone(zone)).date()
