"""How fast events are matched: `make bench-patterns`.

One pattern of three fields on a change document of about 1 kB, and sets of up to 10,000 patterns, each of which names a
tenant, a beginning or an end of the key, or a range of numbers of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emr_plugins.patterns import EventPattern, PatternSet

LAPS = 5
CALLS = 20_000
SIZES = (1, 10, 100, 1_000, 10_000)

IMAGE = {
    "kind": "appointment",
    "id": "a-1",
    "status": "booked",
    "start": "2026-03-09T14:00:00Z",
    "end": "2026-03-09T14:30:00Z",
    "location_id": "l1",
    "version": 7,
    "service_types": ["new", "follow-up"],
    "note": "x" * 250,
}
EVENT = {
    "eventName": "MODIFY",
    "tenant": "acme",
    "emr": "standard",
    "kind": "appointment",
    "keys": {"pk": "acme#standard#p1", "sk": "appointment#a-1"},
    "newImage": IMAGE,
    "oldImage": {**IMAGE, "status": "proposed"},
}
PATTERN = {
    "kind": ["appointment"],
    "keys": {"sk": [{"prefix": "appointment#"}]},
    "newImage": {"status": ["booked", "cancelled"]},
}


def rate(call: Callable[[dict[str, Any]], object]) -> float:
    """Calls per second of CPU, the median of the laps."""
    laps = []
    for _ in range(LAPS):
        began = time.process_time()
        for _ in range(CALLS):
            call(EVENT)
        laps.append(CALLS / (time.process_time() - began))
    return statistics.median(laps)


SETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "tenant": lambda number: {"tenant": [f"t{number}"]},
    "prefix": lambda number: {"keys": {"sk": [{"prefix": f"appointment#{number}-"}]}},
    "wildcard": lambda number: {"keys": {"sk": [{"wildcard": f"appointment#*-{number}"}]}},
    "numeric": lambda number: {"newImage": {"version": [{"numeric": [">=", number + 10, "<", number + 11]}]}},
}
"""What tells the patterns of a set apart."""


def told_apart(by: str, size: int) -> PatternSet[int]:
    """So many patterns, of which one matches."""
    others = {number: {**PATTERN, **SETS[by](number)} for number in range(size - 1)}
    return PatternSet({**others, size: PATTERN})


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patterns", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    other = EventPattern({**PATTERN, "newImage": {"status": ["cancelled"]}})
    found = {
        "EventPattern, matches": rate(EventPattern(PATTERN).matches),
        "EventPattern, does not match": rate(other.matches),
    }
    for size in SIZES:
        for by in SETS:
            found[f"PatternSet of {size:,}, told apart by {by}"] = rate(told_apart(by, size).matching)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    table = Table(title=f"Events matched in a second of CPU, {len(json.dumps(EVENT)):,} bytes each")
    table.add_column("what")
    table.add_column("events/s", justify="right")
    for name, value in found.items():
        table.add_row(name, f"{value:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
