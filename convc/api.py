"""The Python interface of the compiler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from convc.runtime import Executable, load

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from convc.frontends.source import Described

Shapes: TypeAlias = Mapping[str, Sequence[int]]


def compile(
    model: str | Path | onnx.ModelProto | Described,
    *,
    target: str = "cpu",
    shapes: Shapes | Sequence[Shapes] = (),
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: str | Sequence[str] = (),
    level: int = 3,
    precision: str = "fp32",
    threads: int | None = None,
) -> Executable:
    """Compile a model for this machine and load it: an ONNX file or proto, a .keras file, a model of `convc.dsl`, or
    one that a script makes, as FILE.py:NAME (the script is run). `shapes` fixes the inputs that the model leaves open
    (several mappings build a variant each; where ONNX is not given, a batch that is left open is 1), `constants` the
    values of inputs that are then taken no more, `outputs` names a value or several inside the graph to compute in
    place of its outputs (what only others need is left out), `level` is `-O`, `precision` is `--precision`, `threads`
    how many to run on (default: all usable cores), by whose measurements kernels are chosen.

    Raises what `convc build` reports: ImportProblem, TargetError, ToolchainError, OSError; TypeError or ValueError for
    arguments that mean nothing. Not verified: see `convc.verify`. The artifact lives in a temporary folder until it is
    saved.
    """
    from convc.frontends.source import load_source
    from convc.pipeline import Build
    from convc.scratch import Scratch
    from convc.targets.target import parse_target

    sets = _sets(shapes)
    build = Build(parse_target(target), level, precision, threads)
    source = load_source(model, [outputs] if isinstance(outputs, str) else outputs)
    scratch = Scratch()
    path = scratch.path / "model.convc"
    build.run(source.model, path, source.shapes(sets), constants)
    executable = load(path, threads)
    executable._owned = scratch
    return executable


def _sets(shapes: Shapes | Sequence[Shapes]) -> list[Shapes]:
    """The sets of shapes that are given, one a variant. Raises TypeError."""
    sets = [shapes] if isinstance(shapes, Mapping) else list(shapes) or [{}]
    for each in sets:
        if not isinstance(each, Mapping):
            raise TypeError(f"shapes: expected {{'NAME': (1, 3, 224, 224)}} or several such, got {shapes!r}")
        for name, shape in each.items():
            sized = isinstance(shape, Iterable) and not isinstance(shape, str)
            if not sized or not all(hasattr(size, "__index__") for size in shape):
                raise TypeError(f"shapes: expected whole numbers for '{name}', got {shape!r}")
    return sets
