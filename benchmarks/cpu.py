#!/usr/bin/env python3
"""Build, verify and time models beside other engines, one after another, and write a table and a plot.

    python benchmarks/cpu.py MODEL.onnx... [--against onnxruntime,openvino,ncnn] [--threads 1,2] [--tune 5m] [-o OUT]

Each model is built once, and with --tune a second time. For each number of threads, one process pins itself to so many
cores and lets the engines take turns, A B A B, each when the threads of the last sleep; times are medians, ratios are
medians of the ratios of each round. GFLOP/s are those of the model's multiply-adds, whatever algorithm computes them,
beside the multiply-adds that the cores were measured to do at the most. Writes OUT.json, OUT.md and OUT.svg.

Needs `pip install -e '.[peers,plot]'`, and for ncnn `pip install --no-deps pnnx`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footprint import Unusable, footprint
from plot import best_peer, plot

from convc.bench import pinned
from convc.roofline import measure as measure_roofline


def convc(*arguments: object) -> dict[str, Any]:
    """The JSON that a convc command prints. Exits with its message if it fails."""
    command = [sys.executable, "-m", "convc", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(model: Path, shapes: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """A model's build, what it costs each engine beside time, and its timings for each number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.convc"
        options = [part for shape in shapes for part in ("--shape", shape)]
        built = convc("build", model, "-o", artifact, *options)
        costs: dict[str, dict[str, Any]] = {}
        for engine in ("convc", *arguments.against):
            try:
                costs[engine] = footprint(engine, model, artifact)
            except Unusable as problem:
                print(f"{model.stem}, {engine}: {problem}", file=sys.stderr)
        costs["convc"]["compile_s"] = built["seconds"]
        peers = ",".join(engine for engine in costs if engine != "convc")
        if not peers:
            sys.exit(f"{model.stem}: none of the engines can run it: {', '.join(arguments.against)}")
        timings = {}
        for threads in arguments.threads:
            common = ["--model", model, "--threads", threads, "--seconds", arguments.seconds, "--against", peers]
            timings[threads] = convc("bench", artifact, *common)["engines"]
            if arguments.tune:
                tuned = Path(folder) / f"tuned{threads}.convc"
                limit = ["--tune", arguments.tune, "--threads", threads, "--db", Path(folder) / "tuning.db"]
                convc("build", model, "-o", tuned, *options, *limit)
                timings[threads]["convc"]["tuned"] = convc("bench", tuned, *common)["engines"]
        manifest = json.loads((artifact / "manifest.json").read_text())
    return {
        "model": model.stem,
        "error": max((output["error"] for output in built["verified"]["outputs"]), default=0.0),
        "macs": sum(step["macs"] for step in manifest["variants"][0]["steps"]),
        "threads": timings,
        "costs": costs,
    }


def times(rows: Sequence[dict[str, Any]], peaks: dict[int, float], engines: Sequence[str], tuned: bool) -> str:
    """Markdown: a row a model, and the geometric means of the ratios."""
    header = ["model", "error"]
    lines = [[row["model"], f"{row['error']:.0e}"] for row in rows]
    means = ["**geometric mean**", ""]
    for count, peak in peaks.items():
        found = [row["threads"][count] for row in rows]
        rates = [2 * row["macs"] / each["convc"]["median_ms"] / 1e6 for row, each in zip(rows, found, strict=True)]
        ratios = {f"/ {e}": [each[e]["convc_ratio"] if e in each else None for each in found] for e in engines}
        ratios["/ best"] = [each[best_peer(each)]["convc_ratio"] for each in found]
        if tuned:
            better = [each["convc"]["tuned"] for each in found]
            ratios["tuned / best"] = [each[best_peer(each)]["convc_ratio"] for each in better]
        header += [f"convc ms, {count}T", *ratios, "GFLOP/s", "of peak"]
        for i, line in enumerate(lines):
            line.append(f"{found[i]['convc']['median_ms']:.2f}")
            line += ["-" if column[i] is None else f"{column[i]:.2f}" for column in ratios.values()]
            line += [f"{rates[i]:.0f}", f"{rates[i] / peak:.0%}"]
        means += ["", *(mean([ratio for ratio in column if ratio]) for column in ratios.values()), "", ""]
    return markdown(header, [*lines, means])


def mean(ratios: Sequence[float]) -> str:
    """The geometric mean, as text."""
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}" if ratios else "-"


def footprints(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what each engine needs beside time, a row a model and an engine."""
    header = ["model", "engine", "compile s", "load s", "peak MB", "MB on disk"]
    lines = [
        [
            row["model"],
            engine,
            f"{found['compile_s']:.1f}",
            f"{found['load_s']:.2f}",
            f"{found['peak_bytes'] / 1e6:.0f}",
            f"{found['disk_bytes'] / 1e6:.1f}",
        ]
        for row in rows
        for engine, found in row["costs"].items()
    ]
    return markdown(header, lines)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in (header, *lines)]
    return "\n".join([rows[0], "|" + "---|" * len(header), *rows[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", nargs="+", metavar="MODEL[@NAME=SHAPE]", help="an ONNX file, with the shape of an open input"
    )
    parser.add_argument(
        "--against", default="onnxruntime", type=lambda text: text.split(","), help="engines (default onnxruntime)"
    )
    parser.add_argument("--threads", default="1", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long to measure each (default 10)")
    parser.add_argument("--tune", metavar="TIME", help="also build tuned for so long, and time that")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="without suffix (default results)")
    arguments = parser.parse_args()
    peaks = {}
    for count in arguments.threads:
        with pinned(count):
            peaks[count] = measure_roofline(count).gflops
    rows = []
    for text in arguments.models:
        path, *shapes = text.split("@")
        rows.append(measure(Path(path), shapes, arguments))
        print(json.dumps(rows[-1]), flush=True)
    facts = {"machine": platform.processor() or platform.machine(), "peak_gflops": peaks, "rows": rows}
    arguments.output.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    text = "\n\n".join([times(rows, peaks, arguments.against, bool(arguments.tune)), footprints(rows)])
    arguments.output.with_suffix(".md").write_text(text + "\n")
    plot(rows, arguments.threads, arguments.output.with_suffix(".svg"))
    print(text)


if __name__ == "__main__":
    main()
