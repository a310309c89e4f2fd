"""One shard, or all of them side by side: who has it, how far behind it is, and where its time goes."""

from __future__ import annotations

from .layout import board, choice
from .parts import JUDGED, ORANGE, RED, YELLOW, Panel, coloured, query, series, stat, table, timeline

BYTES_PER_SECOND = 1_000_000
"""What a shard takes in."""


def now() -> list[Panel]:
    """What is so now."""
    return [
        stat(
            "State",
            "The lag judge's verdict on the worst of the shards chosen.",
            "OK.",
            query("max(scheduling:shard_state:code{@job,shard})"),
            states=JUDGED,
            below=RED,
            runbooks=["SchedulingShardStalled"],
            empty="NO OWNER",
            width=4,
        ),
        stat(
            "Worst lag",
            "Everything that arrived longer ago than this is settled.",
            "below 60 s.",
            query("max(scheduling:shard_lag:seconds{@job,shard})"),
            unit="s",
            steps=[(30, YELLOW), (60, RED)],
            runbooks=["SchedulingShardFallsBehind"],
            width=4,
        ),
        stat(
            "Oldest checkpoint",
            "Time since everything delivered was checkpointed; an idle shard counts as checkpointed.",
            "a few seconds; up to a minute while it is far behind.",
            query("max(scheduling_checkpoint_age_seconds{@shard})"),
            unit="s",
            steps=[(90, YELLOW), (300, RED)],
            runbooks=["SchedulingCheckpointStuck"],
            width=4,
        ),
        stat(
            "Longest silence of a child",
            "Time since the shard's process last did anything, an empty delivery included.",
            "a few seconds.",
            query("max(scheduling_child_silence_seconds{@shard})"),
            unit="s",
            steps=[(60, YELLOW), (300, RED)],
            runbooks=["SchedulingShardStalled"],
            width=4,
        ),
        stat(
            "Until events are lost",
            "Time until the stream drops the oldest event that a worker may still have to settle.",
            "about as long as the stream keeps events.",
            query("min(scheduling_retention_left_seconds{@})"),
            unit="s",
            below=RED,
            steps=[(86_400, ORANGE), (172_800, "green")],
            runbooks=["SchedulingEventsNearRetention"],
            width=4,
        ),
        stat(
            "Shards: open and without an owner",
            "Open shards of the stream, and leases that no worker holds.",
            "no shard without an owner.",
            [
                query("max(scheduling_stream_open_shards{@})", "open"),
                query("max(scheduling_leases_unowned{@})", "without an owner"),
            ],
            calm=True,
            runbooks=["SchedulingShardWithoutOwner"],
            width=4,
        ),
        table(
            "Shards and their owners",
            "One row for each shard and the worker that has it. Two workers for one shard: it has just moved, or one "
            "of them was frozen and does not know yet.",
            "one worker for each shard, and short times.",
            {
                "lag": query("scheduling_lag_seconds{@shard}", instant=True, name="A"),
                "lag gained per second": query("scheduling_lag_trend_ratio{@shard}", instant=True, name="B"),
                "read lag": query("scheduling_read_lag_seconds{@shard}", instant=True, name="C"),
                "checkpointed": query("scheduling_checkpoint_age_seconds{@shard}", instant=True, name="D"),
                "child silent": query("scheduling_child_silence_seconds{@shard}", instant=True, name="E"),
                "stores answer": query("scheduling_stores_available{@shard}", instant=True, name="F"),
                "records/s": query("rate(scheduling_records_total{@shard}[5m])", instant=True, name="G"),
            },
            hidden=["job"],
            columns={
                "lag": coloured([(30, YELLOW), (60, RED)], "s"),
                "lag gained per second": [("decimals", 2)],
                "read lag": [("unit", "s")],
                "checkpointed": coloured([(90, YELLOW), (300, RED)], "s"),
                "child silent": coloured([(60, YELLOW), (300, RED)], "s"),
                "stores answer": coloured([(1, "green")], "short", RED),
                "records/s": [("decimals", 1)],
            },
        ),
    ]


def behind() -> list[Panel]:
    """How far behind, and why."""
    return [
        timeline(
            "State by shard",
            "The lag judge's verdict over time.",
            "green.",
            query("scheduling:shard_state:code{@job,shard}", "{{shard}}"),
            JUDGED,
            runbooks=["SchedulingShardStalled", "SchedulingShardFallsBehind"],
        ),
        series(
            "Lag, and lag when read",
            "Lag: until events are settled. Read lag: when the KCL had read them; the difference is what waits in the "
            "worker.",
            "both flat, a few seconds.",
            [
                query("scheduling_lag_seconds{@shard}", "{{shard}} lag"),
                query("scheduling_read_lag_seconds{@shard}", "{{shard}} read"),
            ],
            unit="s",
            steps=[(60, RED)],
            runbooks=["SchedulingShardFallsBehind"],
        ),
        series(
            "Ages of what is known",
            "Time since the last delivery, since the child did anything, and since what was settled arrived.",
            "a few seconds each. A delivery that is old: the KCL does not read. A child that is silent: it hangs.",
            [
                query("time() - scheduling_delivered_timestamp_seconds{@shard}", "{{shard}} delivered"),
                query("time() - scheduling_heard_timestamp_seconds{@shard}", "{{shard}} heard"),
                query("time() - scheduling_settled_timestamp_seconds{@shard}", "{{shard}} settled"),
                query("time() - scheduling_checkpoint_timestamp_seconds{@shard}", "{{shard}} checkpointed"),
            ],
            unit="s",
            runbooks=["SchedulingShardStalled", "SchedulingCheckpointStuck"],
        ),
    ]


def work() -> list[Panel]:
    """What it does, and where its time goes."""
    return [
        series(
            "Records per second",
            "Settled.",
            "below 1,000, which is what a shard takes in; more while it catches up.",
            query("sum by (shard) (rate(scheduling_records_total{@shard}[$__rate_interval]))", "{{shard}}"),
            unit="reqps",
            width=8,
        ),
        series(
            "Share of a shard's bytes",
            "Bytes settled, of the 1 MB/s that a shard takes in.",
            "below 80 %; split the shard before it gets there.",
            query(
                "sum by (shard) (rate(scheduling_record_bytes_total{@shard}[$__rate_interval]))"
                f" / {BYTES_PER_SECOND}",
                "{{shard}}",
            ),
            unit="percentunit",
            steps=[(0.8, YELLOW), (1, RED)],
            width=8,
        ),
        series(
            "Checkpoints by outcome",
            "Of all shards of the workers chosen.",
            "ok. ThrottlingException: the lease table; ShutdownException: another worker has the shard.",
            query(
                "sum by (outcome) (rate(scheduling_checkpoints_total{@}[$__rate_interval]))", "{{outcome}}"
            ),
            unit="reqps",
            runbooks=["SchedulingCheckpointStuck"],
            width=8,
        ),
        series(
            "Steps of a batch",
            "Seconds spent in each step per second, of all shards of the workers chosen.",
            "each shard below 1 in all. upsert and write wait for the tables, recompute is plugins.",
            query(
                "sum by (step) (rate(scheduling_batch_step_duration_seconds_sum{@}[$__rate_interval]))",
                "{{step}}",
            ),
            unit="short",
            stacked=True,
            width=8,
        ),
        series(
            "Batches",
            "How long one takes, the 50th and 99th percentile.",
            "below 4 s; a slower one is cut smaller by itself.",
            [
                query(
                    f"histogram_quantile({part}, sum by (le) "
                    "(rate(scheduling_batch_duration_seconds_bucket{@}[$__rate_interval])))",
                    f"{round(float(part) * 100)} %",
                )
                for part in ("0.5", "0.99")
            ],
            unit="s",
            width=8,
        ),
        series(
            "Faults of ours",
            "Batches halved to find a record on which the engine fails, and records that ended processes.",
            "none, ever.",
            [
                query(
                    "sum(increase(scheduling_batches_bisected_total{@}[$__rate_interval]))", "batches halved"
                ),
                query(
                    "sum(increase(scheduling_killer_records_total{@}[$__rate_interval]))", "killer records"
                ),
            ],
            runbooks=["SchedulingEngineFault", "SchedulingKillerRecord"],
            width=8,
        ),
    ]


def shard() -> str:
    """As JSON."""
    return board(
        "scheduling-shard",
        "Scheduling: shards",
        "Who has a shard, how far behind it is, and where its time goes.",
        {"": now(), "How far behind": behind(), "What it does": work()},
        variables=[
            choice(
                "shard",
                "Shard",
                'label_values(scheduling_checkpoint_age_seconds{job=~"$job"}, shard)',
                "As the KCL names them.",
            )
        ],
    )
