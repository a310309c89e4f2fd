"""The overview: whether it keeps up, what is wrong, and what to do; for somebody who has never seen it, at 3 a.m."""

from __future__ import annotations

from .layout import board
from .overview_below import events, stores, workers
from .parts import (
    JUDGED,
    ORANGE,
    RED,
    YELLOW,
    Panel,
    linked,
    query,
    series,
    stat,
    table,
    text,
    timeline,
)

GUIDE = """\
**Does it keep up?** The upper row, from left to right. All green: go back to bed.

**What is wrong?** The table beside this lists what fires. A *page* is worth a night's sleep, a *ticket* is not.

**What to do?** Click the alert: its runbook says what it means, what patients see, where to look and how to mend it.

`kcl-app status` and `kcl-app doctor`, run where a worker runs, say the same from the leases themselves.

*Late* never means *lost*: the stream keeps events for days. The one alert behind which data is lost is
`SchedulingEventsNearRetention`.
"""

LATE = ["SchedulingLateEventsBurnFast", "SchedulingLateEventsBurnSlow"]


def top() -> list[Panel]:
    """The row that answers whether all is well."""
    return [
        stat(
            "State",
            "The worst verdict of the lag judge over all shards. It knows no thresholds: OK keeps up, SLOW falls "
            "behind, STALLED has work and does none, STOPPED does not answer.",
            "OK.",
            query("max(scheduling:shard_state:code{@job})"),
            states=JUDGED,
            runbooks=["SchedulingShardStalled", "SchedulingShardFallsBehind"],
            empty="NO WORKER",
            below=RED,
        ),
        stat(
            "Worst lag",
            "Everything that arrived longer ago than this is visible, on every shard.",
            "below 60 s, mostly a second or two.",
            query("max(scheduling:shard_lag:seconds{@job})"),
            unit="s",
            steps=[(30, YELLOW), (60, RED)],
            runbooks=["SchedulingShardFallsBehind", "SchedulingEventsNearRetention"],
        ),
        stat(
            "Lag gained per second",
            "The worst shard's trend: 0 keeps up, 1 stands still, less than 0 catches up.",
            "0 or less.",
            query("max(scheduling_lag_trend_ratio{@})"),
            decimals=2,
            steps=[(0.1, YELLOW), (0.5, RED)],
            runbooks=["SchedulingShardFallsBehind"],
        ),
        stat(
            "Visible within 60 s",
            "Of the last hour's events. The promise is 99 % over a month.",
            "99 % and more.",
            query("1 - max(scheduling:events_late:ratio_rate1h{@job})"),
            unit="percentunit",
            decimals=2,
            below=RED,
            steps=[(0.94, ORANGE), (0.99, "green")],
            runbooks=LATE,
            empty="no events",
        ),
        stat(
            "Records per second",
            "Settled: all that they cause is durable.",
            "what is usual at this hour.",
            query("sum(rate(scheduling_records_total{@}[$__rate_interval]))"),
            unit="reqps",
            calm=True,
        ),
        stat(
            "Dead letters, last hour",
            "Records set aside, each with its reason; kcl-app dead-letters lists them.",
            "0, or the few that are usual.",
            query("sum(increase(scheduling_dead_letters_total{@}[1h]))"),
            decimals=0,
            steps=[(1, YELLOW), (100, RED)],
            runbooks=["SchedulingDeadLettersGrow", "SchedulingDeadLettersMany"],
        ),
        stat(
            "Stale days, last hour",
            "Provider-days whose spans could not be trusted when they were written.",
            "0.",
            query('sum(increase(scheduling_provider_days_total{@,outcome="stale"}[1h])) or vector(0)'),
            decimals=0,
            steps=[(1, YELLOW), (100, RED)],
            runbooks=["SchedulingProviderDaysStale"],
        ),
        stat(
            "Workers ready",
            "Workers that are at work: the KCL is up, and the stores answer.",
            "as many as should run.",
            query("sum(scheduling_worker_ready{@})"),
            below=RED,
            steps=[(1, "green")],
            runbooks=["SchedulingWorkersAbsent", "SchedulingNoWorkerReady", "SchedulingWorkerNotReady"],
            empty="NONE",
        ),
    ]


def wrong() -> list[Panel]:
    """What fires, and how to read it."""
    to_runbook = linked("Runbook", "${runbooks}/${__data.fields.alert}.md")
    severity = {"page": {"color": RED, "index": 0}, "ticket": {"color": YELLOW, "index": 1}}
    return [
        table(
            "What is wrong, and what to do",
            "Alerts that fire now. A click on one opens its runbook.",
            "empty.",
            {
                "firing": query(
                    "max by (alertname, severity, shard, instance, plugin, tenant, reason, operation) "
                    '(ALERTS{alertname=~"Scheduling.*",alertstate="firing"})',
                    instant=True,
                )
            },
            hidden=["Value"],
            names={"alertname": "alert"},
            columns={
                "alert": [to_runbook],
                "severity": [
                    ("mappings", [{"type": "value", "options": severity}]),
                    ("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
                ],
            },
            width=16,
            empty="nothing fires",
        ),
        text("At 3 a.m.", GUIDE),
    ]


def keeping_up() -> list[Panel]:
    """Lag, state and ages."""
    burn = (
        "max(scheduling:events_late:ratio_rate{window}{@job}) / (1 - scalar(scheduling:limit:slo_objective))"
    )
    return [
        series(
            "Lag by shard",
            "How long ago the oldest event arrived that is not settled; it grows while nothing is. The ten worst.",
            "flat and below a minute.",
            query("topk(10, scheduling:shard_lag:seconds{@job})", "{{shard}}"),
            unit="s",
            steps=[(60, RED)],
            runbooks=["SchedulingShardFallsBehind"],
        ),
        timeline(
            "State by shard",
            "The lag judge's verdict on each shard.",
            "green.",
            query("scheduling:shard_state:code{@job}", "{{shard}}"),
            JUDGED,
            runbooks=["SchedulingShardStalled"],
            width=12,
            height=8,
        ),
        series(
            "From arrival until visible",
            "Age of events when their spans are durable, from their arrival on the stream. This is what is promised.",
            "the 99th percentile below 60 s.",
            [
                query(
                    f"histogram_quantile({part}, sum by (le) (rate(scheduling_pipeline_age_seconds_bucket{{@}}"
                    "[$__rate_interval])))",
                    f"{round(float(part) * 100)} %",
                )
                for part in ("0.5", "0.95", "0.99")
            ],
            unit="s",
            log=True,
            steps=[(60, RED)],
            runbooks=LATE,
            width=8,
        ),
        series(
            "From the source until visible",
            "The same from the event's own time at the clinic: the sender's delay is in it, and its clock.",
            "a few seconds over the panel beside it; old events that are sent again count as old.",
            [
                query(
                    f"histogram_quantile({part}, sum by (le) (rate(scheduling_end_to_end_age_seconds_bucket{{@}}"
                    "[$__rate_interval])))",
                    f"{round(float(part) * 100)} %",
                )
                for part in ("0.5", "0.99")
            ],
            unit="s",
            log=True,
            width=8,
        ),
        series(
            "Burn rate of the promise",
            "1 uses up in a month exactly what is allowed; 14.4 over an hour, and 6 over six, page.",
            "below 1.",
            [query(burn.replace("{window}", window), window) for window in ("1h", "6h", "1d", "3d")],
            steps=[(1, YELLOW), (14.4, RED)],
            runbooks=LATE,
            width=8,
        ),
    ]


def overview() -> str:
    """As JSON."""
    return board(
        "scheduling-overview",
        "Scheduling: overview",
        "Does it keep up, what is wrong, and what is to be done?",
        {
            "": [*top(), *wrong()],
            "Does it keep up?": keeping_up(),
            "What comes in, and what becomes of it": events(),
            "What stands in the way: stores and plugins": stores(),
            "Workers": workers(),
        },
    )
