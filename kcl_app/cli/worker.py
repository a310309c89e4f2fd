"""`kcl-app worker`: the long-running worker."""

from __future__ import annotations

from typing import Annotated

import typer

from kcl_app.cli.common import Config, settings_of
from kcl_app.errors import UserError


def worker(
    config: Config = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="Port of /metrics, /healthz and /readyz; worker.port if not given."
        ),
    ] = None,
) -> None:
    """Process the stream until stopped: SIGTERM or Ctrl-C hands the shards over and ends it."""
    from kcl_app import logs
    from kcl_app.worker import supervisor

    settings = settings_of(config)
    if port is not None:
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"port": port})})
    logs.configure(settings.log)
    logs.log_uncaught()
    try:
        supervisor.run(settings, config, announce=typer.echo)
    except supervisor.WorkerError as error:
        raise UserError(str(error)) from None
