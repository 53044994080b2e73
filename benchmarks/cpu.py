#!/usr/bin/env python3
"""Build, verify and time models beside other engines, one after another, and write a table.

    python benchmarks/cpu.py MODEL.onnx... [--against onnxruntime,openvino] [--threads 1,2] [-o results]

Each model is built once. For each number of threads, one process pins itself to so many cores and lets the engines
take turns, A B A B; times are medians, ratios are medians of the ratios of each round. Writes results.json and
results.md.
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


def convc(*arguments: object) -> dict[str, Any]:
    """The JSON that a convc command prints. Exits with its message if it fails."""
    command = [sys.executable, "-m", "convc", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(model: Path, shapes: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """A model's build and its timings for each number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.convc"
        options = [part for shape in shapes for part in ("--shape", shape)]
        built = convc("build", model, "-o", artifact, *options)
        timings = {}
        for threads in arguments.threads:
            common = ["--model", model, "--threads", threads, "--seconds", arguments.seconds]
            timings[threads] = convc("bench", artifact, *common, "--against", arguments.against)["engines"]
    error = max((output["error"] for output in built["verified"]["outputs"]), default=0.0)
    return {
        "model": model.stem,
        "error": error,
        "build_s": built["seconds"],
        "bytes": built["bytes"],
        "threads": timings,
    }


def table(rows: Sequence[dict[str, Any]], threads: Sequence[int], engines: Sequence[str]) -> str:
    """Markdown: a row a model, and the geometric means of the ratios."""
    header = ["model", "error", "build s"]
    for count in threads:
        header += [f"convc ms, {count}T", *(f"/ {engine}" for engine in engines)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [row["model"], f"{row['error']:.0e}", f"{row['build_s']:.0f}"]
        for count in threads:
            found = row["threads"][count]
            cells.append(f"{found['convc']['median_ms']:.2f}")
            cells += [f"{found[engine]['convc_ratio']:.2f}" for engine in engines]
        lines.append("| " + " | ".join(cells) + " |")
    means = ["geometric mean", "", ""]
    for count in threads:
        ratios = {engine: [row["threads"][count][engine]["convc_ratio"] for row in rows] for engine in engines}
        means += ["", *(f"{math.exp(sum(map(math.log, r)) / len(r)):.2f}" for r in ratios.values())]
    lines.append("| " + " | ".join(means) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", nargs="+", metavar="MODEL[@NAME=SHAPE]", help="an ONNX file, with the shape of an open input"
    )
    parser.add_argument("--against", default="onnxruntime", help="engines, comma-separated (default onnxruntime)")
    parser.add_argument("--threads", default="1", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long to measure each (default 10)")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="without suffix (default results)")
    arguments = parser.parse_args()
    rows = []
    for text in arguments.models:
        path, *shapes = text.split("@")
        rows.append(measure(Path(path), shapes, arguments))
        print(json.dumps(rows[-1]), flush=True)
    engines = arguments.against.split(",")
    arguments.output.with_suffix(".json").write_text(
        json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}, indent=1) + "\n"
    )
    text = table(rows, arguments.threads, engines)
    arguments.output.with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
