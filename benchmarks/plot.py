"""Bars: a model's time beside the best peer's, for each number of threads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def best_peer(engines: dict[str, Any]) -> str:
    """The fastest engine but convc. Raises ValueError where there is none."""
    return min((name for name in engines if name != "convc"), key=lambda name: engines[name]["median_ms"])


def plot(rows: Sequence[dict[str, Any]], threads: Sequence[int], path: Path) -> None:
    """Write a picture (SVG, PNG ... by the path's suffix); without matplotlib say that there is none."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot, which needs matplotlib: pip install -e '.[plot]'", file=sys.stderr)
        return
    figure, axes = pyplot.subplots(figsize=(max(6.0, 0.7 * len(rows) + 1), 4), layout="constrained")
    width = 0.8 / len(threads)
    for number, count in enumerate(threads):
        timings = [row["threads"][count] for row in rows]
        peers = [best_peer(each) for each in timings]
        ratios = [each[peer]["convc_ratio"] for each, peer in zip(timings, peers, strict=True)]
        places = [i + (number - (len(threads) - 1) / 2) * width for i in range(len(rows))]
        bars = axes.bar(places, ratios, width, label=f"{count} thread{'s' if count > 1 else ''}")
        axes.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], fontsize=7)
        for place, peer in zip(places, peers, strict=True):
            axes.text(place, 0.02, peer, rotation=90, ha="center", va="bottom", fontsize=6, color="white")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [row["model"] for row in rows], rotation=35, ha="right", fontsize=8)
    axes.set_ylabel("convc's time / the best peer's")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
