"""The figures of growth as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LABELS = {
    "providers": "providers on one shard, 20 items each",
    "shards": "shards, 100 providers each",
    "items": "items of each provider",
}


def plot(document: Mapping[str, Any], png: Path) -> None:
    """Draw one panel for each axis, one line for each series.

    Args:
        document: as `benchmarks.growth` writes it to JSON.
        png: where to; replaced if it is there.
    """
    import matplotlib as mpl

    mpl.use("Agg")  # no display is needed
    from matplotlib import pyplot as plt

    series: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for cost in document["points"]:
        point = cost["point"]
        series.setdefault(point["axis"], {}).setdefault(point["series"], []).append(cost)
    figure, axes = plt.subplots(1, len(series), figsize=(4.6 * len(series), 3.6), squeeze=False, sharey=True)
    for panel, (axis, lines) in zip(axes[0], series.items(), strict=True):
        for name, costs in lines.items():
            costs = sorted(costs, key=lambda cost: cost["point"]["x"])
            middle = [cost["us"] for cost in costs]
            spread = [
                [cost["us"] - cost["low"] for cost in costs],
                [cost["high"] - cost["us"] for cost in costs],
            ]
            panel.errorbar(
                [cost["point"]["x"] for cost in costs], middle, spread, marker="o", capsize=3, label=name
            )
        panel.set_xscale("log", base=2 if axis == "shards" else 10)
        panel.set_yscale("log")
        panel.set_xlabel(LABELS[axis])
        panel.grid(visible=True, which="both", alpha=0.25)
        panel.legend(fontsize=8)
    axes[0][0].set_ylabel("Python CPU per event (µs)")
    figure.suptitle("Cost of one event as the world grows (median of laps, simulated stores)", fontsize=11)
    figure.tight_layout()
    figure.savefig(png, dpi=110)
    plt.close(figure)
