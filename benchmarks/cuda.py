#!/usr/bin/env python3
"""Build networks for a GPU here, and pack them with all that it takes to time them beside torch on a machine that has
one, but no compiler and no network: convc's run-time and a script, which need numpy and torch.

    python benchmarks/cuda.py pack OUT MODEL.onnx... [--target cuda:sm_90a] [--precision fp16,fp32]
        [--batch 1,8,32,128] [--others 1,32]

    there: tar xzf OUT.tar.gz && python OUT/run.py --minutes 9

Writes the folder OUT and OUT.tar.gz, of at most 60 MB. The first model is what matters most, and comes in all batches.
The batches of a model in one precision are variants of one artifact, and share its weights. Large weights do not
travel: both machines draw the same numbers, about as large as the model's own, from a seed, and the digests in the
artifact's manifest tell that they are the same. What the network computes with them, by the definition of its
operations in float64, travels for a few images.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gpu.alone import definition, feed
from gpu.weights import drawn, graph_weights, packed, write_weights
from graphs import graph_of
from safetensors.numpy import load_file
from xdsl.dialects.builtin import ModuleOp

import convc
from convc.artifact.manifest import WEIGHTS, file_digest, read_manifest
from convc.frontends.onnx import ImportProblem, import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.ir.signature import input_signature
from convc.ir.weights import WeightStore
from convc.pipeline import Build
from convc.targets.target import AnyTarget, TargetError, parse_target
from convc.targets.toolchain import ToolchainError
from convc.verify.precision import PRECISIONS

MOST_BYTES = 60 * 10**6
DRAWN_ELEMENTS = 4096
"""Weights from this size on are drawn; smaller ones (biases, scales, constants) travel."""
RUNTIME = (
    "__init__.py",
    "bench.py",
    "notation.py",
    "roofline.py",
    "artifact",
    "runtime",
    "ir/__init__.py",
    "ir/layout.py",
    "ir/winograd.py",
)
"""What of convc travels: what runs artifacts, takes turns, knows the roofline, and packs weights."""
GPU = Path(__file__).parent / "gpu"


class PackError(Exception):
    """What cannot be packed, in one line."""


class ModelPack:
    """A model in the pack: its graphs, and an artifact for each precision."""

    def __init__(self, path: Path, shapes: Mapping[str, Sequence[int]], folder: Path) -> None:
        self.path, self.folder, self.shapes = path, folder, _declared(path, shapes)
        self.drawings: dict[str, dict[str, Any]] = {}
        self.carried: dict[str, np.ndarray] = {}
        self.batches: Sequence[int] = ()
        folder.mkdir(parents=True)

    def build(self, target: AnyTarget, precision: str, batches: Sequence[int]) -> None:
        """Write an artifact, a variant for each batch, and how its weights are made."""
        build = Build(target, precision=precision)
        modules, self.batches = [], batches
        for batch in batches:
            build.on_module = partial(self._simplified, batch)
            modules.append(build.module(self.path, {name: (batch, *rest) for name, (_, *rest) in self.shapes.items()}))
        artifact = self.folder / f"{precision}.convc"
        build.finish(modules, artifact)
        _unload(artifact, graph_weights(self.drawings, self.carried))

    def contents(self) -> dict[str, Any]:
        """Its entry in pack.json; writes the weights that travel."""
        np.savez(self.folder / "weights.npz", **self.carried)
        return {"name": self.folder.name, "batches": list(self.batches), "drawn": self.drawings}

    def _simplified(self, batch: int, phase: str, module: ModuleOp, context: CompilerContext) -> None:
        """Write the graph that torch runs, and put weights of known seeds into that which convc goes on with."""
        if phase != "simplify":
            return
        graph = graph_of(module)
        (self.folder / f"graph-{batch}.json").write_text(json.dumps(graph, separators=(",", ":")))
        store = WeightStore()
        for name, array in context.weights.items():
            if array.dtype == np.float32 and array.size >= DRAWN_ELEMENTS:
                how: dict[str, Any] = {
                    "seed": zlib.crc32(name.encode()),
                    "shape": list(array.shape),
                    "rms": _rms(array),
                }
                same = self.drawings.setdefault(name, how) == how
                array = drawn(**how)
            else:
                same = np.array_equal(self.carried.setdefault(name, array), array)
            if not same:
                raise PackError(f"{self.path}: the weight {name} is another at batch {batch}")
            store.add(array, name)
        context.weights = store
        defined = self.folder / "defined.npz"
        if batch == min(self.batches) and not defined.exists():
            inputs = {entry["name"]: x for entry, x in zip(graph["inputs"], feed(graph, 0), strict=True)}
            np.savez(defined, **definition(interpret(module, dict(store.items()), inputs, np.float64)))


def _rms(weight: np.ndarray) -> float:
    """The root mean square to draw a weight with: its own, but no more than keeps activations from growing from layer
    to layer (He et al., ICCV 2015, eq. 10). fp16 overflows where factors that no training fitted do more than that."""
    own = float(np.sqrt(np.mean(np.square(weight, dtype=np.float64))))
    return min(own, (2 / prod(weight.shape[1:])) ** 0.5)


def _declared(path: Path, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's inputs, those that it leaves open as given."""
    signature = input_signature(import_model(path, CompilerContext(), shapes))
    for name, _, dtype in signature:
        if dtype != np.float32:
            raise PackError(f"{path}: expected inputs of float32 to draw, '{name}' is {dtype}")
    return {name: shape for name, shape, _ in signature}


def _unload(artifact: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Take the weight file out of an artifact, and write beside it how it is made again: what each of its arrays is
    made of follows from the name, or else it travels."""
    file, manifest = artifact / WEIGHTS, read_manifest(artifact)
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    layout = {name: entry["data_offsets"][0] for name, entry in header.items() if not name.startswith("padding.")}
    arrays = load_file(file)
    carried = {name: arrays[name] for name in layout if not _same(packed(name, weights), arrays[name])}
    size = manifest["weight_bytes"]
    write_weights(artifact, layout, size, weights, carried)
    if file_digest(file) != manifest["files"][WEIGHTS]:
        raise PackError(f"{artifact.name}: its weights cannot be made again as they were built")
    file.unlink()
    np.savez(artifact.with_suffix(".npz"), **carried)
    artifact.with_suffix(".json").write_text(json.dumps({"layout": layout, "bytes": size}))


def _same(made: np.ndarray | None, built: np.ndarray) -> bool:
    return made is not None and made.nbytes == built.nbytes and made.tobytes() == built.tobytes()


def pack(
    output: Path,
    models: Mapping[Path, Mapping[str, Sequence[int]]],
    target: str = "cuda:sm_90a",
    batches: Sequence[int] = (1, 8, 32, 128),
    others: Sequence[int] | None = None,
    precisions: Sequence[str] = ("fp16", "fp32"),
    large: bool = False,
) -> int:
    """Write `output` and its .tar.gz; the latter's size in bytes. `models` gives the shapes that each leaves open;
    those after the first come in the batches `others`, if these are given.
    Raises PackError for a pack of more than 60 MB unless `large`, and what a build raises; then nothing is written."""
    archive = output.with_name(f"{output.name}.tar.gz")
    for path in (output, archive):
        if path.exists():
            raise PackError(f"{path} exists: name another, or remove it")
    if len({path.stem for path in models}) < len(models):
        raise PackError("expected models of different names")
    parsed = parse_target(target)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        folder = Path(temporary) / output.name
        _copy_runtime(folder)
        entries = []
        for path, shapes in models.items():
            begin = time.perf_counter()
            model = ModelPack(path, shapes, folder / "models" / path.stem)
            for precision in precisions:
                model.build(parsed, precision, batches if not entries or others is None else others)
            entries.append(model.contents())
            print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
        contents = {
            "convc": convc.__version__,
            "target": target,
            "precisions": {precision: PRECISIONS[precision].tolerance for precision in precisions},
            "models": entries,
        }
        (folder / "pack.json").write_text(json.dumps(contents, indent=1) + "\n")
        packed_file = Path(temporary) / archive.name
        with tarfile.open(packed_file, "w:gz") as tar:
            tar.add(folder, output.name)
        size = packed_file.stat().st_size
        if size > MOST_BYTES and not large:
            raise PackError(f"the pack has {size / 1e6:.0f} MB, at most 60 MB travel: fewer models, or --large")
        packed_file.rename(archive)
        folder.rename(output)
    return size


def _copy_runtime(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "run.py")
    shutil.copytree(GPU, folder / "gpu", ignore=ignore)
    shutil.copy(GPU / "run.py", folder / "run.py")
    source = Path(convc.__file__).parent
    for name in RUNTIME:
        (folder / "convc" / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / "convc" / name, ignore=ignore)
        else:
            shutil.copy(source / name, folder / "convc" / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pack", help="build, and pack what travels")
    command.add_argument("output", type=Path, metavar="OUT")
    command.add_argument(
        "models", nargs="+", metavar="MODEL[@NAME=SHAPE]", help="an ONNX file, with the shape of an open input"
    )
    command.add_argument("--target", default="cuda:sm_90a", help="the GPU there (default cuda:sm_90a)")
    command.add_argument("--batch", default="1,8,32,128", type=_numbers, help="of the first model (default 1,8,32,128)")
    command.add_argument("--others", default="1,32", type=_numbers, help="batches of all others (default 1,32)")
    command.add_argument("--precision", default="fp16,fp32", type=lambda text: text.split(","))
    command.add_argument("--large", action="store_true", help="more than 60 MB may travel")
    arguments = parser.parse_args()
    if unknown := set(arguments.precision) - set(PRECISIONS):
        sys.exit(f"unknown precision {min(unknown)}; known: {', '.join(PRECISIONS)}")
    models = {}
    for text in arguments.models:
        path, *shapes = text.split("@")
        parts = (shape.rpartition("=") for shape in shapes)
        models[Path(path)] = {name: tuple(map(int, sizes.split("x"))) for name, _, sizes in parts}
    try:
        size = pack(
            *(arguments.output, models, arguments.target, arguments.batch, arguments.others),
            *(arguments.precision, arguments.large),
        )
    except (PackError, TargetError, ImportProblem, ToolchainError, OSError) as error:
        sys.exit(str(error))
    print(f"{arguments.output}.tar.gz: {size / 1e6:.1f} MB; there: python {arguments.output.name}/run.py")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
