"""`make demo`: the whole system on one machine, live, and what an event does to one provider's availability."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table

from kcl_app import put, wiring
from kcl_app.engine.queries import spans as query
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.simulate import Params, simulate
from kcl_app.ndjson import Line
from kcl_app.scrape import Samples, fetch, scrape
from kcl_app.settings import CONFIG_VARIABLE, Settings
from processors import times
from processors.keys import ProviderKey

PROVIDERS = 20
EVENTS = 3000
PLAY_SECONDS = 12.0
START_SECONDS = 180.0
DRAIN_SECONDS = 180.0
VISIBLE_SECONDS = 30.0
PROVIDER = "dr-day"
ZONE = "America/New_York"


class Stopped(Exception):  # noqa: N818 - a wish, not an error
    """A signal asked the demo to end."""


@dataclass
class Worker:
    """The worker's process and where it answers."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def check(self) -> None:
        """Raise if it has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()
            raise UserError(f"the worker ended: {lines[-1] if lines else 'no output'} (see {self.log})")


def run(settings: Settings, config: Path | None, *, keep: bool, console: Console) -> None:
    """Show everything, then end what was started.

    Args:
        settings: local settings.
        config: the file they are from, for the worker.
        keep: leave the cloud and the worker running.
        console: to show it on.

    Raises:
        UserError: something could not be started or did not come about.
        Stopped: a signal came; all processes were ended.
    """
    cloud = LocalCloud(settings, progress=lambda line: console.print(f"  [dim]{line} …[/dim]"))
    mine = not cloud.status().running
    worker: Worker | None = None
    done = False
    with _signals():
        try:
            console.rule("[bold]1  A local cloud, and a worker on the Kinesis Client Library", align="left")
            cloud.start()
            console.print(
                f"  local cloud at {cloud.endpoint}: stream {settings.stream.name}, four tables, a bucket"
            )
            worker = _start_worker(settings, config)
            _await_shards(worker, console)
            tenant = f"demo-{int(time.time())}"
            console.rule("[bold]2  A clinic's day", align="left")
            _play(settings, worker, tenant, console)
            console.rule("[bold]3  What one event does to one provider's availability", align="left")
            _story(settings, worker, tenant, console)
            console.rule("[bold]4  Metrics", align="left")
            _show_metrics(worker, console)
            if keep:
                today = wiring.clock(settings).today("UTC")
                command = Path(sys.executable).with_name("kcl-app")
                console.print(
                    f"\nLeft running: the local cloud, and the worker (pid {worker.process.pid}). To look further:\n"
                    f"  {command} spans --tenant {tenant} --emr standard --provider {PROVIDER} "
                    f"--from {today} --to {today + timedelta(days=6)}\n"
                    f"To stop:\n  kill {worker.process.pid}; {command} local stop",
                    soft_wrap=True,
                )
            done = True
        finally:
            if not (keep and done):
                _end(worker, cloud if mine else None, console)


@contextmanager
def _signals() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _start_worker(settings: Settings, config: Path | None) -> Worker:
    directory = settings.local.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "demo-worker.log"
    pid_file = directory / "demo-worker.pid"
    _check_alone(pid_file)
    port = _free_port(settings.worker.port)
    command = [sys.executable, "-m", "kcl_app.cli.main", "worker", "--port", str(port)]
    environment = dict(os.environ)
    if config is not None:
        environment[CONFIG_VARIABLE] = str(config.absolute())
    with log.open("wb") as out:
        # A session of its own: Ctrl-C comes to the demo alone, which ends the worker in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    pid_file.write_text(str(process.pid))
    return Worker(process, f"http://127.0.0.1:{port}", log)


def _check_alone(pid_file: Path) -> None:
    """A worker that an earlier demo left running has the shards: this one's would wait for them."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        running = "kcl_app.cli.main" in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return
    if running:
        raise UserError(f"an earlier demo left its worker running; stop it first: kill {process.pid}")


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise UserError("no port of 127.0.0.1 is free")


def _await_shards(worker: Worker, console: Console) -> None:
    """Wait until the worker has all shards. The KCL's first start elects a leader and assigns leases."""
    start = time.monotonic()
    with console.status(
        "  the KCL starts: leader election and lease assignment, half a minute the first time"
    ):
        while True:
            worker.check()
            if fetch(f"{worker.url}/readyz") is not None:
                samples = scrape(f"{worker.url}/metrics")
                if samples is not None and samples.sum("scheduling_shards_owned") >= 1:
                    break
            if time.monotonic() - start > START_SECONDS:
                raise UserError(f"the worker took no shard within {START_SECONDS:.0f} s (see {worker.log})")
            time.sleep(0.25)
    console.print(f"  worker ready after {time.monotonic() - start:.0f} s; it logs to {worker.log}")


def _send(settings: Settings, events: Sequence[dict[str, Any]]) -> None:
    lines = (Line(number, json.dumps(event).encode()) for number, event in enumerate(events, start=1))
    refused: list[str] = []
    sender = put.Sender(wiring.kinesis(settings), settings, settings.stream.name)
    put.put_lines(
        lines,
        sender,
        settings.limits.limits(),
        lambda event: (),  # every event of the demo has a subject
        lambda number, reject: refused.append(str(reject)),
    )
    if refused:
        raise UserError(f"an event of the demo was refused: {refused[0]}")


def _play(settings: Settings, worker: Worker, tenant: str, console: Console) -> None:
    """Play simulated traffic into the stream and show the worker keep up with it."""
    today = wiring.clock(settings).today("UTC")
    params = Params(
        PROVIDERS, days=14, events=EVENTS, seed=7, today=today, disorder=0.05, duplicates=0.05, tenant=tenant
    )
    events = list(simulate(params))
    first = _scraped(worker)
    board = _Board(first, len(events))
    start = time.monotonic()
    sent = 0
    with Live(
        board.table(first, 0), console=console, refresh_per_second=8, transient=not console.is_terminal
    ) as live:
        while True:
            elapsed = time.monotonic() - start
            due = min(len(events), int(len(events) * min(1.0, (elapsed + 0.5) / PLAY_SECONDS)))
            if due > sent:
                _send(settings, events[sent:due])
                sent = due
            worker.check()
            samples = _scraped(worker)
            live.update(board.table(samples, sent))
            if board.done(samples) >= len(events) and samples.max("scheduling_read_lag_seconds") == 0:
                break
            if elapsed > PLAY_SECONDS + DRAIN_SECONDS:
                raise UserError(f"the worker did not get through the events (see {worker.log})")
            time.sleep(0.4)
    if not console.is_terminal:
        console.print(board.table(samples, sent))
    console.print(
        f"  {len(events)} events sent and processed in {time.monotonic() - start:.0f} s: late ones, copies and all"
    )


def _scraped(worker: Worker) -> Samples:
    for _ in range(20):
        samples = scrape(f"{worker.url}/metrics")
        if samples is not None:
            return samples
        worker.check()
        time.sleep(0.25)
    raise UserError(f"the worker does not answer at {worker.url}/metrics (see {worker.log})")


class _Board:
    """What is shown live: figures since the play began."""

    _ROWS = (
        ("events processed", "scheduling_events_total"),
        ("  applied", "scheduling_events_total|applied"),
        ("  superseded: older than what is stored", "scheduling_events_total|superseded"),
        ("items written", "scheduling_items_total|applied"),
        ("provider-days recomputed", "scheduling_provider_days_total"),
        ("spans in them", "scheduling_spans_total"),
        ("dead letters", "scheduling_dead_letters_total"),
    )

    def __init__(self, first: Samples, total: int) -> None:
        self._first = first
        self._total = total
        self._before = (time.monotonic(), 0.0)
        self._rate = 0.0

    def _since(self, samples: Samples, name: str) -> float:
        metric, _, outcome = name.partition("|")
        labels = {"outcome": outcome} if outcome else {}
        return samples.sum(metric, **labels) - self._first.sum(metric, **labels)

    def done(self, samples: Samples) -> float:
        """Events processed so far."""
        return self._since(samples, "scheduling_events_total")

    def table(self, samples: Samples, sent: int) -> Table:
        """The board."""
        now, events = time.monotonic(), self.done(samples)
        then, before = self._before
        if now - then >= 0.8:
            self._rate = 0.5 * self._rate + 0.5 * (events - before) / (now - then)
            self._before = (now, events)
        shown = Table(show_header=False, box=None, padding=(0, 2))
        shown.add_column(justify="left", min_width=42)
        shown.add_column(justify="right", min_width=12)
        shown.add_row("events sent", f"{sent:,} of {self._total:,}")
        for label, name in self._ROWS:
            shown.add_row(label, f"{self._since(samples, name):,.0f}")
        shown.add_row("[bold]events/s", f"[bold]{self._rate:,.0f}")
        shown.add_row("[bold]worst lag of a shard", f"[bold]{samples.max('scheduling_lag_seconds'):.1f} s")
        return shown


def _story(settings: Settings, worker: Worker, tenant: str, console: Console) -> None:
    """One provider, three events: a cancellation, a vacation day, a change of hours."""
    tomorrow = wiring.clock(settings).today(ZONE) + timedelta(days=1)
    days = [day for day in times.days_between(tomorrow, tomorrow + timedelta(days=5)) if day.weekday() < 5][
        :3
    ]
    key = ProviderKey(tenant, "standard", PROVIDER)
    numbers = iter(range(1, 100))

    def event(kind: str, **data: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"story-{next(numbers)}",
            "source": f"/tenants/{tenant}",
            "type": kind,
            "time": datetime.now().astimezone().isoformat(),
            "tenant": tenant,
            "emr": "standard",
            "subject": PROVIDER,
            "data": {"provider_id": PROVIDER, **data},
        }

    def hours(version: int, start: str, end: str) -> dict[str, Any]:
        weekly = [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": start, "end": end}]
        return event("working_hours", id="hours", version=version, time_zone=ZONE, weekly=weekly)

    def visit(version: int, status: str) -> dict[str, Any]:
        start, end = (_at(days[0], hour) for hour in (10, 11))
        return event("appointment", id="visit", version=version, start=start, end=end, status=status)

    vacation = event("time_off", id="day-off", version=1, start=str(days[1]), end=str(days[1]))
    before: list[str] = ["not known"] * 3
    steps: list[tuple[str, list[dict[str, Any]]]] = [
        ("hours 09:00–17:00, one appointment", [hours(1, "09:00", "17:00"), visit(1, "booked")]),
        ("the appointment is cancelled", [visit(2, "cancelled")]),
        ("a vacation day", [vacation]),
        ("hours change to 12:00–20:00", [hours(2, "12:00", "20:00")]),
    ]
    shown = Table(title=f"When is {PROVIDER} free? ({ZONE})", title_justify="left")
    shown.add_column("event")
    for day in days:
        shown.add_column(f"{day:%a} {day}")
    shown.add_column("visible after", justify="right")
    for label, events in steps:
        start = time.monotonic()
        _send(settings, events)
        after = _await_change(settings, worker, key, days, before, label)
        marked = [
            f"[bold]{new}[/bold]" if new != old else f"[dim]{new}[/dim]"
            for new, old in zip(after, before, strict=True)
        ]
        shown.add_row(label, *marked, f"{time.monotonic() - start:.1f} s")
        before = after
    console.print(shown)


def _at(day: date, hour: int) -> str:
    return datetime(day.year, day.month, day.day, hour, tzinfo=times.zone(ZONE)).isoformat()


def _await_change(
    settings: Settings,
    worker: Worker,
    key: ProviderKey,
    days: Sequence[date],
    before: Sequence[str],
    what: str,
) -> list[str]:
    """Wait until the stored answer differs from `before` and has come to rest."""
    store = wiring.store(settings)
    now = wiring.clock(settings).seconds()
    deadline = time.monotonic() + VISIBLE_SECONDS
    last: list[str] = []
    while time.monotonic() < deadline:
        worker.check()
        stored = {answer.date: answer.spans for answer in query(store, key, min(days), max(days), now)}
        after = [_free(stored.get(day.isoformat())) for day in days]
        if after == last and after != list(before) and "not known" not in after:
            return after  # seen twice: not in the middle of being written
        last = after
        time.sleep(0.15)
    raise UserError(f"nothing changed within {VISIBLE_SECONDS:.0f} s of an event ({what}); see {worker.log}")


def _free(spans: list[dict[str, Any]] | None) -> str:
    if spans is None:
        return "not known"

    def clock(text: str) -> str:
        return f"{datetime.fromisoformat(text).astimezone(times.zone(ZONE)):%H:%M}"

    return "\n".join(f"{clock(span['start'])}–{clock(span['end'])}" for span in spans) or "no free time"


def _show_metrics(worker: Worker, console: Console) -> None:
    samples = _scraped(worker)
    for labels, value in sorted(samples.all("scheduling_lag_seconds"), key=lambda one: one[0]["shard"]):
        console.print(
            f'  scheduling_lag_seconds{{shard="{labels["shard"]}"}} {value:.1f}',
            highlight=False,
            markup=False,
        )
    console.print(
        f"  and all the others: {worker.url}/metrics; health: {worker.url}/healthz, {worker.url}/readyz"
    )


def _end(worker: Worker | None, cloud: LocalCloud | None, console: Console) -> None:
    """End what the demo started, in order; a second Ctrl-C does not get in between."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    if worker is not None and worker.process.poll() is None:
        console.print("  [dim]stopping the worker: it checkpoints and hands its shards over …[/dim]")
        worker.process.terminate()
        try:
            worker.process.wait(60)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    if cloud is not None:
        cloud.stop()
