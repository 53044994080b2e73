"""The whole compiler on one screen: a model in, an artifact folder out.

    import    ONNX -> a module of graph operations, its weights in the store beside it
    simplify  canonical forms, constants folded, batch-norms and scales folded into convolutions
    fuse      every operation into a kernel, with what it can share registers with; transposed convolutions in groups
              or for few outputs as direct ones, few outputs by sums of taps, two groups of half a vector at once; on a
              GPU, shuffles of channels as what they are
    narrow    what travels between kernels into 16 bits, if that is the precision
    layouts   for all kernels at once: channels in blocks of a vector, or plain; prologues of 1x1 convolutions,
              algorithms of convolutions, weights packed at compile time; what depthwise convolutions read in their
              kernels, if that would leave the caches
    select    a schedule template and its configuration for each kernel
    lower     where every operand lies, a scheduled function for each distinct kernel
    compile   machine code, linked with the runtime into one library
    write     manifest, library and weights into a folder

`-O` says how many of the optional phases run: 0 none, 1 simplify, 2 fuse, 3 layouts and templates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from convc.artifact.manifest import KERNELS, WEIGHTS, write_manifest
from convc.artifact.tensors import write_tensors
from convc.artifact.writer import check_output, new_folder
from convc.ir.dialect import CompilerContext
from convc.ir.text import to_text

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from xdsl.dialects.builtin import ModuleOp

    from convc.targets.lower import Library, Program
    from convc.targets.target import AnyTarget

Shapes: TypeAlias = Mapping[str, Sequence[int]]
Constants: TypeAlias = "Mapping[str, np.ndarray]"


def phases(level: int, target: AnyTarget, precision: str = "fp32", choices: str = "") -> list[tuple[str, str]]:
    """(phase, passes as `convc opt -p` takes them) of an optimisation level and a precision (`--precision`), in order.
    `choices` are the options that let passes choose by measurements."""
    storage = _STORAGE.get(precision, "float32")
    block = f"channel_block={target.lanes(storage)}"
    if target.kind == "cpu":
        reshaped = f"split-phases{{{block}}},sum-taps{{{block}}},pair-groups{{{block}}},gather-strides,"
        costs = f'target="{target.name}"{choices}'
        assign = f"assign-layouts{{{block} {costs}}}"
        algorithms = f"fuse-prologues,choose-algorithms{{{costs}}}"
        nested = f',fuse-depthwise{{target="{target.name}"}}'
    else:
        block += " chunks=true"
        reshaped, assign, nested = "find-shuffles,", f"assign-layouts{{{block}}}", ""
        algorithms = f'choose-gpu-algorithms{{target="{target.name}"}}'
    simplify = "canonicalise,recognise-activations,fold-pads,trim-taps,fold-batch-norm,fold-conv-scale"
    simplify += ",hoist-strides,canonicalise"
    fuse = f"fuse{{{block}}}" if level >= 2 else "fuse{mode=single}"
    layouts = f"{assign},{algorithms},prepack-weights,outline-relayouts,find-views{nested}"
    choices = choices if level >= 3 else " template=generic"
    return [
        *([("simplify", simplify)] if level >= 1 else []),
        ("fuse", f"{reshaped}{fuse}" if level >= 3 else fuse),
        *([("narrow", f"narrow{{storage={storage}}}")] if storage != "float32" else []),
        *([("layouts", layouts)] if level >= 3 else []),
        ("select", f'select{{target="{target.name}"{choices}}}'),
    ]


def target_in(target: AnyTarget, precision: str) -> AnyTarget:
    """The target that computes in a precision. Raises TargetError where there is none such."""
    from convc.targets.target import CpuTarget, TargetError

    if precision not in _PRECISIONS:
        raise TargetError(f"precision: expected one of {', '.join(_PRECISIONS)}, got {precision!r}")
    if precision == "fp32":
        return target
    if isinstance(target, CpuTarget):
        raise TargetError(f"--precision {precision}: only a GPU computes in it, the target is {target.name}")
    return target.with_tf32() if precision == "tf32" else target


_PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
_STORAGE = {"fp16": "float16", "bf16": "bfloat16"}
"""What lies in memory between kernels in a precision other than float32."""


@dataclass
class Build:
    """One build. `precision` is `--precision`. `threads` is what the artifact runs on unless told otherwise;
    `on_module` is given the module after each phase, and may change it and the weights in its context; `accept` is
    given the finished folder before it gets its name, and may raise; `times` are the seconds that each phase took.
    Kernels are computed as was `measured` to be fastest on so many threads, if `database` (None: the user's) or what
    convc ships knows of them."""

    target: AnyTarget
    level: int = 3
    precision: str = "fp32"
    threads: int | None = None
    dump: Path | None = None
    on_phase: Callable[[str], None] = lambda phase: None
    on_module: Callable[[str, ModuleOp, CompilerContext], None] = lambda phase, module, context: None
    accept: Callable[[Path], None] | None = None
    measured: bool = True
    database: Path | None = None
    times: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the user should know of how the modules were made, in one line each."""
    _dumped: int = 0

    def __post_init__(self) -> None:
        if self.level not in range(4):
            raise ValueError(f"level: expected 0 to 3, got {self.level!r}")
        if self.threads is not None and not (isinstance(self.threads, int) and self.threads >= 1):
            raise ValueError(f"threads: expected a whole number of at least 1, got {self.threads!r}")
        self.target = target_in(self.target, self.precision)

    def run(
        self,
        model: str | Path | onnx.ModelProto,
        output: Path,
        shapes: Sequence[Shapes] = ({},),
        constants: Constants | None = None,
    ) -> None:
        """Compile a model into the folder `output`, once for each set of input shapes. `constants` fixes the values of
        inputs, which the artifact then does not take.

        Raises ImportProblem, ToolchainError, ArtifactError and OSError, and leaves nothing behind when it does.
        """
        check_output(output)
        self.finish([self.module(model, each, constants) for each in shapes], output)

    def finish(self, modules: Sequence[tuple[ModuleOp, CompilerContext]], output: Path) -> None:
        """Make the artifact of modules whose kernels have their templates, one a variant."""
        from convc.targets.describe import describe
        from convc.targets.lower import Library, lower

        library = Library(self.target)
        with self._phase("lower"):
            programs = [lower(module, context.weights, library) for module, context in modules]
            self._dump_code(library, programs)
        with new_folder(output) as folder:
            with self._phase("compile"):
                self._compile(library, programs, folder)
            with self._phase("write"):
                write_tensors(folder / WEIGHTS, library.weights, library.weight_bytes)
                write_manifest(folder, describe(library, programs, self.level, self.precision, self.threads))
            del modules, library, programs  # and their weights, unless a caller keeps them: `accept` loads them again
            if self.accept is not None:
                with self._phase("verify"):
                    self.accept(folder)

    def module(
        self, model: str | Path | onnx.ModelProto, shapes: Shapes, constants: Constants | None = None
    ) -> tuple[ModuleOp, CompilerContext]:
        """The module of a model after all passes, with the context that holds its weights."""
        from convc.frontends.onnx import import_model
        from convc.passes.registry import pipeline

        context = CompilerContext()
        with self._phase("import"):
            module = import_model(model, context, shapes, constants)
            self.notes += [note for note in context.notes if note not in self.notes]
            self._dump("import", module, context)
        for phase, passes in phases(self.level, self.target, self.precision, self._choices()):
            with self._phase(phase):
                pipeline(passes).apply(context, module)
                module.verify()
                self.on_module(phase, module, context)
                self._dump(phase, module, context)
        return module, context

    def _choices(self) -> str:
        """Options of the passes that choose by measurements."""
        from convc.tuning.database import default_path

        if not self.measured:
            return ""
        path = self.database or default_path()
        file = json.dumps(str(path), ensure_ascii=False) if self.database or path.exists() else '""'
        return f" measured=true database={file} threads={self.threads or 0}"

    def _compile(self, library: Library, programs: Sequence[Program], folder: Path) -> None:
        from convc.targets.target import CpuTarget

        def on_step(step: str) -> None:
            self.on_phase(f"compile  {step}")

        output = folder / KERNELS[self.target.kind]
        if isinstance(self.target, CpuTarget):
            from convc.targets.cpu.library import write_library

            write_library(library, programs, self.target, output, on_step)
        else:
            from convc.targets.cuda.library import write_library as write_cubin

            write_cubin(library, self.target, output, on_step)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.on_phase(name)
        begin = time.perf_counter()
        yield
        self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - begin

    def _dump(self, phase: str, module: ModuleOp, context: CompilerContext) -> None:
        """`NN-phase.mlir` and the weights beside it, as `convc opt` reads them."""
        if self.dump is None:
            return
        self.dump.mkdir(parents=True, exist_ok=True)
        path = self.dump / f"{self._dumped:02}-{phase}.mlir"
        path.write_text(to_text(module) + "\n")
        context.weights.save(path.with_suffix(".safetensors"))
        self._dumped += 1

    def _dump_code(self, library: Library, programs: Sequence[Program]) -> None:
        """`NN-lower`: the scheduled function of each kernel as TVMScript and, for a CPU, the C that calls them. (What
        calls those of a GPU is the manifest; their CUDA source lies in the artifact.)"""
        if self.dump is None:
            return
        from convc.targets.emit_c import to_c

        folder = self.dump / f"{self._dumped:02}-lower"
        folder.mkdir(parents=True, exist_ok=True)
        for symbol, kernel in library.kernels.items():
            (folder / f"{symbol}.py").write_text(kernel.function.script() + "\n")
        if self.target.kind == "cpu":
            (folder / "program.c").write_text(to_c(programs))
        self._dumped += 1
