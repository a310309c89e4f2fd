"""`kcl-app dead-letters`: what was set aside, and what to do with it."""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kcl_app import logs, wiring
from kcl_app.cli.common import Config, counted, plain, settings_of, stores_of
from kcl_app.cli.moments import TIME, TIME_HELP, confirm, moment
from kcl_app.cli.progress import progress_of
from kcl_app.engine.reading_letters import NoSuchLetter, Selection, StoredLetter, drop, find, raw_record
from kcl_app.engine.redriving import Redriver
from kcl_app.errors import UserError
from kcl_app.settings import Settings
from kcl_app.stores.base import Store
from processors.errors import REASONS

app = typer.Typer(
    name="dead-letters",
    help="What was set aside, with its reason: look at it, do it again, or drop it.",
    no_args_is_help=True,
)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Letters, by the id or its beginning.")
]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason.")]
Tenant = Annotated[str | None, typer.Option(help="Only this customer's.")]
Plugin = Annotated[
    str | None,
    typer.Option(help="Only those about this plugin; a letter that names none counts as its EMR's."),
]
Emr = Annotated[str | None, typer.Option(help="Only this EMR's, as events name it.")]
Since = Annotated[str | None, typer.Option(metavar=TIME, help=f"Set aside since. {TIME_HELP}")]
Until = Annotated[str | None, typer.Option(metavar=TIME, help="Set aside until then.")]
All = Annotated[bool, typer.Option("--all", help="Every letter there is.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

AGAIN = "the others are still there: run it again"
"""After Ctrl-C."""

SHOWN = 100
"""Letters in a table, unless --limit says otherwise."""


def _selection(
    settings: Settings,
    ids: Sequence[str],
    reason: str | None,
    tenant: str | None,
    plugin: str | None,
    emr: str | None,
    since: str | None,
    until: str | None,
) -> Selection:
    now = wiring.clock(settings).now()
    if reason is not None and reason not in REASONS:
        raise UserError(f"--reason {reason}: there is no such reason; see docs/event-formats.md", 2)
    first = moment(since, "--since", now) if since is not None else None
    last = moment(until, "--until", now) if until is not None else None
    if first is not None and last is not None and first > last:
        raise UserError("--since is after --until", 2)
    return Selection(tuple(ids), reason, tenant, plugin, emr, first, last)


def _found(store: Store, selection: Selection, settings: Settings) -> list[StoredLetter]:
    try:
        return find(store, selection, wiring.clock(settings).seconds())
    except NoSuchLetter as error:
        raise UserError(str(error)) from None


@app.command("list")
def list_(
    config: Config = None,
    reason: Reason = None,
    tenant: Tenant = None,
    plugin: Plugin = None,
    emr: Emr = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"So many, the newest; {SHOWN} in a table if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON instead of a table.")] = False,
) -> None:
    """List dead letters, the newest first, without their records."""
    settings = settings_of(config)
    selection = _selection(settings, (), reason, tenant, plugin, emr, since, until)
    with stores_of(settings) as store:
        letters = _found(store, selection, settings)[::-1]
    if as_json:
        for letter in letters[:limit]:
            typer.echo(json.dumps(document(letter), ensure_ascii=False, separators=(",", ":")))
        return
    shown = letters[: limit or SHOWN]
    if shown:
        console = Console()
        if not console.is_terminal:
            console = Console(width=200)
        console.print(table(shown))
    newest = "the newest is" if len(shown) == 1 else f"the newest {len(shown)} are"
    typer.echo(counts(letters) + (f"; {newest} shown" if len(shown) < len(letters) else ""))


def counts(letters: Sequence[StoredLetter]) -> str:
    """How many letters there are for each reason."""
    by_reason = Counter(letter.reason for letter in letters)
    ordered = sorted(by_reason.items(), key=lambda one: (-one[1], one[0]))
    parts = ", ".join(f"{number} {plain(reason)}" for reason, number in ordered)
    number = counted(len(letters), "dead letter")
    return f"{number}: {parts}" if parts else number


def document(letter: StoredLetter) -> dict[str, object]:
    """A letter without its record, for programs."""
    return {
        "id": letter.id,
        "dead_at": letter.dead_at,
        "reason": letter.reason,
        "detail": letter.detail,
        "origin": letter.origin,
        "tenant": letter.tenant,
        "emr": letter.emr,
        "event_id": letter.event_id,
        "event_source": letter.event_source,
        "event_type": letter.event_type,
        "plugin": letter.plugin,
        "provider_id": letter.provider.provider if letter.provider else None,
        "days": list(letter.days),
        "sequence_number": letter.sequence_number,
        "sub_sequence_number": letter.sub_sequence_number,
        "partition_key": letter.partition_key,
        "arrived_at": letter.arrived_at,
    }


def table(letters: Sequence[StoredLetter]) -> Table:
    """Letters as a table to read."""
    found = Table(title_justify="left")
    for name in ("id", "set aside (UTC)", "reason"):
        found.add_column(name, no_wrap=True)
    for name in ("tenant", "emr", "event", "days left stale", "detail"):
        found.add_column(name, overflow="fold")
    for letter in letters:
        at = datetime.fromisoformat(letter.dead_at)
        event = " ".join(filter(None, [letter.event_type, letter.event_id]))
        cells = (
            letter.id,
            f"{at:%Y-%m-%d %H:%M:%S}",
            letter.reason,
            letter.tenant or "",
            letter.emr or "",
            event,
        )
        found.add_row(*(escape(plain(cell)) for cell in (*cells, days_of(letter), letter.detail)))
    return found


def days_of(letter: StoredLetter) -> str:
    """Whose days, and which, a letter leaves stale."""
    if letter.provider is None:
        return ""
    days = letter.days
    which = "all" if not days else days[0] if len(days) == 1 else f"{days[0]}…{days[-1]} ({len(days)})"
    return f"{letter.provider.provider}: {which}"


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The letter's id or its beginning.")],
    config: Config = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="The record alone, byte by byte, into a file or a pipe.")
    ] = False,
) -> None:
    """Show one dead letter whole, with the record that was set aside. It may hold patient data."""
    settings = settings_of(config)
    with stores_of(settings) as store:
        (letter,) = _found(store, Selection((id_,)), settings)
        data = raw_record(store, wiring.blobs(settings), letter)
    if raw:
        if data is None:
            raise UserError(f"the dead letter {letter.id} has no record")
        if sys.stdout.isatty():
            raise UserError("--raw is for a file or a pipe: the record may hold control characters", 2)
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if data is not None:
        typer.echo("kcl-app: the record below may hold patient data", err=True)
    for name, value in document(letter).items():
        text = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
        typer.echo(f"{name:<20} {plain(text)}".rstrip())
    missing = "(gone)" if letter.sequence_number is not None else "(none)"
    kind, lines = readable(data) if data is not None else (missing, [])
    typer.echo(f"{'record':<20} {kind}")
    for line in lines:
        typer.echo(plain(line))


def readable(data: bytes) -> tuple[str, list[str]]:
    """A record to read: what it is, and its lines. What is no text is in base64."""
    size = f"{len(data)} bytes"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"{size}, not text, here in base64", [base64.b64encode(data).decode()]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return f"{size} of text, not JSON", text.splitlines()
    return f"{size} of JSON", json.dumps(found, indent=2, ensure_ascii=False).splitlines()


@app.command()
def redrive(
    ids: Ids = None,
    config: Config = None,
    reason: Reason = None,
    tenant: Tenant = None,
    plugin: Plugin = None,
    emr: Emr = None,
    since: Since = None,
    until: Until = None,
    every: All = False,
    yes: Yes = False,
) -> None:
    """Do letters again: recompute their days, put their events back onto the stream, then drop them.

    Each event keeps its version, time and sequence, so it changes nothing that is newer. The plugins installed here
    compute the days. A letter stays where its days fail again; then the status is 1.
    """
    settings = settings_of(config)
    logs.configure(settings.log)
    selection = _selection(settings, ids or (), reason, tenant, plugin, emr, since, until)
    with stores_of(settings) as store:
        letters = _chosen(store, selection, settings, every)
        confirm(f"Redrive {counts(letters)}?", yes=yes)
        redriver = Redriver(
            wiring.engine_on(store, settings, suspend=False),
            store,
            wiring.blobs(settings),
            wiring.send_all(settings, "their letters stay; run it again"),
            settings.limits.record_bytes,
        )
        with progress_of("dead letters", len(letters), AGAIN) as advance:
            done = redriver.run(letters, advance)
    typer.echo(
        f"{done.dropped} of {counted(len(letters), 'letter')} redriven: "
        f"{counted(done.events, 'event')} on the stream, {counted(done.days, 'day')} recomputed"
    )
    if done.kept:
        why = "; ".join(
            f"{number} {'stays' if number == 1 else 'stay'}: {plain(text)}"
            for text, number in done.kept.most_common()
        )
        raise UserError(why)


@app.command("drop")
def drop_(
    ids: Ids = None,
    config: Config = None,
    reason: Reason = None,
    tenant: Tenant = None,
    plugin: Plugin = None,
    emr: Emr = None,
    since: Since = None,
    until: Until = None,
    every: All = False,
    yes: Yes = False,
) -> None:
    """Delete letters and their records for good; days that they name stay as they are."""
    settings = settings_of(config)
    selection = _selection(settings, ids or (), reason, tenant, plugin, emr, since, until)
    with stores_of(settings) as store:
        letters = _chosen(store, selection, settings, every)
        confirm(f"Delete {counts(letters)} for good?", yes=yes)
        blobs = wiring.blobs(settings)
        dropped = 0
        with progress_of("dead letters", len(letters), AGAIN) as advance:
            for letter in letters:
                dropped += drop(store, blobs, letter)
                advance()
    typer.echo(f"{dropped} of {counted(len(letters), 'letter')} dropped")
    if left := len(letters) - dropped:
        was = (
            "was written again meanwhile and stays" if left == 1 else "were written again meanwhile and stay"
        )
        raise UserError(f"{left} {was}")


def _chosen(store: Store, selection: Selection, settings: Settings, every: bool) -> list[StoredLetter]:
    """The letters that are asked for; nobody gets all by leaving everything out.

    Raises:
        UserError: nothing is asked for, or too much.
        typer.Exit: there are none.
    """
    if selection.named() == every:
        raise UserError("say which letters: ids, filters, or --all alone", 2)
    letters = _found(store, selection, settings)
    if not letters:
        typer.echo("no dead letters")
        raise typer.Exit
    return letters
