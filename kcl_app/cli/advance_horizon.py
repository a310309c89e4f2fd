"""`kcl-app advance-horizon`: compute the days that have entered the horizon."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kcl_app import logs, wiring
from kcl_app.cli.common import Config, settings_of, stores_of
from kcl_app.engine import horizon
from kcl_app.engine.queries import known_providers
from kcl_app.errors import UserError


def advance_horizon(
    config: Config = None,
    tenant: Annotated[str | None, typer.Option(help="Only this customer.")] = None,
) -> None:
    """Compute the days that have entered the horizon since the last run, for every provider known.

    Run it every hour: dates roll over at other times in other zones. Running it twice, or beside workers, does no
    harm.
    """
    settings = settings_of(config)
    logs.configure(settings.log)
    console = Console(stderr=True)
    with stores_of(settings) as store:
        engine = wiring.engine_on(store, settings)
        with Progress(
            TextColumn("providers"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress:
            keys = known_providers(store, tenant)
            task = progress.add_task("providers", total=len(keys))
            result = horizon.advance(engine, keys, lambda: progress.advance(task))
    left_alone = f", {result.left_alone} left to a newer version" if result.left_alone else ""
    typer.echo(
        f"{result.providers} providers, {result.advanced} advanced, {result.failed} failed{left_alone}"
    )
    if result.failed:
        raise UserError(f"{result.failed} providers could not be advanced; run it again")
