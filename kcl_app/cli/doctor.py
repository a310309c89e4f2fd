"""`kcl-app doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kcl_app import wiring
from kcl_app.cli.common import Config, plain
from kcl_app.doctor.checks import Check, State, healthy, summary
from kcl_app.doctor.needs import ROLES

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red bold", State.SKIPPED: "magenta"}
_WIDTH = max(len(state.value) for state in State)


class Whose(Enum):
    """A role of deploy/ecs/service.yaml, as `needs.ROLES` calls it."""

    WORKER = "worker"
    HORIZON = "horizon"
    OPERATOR = "operator"
    PRODUCER = "producer"
    READER = "reader"


def doctor(
    config: Config = None,
    role: Annotated[
        Whose,
        typer.Option("--role", help="Whose needs are examined; run it with that role's credentials."),
    ] = Whose.WORKER,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Look at all that a worker needs, and say how to mend what is wrong; status 1 where a worker cannot work so.

    Nothing is changed: writes are tried on conditions that cannot hold. AWS is asked for nothing that the role in
    deploy/ecs/service.yaml does not allow.
    """
    from kcl_app.doctor.examination import examine  # needs AWS's packages, which the light install has not

    console = Console(highlight=False)
    checks: list[Check] = []
    for check in examine(config, wiring.java_home(), ROLES[role.value]):
        checks.append(check)
        if not as_json:
            show(check, console)
    if as_json:
        told = {"ok": healthy(checks), "role": role.value, "checks": [check.as_json() for check in checks]}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        console.print(f"[bold]{summary(checks)}[/bold]")
    if not healthy(checks):
        raise typer.Exit(1)


def show(check: Check, console: Console) -> None:
    """One check for a person; what mends it stands on a line of its own, whole, to be copied."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=_WIDTH, no_wrap=True, style=_COLOURS[check.state])
    line.add_column(overflow="fold")
    line.add_row(check.state.value, f"[bold]{escape(plain(check.name))}[/]: {escape(plain(check.found))}")
    console.print(line)
    if check.mend:
        console.print(f"{'':<{_WIDTH}}  → {escape(plain(check.mend))}", soft_wrap=True)
