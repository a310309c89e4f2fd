"""What it costs: units, shards and tasks as they are used now, with prices that can be typed in.

Prices and vCPU are those that `kcl-app plan` rests on, so that plan and reality can be compared.
"""

from __future__ import annotations

from kcl_app.plan import Prices

from .layout import Variable, board, number
from .parts import Panel, Query, query, series, stat, table

MONTH_HOURS = 730

WRITES = "sum(rate(scheduling_store_write_units_total{@}[1h])) * 3600 / 1e6 * $write_million"
READS = "sum(rate(scheduling_store_read_units_total{@}[1h])) * 3600 / 1e6 * $read_million"
SHARDS = (
    "max(scheduling_stream_open_shards{@}) * ($shard_hour + "
    "$retention_shard_hour * (max(scheduling_stream_retention_seconds{@}) > bool 86400))"
)
PUTS = "sum(rate(scheduling_records_total{@}[1h])) * 3600 / 1e6 * $put_million"
TASKS = (
    "count(scheduling_build_info{@}) * $task_vcpu * $vcpu_hour"
    " + sum(scheduling_memory_limit_bytes{@}) / 1e9 * $memory_gb_hour"
)
PARTS = {
    "DynamoDB writes": WRITES,
    "DynamoDB reads": READS,
    "Kinesis shards": SHARDS,
    "Kinesis puts": PUTS,
    "Fargate tasks": TASKS,
}


def per_month(expr: str, legend: str = "") -> Query:
    """An hour's dollars for a whole month."""
    return query(f"({expr}) * {MONTH_HOURS}", legend)


def everything() -> str:
    """Dollars an hour, of all parts that are known."""
    return " + ".join(f"(({expr}) or vector(0))" for expr in PARTS.values())


def figures() -> list[Panel]:
    """Money."""
    left_out = "Storage, ingress, egress, logs, transfer, the KCL's own tables and discounts are left out."
    return [
        stat(
            "Dollars a month",
            f"If the last hour were the whole month. {left_out}",
            "what kcl-app plan says for this load.",
            per_month(everything()),
            unit="currencyUSD",
            decimals=0,
            calm=True,
            width=6,
        ),
        stat(
            "Dollars for a million events",
            f"All that costs, by what was settled within the last hour. {left_out}",
            "falls with the load, since shards and tasks cost the same when they are idle.",
            query(f"({everything()}) / (sum(rate(scheduling_records_total{{@}}[1h])) * 3600 / 1e6 > 0)"),
            unit="currencyUSD",
            decimals=2,
            calm=True,
            width=6,
            empty="no events",
        ),
        stat(
            "Write units per record",
            "What a record costs in DynamoDB, within the last hour.",
            "2 to 6: an item, and the days that it touches.",
            query(
                "sum(rate(scheduling_store_write_units_total{@}[1h]))"
                " / (sum(rate(scheduling_records_total{@}[1h])) > 0)"
            ),
            decimals=2,
            calm=True,
            width=6,
            empty="no events",
        ),
        stat(
            "Records per second and core",
            "Settled, by CPU in use, within the last hour.",
            "thousands; the lower, the more CPU an event costs.",
            query(
                "sum(rate(scheduling_records_total{@}[1h])) / sum(rate(scheduling_process_cpu_seconds_total{@}[1h]))"
            ),
            decimals=0,
            calm=True,
            width=6,
        ),
        series(
            "Dollars a month, by what it is for",
            f"If each hour were the whole month. {left_out}",
            "shards and tasks flat, units in step with the events.",
            [per_month(expr, name) for name, expr in PARTS.items()],
            unit="currencyUSD",
            stacked=True,
            width=24,
        ),
    ]


def units() -> list[Panel]:
    """What the money is for."""
    return [
        series(
            "Write units by table",
            "Per second, as DynamoDB says with each answer.",
            "in step with the events.",
            query(
                "sum by (table) (rate(scheduling_store_write_units_total{@}[$__rate_interval]))", "{{table}}"
            ),
            stacked=True,
            runbooks=["SchedulingStoreThrottled"],
            width=8,
        ),
        series(
            "Read units by table",
            "Per second. A provider that is not in memory is read whole.",
            "far fewer than write units, once the caches are warm.",
            query(
                "sum by (table) (rate(scheduling_store_read_units_total{@}[$__rate_interval]))", "{{table}}"
            ),
            stacked=True,
            width=8,
        ),
        series(
            "Calls of the stores",
            "Per second, by operation.",
            "far fewer than records: writes go 25 to a call.",
            query(
                "sum by (operation) (rate(scheduling_store_calls_total{@}[$__rate_interval]))",
                "{{operation}}",
            ),
            unit="reqps",
            width=8,
        ),
        series(
            "Memory that is paid for and not used",
            "Share of each worker's memory.",
            "10 to 50 %. More: smaller tasks would do, or larger caches.",
            query(
                "1 - sum by (instance) (scheduling_process_resident_memory_bytes{@})"
                " / sum by (instance) (scheduling_memory_limit_bytes{@})",
                "{{instance}}",
            ),
            unit="percentunit",
            runbooks=["SchedulingMemoryLow"],
            width=8,
            most=1,
        ),
        series(
            "Load of the shards that are paid for",
            "Bytes settled, of what the open shards take in.",
            "20 to 80 %. Less for weeks: merge shards.",
            query(
                "sum(rate(scheduling_record_bytes_total{@}[$__rate_interval]))"
                " / (max(scheduling_stream_open_shards{@}) * 1e6)",
                "load",
            ),
            unit="percentunit",
            width=8,
            most=1,
        ),
        table(
            "Units within a day",
            "By table.",
            "what is usual.",
            {
                "write units": query(
                    "sum by (table) (increase(scheduling_store_write_units_total{@}[1d]))",
                    instant=True,
                    name="A",
                ),
                "read units": query(
                    "sum by (table) (increase(scheduling_store_read_units_total{@}[1d]))",
                    instant=True,
                    name="B",
                ),
            },
            columns={"write units": [("decimals", 0)], "read units": [("decimals", 0)]},
            width=8,
        ),
    ]


def prices() -> list[Variable]:
    """Variables with what AWS asks, as `kcl-app plan` knows it."""
    known = Prices()
    shown = {
        "write_million": "$ a million write units",
        "read_million": "$ a million read units",
        "shard_hour": "$ a shard and hour",
        "retention_shard_hour": "$ retention past 24 h, a shard and hour",
        "put_million": "$ a million puts",
        "vcpu_hour": "$ a vCPU and hour",
        "memory_gb_hour": "$ a GB and hour",
    }
    made = [number(name, label, f"{getattr(known, name):g}", "A price.") for name, label in shown.items()]
    return [*made, number("task_vcpu", "vCPU of a task", "1", "Of a worker's task.")]


def cost() -> str:
    """As JSON."""
    return board(
        "scheduling-cost",
        "Scheduling: cost",
        "What it costs, and what for.",
        {"": figures(), "What it is for": units()},
        variables=prices(),
        span="now-2d",
    )
