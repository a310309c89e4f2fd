"""Points in time as people write them, and questions before something is done that cannot be taken back."""

from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime, timedelta

import typer

from kcl_app.errors import UserError

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

TIME = "TIME"
TIME_HELP = "RFC 3339 (2026-03-09T14:00:00Z), or so long ago: 30m, 2h, 3d."


def moment(text: str, option: str, now: datetime) -> datetime:
    """A point in time: RFC 3339 with an offset, or an age such as ``30m``, ``2h``, ``3d``.

    Args:
        text: as given.
        option: its name, for the message.
        now: what ages count from.

    Raises:
        UserError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None:
        raise UserError(
            f"{option} {text}: give a time with its offset (2026-03-09T14:00:00Z) or an age (2h)", 2
        )
    return found.astimezone(UTC)


def date_of(text: str, option: str) -> date:
    """A date such as 2026-03-09.

    Args:
        text: as given.
        option: its name, for the message.

    Raises:
        UserError: it is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a local date has no zone
    except ValueError:
        raise UserError(f"{option} {text}: give a date as 2026-03-09", 2) from None


def shown(seconds: float) -> str:
    """A point in time (seconds since the epoch), down to the second, as `moment` reads it."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere only ``--yes`` will do.

    Raises:
        UserError: nobody can be asked, or the answer was no.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{question} Nobody can be asked here: give --yes", 2)
    if not typer.confirm(question, err=True):
        raise UserError("nothing done")
