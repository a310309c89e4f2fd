"""The command line, `kcl-app`."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer
from typer import TyperException

from kcl_app.cli import advance_horizon, demo, local, put, simulate, spans, try_, worker
from kcl_app.errors import UserError
from kcl_app.settings import SettingsError
from processors import __version__

app = typer.Typer(
    name="kcl-app",
    help="Provider availability from EMR scheduling events, on the Kinesis Client Library.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"kcl-app {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Provider availability from EMR scheduling events, on the Kinesis Client Library."""


# Each command lives in a module of its own and registers itself here.
app.command("demo")(demo.demo)
app.command("try")(try_.try_)
app.add_typer(local.app)
app.command("put")(put.put)
app.command("simulate")(simulate.simulate)
app.command("worker")(worker.worker)
app.command("spans")(spans.spans)
app.command("advance-horizon")(advance_horizon.advance_horizon)


def main() -> None:
    """Run a command; a person's mistake is one line on stderr, and the status says what it was."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # NDJSON is UTF-8, whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:  # an unknown option, a missing argument, a value of the wrong kind
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "kcl-app"
        if message := error.format_message():
            typer.echo(f"{command}: {message} (see {command} --help)", err=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except SettingsError as error:
        typer.echo(f"kcl-app: {error}", err=True)
        sys.exit(2)
    except UserError as error:
        typer.echo(f"kcl-app: {error}", err=True)
        sys.exit(error.status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk, most of all
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(f"kcl-app: {error.strerror or type(error).__name__}{where}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
