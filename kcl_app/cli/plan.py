"""`kcl-app plan`: what a number of providers and events a second take."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kcl_app.capacity import Plan
from kcl_app.capacity import plan as work_out
from kcl_app.cli.common import Config, counted, settings_of
from kcl_app.errors import UserError
from kcl_app.plan import Demand, Measured, Numbers, Prices, assume

LIMITS = {
    "records_in": "1,000 records/s in",
    "bytes_in": "1 MB/s in",
    "bytes_out": "2 MB/s out",
    "cpu_of_one_child": "one vCPU a child",
}
LEFT_OUT = (
    "Left out: ingress and egress, data transfer and VPC endpoints, logs and metrics, backups, raw records in S3, "
    "taxes, and all discounts."
)


def plan(
    providers: Annotated[int, typer.Option(help="Providers whose availability is kept.")],
    events_per_second: Annotated[float, typer.Option(help="Scheduling events a second, at the peak.")],
    config: Config = None,
    mean_share: Annotated[
        float | None,
        typer.Option(help="The month's mean rate as a share of the peak; 1 is the peak all month."),
    ] = None,
    event_bytes: Annotated[int | None, typer.Option(help="Bytes of one event on the stream.")] = None,
    items_per_provider: Annotated[
        int | None, typer.Option(help="Items kept of each provider, those withdrawn included.")
    ] = None,
    headroom: Annotated[float | None, typer.Option(help="Capacity over the peak, as a share of it.")] = None,
    horizon_days: Annotated[int | None, typer.Option(help="Days ahead; by default the setting's.")] = None,
    cached_items: Annotated[
        int | None, typer.Option(help="Items in a child's memory; by default the setting's.")
    ] = None,
    task_vcpu: Annotated[float | None, typer.Option(help="vCPU of a Fargate task: 1, 2, 4, 8 or 16.")] = None,
    spare_tasks: Annotated[int | None, typer.Option(help="Tasks over what the load needs.")] = None,
    assumed: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="NAME=VALUE",
            help="Any other number that the plan rests on, prices too; may come again.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Work out shards, tasks, request units, storage and money, on paper, from what was measured.

    Every number that the plan rests on is shown with where it comes from, and can be given.
    """
    settings = settings_of(config)
    options: dict[str, float | None] = {
        "mean_share": mean_share,
        "event_bytes": event_bytes,
        "items_per_provider": items_per_provider,
        "headroom": headroom,
        "horizon_days": horizon_days,
        "cached_items": cached_items,
        "task_vcpu": task_vcpu,
        "spare_tasks": spare_tasks,
    }
    given = {name: value for name, value in options.items() if value is not None} | _assumed(assumed or [])
    demand = Demand(
        providers=providers,
        events_per_second=events_per_second,
        horizon_days=settings.horizon.days,
        history_days=settings.horizon.history_days,
        cached_items=settings.worker.cached_items,
        reads_per_second=1000 / settings.stream.idle_milliseconds,
    )
    try:
        numbers = assume((demand, Measured(), Prices()), given)
        result = work_out(numbers, given)
    except ValueError as error:
        raise UserError(f"plan: {error}", 2) from None
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, separators=(",", ":")))
        return
    console = Console()
    for shown in (resources(result, numbers), bill(result), basis(result)):
        console.print(shown)
    console.print(LEFT_OUT, style="dim")
    for warning in result.warnings:
        console.print(f"[yellow]Mind:[/yellow] {warning}", highlight=False)


def _assumed(texts: list[str]) -> dict[str, float]:
    """Numbers as ``name=value``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError
            found[name.strip()] = float(value)
        except ValueError:
            raise UserError(f"plan: --assume {text}: give it as NAME=NUMBER", 2) from None
    return found


def resources(result: Plan, numbers: Numbers) -> Table:
    """What there must be."""
    demand = numbers[0]
    shown = _table(
        f"{demand.providers:,} providers, {demand.events_per_second:,g} events/s at the peak",
        "what",
        "how much",
        "why",
    )
    limits = ", ".join(f"{LIMITS[name]}: {count:,}" for name, count in result.shards_by.items())
    shown.add_row("shards", f"{result.shards:,}", limits)
    shown.add_row(
        "Fargate tasks",
        f"{result.tasks:,}",
        f"of {demand.task_vcpu:g} vCPU and {result.task_memory_gb} GB, "
        f"{counted(result.shards_per_task, 'shard')} each, {demand.spare_tasks} to spare",
    )
    shown.add_row(
        "vCPU in use",
        f"{result.vcpu:,.1f}",
        f"{result.event_us:,.0f} µs an event, Python and JVM, at the peak",
    )
    shown.add_row(
        "memory of a child",
        f"{result.child_mb:,.0f} MB",
        f"{result.hit_share:.0%} of events find their provider in it",
    )
    catching_up = "never" if result.catch_up_minutes is None else f"{result.catch_up_minutes:,.0f} min"
    shown.add_row("catches up in", catching_up, "after an hour's outage, while the peak goes on")
    shown.add_row(
        "write units",
        f"{result.write_units_per_second:,.0f}/s",
        f"{_short(result.write_units_per_month)} a month, horizon job included",
    )
    shown.add_row(
        "read units",
        f"{result.read_units_per_second:,.0f}/s",
        f"{_short(result.read_units_per_month)} a month",
    )
    tables = ", ".join(f"{table} {size:,.1f}" for table, size in result.storage_gb.items())
    shown.add_row("storage", f"{sum(result.storage_gb.values()):,.1f} GB", tables)
    return shown


def bill(result: Plan) -> Table:
    """What it costs."""
    shown = _table("US dollars a month", "what", "$", "share")
    total = result.dollars_per_month
    for name, dollars in result.dollars.items():
        shown.add_row(name, f"{dollars:,.0f}", f"{dollars / total:.0%}" if total else "")
    shown.add_section()
    shown.add_row("in all", f"{total:,.0f}", f"${result.dollars_per_million_events:,.2f} a million events")
    return shown


def basis(result: Plan) -> Table:
    """What it rests on."""
    shown = _table("Resting on", "name", "value", "what", "from")
    for one in result.assumptions:
        shown.add_row(one.name, f"{one.value:,.10g} {one.unit}".strip(), one.what, one.source)
    return shown


def _table(title: str, *columns: str) -> Table:
    shown = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        shown.add_column(name, justify="right" if number == 1 else "left", no_wrap=number < 2)
    return shown


def _short(number: float) -> str:
    """A large number with a word for its size."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:,.1f} {word}"
    return f"{number:,.0f}"
