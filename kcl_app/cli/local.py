"""`kcl-app local`: the local cloud."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from kcl_app.cli.common import Config, settings_of

if TYPE_CHECKING:
    from kcl_app.local.local_cloud import Progress

app = typer.Typer(
    name="local",
    help="The local cloud: Kinesis, DynamoDB, S3 and more in one process, on 127.0.0.1.",
    no_args_is_help=True,
)


@app.command()
def start(
    config: Config = None,
    shards: Annotated[
        int | None, typer.Option(min=1, max=100, help="Shards of the stream, as it is made; 4 if not given.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget everything it held.")] = False,
) -> None:
    """Start the local cloud and make its stream, tables and bucket; does nothing if all is there."""
    from kcl_app.local.local_cloud import LocalCloud

    with _progress() as progress:
        cloud = LocalCloud(settings_of(config), progress=progress)
        cloud.start(fresh=fresh, shards=shards)
    typer.echo(f"The local cloud runs at {cloud.endpoint}; its state is kept in {cloud.directory}.")


@app.command()
def stop(config: Config = None) -> None:
    """Stop the local cloud; its state is kept."""
    from kcl_app.local.local_cloud import LocalCloud

    with _progress() as progress:
        was_running = LocalCloud(settings_of(config), progress=progress).stop()
    typer.echo("The local cloud is stopped." if was_running else "The local cloud was not running.")


@app.command()
def status(config: Config = None) -> None:
    """Say whether the local cloud runs, and what it holds; status 1 if it does not run."""
    from kcl_app.local.local_cloud import LocalCloud

    found = LocalCloud(settings_of(config)).status()
    typer.echo(f"{'running' if found.running else 'stopped'}  {found.endpoint}")
    if found.pid is not None:
        typer.echo(f"pid      {found.pid}{'' if found.running else ' (does not answer)'}")
    for name, shards in found.shards:
        typer.echo(f"stream   {name} ({shards} shards)")
    for table in found.tables:
        typer.echo(f"table    {table}")
    if not found.running:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Shows what is being done, on stderr: a spinner on a terminal, lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: typer.echo(f"{line} ...", err=True)
        return
    with console.status("Looking at the local cloud") as spinner:
        yield lambda line: spinner.update(f"{line} …")
