"""What the supervisor makes of the moments that its shards' children tell: lags, silences, and the judge's verdicts.

A child that hangs tells nothing any more. What it told are moments, and the ages made of them here go on growing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcl_app import metrics as m
from kcl_app.lag_judge import LagJudge, Sample, Verdict, worst

Gauges = Mapping[str, Mapping[str, float]]
"""By metric, by shard: `MetricsDirectory.gauges`."""


@dataclass(frozen=True)
class ShardValues:
    """What is to be said of the shards, by their ids.

    Attributes:
        lags: how long ago the oldest record may have arrived that is not settled, in seconds.
        trends: seconds of lag gained per second.
        states: what the judge says.
        worker_state: the worst of them.
    """

    lags: dict[str, float]
    trends: dict[str, float]
    states: dict[str, str]
    worker_state: str


class ShardWatch:
    """Watches the shards of one worker.

    Args:
        judge_seconds: how far back the judge looks.
        tenant_limits: how long each watched tenant may send nothing, in seconds.
        started: when the worker did, in seconds since the epoch.
    """

    def __init__(self, judge_seconds: float, tenant_limits: Mapping[str, float], started: float) -> None:
        self._judge = LagJudge(judge_seconds)
        self.tenant_limits = dict(tenant_limits)
        self._started = started

    def take(self, gauges: Gauges, now: float) -> None:
        """Take in what the children say now.

        Args:
            gauges: of all living children.
            now: seconds since the epoch.
        """
        self._judge.take(samples(gauges, now), now)

    def values(self, gauges: Gauges, now: float) -> ShardValues:
        """What is to be said now; arguments as of `take`."""
        verdicts: dict[str, Verdict] = self._judge.verdicts(now)
        lags = {shard: one.lag for shard, one in samples(gauges, now).items()}
        return ShardValues(
            lags={shard: lag for shard, lag in lags.items() if lag is not None},
            trends={shard: one.trend for shard, one in verdicts.items() if one.trend is not None},
            states={shard: one.state.value for shard, one in verdicts.items()},
            worker_state=worst(one.state for one in verdicts.values()).value,
        )

    def silences(self, gauges: Gauges, last_events: Mapping[str, float], now: float) -> dict[str, float]:
        """How long each watched tenant is known to have sent nothing, in seconds; none while no shard is read.

        What arrived since a shard was last read is not known. So a worker that hangs takes no feed for silent.

        Args:
            gauges: of all living children.
            last_events: by tenant, when its newest event arrived; seconds since the epoch.
            now: seconds since the epoch.
        """
        known = gauges.get(m.SETTLED_TIMESTAMP.name, {}).values()
        if not known:
            return {}
        until = min(now, *known)
        return {
            tenant: max(0.0, until - max(self._started, last_events.get(tenant, 0.0)))
            for tenant in self.tenant_limits
        }


def samples(gauges: Gauges, now: float) -> dict[str, Sample]:
    """What the judge is to know of each shard: those of which a child has said that it lives.

    Args:
        gauges: of all living children.
        now: seconds since the epoch.
    """

    def told(metric: m.Declaration) -> Mapping[str, float]:
        return gauges.get(metric.name, {})

    heard, checkpointed = told(m.HEARD_TIMESTAMP), told(m.CHECKPOINT_TIMESTAMP)
    delivered, read_lag, settled = told(m.DELIVERED_TIMESTAMP), told(m.READ_LAG), told(m.SETTLED_TIMESTAMP)
    found = {}
    for shard, moment in heard.items():
        checkpoint = checkpointed.get(shard, moment)
        caught_up = read_lag.get(shard) == 0 and checkpoint >= delivered.get(shard, now)
        found[shard] = Sample(now, moment, checkpoint, settled.get(shard), caught_up)
    return found
