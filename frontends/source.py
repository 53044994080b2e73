"""What users call a model: an ONNX file or proto, a .keras file, a model of the DSL, or a script that makes one.

The one place that tells them apart. All of them end as ONNX, which everything else works on.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import onnx

from convc.frontends.onnx.problem import ImportProblem

Shapes = Mapping[str, Sequence[int]]


@runtime_checkable
class Described(Protocol):
    """A model in memory that can write itself as ONNX, such as the DSL's."""

    def to_onnx(self) -> onnx.ModelProto:
        """The model as ONNX."""
        ...


@dataclass(frozen=True)
class Source:
    """A model as the importer and the reference take it, and the shapes that its inputs have unless told otherwise."""

    model: Path | onnx.ModelProto
    defaults: Shapes

    def shapes(self, sets: Sequence[Shapes]) -> list[Shapes]:
        """The sets of shapes to build for; one that fixes nothing stands for the defaults."""
        return [each or self.defaults for each in sets]


def load_source(model: str | Path | onnx.ModelProto | Described, outputs: Sequence[str] = ()) -> Source:
    """The model that a path, `FILE.py:NAME` or an object means. `FILE.py:NAME` runs the script: its code is trusted
    like any other that one runs. `outputs` names values to compute in place of the model's outputs: the rest of the
    graph is left out. Raises ImportProblem.

    Models that are no ONNX files have a batch of one unless a shape is given.
    """
    source = _opened(model)
    return _part(source, outputs) if outputs else source


def _opened(model: str | Path | onnx.ModelProto | Described) -> Source:
    if not isinstance(model, str | Path):
        return _written(model)
    file, colon, name = str(model).rpartition(":")
    if colon and file.endswith(".py"):
        return _scripted(Path(file), name)
    path = Path(model)
    if path.suffix == ".py":
        raise ImportProblem(f"expected FILE.py:NAME, where the script makes the model NAME, got {path}")
    if path.suffix == ".keras":
        from convc.frontends.keras import load

        return _written(load(path))
    return Source(path, {})


def _part(source: Source, outputs: Sequence[str]) -> Source:
    """What computes some values of a model. A file of which nothing is left out stays one: its weights are not read."""
    from convc.frontends.onnx.cutting import cut
    from convc.frontends.onnx.loading import check, load

    if isinstance(source.model, Path):
        model, folder = load(source.model), source.model.parent
    else:
        model, folder = source.model, None
        check(model, "the model")
    part = cut(model, outputs, folder)
    if part is model:
        return source
    inputs = {value.name for value in part.graph.input}
    return Source(part, {name: shape for name, shape in source.defaults.items() if name in inputs})


def _written(model: object) -> Source:
    from convc.frontends.dsl import ModelError

    if isinstance(model, onnx.ModelProto):
        return Source(model, {})
    if not isinstance(model, Described):
        raise ImportProblem(f"expected a model: a path, a ModelProto or an object with to_onnx(), got {model!r}")
    try:
        proto = model.to_onnx()
    except ModelError as error:
        raise ImportProblem(str(error)) from None
    return Source(proto, _single_batch(proto))


def _single_batch(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The inputs that leave nothing open but the batch, with a batch of one."""
    found = {}
    for value in proto.graph.input:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if sizes and not sizes[0] and all(sizes[1:]):
            found[value.name] = (1, *sizes[1:])
    return found


def _scripted(path: Path, name: str) -> Source:
    """Run a script, not as __main__, and write its model. What it prints goes to stderr: stdout is for results."""
    from convc.frontends.dsl.initial import own_seed
    from convc.frontends.dsl.naming import own_names

    if not path.is_file():
        raise ImportProblem(f"cannot read {path}: it is no file")
    with own_names(), own_seed(), _beside(path), contextlib.redirect_stdout(sys.stderr):
        try:
            found = runpy.run_path(str(path), run_name="convc_script")
        except (Exception, SystemExit) as error:
            raise ImportProblem(f"{_place(error, path)}: {type(error).__name__}: {error}") from None
        if name not in found:
            models = [
                key for key, value in found.items() if isinstance(value, Described) and not isinstance(value, type)
            ]
            raise ImportProblem(f"expected '{name}' in {path}, which makes the models {', '.join(models) or '(none)'}")
        return _written(found[name])


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Imports find what lies beside the script, as when it is run."""
    before = list(sys.path)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        yield
    finally:
        sys.path[:] = before


def _place(error: BaseException, path: Path) -> str:
    """FILE:LINE of an error: where in the script it was raised, or what line of it cannot be parsed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
