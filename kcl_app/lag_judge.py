"""Whether a shard keeps up, judged without thresholds: values in, a verdict out.

How many seconds of lag are too many depends on the feed and on the hour. Whether lag *grows* while checkpoints advance,
and whether checkpoints advance at all, does not. So the judge looks at a sliding window of samples, as LinkedIn's
Burrow does for Kafka, and its one parameter is how long the window is. The rules, of which the first that applies wins:

1. *stopped*: the shard's child has done nothing for as long as the window.
2. *ok*: in the window, the shard was caught up at least once.
3. *unknown*: the samples do not fill the window yet.
4. *stalled*: it has lag, and no checkpoint was taken in all of the window.
5. *slow*: lag grew over the whole window, from checkpoint to checkpoint.
6. *ok*: it has lag, and keeps it or makes it smaller.

The lag of a shard is a sawtooth: it grows while a batch is under way and falls with its checkpoint. So rule 5 compares
lag as it was at checkpoints. And since no two batches take the same time, it compares the lowest of each fifth of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

FIFTHS = 5
"""Parts of the window, each of which must be worse than the one before."""


class State(StrEnum):
    """What the judge says of a shard."""

    OK = "ok"
    SLOW = "slow"
    STALLED = "stalled"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


WORST_FIRST = (State.STOPPED, State.STALLED, State.SLOW, State.UNKNOWN, State.OK)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was known of a shard at one moment. All moments are in seconds, by one clock.

    Attributes:
        at: that moment.
        heard: when the shard's child last did anything.
        checkpointed: when everything delivered until then was last checkpointed.
        settled: everything that arrived on the shard before this moment was checkpointed; None: not known yet.
        caught_up: whether the tip of the stream was read, and all of it checkpointed.
    """

    at: float
    heard: float
    checkpointed: float
    settled: float | None = None
    caught_up: bool = False

    @property
    def lag(self) -> float | None:
        """How long ago the oldest record may have arrived that was not checkpointed, in seconds."""
        return None if self.settled is None else max(0.0, self.at - self.settled)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says.

    Attributes:
        state: of the shard.
        trend: seconds of lag gained per second over the window; None where there are too few samples.
    """

    state: State
    trend: float | None = None


def judge(samples: Sequence[Sample], now: float, window_seconds: float) -> Verdict:
    """Judge a shard.

    Args:
        samples: in the order of time; those older than the window only tell that it is full.
        now: the moment.
        window_seconds: how far back the judge looks.
    """
    start = now - window_seconds
    recent = [sample for sample in samples if start <= sample.at <= now]
    return Verdict(_state(samples, recent, now, start), _trend(recent))


def _state(samples: Sequence[Sample], recent: Sequence[Sample], now: float, start: float) -> State:
    if not recent:
        return State.STOPPED
    if max(sample.heard for sample in recent) <= start:  # 1
        return State.STOPPED
    if any(sample.caught_up for sample in recent):  # 2
        return State.OK
    if samples[0].at > start:  # 3
        return State.UNKNOWN
    if recent[-1].checkpointed <= start:  # 4
        return State.STALLED
    return State.SLOW if _grew(recent) else State.OK  # 5, 6


def _grew(recent: Sequence[Sample]) -> bool:
    """Whether the lowest lag of each fifth of the checkpoints is greater than that of the fifth before."""
    at_checkpoints = {
        sample.checkpointed: max(0.0, sample.checkpointed - sample.settled)
        for sample in recent
        if sample.settled is not None
    }
    lags = [at_checkpoints[moment] for moment in sorted(at_checkpoints)]
    parts = min(FIFTHS, len(lags))
    lowest = [min(lags[len(lags) * n // parts : len(lags) * (n + 1) // parts]) for n in range(parts)]
    return len(lowest) > 1 and all(before < after for before, after in pairwise(lowest))


def _trend(recent: Sequence[Sample]) -> float | None:
    """The slope of the straight line nearest to the lags (least squares)."""
    points = [(sample.at, sample.lag) for sample in recent if sample.lag is not None]
    if len(points) < 2:
        return None
    middle = sum(at for at, _ in points) / len(points)
    level = sum(lag for _, lag in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    if spread == 0:
        return None
    return sum((at - middle) * (lag - level) for at, lag in points) / spread


def worst(states: Iterable[State]) -> State:
    """The worst of some states; unknown where there are none."""
    found = set(states)
    return next((state for state in WORST_FIRST if state in found), State.UNKNOWN)


class LagJudge:
    """Remembers the samples of all shards of a worker for as long as they matter.

    A shard that is not among the samples any more has moved away, and is forgotten: its next worker judges it.

    Args:
        window_seconds: how far back the judge looks.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._samples: dict[str, deque[Sample]] = {}

    def take(self, samples: Mapping[str, Sample], now: float) -> None:
        """Take in what is known now.

        Args:
            samples: of each shard that this worker has.
            now: the moment. A clock that went back makes the judge begin anew.
        """
        kept = {}
        for shard, sample in samples.items():
            known = self._samples.get(shard, deque())
            if known and known[-1].at > now:
                known = deque()
            known.append(sample)
            while len(known) > 1 and known[1].at <= now - self._window_seconds:
                known.popleft()  # of those before the window, the last one tells that it is full
            kept[shard] = known
        self._samples = kept

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """What is to be said of each shard.

        Args:
            now: the moment; at most a little after that of the latest samples.
        """
        # Other threads ask while samples are taken in.
        samples = {shard: tuple(known) for shard, known in self._samples.items()}
        return {shard: judge(known, now, self._window_seconds) for shard, known in samples.items()}
