"""`kcl-app replay`: the stream again from a point in time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kcl_app import logs, wiring
from kcl_app.cli.common import Config, counted, plain, settings_of, stores_of
from kcl_app.cli.moments import TIME, TIME_HELP, moment, shown
from kcl_app.cli.progress import SAY_SECONDS, progress_of, say
from kcl_app.cli.recompute import report
from kcl_app.engine.replaying import NoSuchShard, Place, Replay, Replayed, Span
from kcl_app.errors import UserError

if TYPE_CHECKING:
    from kcl_app.stream.reader import StreamReader

PLACE = "SHARD:SEQUENCE"


def replay(
    since: Annotated[str, typer.Option("--from", metavar=TIME, help=f"Where to start. {TIME_HELP}")],
    config: Config = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar=TIME, help="Where to end; now if not given.")
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(help="Only this customer's events; may be repeated.")
    ] = None,
    shard: Annotated[list[str] | None, typer.Option(help="Only this shard; may be repeated.")] = None,
    one_by_one: Annotated[
        bool,
        typer.Option(
            "--one-by-one",
            help="Run each record alone and say its place first: finds one that ends the command.",
        ),
    ] = False,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar=PLACE, help="Pass over this record, as --one-by-one names it; may be repeated."),
    ] = None,
) -> None:
    """Run the stream's records again, as after tables were restored from a backup or a bug was mended.

    It runs beside workers and does not touch their checkpoints. Nothing that is right changes: each event keeps its
    revision. At the end all days of every provider met are computed again. Ctrl-C ends it and says where to go on.
    If a record ends the command itself: run it again --one-by-one, and then --skip what was tried last.
    """
    settings = settings_of(config)
    now = wiring.clock(settings).now()
    first = moment(since, "--from", now)
    last = moment(until, "--to", now) if until is not None else now
    if last > now:
        raise UserError("--to has not come yet", 2)
    if first > last:
        raise UserError("--from is after --to" if until is not None else "--from has not come yet", 2)
    span = Span(
        first.timestamp(),
        last.timestamp(),
        frozenset(tenant or ()),
        frozenset(shard or ()),
        frozenset(_place(text) for text in skip or ()),
    )
    logs.configure(settings.log)
    with stores_of(settings) as store, _stopped_once() as stopped:
        reader = wiring.stream_reader(settings)
        _check_reach(reader, span, now.timestamp())
        run = Replay(
            wiring.engine_on(store, settings, suspend=False),
            store,
            reader,
            span,
            settings.limits.limits(),
            stop=stopped,
            trying=_say_trying if one_by_one else None,
        )
        try:
            with _recomputing() as recomputing:
                done = run.run(_Teller(stopped), recomputing)
        except NoSuchShard as error:
            raise UserError(str(error), 2) from None
        except KeyboardInterrupt:
            say(f"stopped before all was computed again; go on with --from {shown(span.since)}")
            raise typer.Exit(130) from None
    _finish(done, span)


def _check_reach(reader: StreamReader, span: Span, now: float) -> None:
    """Say what the stream no longer holds, or never did."""
    facts = reader.facts()
    kept_since = now - facts.retention_seconds
    if span.since < kept_since:
        hours = facts.retention_seconds / 3600
        raise UserError(
            f"--from is before {shown(kept_since)}: the stream keeps {hours:.0f} hours; nothing older can be replayed",
            2,
        )
    shards = reader.shards()
    names = {shard.id for shard in shards}
    # The oldest records are on shards that were not made of others that are there.
    roots = [shard.id for shard in shards if not names & set(shard.parents)]
    oldest = min((at for root in roots if (at := reader.oldest(root)) is not None), default=None)
    if oldest is None:
        say("warning: the stream holds no records")
    elif oldest > span.since:
        say(f"warning: the oldest record of the stream is of {shown(oldest)}; there is nothing before")


def _place(text: str) -> Place:
    """A record's place as `_say_trying` writes it."""
    shard, *numbers = text.split(":")
    if not shard or len(numbers) not in (1, 2) or not all(one.isascii() and one.isdigit() for one in numbers):
        raise UserError(f"--skip {text}: give {PLACE}, as --one-by-one names it", 2)
    return shard, numbers[0], int(numbers[1]) if len(numbers) == 2 else 0


def _say_trying(place: Place) -> None:
    shard, number, sub = place
    say(f"trying {shard}:{number}" + (f":{sub}" if sub else ""))


def _finish(done: Replayed, span: Span) -> None:
    events = ", ".join(
        f"{number} {outcome}" for outcome, number in sorted(done.result.events.items()) if number
    )
    skipped = f", {done.skipped} skipped" if done.skipped else ""
    read = f"{counted(done.read, 'record')} read{skipped}, {done.taken} run"
    typer.echo(read + (f": {events}" if events else ""))
    for reason, number in done.result.rejects.most_common():
        typer.echo(f"{number} set aside: {plain(reason)}")
    if done.stopped:
        say(f"stopped; go on with --from {shown(done.position)}")
    report(done.recomputed)
    if done.stopped:
        raise typer.Exit(130)
    if span.tenants and not done.taken + done.skipped:
        whose = ", ".join(plain(tenant) for tenant in sorted(span.tenants))
        raise UserError(f"none of the records read is of tenant {whose}")


class _Teller:
    """Tells how far a replay is: on a terminal in one line that changes, elsewhere every few seconds."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._stopped = stopped
        self._began = self._told = time.monotonic()

    def __call__(self, done: Replayed) -> None:
        now = time.monotonic()
        terminal = self._console.is_terminal
        if now - self._told < (0.2 if terminal else SAY_SECONDS):
            return
        self._told = now
        speed = done.read / max(now - self._began, 1e-3)
        text = f"replay: {done.read:,} records, {speed:,.0f}/s, up to {shown(done.position)}"
        if self._stopped():
            text += ", stopping"
        self._console.print(text, end="\r" if terminal else "\n")


@contextmanager
def _recomputing() -> Iterator[Callable[[int], Callable[[], None]]]:
    """Gives what makes a progress bar once it is known how many providers there are."""
    with ExitStack() as bars:

        def start(number: int) -> Callable[[], None]:
            return bars.enter_context(progress_of("recomputing providers", number))

        yield start


@contextmanager
def _stopped_once() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come; the second Ctrl-C ends at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping: the providers met are computed again first; once more to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
