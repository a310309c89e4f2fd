"""The overview's lower rows: what comes in, what stands in the way, and the workers."""

from __future__ import annotations

from .parts import (
    JUDGED,
    OK_OR_NOT,
    RED,
    YELLOW,
    Panel,
    coloured,
    query,
    series,
    table,
    timeline,
)


def events() -> list[Panel]:
    """What comes in, and what becomes of it."""
    return [
        series(
            "Events by outcome",
            "Applied; superseded by a newer one; replayed; rejected; ignored.",
            "mostly applied. Many replayed: a worker has started again, or somebody replays.",
            query("sum by (outcome) (rate(scheduling_events_total{@}[$__rate_interval]))", "{{outcome}}"),
            unit="reqps",
            stacked=True,
            width=8,
        ),
        series(
            "Dead letters by reason",
            "Records set aside per minute.",
            "none.",
            query(
                "60 * sum by (reason) (rate(scheduling_dead_letters_total{@}[$__rate_interval])) > 0",
                "{{reason}}",
            ),
            unit="cpm",
            runbooks=["SchedulingDeadLettersGrow", "SchedulingDeadLettersMany"],
            width=8,
        ),
        series(
            "Provider-days and items written",
            "What the events came to.",
            "a small multiple of the events; stale days none.",
            [
                query(
                    "sum by (outcome) (rate(scheduling_provider_days_total{@}[$__rate_interval]))",
                    "days {{outcome}}",
                ),
                query(
                    'sum(rate(scheduling_items_total{@,outcome="applied"}[$__rate_interval]))',
                    "items applied",
                ),
            ],
            unit="reqps",
            runbooks=["SchedulingProviderDaysStale"],
            width=8,
        ),
        series(
            "Silence of watched feeds",
            "How long a tenant that is watched has sent nothing, as a share of what its settings allow.",
            "below 1. Empty where no tenant is watched.",
            query(
                "min by (tenant) (scheduling_tenant_silence_seconds{@})"
                " / min by (tenant) (scheduling_tenant_silence_limit_seconds{@})",
                "{{tenant}}",
            ),
            unit="percentunit",
            steps=[(1, RED)],
            runbooks=["SchedulingFeedSilent"],
        ),
        series(
            "When watched feeds last sent",
            "Age of the newest event of each tenant that is watched.",
            "what is usual for the clinic. Empty where no tenant is watched.",
            query(
                "time() - max by (tenant) (scheduling_tenant_last_event_timestamp_seconds{@})", "{{tenant}}"
            ),
            unit="s",
            runbooks=["SchedulingFeedSilent"],
        ),
    ]


def stores() -> list[Panel]:
    """Stores and plugins: what stands in the way."""
    return [
        series(
            "Calls of the stores throttled",
            "Share of the calls that a store was too busy for, by operation.",
            "0; a percent in a burst.",
            query(
                "sum by (operation) (rate(scheduling_store_throttles_total{@}[$__rate_interval]))"
                " / sum by (operation) (rate(scheduling_store_calls_total{@}[$__rate_interval]))",
                "{{operation}}",
            ),
            unit="percentunit",
            steps=[(0.05, RED)],
            runbooks=["SchedulingStoreThrottled"],
            width=8,
        ),
        series(
            "Retries",
            "Operations tried again; of a whole batch, that means that its shard waits.",
            "none.",
            query(
                "sum by (operation) (rate(scheduling_retries_total{@}[$__rate_interval]))", "{{operation}}"
            ),
            unit="reqps",
            runbooks=["SchedulingStoreUnavailable"],
            width=8,
        ),
        series(
            "Calls into plugins that fail",
            "Share of the calls, by plugin and method. More in the dashboard on plugins.",
            "0.",
            query(
                "sum by (plugin, method) "
                '(rate(scheduling_plugin_failures_total{@,outcome!="refused"}[$__rate_interval]))'
                " / sum by (plugin, method) (rate(scheduling_plugin_duration_seconds_count{@}[$__rate_interval]))",
                "{{plugin}}.{{method}}",
            ),
            unit="percentunit",
            steps=[(0.05, RED)],
            runbooks=["SchedulingPluginFails", "SchedulingPluginSuspended"],
            width=8,
        ),
    ]


def workers() -> list[Panel]:
    """The workers and their room."""
    return [
        table(
            "Workers",
            "One row each.",
            "all ready, shards spread evenly, memory below 90 %.",
            {
                "ready": query("scheduling_worker_ready{@}", instant=True, name="A"),
                "shards": query("scheduling_shards_owned{@}", instant=True, name="B"),
                "worst lag": query("scheduling_worst_lag_seconds{@}", instant=True, name="C"),
                "memory": query(
                    "sum by (job, instance) (scheduling_process_resident_memory_bytes{@})"
                    " / sum by (job, instance) (scheduling_memory_limit_bytes{@})",
                    instant=True,
                    name="D",
                ),
                "disk free": query(
                    "scheduling_disk_free_bytes{@} / scheduling_disk_size_bytes{@}", instant=True, name="E"
                ),
                "up for": query("time() - scheduling_worker_start_time_seconds{@}", instant=True, name="F"),
                "children ended": query("scheduling_children_exited_total{@}", instant=True, name="G"),
                "release": query("scheduling_build_info{@}", instant=True, name="H"),
            },
            hidden=["job", "release"],
            columns={
                "ready": [
                    *coloured([(1, "green")], "short", RED),
                    (
                        "mappings",
                        [
                            {
                                "type": "value",
                                "options": {
                                    str(value): {"text": word, "color": color}
                                    for value, (word, color) in OK_OR_NOT.items()
                                },
                            }
                        ],
                    ),
                ],
                "worst lag": coloured([(30, YELLOW), (60, RED)], "s"),
                "memory": coloured([(0.8, YELLOW), (0.9, RED)], "percentunit"),
                "disk free": coloured([(0.1, YELLOW), (0.2, "green")], "percentunit", RED),
                "up for": [("unit", "s")],
            },
            runbooks=["SchedulingWorkerNotReady", "SchedulingWorkerDown"],
        ),
        series(
            "Shards without an owner, and restarts",
            "Leases that no worker holds, as each worker sees them; starts of workers within half an hour.",
            "0; while workers come and go, a moment of a few.",
            [
                query("max(scheduling_leases_unowned{@})", "shards without an owner"),
                query("sum(scheduling:worker_restarts:increase30m{@job})", "starts within 30 min"),
            ],
            runbooks=["SchedulingShardWithoutOwner", "SchedulingWorkerRestarts"],
            width=8,
        ),
        series(
            "CPU",
            "Cores in use by kind of process, of all workers.",
            "below what the workers have. child is the Python of the shards, jvm the KCL.",
            query(
                "sum by (process) (rate(scheduling_process_cpu_seconds_total{@}[$__rate_interval]))",
                "{{process}}",
            ),
            unit="short",
            stacked=True,
            width=8,
        ),
        series(
            "Memory",
            "Resident, by kind of process, of all workers.",
            "flat, once the caches are full.",
            query("sum by (process) (scheduling_process_resident_memory_bytes{@})", "{{process}}"),
            unit="bytes",
            stacked=True,
            runbooks=["SchedulingMemoryLow"],
            width=8,
        ),
        timeline(
            "Worst state of each worker",
            "Of its shards, as the worker's own judge says.",
            "green.",
            query(
                'max by (instance) (scheduling_worker_state{@,state="ok"}'
                ' or scheduling_worker_state{@,state="slow"} * 2'
                ' or scheduling_worker_state{@,state="stalled"} * 3'
                ' or scheduling_worker_state{@,state="stopped"} * 4)',
                "{{instance}}",
            ),
            JUDGED,
            runbooks=["SchedulingShardStalled"],
        ),
    ]
