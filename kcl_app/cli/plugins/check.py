"""`kcl-app plugins check`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emr_plugins.registry import Refusal
from kcl_app.cli.common import Config, counted, plain, settings_of
from kcl_app.cli.plugins.installed import entry_point, loaded, package_of
from kcl_app.cli.plugins.show import plain_lines
from kcl_app.errors import UserError
from kcl_app.settings import Settings
from processors.errors import explain

if TYPE_CHECKING:
    from emr_plugins.testing import Result

FAILED = 1
_MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]–[/]"}


def check(
    name: Annotated[str, typer.Argument(help="The plugin, by the `emr` that it is for.")],
    samples: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Messages that it must understand; those that its package ships if not given. May be repeated.",
        ),
    ] = None,
    rejects: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Messages that it must reject. May be repeated."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Check with this tenant's settings and time zone.")
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Make the checks of the conformance kit on an installed plugin.

    It runs in this process, whatever the settings allow or isolate. Ends with status 1 if a check fails, or if there
    are no samples to check it with.
    """
    from emr_plugins.testing import check as run_checks  # which other commands need not load
    from emr_plugins.testing.samples import shipped

    options = _of_tenant(settings_of(config), tenant, name)
    point = entry_point(name)
    with redirect_stdout(sys.stderr):
        found = loaded(point)
        if isinstance(found, Refusal):
            raise UserError(
                f"plugin {name} of {found.distribution} {found.version} is refused: {found.reason}"
            )
        plugin = type(found.plugin)
        try:
            plugin.Settings.model_validate(options.get("settings", {}))
        except ValidationError as error:
            if tenant is not None:
                key = f"tenants.{tenant}.plugins.{name}"
                raise UserError(explain(error, key, ours=False), 2) from None
        any_samples = bool(samples) or shipped(plugin, name) is not None
        try:
            results = run_checks(plugin, samples or None, rejects=rejects or None, **options)
        except ValueError as error:
            raise UserError(f"plugin {name}: {error}", 2) from None
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in results], ensure_ascii=False, indent=2))
    else:
        title = " ".join((f"plugin {name},", *package_of(point)))
        _print(title, results)
    failed = sum(one.outcome == "failed" for one in results)
    if not any_samples:
        typer.echo("it ships no samples, so most checks had nothing to look at: --samples GLOB", err=True)
    raise typer.Exit(FAILED if failed or not any_samples else 0)


def _of_tenant(settings: Settings, name: str | None, plugin: str) -> dict[str, Any]:
    """The kit's options that a tenant's settings make."""
    if name is None:
        return {}
    tenant = settings.tenant(name)
    if tenant is None:
        raise UserError(f"--tenant: the settings list no tenant {name}", 2)
    return {"settings": tenant.plugins.get(plugin, {}), "time_zone": tenant.time_zone}


def _print(title: str, results: list[Result]) -> None:
    console = Console(highlight=False)
    table = Table(title=escape(plain_lines(title)), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what it proves")
    for one in results:
        table.add_row(_MARKS[one.outcome], one.name, escape(one.proves))
    console.print(table)
    # Below, where the eye is in the end; and whole, since they are there to be read.
    for one in results:
        if one.outcome == "failed":
            console.print(f"[red]✗ {one.name}[/]")
            for line in one.message.splitlines():
                console.print(f"  {escape(plain(line))}", soft_wrap=True)
    for why, number in Counter(one.message for one in results if one.outcome == "skipped").items():
        console.print(f"[yellow]– {number} skipped[/]: {escape(plain(why))}", soft_wrap=True)
    count: Counter[str] = Counter(one.outcome for one in results)
    said = [f"{count[kind]} {kind}" for kind in _MARKS if kind == "passed" or count[kind]]
    console.print(", ".join([counted(len(results), "check"), *said]))
