"""`kcl-app status` and `kcl-app top`: does it keep up?"""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.console import Console

from kcl_app.cli.common import Config, settings_of
from kcl_app.settings import Settings

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="URL",
        help="A worker's host:port or URL; may be repeated. The one of the settings on this machine if not given.",
    ),
]
PAPER = 120
"""Columns where there is no terminal."""


def status(
    config: Config = None,
    metrics: Metrics = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, max=60.0, help="How long to watch for rates and trends.")
    ] = 2.0,
    count: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=3600.0,
            metavar="SECONDS",
            help="Count dead letters and stale days for so long, by reading their tables. If not given: the letters in "
            "the first megabyte of theirs.",
        ),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say whether the workers keep up (status 0, else 1); show shards, owners, lag, plugins, dead letters.

    Shows what it can where workers, stream or tables do not answer, and says what is missing.
    """
    from kcl_app.status.once import look
    from kcl_app.status.render import render

    settings = settings_of(config)
    found = look(settings, urls_of(settings, metrics), seconds, time.sleep, count)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        console = console_of()
        console.print(render(found, console.width))
    if not found.verdict.ok:
        raise typer.Exit(1)


def top(
    config: Config = None,
    metrics: Metrics = None,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600.0, help="Seconds between two looks at the workers.")
    ] = 2.0,
    count: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=10.0,
            metavar="SECONDS",
            help="Count dead letters and stale days, once a minute for so long. If not given: the letters in the first "
            "megabyte of their table.",
        ),
    ] = 0.0,
    once: Annotated[bool, typer.Option("--once", help="One picture, and no more.")] = False,
) -> None:
    """Watch the same live, the shard furthest behind first; `q` or Ctrl-C ends it.

    Where the output is no terminal it is one picture, as with --once.
    """
    from kcl_app.status.live import watch
    from kcl_app.status.once import look
    from kcl_app.status.render import render

    settings = settings_of(config)
    urls = urls_of(settings, metrics)
    console = console_of()
    if once or not console.is_terminal:
        console.print(render(look(settings, urls, interval, time.sleep, count), console.width))
        return
    watch(settings, urls, interval, console, count)


def urls_of(settings: Settings, given: list[str] | None) -> list[str]:
    """The workers to ask, without a path."""
    from kcl_app.doctor.worker import url_of
    from kcl_app.status.gather import base_url

    return [base_url(url) for url in given] if given else [url_of(settings)]


def console_of() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is cut off."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PAPER)
