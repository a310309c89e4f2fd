"""`kcl-app put`: a file of events onto the stream."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from kcl_app.cli.common import Config, opened, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kcl_app.ndjson import Line


def put(
    file: Annotated[str, typer.Argument(help="NDJSON, one CloudEvent a line; - reads stdin.")],
    config: Config = None,
    stream: Annotated[
        str | None, typer.Option(help="Name of the stream; that of the settings if not given.")
    ] = None,
) -> None:
    """Send events to the stream; lines that are none are named on stderr and make the status 1."""
    from kcl_app import wiring
    from kcl_app.ndjson import read_lines
    from kcl_app.put import Sender, put_lines
    from processors.errors import Reject

    settings = settings_of(config)
    limits = settings.limits.limits()
    sender = Sender(wiring.kinesis(settings), settings, stream or settings.stream.name)

    def refuse(number: int, reject: Reject) -> None:
        typer.echo(f"line {number}: {reject}", err=True)

    began = time.monotonic()
    with opened(file) as source:
        lines = _shown(read_lines(source, limits.record_bytes), source)
        done = put_lines(lines, sender, limits, wiring.providers_of(settings), refuse)
    seconds = time.monotonic() - began
    split = "" if done.records == done.events else f" as {done.records} records"
    typer.echo(
        f"sent {done.events} events{split} in {seconds:.1f} s ({done.events / max(seconds, 1e-3):.0f}/s), "
        f"refused {done.refused} lines"
    )
    if done.refused:
        raise typer.Exit(1)


def _shown(lines: Iterable[Line], source: BinaryIO) -> Iterator[Line]:
    """The lines, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from lines
        return
    total = os.fstat(source.fileno()).st_size if source.seekable() else None
    columns = (
        TextColumn("{task.completed:,.0f} bytes") if total is None else DownloadColumn(),
        BarColumn(),
        TextColumn("{task.fields[events]:,} lines"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("put", total=total, events=0)
        read = 0
        for count, line in enumerate(lines, 1):
            yield line
            read += len(line.data or b"") + 1
            if count % 500 == 0:
                progress.update(task, completed=source.tell() if total is not None else read, events=count)
