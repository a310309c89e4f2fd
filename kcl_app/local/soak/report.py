"""What a soak came to: as a table for people, as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from kcl_app.local.soak.verifier import SHOWN


@dataclass
class Report:
    """The result.

    Attributes:
        seed: of the run.
        minutes: how long the load went on.
        workers: how many there were.
        shards: open shards at the start.
        rate: events a second that were to be sent.
        events: that were sent.
        records: that the stream accepted.
        resent: times that sending had to begin again because the cloud was away.
        processed: what the workers say they did with events, replays and all; what the killed said last counts.
        expected_letters: rejects that were sent, by reason.
        faults: done, by kind.
        calls: that went through the proxy.
        calls_hit: by a fault of the network, by kind.
        restarts: workers started again.
        unexplained: workers that ended although nothing had been done to them.
        left_out: faults that could not be done.
        checkpoints_looked_up: records passed by a checkpoint whose outcome was looked up at once.
        seconds_to_drain: from the last record sent until all was checkpointed; None: it never was.
        longest_standstill_seconds: longest time in which no checkpoint moved although there was something to do.
        most_lag_seconds: greatest age of a record that was not checkpointed.
        provider_days: compared.
        items: compared.
        differences: by kind, one line each.
        wrong: what else went wrong: checkpoints, ends of workers.
        folder: where logs and tables are, if they were kept.
    """

    seed: int
    minutes: float
    workers: int
    shards: int
    rate: float
    events: int = 0
    records: int = 0
    resent: int = 0
    processed: dict[str, int] = field(default_factory=dict)
    expected_letters: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    calls_hit: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    unexplained: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    checkpoints_looked_up: int = 0
    seconds_to_drain: float | None = None
    longest_standstill_seconds: float = 0.0
    most_lag_seconds: float = 0.0
    provider_days: int = 0
    items: int = 0
    differences: dict[str, list[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    folder: str | None = None

    def found(self) -> int:
        """How many differences there are between what was sent and what the tables say."""
        return sum(map(len, self.differences.values()))

    def good(self) -> bool:
        """Whether all is as it must be."""
        return not self.found() and not self.wrong and self.seconds_to_drain is not None

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"good": self.good(), **asdict(self)}


def table(report: Report) -> Table:
    """The result in rows."""
    shown = Table(title=f"Soak of {report.minutes:g} minutes, seed {report.seed}", title_justify="left")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    drained = report.seconds_to_drain
    rows: list[tuple[str, str]] = [
        ("events sent", f"{report.events:,}"),
        ("records that the stream accepted", f"{report.records:,}"),
        *_counted("faults", report.faults),
        ("workers started again", f"{report.restarts:,}"),
        ("calls between workers and cloud", f"{report.calls:,}"),
        *_counted("  of them hit", report.calls_hit),
        *((name, f"{number:,}") for name, number in sorted(report.processed.items())),
        *_counted("rejects sent", report.expected_letters),
        ("from the last record to drained", "never" if drained is None else f"{drained:.1f} s"),
        ("longest standstill of all shards", f"{report.longest_standstill_seconds:.1f} s"),
        ("greatest lag of a shard", f"{report.most_lag_seconds:.1f} s"),
        ("checkpointed records looked up at once", f"{report.checkpoints_looked_up:,}"),
        ("provider-days compared", f"{report.provider_days:,}"),
        ("items compared", f"{report.items:,}"),
        ("differences", f"{report.found():,}"),
        ("other wrongs", f"{len(report.wrong):,}"),
    ]
    for what, figure in rows:
        style = "bold red" if what in ("differences", "other wrongs") and figure != "0" else None
        shown.add_row(escape(what), figure, style=style)
    return shown


def _counted(what: str, numbers: dict[str, int]) -> list[tuple[str, str]]:
    return [
        (what, f"{sum(numbers.values()):,}"),
        *((f"    {name}", f"{number:,}") for name, number in sorted(numbers.items())),
    ]


def complaints(report: Report) -> list[str]:
    """What is wrong, one line each, the first of each kind."""
    lines = [f"wrong: {one}" for one in report.wrong]
    for kind, found in sorted(report.differences.items()):
        lines += [f"{kind}: {one}" for one in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"{kind}: and {len(found) - SHOWN} more")
    lines += [f"note: {one}" for one in report.unexplained]
    lines += [
        f"note: left out, since nothing could be done it to: {one}" for one in sorted(set(report.left_out))
    ]
    return lines
