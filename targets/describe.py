"""What a manifest says of a library and its programs: plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm

from convc import __version__
from convc.artifact.manifest import FORMAT
from convc.ir.signature import Signature
from convc.targets.lower import Library, Program


def describe(
    library: Library, programs: Sequence[Program], level: int, precision: str, threads: int | None
) -> dict[str, Any]:
    """The manifest of an artifact, but for the digests of its files."""
    return {
        "format": FORMAT,
        "convc": __version__,
        "tvm": tvm.__version__,
        "compiler": library.compiler,
        "target": library.target.to_dict(),
        "level": level,
        "precision": precision,
        "threads": threads,
        "weight_bytes": library.weight_bytes,
        "variants": [_variant(program) for program in programs],
        "kernels": {
            symbol: {"template": kernel.template, "config": kernel.config, **kernel.notes, **kernel.launching}
            for symbol, kernel in library.kernels.items()
        },
    }


def _variant(program: Program) -> dict[str, Any]:
    return {
        "inputs": _tensors(program.inputs),
        "outputs": _tensors(program.outputs),
        "arena_bytes": program.arena_bytes,
        "steps": [
            {
                "kernel": step.symbol,
                "name": step.name,
                "macs": step.macs,
                "bytes": step.nbytes,
                "places": [[place.space, place.number, place.offset] for place in step.places],
            }
            for step in program.steps
        ],
    }


def _tensors(signature: Signature) -> list[dict[str, Any]]:
    return [{"name": name, "shape": list(shape), "dtype": str(dtype)} for name, shape, dtype in signature]
