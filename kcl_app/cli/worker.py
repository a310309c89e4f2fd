"""`kcl-app worker`: the long-running worker."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kcl_app.cli.common import Config, give_up_on, settings_of
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
    """Process the stream until stopped: SIGTERM or Ctrl-C hands the shards over and ends it; twice ends it at once."""
    from kcl_app import logs
    from kcl_app.worker import supervisor
    from kcl_app.worker.errors import WorkerError
    from kcl_app.worker.log_stream import log_stream

    settings = settings_of(config)
    if port is not None:
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"port": port})})
    logs.configure(settings.log, log_stream(sys.stderr))
    logs.log_uncaught()
    try:
        supervisor.run(settings, config, announce=_announce)
    except WorkerError as error:
        raise UserError(str(error), error.status) from None


def _announce(line: str) -> None:
    """Print a line; where nobody can take it, the worker does without, and the log has it."""
    try:
        typer.echo(line)
    except OSError:
        give_up_on(sys.stdout)
