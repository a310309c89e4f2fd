"""Does the CPU time of one event stay the same as the world grows? `make bench-growth` tells.

Three axes: providers on one shard (10 to 10,000), shards (1 to 16), items of each provider (10 to 5,000). Stores are
simulated in memory and their time is taken off; everything else is what a worker's child runs. Each point has a process
of its own. Figures are CPU time, so other work on the machine matters little; each is the median of several laps.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.growth_plot import plot
from benchmarks.growth_world import Metered, Shards, Traffic, make_engine
from kcl_app.stores.memory import MemoryStore
from kcl_app.worker.child import settle_memory

FLAT = 1.25
"""A series is flat whose dearest point costs at most this many times its cheapest."""
WIDTH = 132
"""Columns of the table where no terminal says how many there are."""
ALL_FIT = 2_000_000
"""A bound of the in-memory copies that no point here reaches."""


@dataclass(frozen=True)
class Point:
    """One world to measure in.

    Attributes:
        axis: what grows.
        series: which of the axis' series it belongs to.
        x: how far.
        providers: in all.
        items: of each provider.
        shards: how many.
        beyond: whether most items lie past the horizon.
        cached_items: bound of each engine's in-memory copies; None: the setting's default.
        handovers: fraction of the events that hand an appointment to another provider.
        batch: records that an engine gets at once.
        events: of one lap, for each shard.
        laps: how many.
    """

    axis: str
    series: str
    x: int
    providers: int
    items: int
    shards: int = 1
    beyond: bool = False
    cached_items: int | None = None
    handovers: float = 0.0
    batch: int = 100
    events: int = 4000
    laps: int = 5


@dataclass(frozen=True)
class Cost:
    """What an event costs at a point; times are µs of CPU per event.

    Attributes:
        point: where.
        us: median of the laps, without the stores.
        low: of the cheapest lap.
        high: of the dearest.
        gc_us: of `us`, the garbage collector's.
        store_us: the simulated store's own, not in `us`.
        reads: calls that read from the store, per event.
        rows: rows written, per event.
        onboarding_us: for an event of the onboarding before, all days of new providers included.
    """

    point: Point
    us: float
    low: float
    high: float
    gc_us: float
    store_us: float
    reads: float
    rows: float
    onboarding_us: float


def points(largest: float = 1.0) -> list[Point]:
    """All points, the axes cut at a fraction of their ends."""

    def up_to(values: Iterable[int]) -> list[int]:
        values = list(values)
        return [value for value in values if value <= values[-1] * largest]

    found = []
    for n in up_to((10, 100, 1000, 10_000)):
        base = Point("providers", "all in memory", n, n, 20, cached_items=ALL_FIT)
        found += [base, replace(base, series="default bound", cached_items=None)]
    for n in up_to((1, 2, 4, 8, 16)):
        base = Point("shards", "100 providers a shard", n, 100 * n, 20, n, events=2000)
        found += [base, replace(base, series="2 % handed over", handovers=0.02)]
    for n in up_to((10, 100, 1000, 5000)):
        base = Point("items", "on other days", n, 15, n, beyond=True)
        found += [base, replace(base, series="on the same days", beyond=False)]
    if largest >= 1:
        found.append(Point("items", "past the default bound", 5000, 50, 5000, events=500))
    return found


def measure(point: Point) -> Cost:
    """Build a world, and take the time of its laps, with the collector of cycles set as in a child."""
    settle_memory()
    store = Metered(MemoryStore())
    engines = [make_engine(store, point.cached_items) for _ in range(point.shards)]
    shards = Shards(engines, store, point.batch)
    traffic = Traffic(
        point.providers, point.items, point.beyond, point.handovers, apart=point.batch * point.shards
    )
    onboarding = Shards(engines, store, 1000).run(traffic.onboarding())
    shards.run(traffic.moves(point.events * point.shards))  # warms up
    laps = [shards.run(traffic.moves(point.events * point.shards)) for _ in range(point.laps)]
    costs = [lap.seconds / lap.events * 1e6 for lap in laps]
    events = sum(lap.events for lap in laps)
    return Cost(
        point,
        statistics.median(costs),
        min(costs),
        max(costs),
        sum(lap.gc_seconds for lap in laps) / events * 1e6,
        sum(lap.store_seconds for lap in laps) / events * 1e6,
        sum(lap.reads for lap in laps) / events,
        sum(lap.writes for lap in laps) / events,
        onboarding.seconds / onboarding.events * 1e6,
    )


def growth(costs: Sequence[Cost]) -> dict[tuple[str, str], float]:
    """How many times the cheapest point of each series its dearest costs."""
    series: dict[tuple[str, str], list[float]] = {}
    for cost in costs:
        series.setdefault((cost.point.axis, cost.point.series), []).append(cost.us)
    return {name: max(values) / min(values) for name, values in series.items()}


def table(costs: Sequence[Cost]) -> Table:
    """The costs to read."""
    shown = Table(title="Python CPU time per event, simulated stores", title_justify="left")
    for name in ("axis", "series", "at"):
        shown.add_column(name)
    for name in (
        "µs/event",
        "lowest–highest",
        "of it gc",
        "store's own µs",
        "reads/event",
        "rows/event",
        "growth",
    ):
        shown.add_column(name, justify="right")
    ratios = growth(costs)
    last: tuple[str, str] | None = None
    for cost in sorted(costs, key=lambda cost: (cost.point.axis, cost.point.series, cost.point.x)):
        key = (cost.point.axis, cost.point.series)
        ratio = ratios[key]
        shown.add_row(
            *(key if key != last else ("", "")),
            f"{cost.point.x:,}",
            f"{cost.us:.0f}",
            f"{cost.low:.0f}–{cost.high:.0f}",
            f"{cost.gc_us:.1f}",
            f"{cost.store_us:.0f}",
            f"{cost.reads:.2f}",
            f"{cost.rows:.2f}",
            "" if key == last else f"×{ratio:.2f} {'flat' if ratio <= FLAT else 'NOT FLAT'}",
        )
        last = key
    return shown


def document(costs: Sequence[Cost]) -> dict[str, object]:
    """The costs for programs."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "flat_up_to": FLAT,
        "growth": [
            {"axis": axis, "series": series, "ratio": round(ratio, 3), "flat": ratio <= FLAT}
            for (axis, series), ratio in growth(costs).items()
        ],
        "points": [asdict(cost) for cost in costs],
    }


def main(
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Draw them here.")] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Only this axis: providers, shards or items; may come again.")
    ] = None,
    largest: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Cut the axes at this fraction of their ends.")
    ] = 1.0,
    laps: Annotated[int, typer.Option(min=1, help="Laps of each point.")] = 5,
) -> None:
    """Measure how the CPU time of one event grows with providers, shards and items."""
    wanted = [replace(one, laps=laps) for one in points(largest) if axis is None or one.axis in axis]
    if not wanted:
        raise typer.BadParameter("there is no such axis; there are providers, shards and items")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    costs = []
    # A process for each point, so that none finds another's memory; one at a time, so that none takes another's cache.
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
        Progress(console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("growth", total=len(wanted))
        for cost in pool.map(measure, wanted):
            costs.append(cost)
            progress.advance(task)
    console.print(table(costs))
    if as_json:
        as_json.write_text(json.dumps(document(costs), indent=1) + "\n", encoding="utf-8")
    if png:
        plot(document(costs), png)


if __name__ == "__main__":
    typer.run(main)
