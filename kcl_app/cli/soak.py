"""`kcl-app soak`: the real pipeline under load and every fault there is, and a check of what comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kcl_app.cli.common import Config, settings_of
from kcl_app.errors import UserError


def soak(
    config: Config = None,
    minutes: Annotated[
        float, typer.Option(min=3, help="How long the load goes on; three see every kind of fault.")
    ] = 3.0,
    seed: Annotated[int, typer.Option(help="Of load and faults: the same events, the same plan.")] = 1,
    workers: Annotated[int, typer.Option(min=2, max=8, help="How many workers.")] = 2,
    shards: Annotated[int, typer.Option(min=2, max=6, help="Open shards at the start.")] = 3,
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Events a second.")] = 120.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file as well.", dir_okay=False)
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep folder and logs also where all is well.")
    ] = False,
) -> None:
    """Run workers under load while they, the cloud and the network fail, then hold the tables against what was sent.

    It starts a local cloud and workers of its own, in a temporary folder. The status is 0 where nothing differs.
    """
    from kcl_app.local.soak import report as shown
    from kcl_app.local.soak import run as running
    from kcl_app.local.soak.surroundings import Stopped
    from processors.errors import Fatal, Retry

    settings = settings_of(config)
    if settings.aws.endpoint_url is None:
        raise UserError("the soak needs local settings, with aws.endpoint_url", 2)
    console = Console(highlight=False)
    params = running.Params(minutes, seed, workers, shards, rate, keep)
    try:
        report = running.run(settings, params, console)
    except Stopped:
        typer.echo("kcl-app: stopped; everything that the soak started has ended", err=True)
        raise typer.Exit(130) from None
    except (Retry, Fatal) as error:
        raise UserError(f"the tables cannot be read: {error}") from None
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    console.print(shown.table(report))
    for line in shown.complaints(report):
        typer.echo(line, err=True)
    if not report.good():
        raise typer.Exit(1)
