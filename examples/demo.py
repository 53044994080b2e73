#!/usr/bin/env python3
"""The main job of convc, start to end, on models that need no download.

1. The digits CNN that ships here: build, verify against onnxruntime, classify the 360 held-out images and
   compare the accuracy with onnxruntime's.
2. A ResNet-50 with seeded weights, made on the spot: build, verify, benchmark beside onnxruntime.

    python examples/demo.py [--threads N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from resnet50 import resnet50

import convc

DIGITS = Path(__file__).parent / "digits"


def run(*command: str) -> None:
    """Show a convc command, run it, and stop the demo if it fails."""
    print(f"\n$ convc {' '.join(command)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "convc", *command], check=False).returncode
    if status:
        sys.exit(status)


def digits(folder: Path) -> None:
    test = np.load(DIGITS / "test.npz")
    images, labels = test["images"], test["labels"]
    shape = "x".join(map(str, images.shape))
    artifact = folder / "digits.convc"
    run("build", str(DIGITS / "digits.onnx"), "--shape", f"image={shape}", "-o", str(artifact))
    ours = convc.load(artifact)(images)
    reference = onnxruntime.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    theirs = reference.run(None, {"image": images})[0]
    print(f"\naccuracy on {len(labels)} held-out digits: ", end="")
    accuracies = [(logits.argmax(1) == labels).mean() for logits in (ours, theirs)]
    print(f"convc {accuracies[0]:.2%}, onnxruntime {accuracies[1]:.2%}")
    if accuracies[0] != accuracies[1]:
        sys.exit("the accuracies differ")


def resnet(folder: Path, threads: int) -> None:
    import onnx

    model, artifact = folder / "resnet50.onnx", folder / "resnet50.convc"
    onnx.save(resnet50(seed=0), model)
    run("build", str(model), "-o", str(artifact))
    run("bench", str(artifact), "--model", str(model), "--against", "onnxruntime", "--threads", str(threads))


def main() -> None:
    parser = argparse.ArgumentParser(description="build, verify and benchmark two networks")
    parser.add_argument("--threads", type=int, default=1, help="threads for the benchmark (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        digits(Path(folder))
        resnet(Path(folder), arguments.threads)


if __name__ == "__main__":
    main()
