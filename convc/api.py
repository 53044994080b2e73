"""The Python interface of the compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convc.runtime import Executable, load

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from convc.frontends.source import Described


def compile(
    model: str | Path | onnx.ModelProto | Described,
    *,
    target: str = "cpu",
    shapes: Mapping[str, Sequence[int]] | Sequence[Mapping[str, Sequence[int]]] = (),
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: Sequence[str] = (),
    level: int = 3,
    precision: str = "fp32",
    threads: int | None = None,
) -> Executable:
    """Compile a model for this machine and load it: an ONNX file or proto, a .keras file, a model of `convc.dsl`, or
    one that a script makes, as FILE.py:NAME (the script is run). `shapes` fixes the inputs that the model leaves open
    (several mappings build a variant each; where ONNX is not given, a batch that is left open is 1), `constants` the
    values of inputs that are then taken no more, `outputs` names values inside the graph to compute in place of its
    outputs (what only others need is left out), `level` is `-O`, `precision` is `--precision`, `threads` how many to
    run on (default: all usable cores), by whose measurements kernels are chosen.

    Raises what `convc build` reports: ImportProblem, TargetError, ToolchainError, OSError. Not verified: see
    `convc.verify`. The artifact lives in a temporary folder until it is saved.
    """
    from convc.frontends.source import load_source
    from convc.pipeline import Build
    from convc.scratch import Scratch
    from convc.targets.target import parse_target

    source = load_source(model, outputs)
    sets = source.shapes([shapes] if isinstance(shapes, Mapping) else list(shapes) or [{}])
    scratch = Scratch()
    path = scratch.path / "model.convc"
    Build(parse_target(target), level, precision, threads).run(source.model, path, sets, constants)
    executable = load(path, threads)
    executable._owned = scratch
    return executable
