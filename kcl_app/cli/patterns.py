"""`kcl-app patterns`: tries event patterns."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emr_plugins.patterns import EventPattern, InvalidPattern
from emr_plugins.patterns.explain import Obstacle, obstacles
from kcl_app.cli.common import plain
from kcl_app.errors import UserError

app = typer.Typer(name="patterns", help="Event patterns of plugins.", no_args_is_help=True)

NO_MATCH = 1


@app.callback()
def _root() -> None:
    """Event patterns of plugins."""


@app.command("test")
def try_pattern(
    pattern: Annotated[
        Path, typer.Option(help="JSON file with the pattern; - is standard input.", dir_okay=False)
    ],
    event: Annotated[
        Path, typer.Option(help="JSON file with the change document; - is standard input.", dir_okay=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Tell whether a pattern matches an event; if not, what stands in the way.

    Ends with status 0 if it matches, 1 if it does not, 2 if a file cannot be used.
    """
    if str(pattern) == str(event) == "-":
        raise UserError("only one of --pattern and --event can be standard input", 2)
    given, document = _read(pattern, "--pattern"), _read(event, "--event")
    try:
        compiled = EventPattern(given)
    except InvalidPattern as error:
        raise UserError(f"--pattern: {error}", 2) from None
    if not isinstance(document, Mapping):
        raise UserError("--event: must be a JSON object", 2)
    found = obstacles(compiled, document)
    if as_json:
        typer.echo(
            json.dumps({"matches": not found, "obstacles": [one._asdict() for one in found]}, indent=2)
        )
    elif not found:
        typer.echo("It matches.")
    else:
        typer.echo("It does not match." if len(found) == 1 else "It does not match; of its alternatives")
        for one in found:
            typer.echo(_said(one))
    raise typer.Exit(NO_MATCH if found else 0)


def _said(one: Obstacle) -> str:
    wanted = " or ".join(json.dumps(value, ensure_ascii=False) for value in one.wanted)
    return plain(f"  {one.path}: must be {wanted}, and {one.found}")


def _read(file: Path, option: str) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise UserError(f"{option}: cannot read {file}: {error.strerror}", 2) from None
    except UnicodeDecodeError:
        raise UserError(f"{option}: {file} is not UTF-8", 2) from None
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{option}: {file} is not JSON{where}", 2) from None
