"""`kcl-app top`: the status on a terminal, again and again, in place.

One thread asks, so that a store which does not answer holds up neither the keyboard nor the picture. Another screen of
the terminal is drawn on, and the one before comes back at the end.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from kcl_app.settings import Settings
from kcl_app.status.gather import Gatherer
from kcl_app.status.render import render
from kcl_app.status.verdict import Status, status

TABLES_SECONDS = 60.0
"""Between two counts, which read the tables."""
LEASES_SECONDS = 2.0
PROBES_SECONDS = 5.0
STREAM_SECONDS = 15.0
KEY_SECONDS = 0.1
HELP = "q ends"


class Watcher:
    """Asks in a thread, and keeps the newest answer.

    Args:
        gatherer: asks.
        interval: seconds between two looks at the workers.
    """

    def __init__(self, gatherer: Gatherer, interval: float) -> None:
        self._gatherer = gatherer
        self._interval = interval
        self._end = threading.Event()
        self._due: dict[str, float] = {}
        self.newest: Status | None = None
        self.looks = 0

    def start(self) -> None:
        """Begin to ask. The thread ends with the process, since a call may be under way."""
        threading.Thread(target=self._run, name="top", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            self.look(began)
            self._end.wait(max(0.05, self._interval - (time.monotonic() - began)))

    def look(self, now: float) -> None:
        """Look once, at what is due.

        Args:
            now: of a clock for durations, in seconds.
        """
        gatherer = self._gatherer
        scraped = gatherer.scrape()
        if self._is_due("leases", now, LEASES_SECONDS):
            gatherer.leases()
        if self._is_due("stream", now, STREAM_SECONDS):
            gatherer.stream()
        if self._is_due("probes", now, PROBES_SECONDS):
            gatherer.probe(scraped)
        self.newest = status(gatherer.facts(scraped))
        self.looks += 1
        if self._is_due("tables", now, TABLES_SECONDS):
            gatherer.count()
            self.newest = status(gatherer.facts(scraped))

    def _is_due(self, what: str, now: float, every: float) -> bool:
        if now < self._due.get(what, now):
            return False
        self._due[what] = now + every
        return True


def watch(
    settings: Settings, urls: Sequence[str], interval: float, console: Console, count_seconds: float = 0.0
) -> None:
    """Show until `q` or Ctrl-C.

    Args:
        settings: names, region, endpoint.
        urls: of the workers, without a path.
        interval: seconds between two looks at the workers.
        console: a terminal.
        count_seconds: as of `Gatherer`; meanwhile nothing else is asked.
    """
    watcher = Watcher(Gatherer(settings, urls, count_seconds), interval)
    watcher.start()
    shown: tuple[int, tuple[int, int]] | None = None
    try:
        with keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            while pressed() not in ("q", "Q", "\x03", "\x1b"):
                newest = (id(watcher.newest), (console.width, console.height))
                if newest != shown:  # drawn when there is something new, or another size: nothing flickers
                    live.update(picture(watcher.newest, console, interval), refresh=True)
                    shown = newest
    except KeyboardInterrupt:
        pass
    finally:
        watcher.stop()


def picture(newest: Status | None, console: Console, interval: float) -> RenderableType:
    """What is on the screen: the status, cut to the terminal's size, and how to end."""
    foot = Text(f"{HELP}; every {interval:g} s", "dim")
    if newest is None:
        return Group(Text("asking …", "dim"), foot)
    return Group(render(newest, console.width, console.height - 1), foot)


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Gives what waits a moment for a key and returns it, or an empty text; the terminal is as before afterwards."""
    if not sys.stdin.isatty():

        def wait() -> str:
            time.sleep(KEY_SECONDS)
            return ""

        yield wait
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def key() -> str:
        ready, _, _ = select.select([number], [], [], KEY_SECONDS)
        return os.read(number, 1).decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(number)
        yield key
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
