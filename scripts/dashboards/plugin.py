"""Plugins: what each is asked, how long it takes, how it fails, and whether it is suspended."""

from __future__ import annotations

from .layout import board, choice
from .parts import ORANGE, RED, YELLOW, Panel, query, series, stat

FAILED = 'reason=~"plugin_.*|unknown_emr|killed_worker"'


def now() -> list[Panel]:
    """What is so now."""
    return [
        stat(
            "Suspended for a tenant or for all",
            "Suspensions in force, of all shards.",
            "0.",
            query(
                'sum(scheduling_plugin_suspended{@plugin} unless scheduling_plugin_suspended{@,scope="provider"})'
                " or vector(0)"
            ),
            steps=[(1, RED)],
            runbooks=["SchedulingPluginSuspended"],
            width=6,
        ),
        stat(
            "Suspended for a provider",
            "Suspensions in force for single providers, whose data make it hang.",
            "0.",
            query('sum(scheduling_plugin_suspended{@,scope="provider"}) or vector(0)'),
            steps=[(1, ORANGE)],
            runbooks=["SchedulingPluginSuspended"],
            width=6,
        ),
        stat(
            "Calls that fail",
            "Share of the calls within ten minutes, refused ones left out.",
            "0.",
            query(
                'sum(rate(scheduling_plugin_failures_total{@,outcome!="refused"}[10m])) '
                "/ sum(rate(scheduling_plugin_duration_seconds_count{@}[10m])) or vector(0)"
            ),
            unit="percentunit",
            decimals=2,
            steps=[(0.01, YELLOW), (0.05, RED)],
            runbooks=["SchedulingPluginFails"],
            width=6,
        ),
        stat(
            "Plugins refused",
            "Installed plugins that could not be loaded; /readyz names them.",
            "0.",
            query("max(scheduling_plugins_refused{@})"),
            steps=[(1, RED)],
            runbooks=["SchedulingPluginRefused"],
            width=6,
        ),
    ]


def calls() -> list[Panel]:
    """Calls, how long they take and how they fail."""
    return [
        series(
            "Calls per second",
            "By plugin and method: decode makes items of messages, impact finds the days, spans computes them.",
            "in step with the events.",
            query(
                "sum by (plugin, method) (rate(scheduling_plugin_duration_seconds_count{@plugin}[$__rate_interval]))",
                "{{plugin}}.{{method}}",
            ),
            unit="reqps",
        ),
        series(
            "How long a call takes, 99th percentile",
            "The check of its answer included. Half of plugins.call_seconds counts as a call that hung.",
            "milliseconds.",
            query(
                "histogram_quantile(0.99, sum by (plugin, method, le) "
                "(rate(scheduling_plugin_duration_seconds_bucket{@plugin}[$__rate_interval])))",
                "{{plugin}}.{{method}}",
            ),
            unit="s",
            log=True,
        ),
        series(
            "Time spent in plugins",
            "Seconds per second, of all shards: how many cores each plugin keeps busy.",
            "a fraction of the cores.",
            query(
                "sum by (plugin) (rate(scheduling_plugin_duration_seconds_sum{@plugin}[$__rate_interval]))",
                "{{plugin}}",
            ),
            stacked=True,
            width=8,
        ),
        series(
            "Failures by outcome",
            "raised, nonsense, timeout; refused while it is suspended.",
            "none.",
            query(
                "sum by (plugin, method, outcome) "
                "(rate(scheduling_plugin_failures_total{@plugin}[$__rate_interval]))",
                "{{plugin}}.{{method}} {{outcome}}",
            ),
            unit="reqps",
            runbooks=["SchedulingPluginFails", "SchedulingPluginSuspended"],
            width=8,
        ),
        series(
            "Suspensions that began",
            "By scope. Each further one of the same plugin lasts twice as long.",
            "none.",
            query(
                "sum by (plugin, method, scope) "
                "(increase(scheduling_plugin_suspensions_total{@plugin}[$__rate_interval]))",
                "{{plugin}}.{{method}} for {{scope}}",
            ),
            runbooks=["SchedulingPluginSuspended"],
            width=8,
        ),
    ]


def results() -> list[Panel]:
    """What its answers came to."""
    return [
        series(
            "Provider-days by outcome",
            "Written per second: fresh, or stale where its answer could not be had or trusted.",
            "fresh.",
            query(
                "sum by (plugin, outcome) (rate(scheduling_provider_days_total{@plugin}[$__rate_interval]))",
                "{{plugin}} {{outcome}}",
            ),
            unit="reqps",
            runbooks=["SchedulingProviderDaysStale"],
            width=8,
        ),
        series(
            "Spans in a provider-day",
            "On average.",
            "what is usual. A sudden fall to 0: the plugin finds no free time any more.",
            query(
                "sum by (plugin) (rate(scheduling_spans_total{@plugin}[$__rate_interval]))"
                ' / sum by (plugin) (rate(scheduling_provider_days_total{@,outcome="fresh"}[$__rate_interval]))',
                "{{plugin}}",
            ),
            width=8,
        ),
        series(
            "Dead letters because of plugins",
            "Per minute, by reason.",
            "none.",
            query(
                f"60 * sum by (reason) (rate(scheduling_dead_letters_total{{@,{FAILED}}}[$__rate_interval]))",
                "{{reason}}",
            ),
            unit="cpm",
            runbooks=["SchedulingDeadLettersGrow"],
            width=8,
        ),
        series(
            "Processes of isolated plugins",
            "How many run.",
            "one for each isolated plugin and shard. Empty where none is isolated.",
            query('sum by (instance) (scheduling_processes{@,process="plugin"})', "{{instance}}"),
            width=12,
        ),
        series(
            "Memory of isolated plugins",
            "Resident, of all of a worker's.",
            "far below plugins.isolated_memory_mb for each.",
            query(
                'sum by (instance) (scheduling_process_resident_memory_bytes{@,process="plugin"})',
                "{{instance}}",
            ),
            unit="bytes",
            width=12,
        ),
    ]


def plugin() -> str:
    """As JSON."""
    return board(
        "scheduling-plugin",
        "Scheduling: plugins",
        "What each plugin is asked, how long it takes, how it fails, and whether it is suspended.",
        {"": now(), "Calls": calls(), "What came of them": results()},
        variables=[
            choice(
                "plugin",
                "Plugin",
                'label_values(scheduling_plugin_duration_seconds_count{job=~"$job"}, plugin)',
                "By the name of its entry point.",
            )
        ],
    )
