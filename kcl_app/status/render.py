"""Shows a status to a person: on a terminal of 80 columns or more, or on paper."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kcl_app.status.facts import STALE
from kcl_app.status.shards import Shard
from kcl_app.status.verdict import Status, Word
from kcl_app.status.words import counted, seconds, short, trend
from kcl_app.status.workers import Plugin, Worker

_VERDICT: dict[Word, str] = {
    "keeps up": "bold green",
    "falling behind": "bold yellow",
    "stands still": "bold red",
    "cannot tell": "bold magenta",
}
_STATES = {"OK": "green", "SLOW": "yellow", "STALLED": "red", "STOPPED": "red"}
NOTHING = "–"
WIDE = 100
"""From this width on owners are shown whole."""


def render(status: Status, width: int = 80, height: int | None = None) -> RenderableType:
    """A status.

    Args:
        status: what there is.
        width: columns of the terminal.
        height: its lines, which shards are left out for; None: as many as it takes.
    """
    workers = _workers(status)
    plugins = _plugins(status.plugins)
    below = list(_below(status))
    others = 3 + len(status.workers) + len(status.plugins) + len(below) + 6
    room = None if height is None else max(3, height - others)
    parts: list[RenderableType] = [
        Text(_plain(status.verdict.line), _VERDICT[status.verdict.word]),
        Text(
            f"{datetime.fromtimestamp(status.at, UTC):%Y-%m-%d %H:%M:%S} UTC, stream {status.stream}, "
            f"application {status.application}",
            "dim",
            no_wrap=True,
            overflow="ellipsis",
        ),
        _shards(status, width, room),
    ]
    parts += [table for table in (workers, plugins) if table.row_count]
    return Group(*parts, *below)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False, pad_edge=False)
    for name, side in columns:
        table.add_column(
            name, justify="right" if side == "r" else "left", no_wrap=side != "f", overflow="ellipsis"
        )
    return table


def _shards(status: Status, width: int, room: int | None) -> Table:
    table = _table(
        ("shard", "r"),
        ("state", "l"),
        ("lag", "r"),
        ("trend", "r"),
        ("records/s", "r"),
        ("checkpoint", "r"),
        ("owner", "l"),
    )
    shown = status.shards if room is None else status.shards[:room]
    for shard in shown:
        table.add_row(*_cells(shard, width))
    if len(shown) < len(status.shards):
        table.add_row("", f"and {len(status.shards) - len(shown)} more", style="dim")
    return table


def _cells(shard: Shard, width: int) -> list[RenderableType]:
    word = shard.state.upper() if shard.state else "" if shard.phase == "read" else shard.phase
    colour = _STATES.get(word, "" if shard.phase == "read" else "red" if "owner" in word else "dim")
    lag = NOTHING if shard.lag_seconds is None else seconds(shard.lag_seconds)
    age = shard.checkpoint_age_seconds
    return [
        short(shard.shard),
        Text(_plain(word or NOTHING), colour),
        lag + ("*" if shard.lag_from == "stream" else ""),
        NOTHING if shard.trend is None else trend(shard.trend),
        NOTHING if shard.records_per_second is None else f"{shard.records_per_second:,.0f}",
        f"{seconds(age)} ago" if age is not None else _position(shard.checkpoint),
        Text(owner(shard.owner, width)),
    ]


def _position(checkpoint: str | None) -> str:
    """A checkpoint whose age nobody says: the end of its number, which is what changes."""
    if checkpoint is None:
        return NOTHING
    return f"…{checkpoint[-9:]}" if checkpoint.isdigit() else checkpoint.lower().replace("_", " ")


def owner(name: str | None, width: int) -> str:
    """A worker as the KCL calls it, host and the beginning of its id; whole where there is room."""
    if name is None:
        return NOTHING
    if width >= WIDE or len(name) <= 20:
        return _plain(name)
    host, _, rest = name.partition("-") if name.count("-") < 5 else (name[:-37], "-", name[-36:])
    return _plain(f"{host[-12:]}-{rest[:8]}" if rest else name[:20])


def _workers(status: Status) -> Table:
    table = _table(
        ("worker", "l"),
        ("state", "l"),
        ("shards", "r"),
        ("events/s", "r"),
        ("CPU", "r"),
        ("memory", "r"),
        ("version", "l"),
    )
    for one in status.workers:
        table.add_row(*_worker(one))
    return table


def _worker(one: Worker) -> list[RenderableType]:
    word, colour = (
        ("ready", "green") if one.ready else ("not ready", "yellow") if one.answers else ("silent", "red")
    )
    return [
        Text(_plain(one.url.removeprefix("http://"))),
        Text(word, colour),
        str(one.shards) if one.answers else NOTHING,
        NOTHING if one.events_per_second is None else f"{one.events_per_second:,.0f}",
        NOTHING if one.cpu is None else f"{one.cpu:.2f}",
        f"{one.memory_bytes / 1024**2:,.0f} MB" if one.answers else NOTHING,
        _plain(one.version) or NOTHING,
    ]


def _plugins(plugins: tuple[Plugin, ...]) -> Table:
    table = _table(("plugin", "l"), ("calls/s", "r"), ("mean", "r"), ("failed", "r"), ("suspended", "f"))
    for one in plugins:
        suspended = f"does not run: {one.refused}" if one.refused else ", ".join(one.suspended) or NOTHING
        table.add_row(
            Text(_plain(one.name)),
            NOTHING if one.calls_per_second is None else f"{one.calls_per_second:,.0f}",
            NOTHING if one.milliseconds is None else f"{one.milliseconds:,.2f} ms",
            f"{one.failures:,}",
            Text(_plain(suspended), "red" if suspended != NOTHING else ""),
        )
    return table


def _below(status: Status) -> Iterator[RenderableType]:
    if status.ended:
        names = ", ".join(short(name) for name in status.ended[:8])
        more = f" and {len(status.ended) - 8} more" if len(status.ended) > 8 else ""
        yield Text(f"ended, all processed: shards {names}{more}", "dim")
    if any(shard.lag_from == "stream" for shard in status.shards):
        yield Text("* no worker says: the age of the first record behind the checkpoint", "dim")
    letters = "dead letters: not seen" if status.letters is None else counted(status.letters, "dead letter")
    if status.stale is not None:
        stale = counted(status.stale, "stale provider-day")
    else:
        unseen = any(line.startswith(STALE) for line in status.missing)
        stale = f"{STALE}: {'not seen' if unseen else 'not counted (--count)'}"
    yield Text(_plain(f"{letters}; {stale}"))
    for note in status.notes:
        yield Text(_plain(f"look: {note}"), "yellow")
    for line in status.missing:
        yield Text(_plain(f"not seen: {line}"), "magenta")


def _plain(text: str) -> str:
    """Text from elsewhere as it may be shown on a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
