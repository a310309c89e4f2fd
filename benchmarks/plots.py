"""The figures as pictures for `docs/performance.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.running import OURS, SIDES

PANELS = (
    ("events_per_s", "events a second"),
    ("python_cpu_us_per_event", "µs of Python CPU an event"),
    ("write_units_per_event", "write units an event"),
    ("p99_s", "p99 from put to visible, s"),
)
COLOURS = {"null": "#9aa0a6", "naive": "#d9822b", "ours": "#2b6cb0"}


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the sides beside each other, and our memory over the events; returns the files.

    Args:
        document: as it is written to JSON.
        folder: for them; made if it is not there.
    """
    import matplotlib as mpl

    mpl.use("Agg")  # no display is needed
    folder.mkdir(parents=True, exist_ok=True)
    return [_sides(document["loads"], folder), _memory(document["loads"], folder)]


def _sides(loads: Mapping[str, Any], folder: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for panel, (name, title) in zip(panels.flat, PANELS, strict=True):
        values: list[float] = []
        for place, side in enumerate(SIDES):
            bars = [
                (at + (place - 1) * 0.27, value)
                for at, sides in enumerate(loads.values())
                if (value := sides.get(side, {}).get(name))
            ]
            if bars:
                drawn = panel.bar(*zip(*bars, strict=True), width=0.25, label=side, color=COLOURS[side])
                panel.bar_label(drawn, fmt=_label, fontsize=7)
                values += [value for _, value in bars]
        panel.set_title(title, fontsize=10)
        panel.set_xticks(range(len(loads)), list(loads))
        panel.spines[["top", "right"]].set_visible(False)
        if values and max(values) > 20 * min(values):
            panel.set_yscale("log")
    panels.flat[0].legend(fontsize=8)
    path = folder / "bench-sides.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _memory(loads: Mapping[str, Any], folder: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(11, 3.5), layout="constrained")
    for name, sides in loads.items():
        points = sides.get(OURS, {}).get("series", [])
        if points:
            panel.plot([one["events"] for one in points], [one["rss_mb"] for one in points], label=name)
    panel.set_title("resident memory of our largest child, MB, by events settled", fontsize=10)
    panel.set_ylim(bottom=0)
    panel.spines[["top", "right"]].set_visible(False)
    if panel.lines:
        panel.legend(fontsize=8)
    path = folder / "bench-memory.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
