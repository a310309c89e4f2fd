"""Where a child's CPU goes: `python -m benchmarks.stages` runs a load in one process, and looks at it as it runs.

There is a record processor for each shard, as in a worker, with kclpy's protocol before it; the daemon and the stream
are left out. Stores answer at once, or are dynoxide's, whose own CPU is another process'. The system's timer of CPU
time tells when to look; a look costs little, so that the shares are those of a run that nobody looks at.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from amazon_kclpy.kcl import KCLProcess
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.dynamodb import Dynoxide, find
from benchmarks.loads import HORIZON_DAYS, LOADS, Message
from benchmarks.stores import NullStore
from kcl_app import logs, wiring
from kcl_app.engine.observing import MetricsObserver
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import create_tables, read_template
from kcl_app.local.soak.surroundings import TODAY
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings, load
from kcl_app.stores.schemas import SchemaStore
from kcl_app.testing.conversation import initialize, process_records
from kcl_app.worker.child import settle_memory
from kcl_app.worker.record_processor import RecordProcessor
from processors.envelope import Record

LOOK_SECONDS = 0.002
FAR_BEHIND, NEAR = 30_000, 300
"""Milliseconds behind the tip: while there is more of a backlog, and at a steady pace."""
CHUNKS = {"backlog": 2000, "steady": 250}
"""Records of a delivery: what one read takes, and what comes between two reads at 1,000 events a second."""

STAGES: tuple[tuple[str, str, str], ...] = (
    ("reading providers", "kcl_app/engine/providers.py", "_load"),
    ("calls of DynamoDB", "kcl_app/stores/dynamodb.py", ""),
    ("calls of DynamoDB", "kcl_app/stores/calls.py", ""),
    ("availability engine", "processors/availability.py", ""),
    ("spans as text", "processors/spans.py", ""),
    ("rows", "kcl_app/stores/rows.py", ""),
    ("decode: the envelope", "processors/envelope.py", "read_event"),
    ("decode: the plugin", "emr_plugins/host.py", "decode"),
    ("decode: the rest", "processors/decoding.py", ""),
    ("upsert: what is touched", "processors/upserts.py", ""),
    ("upsert: the rest", "kcl_app/engine/upserting.py", ""),
    ("settle: the rest", "kcl_app/engine/settling.py", ""),
    ("record processor, metrics", "kcl_app/", ""),
    ("kclpy's protocol", "amazon_kclpy/", ""),
)
"""Name, part of a file's path, function (any, if empty): the first that is on the stack counts."""


class Looker:
    """Looks at the stack each few milliseconds of this process' CPU time."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._main = threading.main_thread().ident

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, LOOK_SECONDS, LOOK_SECONDS)

    def stop(self) -> None:
        """End."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        stack = _stack(frame)
        if stack and stack[0][0].endswith("threading.py"):  # this thread waits: others work, and all do calls
            self.seen["calls of DynamoDB"] += 1
            return
        for name, path, function in STAGES:
            if any(path in file and function in ("", called) for file, called in stack):
                self.seen[name] += 1
                return
        self.seen["other"] += 1


def _stack(frame: FrameType | None) -> list[tuple[str, str]]:
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return found


class Pipe:
    """The daemon's end of one child's pipe: gives one message at a time, and takes each checkpoint."""

    def __init__(self) -> None:
        self.next = ""
        self._asked: dict[str, Any] | None = None

    def readline(self) -> str:
        """What the daemon says; nothing once the message is answered."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return json.dumps({**asked, "error": None}) + "\n"
        said, self.next = self.next, ""
        return said

    def write(self, text: str) -> int:
        """What the child says."""
        said = json.loads(text)
        if said["action"] == "checkpoint":
            self._asked = said
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _deliveries(
    messages: Sequence[Message], shards: int, chunk: int, behind: int
) -> Iterator[tuple[int, str]]:
    """Lines of the daemon, with the shard of each; shards take turns."""
    queues: list[list[Record]] = [[] for _ in range(shards)]
    for number, one in enumerate(messages):
        shard = int(hashlib.md5(one.provider.encode(), usedforsecurity=False).hexdigest(), 16) * shards >> 128
        queues[shard].append(Record(one.data, f"{10**55 + number}", 0, one.provider, time.time()))
    for first in range(0, max(map(len, queues)), chunk):
        for shard, queue in enumerate(queues):
            if some := queue[first : first + chunk]:
                lag = behind if first + chunk < len(queue) else 0
                yield shard, json.dumps(process_records(some, lag)) + "\n"


def _children(shards: int, settings: Settings, null: bool) -> list[tuple[KCLProcess, Pipe]]:
    made = []
    for _ in range(shards):
        metrics = WorkerMetrics(CollectorRegistry())
        if null:
            engine = wiring.engine_on(SchemaStore(NullStore()), settings, MetricsObserver(metrics))
        else:
            engine = wiring.engine(settings, metrics)
        pipe = Pipe()
        made.append((KCLProcess(RecordProcessor(engine, metrics, 200.0), pipe, pipe, sys.stderr), pipe))
    return made


def stages(
    load_name: Annotated[str, typer.Option("--load", help=f"Which: {', '.join(LOADS)}.")] = "burst",
    scale: Annotated[float, typer.Option(min=0.0001, help="1 is the whole load.")] = 0.1,
    store: Annotated[str, typer.Option(help="`dynoxide`, or `null`: stores that answer at once.")] = "null",
) -> None:
    """Run a load, and print which share of the CPU each stage took."""
    console = Console(highlight=False)
    if load_name not in LOADS or store not in ("dynoxide", "null"):
        raise UserError(f"choose a load from {', '.join(LOADS)}, and dynoxide or null as the store", 2)
    chosen = LOADS[load_name](scale)
    settings = load(None, today=TODAY, horizon={"days": HORIZON_DAYS})
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    server: Dynoxide | None = None
    try:
        if store == "dynoxide":
            program = find("dynoxide", console.print)
            assert program is not None  # else it has raised
            server = Dynoxide(program, Path(tempfile.gettempdir()) / "stages-dynoxide.log")
            url = {"endpoint_url": f"http://127.0.0.1:{server.port}"}
            settings = settings.model_copy(update={"aws": settings.aws.model_copy(update=url)})
            names = {
                "ItemsTableName": settings.tables.items,
                "SpansTableName": settings.tables.spans,
                "ProvidersTableName": settings.tables.providers,
                "DeadLettersTableName": settings.tables.dead_letters,
            }
            create_tables(wiring.dynamodb(settings), read_template(settings.local.data_template), names)
        children = _children(chosen.shards, settings, store == "null")
        pace = "backlog" if chosen.pace is None else "steady"

        def tell(shard: int, line: str) -> None:
            process, pipe = children[shard]
            pipe.next = line
            process.run()

        settle_memory()
        for shard in range(chosen.shards):
            tell(shard, json.dumps(initialize(f"shard-{shard}", None)) + "\n")
        for shard, line in _deliveries(chosen.setup, chosen.shards, CHUNKS["backlog"], FAR_BEHIND):
            tell(shard, line)
        behind = FAR_BEHIND if chosen.pace is None else NEAR
        lines = list(_deliveries(chosen.events, chosen.shards, CHUNKS[pace], behind))
        looker = Looker()
        start = time.process_time()
        looker.start()
        for shard, line in lines:
            tell(shard, line)
        looker.stop()
        seconds = time.process_time() - start
    finally:
        if server is not None:
            server.stop()
    _show(console, looker.seen, seconds / len(chosen.events) * 1e6)


def _show(console: Console, seen: Counter[str], microseconds: float) -> None:
    table = Table("stage", "share", "µs an event")
    total = sum(seen.values())
    for name, number in seen.most_common():
        table.add_row(name, f"{number / total:.0%}", f"{number / total * microseconds:.0f}")
    table.add_row("all", "100%", f"{microseconds:.0f}")
    console.print(table)


def main() -> None:
    """Run the command; an error that a person meets is one line."""
    try:
        typer.run(stages)
    except UserError as error:
        typer.echo(f"stages: {error}", err=True)
        raise SystemExit(error.status) from None


if __name__ == "__main__":
    main()
