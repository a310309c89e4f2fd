"""`kcl-app demo`: the whole system on one machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from kcl_app.cli.common import Config, settings_of
from kcl_app.errors import UserError


def demo(
    config: Config = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the local cloud and the worker running.")
    ] = False,
) -> None:
    """Show the whole system at work on this machine: local cloud, worker, a clinic's day, live figures."""
    from kcl_app.local import demo as show

    settings = settings_of(config)
    if settings.aws.endpoint_url is None:
        raise UserError("the demo needs local settings, with aws.endpoint_url", 2)
    try:
        show.run(settings, config, keep=keep, console=Console(highlight=False))
    except show.Stopped:
        typer.echo("kcl-app: stopped; everything that the demo started has ended", err=True)
        raise typer.Exit(130) from None
