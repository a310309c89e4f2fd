"""Does a child's memory stay within its bound? A million events through one engine, as `make bench-memory` runs them.

The tables and the makers of events are in another process, behind a pipe. So what this process holds is what a worker's
child holds: the interpreter, its libraries with the clients of AWS, the plugins, the engine and its copies of items.
Appointments come, are moved a few times and are cancelled, so that new items keep coming, as in a clinic. There are so
many that the bound of the copies is reached on the way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from benchmarks.growth_world import Traffic, make_engine
from kcl_app import wiring
from kcl_app.settings import load
from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.worker.child import settle_memory
from processors.envelope import Record

MEGABYTE = 1_000_000
BATCH = 1000
FLAT = 1.05
"""Memory is flat that grows by no more than this factor over the second half of the run."""


class FarStore(Store):
    """A store in another process.

    Args:
        pipe: to it.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def _ask(self, name: str, *arguments: Any) -> Any:
        self._pipe.send((name, arguments))
        return self._pipe.recv()

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        rows: list[Row] = self._ask("query", table, pk, between, attributes)
        return rows

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        rows: dict[Key, Row] = self._ask("get", table, list(keys))
        return rows

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        raise NotImplementedError("no engine scans")

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        outcomes: list[Outcome] = self._ask("write", list(puts))
        return outcomes

    def transact(self, puts: Sequence[Put]) -> Outcome:
        outcome: Outcome = self._ask("transact", list(puts))
        return outcome

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        outcome: Outcome = self._ask("delete", table, key, expect)
        return outcome

    def events(self, number: int) -> list[Record]:
        """The next events; fewer, or none, where the onboarding ends."""
        records: list[Record] = self._ask("events", number)
        return records


def serve(pipe: Connection, providers: int, moves: int) -> None:
    """The other process: tables, and events one after another, until the pipe closes.

    Args:
        pipe: to the engine's process.
        providers: how many.
        moves: of each appointment, before it is cancelled.
    """
    store = MemoryStore()
    traffic = Traffic(providers, items=1)
    onboarding = traffic.onboarding()
    lives = traffic.lives(moves, apart=2 * BATCH)
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        if name == "events":
            records = [
                record for _, record in zip(range(arguments[0]), (r for _, r in onboarding), strict=False)
            ]
            pipe.send(records or [next(lives) for _ in range(arguments[0])])
        else:
            pipe.send(getattr(store, name)(*arguments))


@contextmanager
def far_store(providers: int, moves: int) -> Iterator[FarStore]:
    """The other process, while it is wanted."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, providers, moves), daemon=True)
    process.start()
    theirs.close()
    try:
        yield FarStore(ours)
    finally:
        ours.close()
        process.join(10)


def resident() -> float:
    """This process' resident memory, in megabytes of a million bytes."""
    return float(psutil.Process().memory_info().rss) / MEGABYTE


def like_a_child() -> None:
    """Load what a worker's child holds besides the engine."""
    import amazon_kclpy.kcl  # noqa: F401

    import kcl_app.worker.record_processor  # noqa: F401

    wiring.store(load())
    settle_memory()


def run(events: int, providers: int, moves: int, cached_items: int | None, samples: int) -> dict[str, Any]:
    """Run the events; memory at the start, and after each part of them.

    Args:
        events: how many.
        providers: how many.
        moves: of each appointment, before it is cancelled.
        cached_items: bound of the copies in memory; None: the setting's default.
        samples: how often memory is looked at.
    """
    like_a_child()
    with far_store(providers, moves) as store:
        engine = make_engine(store, cached_items)
        start = resident()
        done, found = 0, [{"events": 0, "rss_mb": round(start, 1)}]
        cpu = time.process_time()
        while done < events:
            records = store.events(BATCH)
            result = engine.run(records, "shard-0")
            if result.events["applied"] < 0.9 * len(records):
                raise RuntimeError(f"only {result.events['applied']} of {len(records)} events applied")
            done += len(records)
            if done >= len(found) * events / samples:
                found.append({"events": done, "rss_mb": round(resident(), 1)})
                print(f"{done:,} events: {resident():.0f} MB", file=sys.stderr)  # noqa: T201
        cpu = time.process_time() - cpu
    middle = next(one["rss_mb"] for one in found if one["events"] >= events / 2)
    return {
        "events": done,
        "providers": providers,
        "cached_items": cached_items or load().worker.cached_items,
        "rss_mb_start": found[0]["rss_mb"],
        "rss_mb_end": found[-1]["rss_mb"],
        "rss_mb_peak": max(one["rss_mb"] for one in found),
        "second_half": round(found[-1]["rss_mb"] / middle, 3),
        "flat": found[-1]["rss_mb"] / middle <= FLAT,
        "cpu_us_per_event_pipe_included": round(cpu / done * 1e6, 1),
        "samples": found,
    }


def report(found: dict[str, Any]) -> None:
    """The figures to read."""
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(title="Resident memory of one child", title_justify="left", min_width=40)
    shown.add_column("events", justify="right")
    shown.add_column("MB", justify="right")
    for one in found["samples"]:
        shown.add_row(f"{one['events']:,}", f"{one['rss_mb']:.0f}")
    console = Console()
    console.print(shown)
    verdict = "flat" if found["flat"] else "NOT FLAT"
    console.print(
        f"{found['cached_items']:,} items at most; second half ×{found['second_half']}: {verdict}; "
        f"peak {found['rss_mb_peak']:.0f} MB"
    )


def main() -> None:
    """Measure a child's resident memory over many events."""
    # Not typer: it and rich would be in the memory that is measured, and are not in a child's.
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_memory", description=main.__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in all")
    parser.add_argument("--providers", type=int, default=500, help="providers on the shard")
    parser.add_argument("--moves", type=int, default=6, help="moves of an appointment before it is cancelled")
    parser.add_argument("--cached-items", type=int, help="bound of the copies; by default the setting's")
    parser.add_argument("--samples", type=int, default=20, help="how often memory is looked at")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    if given.events < 10 * BATCH or given.providers < 1 or given.moves < 0 or given.samples < 2:
        parser.error(f"--events must be {10 * BATCH} or more, --providers 1, --moves 0, --samples 2")
    found = run(given.events, given.providers, given.moves, given.cached_items, given.samples)
    report(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
