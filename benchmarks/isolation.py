"""What it costs to run a plugin in a process of its own: `make bench-isolation`.

The same plugin, once in this process and once in its own. It writes all three methods itself, so that each of them is
asked over there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from emr_plugins.api import (
    API_VERSION,
    Appointment,
    Change,
    Context,
    Event,
    Item,
    ItemChange,
    Span,
    StandardEnginePlugin,
    Touched,
)
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import GROUP, discover
from emr_plugins.time_limit import TimeLimit
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision

MEMORY_MB = 256
LAPS = 5
CALLS = 500
DAY = date(2026, 3, 9)
ZONE = "America/New_York"
PROVIDER = ProviderKey("t", "measured", "p1")


class MeasuredPlugin(StandardEnginePlugin):
    """The standard rules, as a plugin that writes everything itself."""

    name = "measured"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Sequence[ItemChange]:
        """One appointment."""
        data = event.payload()
        body = Appointment.model_validate({name: data[name] for name in ("status", "start", "end")})
        return [ItemChange(data["id"], body, (data["provider_id"],), data["version"])]

    def impact(self, change: Change, context: Context) -> Sequence[Touched]:
        """The standard rules'."""
        return list(super().impact(change, context))

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """The standard rules'."""
        return super().spans(day, items, context)


def booking(number: int) -> Item:
    """An appointment of the day."""
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(minutes=10 * number)
    body = Appointment(status="booked", start=start, end=start + timedelta(minutes=10))
    return Item(
        ItemKey("t", "measured", "appointment", f"a{number}"), ("p1",), Revision.of(1, start, "1"), body
    )


def event() -> Event:
    """One of the standard format."""
    data = {"id": "a", "provider_id": "p1", "version": 1, "status": "booked"}
    times = {"start": "2026-03-09T14:00:00Z", "end": "2026-03-09T14:30:00Z"}
    envelope = {"specversion": "1.0", "id": "1", "source": "/tenants/t", "type": "x", "tenant": "t"}
    return Event.model_validate(
        {**envelope, "time": "2026-01-01T00:00:00Z", "emr": "measured", "data": {**data, **times}}
    )


def measure(call: Callable[[], object], theirs: Callable[[], float]) -> dict[str, float]:
    """Median over the laps, in µs for each call: elapsed, this process's CPU, and the plugin process's."""
    laps = []
    for _ in range(LAPS):
        began, cpu, other = time.perf_counter(), time.process_time(), theirs()
        for _ in range(CALLS):
            call()
        laps.append((time.perf_counter() - began, time.process_time() - cpu, theirs() - other))
    names = ("elapsed_us", "cpu_us", "plugin_cpu_us")
    return {
        name: round(statistics.median(one) / CALLS * 1e6, 1)
        for name, one in zip(names, zip(*laps, strict=True), strict=True)
    }


def measure_all(isolate: Mapping[str, int]) -> tuple[dict[str, dict[str, float]], float]:
    """By what is called, the figures; and the resident memory of the plugin's process, in MB.

    Args:
        isolate: the plugin, if it is to have a process of its own.
    """
    point = EntryPoint("measured", "benchmarks.isolation:MeasuredPlugin", GROUP)
    registry = discover(found=[point], isolate=isolate)
    if registry.refused:
        sys.exit(f"benchmarks.isolation: {registry.refused[0].reason}")
    tenant = Tenant(ZONE, {})
    host = PluginHost(registry, lambda name: tenant, limit=TimeLimit(5, lambda: None))
    processes = [one for one in psutil.Process().children() if "emr_plugins.isolation" in one.cmdline()]
    asked, change = event(), Change(None, booking(1))
    few, many = ([booking(number) for number in range(count)] for count in (10, 100))
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: host.decode(asked),
        "impact": lambda: host.impact(PROVIDER, lambda: ZONE, change),
        "spans, 10 items": lambda: host.spans(PROVIDER, ZONE, DAY, few),
        "spans, 100 items": lambda: host.spans(PROVIDER, ZONE, DAY, many),
    }
    found = {}
    for name, call in calls.items():
        call()
        found[name] = measure(call, lambda: sum(sum(one.cpu_times()[:2]) for one in processes))
    return found, sum(one.memory_info().rss for one in processes) / 1e6


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    inside, _ = measure_all({})
    outside, megabytes = measure_all({"measured": MEMORY_MB})
    places = {"in the worker's process": inside, "in its own": outside}
    if given.json:
        given.json.write_text(json.dumps({**places, "rss_mb": megabytes}, indent=2) + "\n", encoding="utf-8")
    table = Table(title=f"A plugin's call, µs (median of {LAPS} × {CALLS} calls, {os.cpu_count()} cores)")
    for column in ("call", "where", "elapsed", "CPU of the worker", "CPU of the plugin's process"):
        table.add_column(column, justify="left" if column in ("call", "where") else "right")
    for name in inside:
        for where, found in places.items():
            table.add_row(name, where, *(f"{value:,.0f}" for value in found[name].values()))
    console = Console()
    console.print(table)
    console.print(f"The plugin's process has {megabytes:.0f} MB resident.")


if __name__ == "__main__":
    main()
