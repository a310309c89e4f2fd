"""`make bench`: a do-nothing processor, what a user would write first, and ours, on one machine, stream and data."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import dynamodb, figures, plots, report
from benchmarks.loads import LOADS, Load
from benchmarks.running import NAIVE, NULL, SIDES, Options, Run, Tell, run_side
from kcl_app.cli.progress import INTERRUPTED, SAY_SECONDS
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak.surroundings import Stopped, deaf, signals
from kcl_app.settings import PROJECT_ROOT, SettingsError, load

WIDTH = 150
"""Columns of the tables where no terminal says how many there are."""

PAGE = PROJECT_ROOT / "docs" / "performance.md"
IMAGES = PROJECT_ROOT / "docs" / "images"


def main() -> None:
    """Run the command; an error that a person meets is one line."""
    try:
        typer.run(bench)
    except UserError as error:
        typer.echo(f"make bench: {error}", err=True)
        raise SystemExit(error.status) from None
    except SettingsError as error:
        typer.echo(f"make bench: {error}", err=True)
        raise SystemExit(2) from None
    except Stopped:
        typer.echo("make bench: stopped; everything that it started has ended", err=True)
        raise SystemExit(INTERRUPTED) from None


def bench(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.", dir_okay=False)
    ] = None,
    loads: Annotated[str, typer.Option(help=f"Which, with commas: {', '.join(LOADS)}.")] = ",".join(LOADS),
    sides: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(SIDES),
    scale: Annotated[
        float, typer.Option(min=0.0001, max=100, help="1 is the whole load, 0.05 a look.")
    ] = 1.0,
    store: Annotated[
        str, typer.Option(help="`dynamodb`, or `null`: stores that answer at once.")
    ] = "dynamodb",
    emulator: Annotated[
        str, typer.Option("--dynamodb", help="`dynoxide`, `ministack`, or `auto`: dynoxide if it can be had.")
    ] = "auto",
    naive_events: Annotated[
        int, typer.Option(min=1, help="Events that the naive side gets, at most: it does some 300 a second.")
    ] = 10_000,
    naive_seconds: Annotated[
        float, typer.Option(min=1, help="How long the naive side may take for a load.")
    ] = 300.0,
    metered_events: Annotated[
        int, typer.Option(min=0, help="Events of the runs that count calls and units; 0: no such runs.")
    ] = 40_000,
    plot: Annotated[Path | None, typer.Option(help="Folder for plots (PNG).", file_okay=False)] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="Write tables and plots into docs/performance.md.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the logs.")] = False,
) -> None:
    """Measure; each load takes a minute or more for each side, half of it the KCL's start."""
    chosen, wanted = _among(loads, LOADS, "loads"), _among(sides, SIDES, "sides")
    _among(store, ("dynamodb", NULL), "store")
    _among(emulator, ("auto", "dynoxide", "ministack"), "dynamodb")
    base = load()
    if base.aws.endpoint_url is None:
        raise UserError("the benchmark needs local settings, with aws.endpoint_url", 2)
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="kcl-app-bench-"))
    good = False
    with signals():
        try:
            LocalCloud(base, progress=console.print).install()
            program = dynamodb.find(emulator, console.print)  # type: ignore[arg-type] # checked above
            options = Options(base, program, store == NULL, naive_seconds)
            document = {
                "machine": report.machine(program),
                "options": {"scale": scale, "store": store, "metered_events": metered_events},
                "loads": {},
            }
            caps = _Caps(naive_events, 0 if store == NULL else metered_events)
            for name in chosen:
                document["loads"][name] = {}
                for side, found in _measured(LOADS[name](scale), wanted, options, caps, folder, console):
                    document["loads"][name][side] = found
                    if json_file is not None:  # also what is there so far, should a later run fail
                        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            good = True
        finally:
            deaf()
            if good and not keep:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                console.print(f"logs are in {folder}")
    _show(document, plot, docs=docs)


class _Caps:
    """How many events the runs that need not see all of them get."""

    def __init__(self, naive: int, metered: int) -> None:
        self.naive, self.metered = naive, metered

    def timed(self, load: Load, side: str) -> Load:
        """What is timed on a side."""
        return load.at_most(self.naive) if side == NAIVE else load

    def counted(self, load: Load, side: str) -> Load:
        """What is counted on a side."""
        return load.at_most(min(self.metered, self.naive) if side == NAIVE else self.metered)


def _measured(
    load: Load, sides: list[str], options: Options, caps: _Caps, folder: Path, console: Console
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each side's figures."""
    for side in sides:
        place = folder / f"{load.name}-{side}"
        run = _run(caps.timed(load, side), side, options, place / "timed", console, metered=False)
        found = figures.timed(run) | {"series": figures.series(run)}
        if side != NULL and caps.metered:
            counted = _run(caps.counted(load, side), side, options, place / "counted", console, metered=True)
            found |= figures.metered(counted)
        yield side, found


def _run(load: Load, side: str, options: Options, folder: Path, console: Console, *, metered: bool) -> Run:
    what = f"{load.name}, {side}{', counting calls' if metered else ''}"
    with _progress(what, console) as tell:
        return run_side(load, side, options, folder, tell, metered=metered)


@contextmanager
def _progress(what: str, console: Console) -> Iterator[Tell]:
    """Shows what is going on: a bar on a terminal, elsewhere a line every few seconds."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield _teller(
            what,
            lambda now, done, total: progress.update(
                task, description=f"{what}: {now}", completed=done, total=total or None
            ),
            console,
        )


def _teller(what: str, update: Callable[[str, int, int], None], console: Console) -> Tell:
    told, last = 0.0, ""

    def tell(now: str, done: int, total: int) -> None:
        nonlocal told, last
        update(now, done, total)
        if console.is_terminal or (now == last and time.monotonic() - told < SAY_SECONDS):
            return
        told, last = time.monotonic(), now
        console.print(f"{what}: {now}" + (f" {done} of {total}" if total else f" {done}" if done else ""))

    return tell


def _among(given: str, known: Any, what: str) -> list[str]:
    """The names in an option, each of them known."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"--{what}: there is no {name}; choose from {', '.join(known)}", 2)
    if not names:
        raise UserError(f"--{what}: choose from {', '.join(known)}", 2)
    return names


def _show(document: dict[str, Any], plot: Path | None, *, docs: bool) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    on = document["machine"]
    console.print(
        f"{on['cores']} cores, Python {on['python']}, kclpy {on['versions']['amazon_kclpy']}, "
        f"Kinesis: ministack, DynamoDB: {on['dynamodb']}, store: {document['options']['store']}"
    )
    for table in report.tables(document):
        console.print(table)
    for note in report.NOTES:
        console.print(note)
    if plot is not None:
        for path in plots.draw(document, plot):
            console.print(f"plot: {path}")
    if docs:
        pictures = [path.relative_to(PAGE.parent).as_posix() for path in plots.draw(document, IMAGES)]
        page = report.into_page(PAGE.read_text(encoding="utf-8"), report.markdown(document, pictures))
        PAGE.write_text(page, encoding="utf-8")
        console.print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
