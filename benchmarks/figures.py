"""From what was seen to the figures of the report."""

from __future__ import annotations

from typing import Any

from benchmarks.probing import percentile
from benchmarks.running import Run
from benchmarks.sampling import MB, Sample, cpu_between, rate

Figures = dict[str, Any]


def timed(run: Run) -> Figures:
    """The figures of a run that was timed.

    CPU is that from the first measured event to the last, the children's and the JVM's start left out. Memory is that
    of the largest child: as the measuring began, after a tenth of the events, and at the end.
    """
    first, last = run.samples[0], _end(run)
    events = last.settled - first.settled
    tenth = next(one for one in run.samples if one.settled - first.settled >= events / 10)
    others = {name: last.other_cpu[name] - first.other_cpu[name] for name in last.other_cpu}
    return {
        "events": events,
        "capped": run.load.capped or not run.finished,
        "cut_off": not run.finished,
        "startup_s": round(run.startup_seconds, 1),
        "events_per_s": _rounded(rate(run.samples, run.total)),
        "python_cpu_us_per_event": _each(cpu_between(first, last), events),
        "jvm_cpu_us_per_event": _each(last.jvm_cpu - first.jvm_cpu, events),
        "supervisor_cpu_us_per_event": _each(others.pop("supervisor", 0.0), events),
        "emulator_cpu_us_per_event": {name: _each(seconds, events) for name, seconds in others.items()},
        "probes": run.probes_sent,
        "probes_seen": len(run.seconds),
        "p50_s": _rounded(percentile(run.seconds, 0.5), 3),
        "p95_s": _rounded(percentile(run.seconds, 0.95), 3),
        "p99_s": _rounded(percentile(run.seconds, 0.99), 3),
        "rss_mb_start": _rss(first),
        "rss_mb_tenth": _rss(tenth),
        "rss_mb_end": _rss(last),
        "write_units_per_event": None,
        "read_units_per_event": None,
        "calls_per_event": None,
    }


def metered(run: Run) -> Figures:
    """The figures of a run whose calls were counted."""
    events = _end(run).settled - run.samples[0].settled
    if run.cost is None or not events:
        return {}
    return {
        "write_units_per_event": _rounded(run.cost.write_units / events, 3),
        "read_units_per_event": _rounded(run.cost.read_units / events, 3),
        "calls_per_event": _rounded(run.cost.calls / events, 3),
        "metered_events": events,
        "metered_cut_off": not run.finished,
    }


def series(run: Run) -> list[dict[str, float]]:
    """Memory and CPU as the events go by, for the plots: one point for each fiftieth of them."""
    first, last = run.samples[0], _end(run)
    events = max(1, last.settled - first.settled)
    points: dict[int, Sample] = {}
    for one in run.samples:
        points.setdefault((one.settled - first.settled) * 50 // events, one)
    return [
        {
            "seconds": round(one.at - first.at, 2),
            "events": one.settled - first.settled,
            "rss_mb": _rss(one) or 0.0,
            "python_cpu_s": round(cpu_between(first, one), 3),
        }
        for one in points.values()
    ]


def _end(run: Run) -> Sample:
    """The first sample that has all events, else the last one."""
    return next((one for one in run.samples if one.settled >= run.total), run.samples[-1])


def _each(seconds: float, events: int) -> float | None:
    return round(seconds / events * 1e6, 1) if events else None


def _rss(sample: Sample) -> float | None:
    return round(max(sample.child_rss.values()) / MB, 1) if sample.child_rss else None


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
