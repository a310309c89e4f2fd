"""`kcl-app plugins list`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kcl_app import wiring
from kcl_app.cli.common import Config, plain, settings_of
from kcl_app.cli.plugins.installed import Installed, everything

_COLOURS = {"runs": "green", "refused": "red", "left out": "yellow"}


def list_(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Show the installed plugins: from which package, whether a worker with these settings runs them, and why not."""
    settings = settings_of(config)
    with redirect_stdout(sys.stderr):  # what a plugin prints when it is imported is no part of the answer
        registry = wiring.registry(settings)
    found = everything(registry, settings.plugins.isolation)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
    else:
        Console().print(table(found))


def table(found: list[Installed]) -> Table:
    """The plugins as a table to read."""
    shown = Table(show_lines=False)
    shown.add_column("plugin", no_wrap=True)
    shown.add_column("package", overflow="fold")
    shown.add_column("version", no_wrap=True)
    shown.add_column("state", overflow="fold")
    for one in found:
        state = f"[{_COLOURS[one.state]}]{one.state}[/]"
        if one.isolated and one.state == "runs":
            state += ", in a process of its own"
        if one.why:
            state += f": {escape(plain(one.why))}"
        cells = (escape(plain(text)) for text in (one.name, one.distribution or "–", one.version or "–"))
        shown.add_row(*cells, state)
    return shown
