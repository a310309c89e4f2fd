"""What a child tells of its shard: that it lives, what it was delivered, and up to where all is checkpointed.

Its supervisor makes ages of these moments (`kcl_app/worker/shard_watch.py`), so that lag grows while a child hangs and
can tell nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable

from kcl_app.metrics import WorkerMetrics


class Progress:
    """Of one shard. Each method costs a few writes to memory, and is called for a batch or a delivery, not a record.

    Args:
        metrics: of this process.
        now: seconds since the epoch.
    """

    def __init__(self, metrics: WorkerMetrics, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._now = now
        self._shard = ""
        self._settled: float | None = None
        self._tip: float | None = None

    def begins(self, shard: str) -> None:
        """The shard was taken; where it is to be read from has not been told yet."""
        self._shard = shard
        self._metrics.checkpoint_timestamp.labels(shard).set(self._now())
        self.lives()

    def lives(self) -> None:
        """The child does something."""
        self._metrics.heard_timestamp.labels(self._shard).set(self._now())

    def delivered(self, first_arrival: float | None, lag_seconds: float | None) -> None:
        """The daemon delivered records, or said that there are none.

        Args:
            first_arrival: of the first of them, in seconds since the epoch; None where there are none.
            lag_seconds: how far behind the tip the stream was read; None where the KCL does not know.
        """
        now = self._now()
        self._metrics.delivered_timestamp.labels(self._shard).set(now)
        self._metrics.heard_timestamp.labels(self._shard).set(now)
        if lag_seconds is not None:
            self._metrics.read_lag.labels(self._shard).set(lag_seconds)
        # The lag is that of the moment of reading, and what is delivered may have waited since. So it tells how far
        # the shard was read only where there are no records, whose arrival tells better.
        self._tip = now - lag_seconds if first_arrival is None and lag_seconds is not None else None
        if self._settled is None and (start := first_arrival if self._tip is None else self._tip) is not None:
            self._settle(start)  # whoever had the shard before has settled what came before it

    def checkpointed(self, last_arrival: float | None) -> None:
        """All that was delivered so far is checkpointed, or all of it up to a record.

        Args:
            last_arrival: of the last record that is, in seconds since the epoch; None: there has been none.
        """
        self._metrics.checkpoint_timestamp.labels(self._shard).set(self._now())
        for moment in (last_arrival, self._tip):
            if moment is not None and (self._settled is None or moment > self._settled):
                self._settle(moment)

    def _settle(self, moment: float) -> None:
        self._settled = moment
        self._metrics.settled_timestamp.labels(self._shard).set(moment)
