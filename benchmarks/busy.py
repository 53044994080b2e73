#!/usr/bin/env python3
"""Time a model beside onnxruntime while other processes want the same cores.

    python benchmarks/busy.py MODEL.onnx [--shape NAME=SHAPE] [--busy 0,1,2,4] [--threads 2]

For each k, k processes run an endless loop on the cores that the engines are pinned to, and the engines take turns.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cpu import convc

LOOP = "import os, sys\nos.sched_setaffinity(0, range(int(sys.argv[1])))\nwhile True: pass"


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """A process that never rests, on the first cores."""
    with subprocess.Popen([sys.executable, "-c", LOOP, str(cores)]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=SHAPE")
    parser.add_argument("--busy", default="0,1,2,4", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long to measure each (default 15)")
    arguments = parser.parse_args()
    print("| busy processes | convc ms | onnxruntime ms | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "model.convc"
        shapes = [part for shape in arguments.shape for part in ("--shape", shape)]
        convc("build", arguments.model, "-o", artifact, *shapes)
        for count in arguments.busy:
            with ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(busy(arguments.threads))
                common = ["--model", arguments.model, "--threads", arguments.threads, "--seconds", arguments.seconds]
                engines = convc("bench", artifact, *common, "--against", "onnxruntime")["engines"]
            ours, theirs = engines["convc"], engines["onnxruntime"]
            times = f"{ours['median_ms']:.1f} | {theirs['median_ms']:.1f} | {theirs['convc_ratio']:.2f}"
            print(f"| {count} | {times} |", flush=True)


if __name__ == "__main__":
    main()
