"""What every command shares: options, settings, and errors of one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO

import typer

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.settings import Settings, load
from kcl_app.stores.base import Store
from processors.errors import Fatal, Retry

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with settings; local settings if not given. The environment goes over it.",
        dir_okay=False,
    ),
]


def settings_of(config: Path | None, **over: Any) -> Settings:
    """The settings; a wrong one ends the command with status 2."""
    return load(config, **over)


def plain(text: str) -> str:
    """Text from the data as it may be shown on a terminal: no line ends, no control sequences."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def counted(number: int, what: str) -> str:
    """A number of things: ``1 day``, ``2 days``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@contextmanager
def stores_of(settings: Settings) -> Iterator[Store]:
    """The tables; where they cannot be used, one line says so and what to do."""
    from botocore.exceptions import BotoCoreError, ClientError

    local = settings.aws.endpoint_url is not None
    hint = "is the local cloud running? `kcl-app local start`" if local else "see the region and the network"
    try:
        yield wiring.store(settings)
    except Retry as error:
        raise UserError(f"{error} ({hint})") from None
    except Fatal as error:
        where = settings.aws.endpoint_url or "AWS"
        raise UserError(f"{error} ({where}, region {settings.aws.region})") from None
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"AWS cannot be used: {type(error).__name__} ({hint})") from None


def give_up_on(stream: TextIO | None) -> None:
    """Point standard output or error at nothing, if it has failed.

    Python writes what it still holds of it at the end of the process, and would fail there once more, with a status and
    a text of its own.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """A file to read, or standard input for ``-``."""
    if file == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed; name a file", 2)
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as lines:
            yield lines
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}", 2) from None
