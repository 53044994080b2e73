"""Results as Markdown, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_DOUBT = 1e-4
"""From which error on a reference is no reference."""
_KERNELS = 12
"""Rows of a table of kernels; all of them are in the JSON."""

Row = Mapping[str, Any]


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report."""
    rows, engines = results["rows"], results["engines"]
    parts = [_machine(results["machine"]), times(rows, engines), rates(results["rates"])]
    lists = {
        "Failed, or wrong": [line for row in rows for line in failures(row)],
        "Given up": results["stopped"],
        "No time for": results["unreached"],
    }
    parts += [f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in lists.items() if lines]
    for row in rows:
        if row["kernels"]:
            parts += [f"### {_title(row)}: kernels", kernels(row["kernels"])]
    return "\n\n".join(parts) + "\n"


def times(rows: Sequence[Row], engines: Sequence[str]) -> str:
    """A row a case: convc's error and that of the best of the others, its time, and the ratio to each other engine's;
    less than 1: convc is faster."""
    peers = [engine for engine in engines if engine != "convc"]
    lines = _header(["model", "precision", "batch", "error", "others'", "convc ms", *(f"/ {peer}" for peer in peers)])
    for row in rows:
        ours = row["engines"].get("convc", {})
        cells = [
            row["model"],
            row["precision"],
            row["batch"],
            _number(ours, "error", ".0e") + ("" if ours.get("right", True) else " !"),
            _least_error([row["engines"].get(peer, {}) for peer in peers]),
            _number(ours, "median_ms", ".3f"),
        ]
        lines.append(_line([*cells, *(_number(row["engines"].get(peer, {}), "convc_ratio", ".2f") for peer in peers)]))
    if len(rows) > 1:
        means = [_geometric_mean([row["engines"].get(peer, {}).get("convc_ratio") for row in rows]) for peer in peers]
        lines.append(_line(["**geometric mean**", "", "", "", "", "", *means]))
    return "\n".join(lines)


def progress(found: Mapping[str, Any]) -> str:
    """What a process has found, in a line or a few."""
    if "row" in found:
        row = found["row"]
        timed = [f"{name} {each['median_ms']:.3f}" for name, each in row["engines"].items() if "median_ms" in each]
        return "\n".join([f"{_title(row)}: ms: {', '.join(timed) or 'none'}", *failures(row)])
    if "rates" in found:
        return "; ".join(
            f"{name}: copies {each['gbytes']:.0f} GB/s, multiplies {each['gflops'] / 1e3:.0f} TFLOP/s"
            for name, each in found["rates"].items()
        )
    if "machine" in found:
        return _machine(found["machine"])
    return str(found.get("stopped") or found.get("begin") or "")


def rates(found: Mapping[str, Mapping[str, float]]) -> str:
    """What the device does at the most."""
    lines = _header(["precision", "copy GB/s", "matmul TFLOP/s"])
    lines += [_line([name, f"{each['gbytes']:.0f}", f"{each['gflops'] / 1e3:.1f}"]) for name, each in found.items()]
    return "\n".join(lines)


def kernels(steps: Sequence[Row]) -> str:
    """The slowest kernels, with the part of the roofline that each reaches."""
    total = sum(step["us"] for step in steps)
    lines = _header(["kernel", "template", "us", "of all", "GB/s", "TFLOP/s", "bound", "of it"])
    for step in steps[:_KERNELS]:
        numbers = [f"{step['us']:.1f}", f"{step['us'] / total:.0%}", f"{step['gbytes']:.0f}", f"{step['tflops']:.1f}"]
        lines.append(
            _line(
                [f"{step['kernel']} {step['name']}", step["template"], *numbers, step["bound"], f"{step['share']:.0%}"]
            )
        )
    return "\n".join(lines)


def failures(row: Row) -> list[str]:
    """A line for every engine that was not timed, or is wrong, and for what it was not compared with."""
    lines = []
    for engine, found in row["engines"].items():
        if "failed" in found:
            lines.append(f"{_title(row)}: {engine}: {found['failed']}")
        elif not found["right"]:
            lines.append(f"{_title(row)}: {engine}: max|diff|/max|ref| {_number(found, 'error', '.1e')}")
    reference = row["reference"]
    if reference["untold"]:
        lines.append(f"{_title(row)}: not compared with torch: {reference['untold']}")
    if reference["doubt"] > _DOUBT:
        lines.append(f"{_title(row)}: torch's fp32 differs from the definition by {reference['doubt']:.1e}")
    return lines


def plot(rows: Sequence[Row], engines: Sequence[str], path: Path) -> None:
    """Bars: the time of every engine over convc's. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(max(6.0, 0.9 * len(rows) + 2), 4.5), layout="constrained")
    peers = [engine for engine in engines if engine != "convc"]
    width = 0.8 / max(len(peers), 1)
    for number, peer in enumerate(peers):
        timed = [(i, row["engines"].get(peer, {}).get("convc_ratio")) for i, row in enumerate(rows)]
        places = [(i - 0.4 + (number + 0.5) * width, 1 / ratio) for i, ratio in timed if ratio]
        if places:
            bars = axes.bar(*zip(*places, strict=True), width, label=peer)
            axes.bar_label(bars, [f"{height:.2f}" for _, height in places], fontsize=6, rotation=90, padding=2)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [_title(row) for row in rows], rotation=35, ha="right", fontsize=8)
    axes.set_ylabel("time / convc's time")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    pyplot.close(figure)


def _title(row: Row) -> str:
    return f"{row['model']} {row['precision']} x{row['batch']}"


def _header(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _machine(machine: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def _number(found: Mapping[str, Any], key: str, form: str) -> str:
    """`-` for what there is not, `inf` for what is no number."""
    if key not in found:
        return "-"
    return "inf" if found[key] is None else format(found[key], form)


def _least_error(found: Sequence[Mapping[str, Any]]) -> str:
    known = [each["error"] for each in found if each.get("error") is not None]
    return format(min(known), ".0e") if known else "-"


def _geometric_mean(ratios: Sequence[float | None]) -> str:
    known = [math.log(ratio) for ratio in ratios if ratio]
    return f"{math.exp(sum(known) / len(known)):.2f}" if known else "-"
