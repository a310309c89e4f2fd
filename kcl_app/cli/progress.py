"""How far a command is: a bar on a terminal, elsewhere a line every few seconds; and what to do after Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kcl_app.errors import UserError

SAY_SECONDS = 10.0
"""Between two lines where there is no terminal."""

INTERRUPTED = 130
"""The status after Ctrl-C."""


def say(text: str) -> None:
    """A line on stderr."""
    typer.echo(f"kcl-app: {text}", err=True)


@contextmanager
def progress_of(
    what: str,
    total: int,
    again: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[..., None]]:
    """Shows progress on stderr; gives what is called after each, or with a number after so many.

    Args:
        what: the things, for people.
        total: how many there are.
        again: what to say after Ctrl-C of those that are left; without it Ctrl-C is the caller's.
        monotonic: a clock for durations, in seconds.

    Raises:
        UserError: Ctrl-C, with how many are done.
    """
    console = Console(stderr=True)
    terminal = console.is_terminal
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, told = 0, monotonic()
    with Progress(*columns, console=console, disable=not terminal) as progress:
        task = progress.add_task(what, total=total)

        def advance(number: int = 1) -> None:
            nonlocal done, told
            done += number
            progress.advance(task, number)
            if not terminal and monotonic() - told >= SAY_SECONDS:
                told = monotonic()
                say(f"{what}: {done} of {total}")

        try:
            yield advance
        except KeyboardInterrupt:
            if again is None:
                raise
            progress.stop()
            raise UserError(f"stopped: {done} of {total} {what} are done; {again}", INTERRUPTED) from None
