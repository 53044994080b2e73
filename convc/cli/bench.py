"""convc bench."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import (
    UsageError,
    add_build_options,
    add_json,
    add_threads,
    is_artifact,
    names,
    one_shape,
    refuse_build_options,
    seconds,
)
from convc.cli.show import Progress, print_json, print_table
from convc.scratch import Scratch

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from convc.bench import Timing
    from convc.roofline import Roofline
    from convc.runtime import Executable
    from convc.runtime.executable import StepTime

HELP = "time an artifact or a model, alone or beside other engines in the same run"
EXAMPLE = "convc bench model.convc --model model.onnx --against onnxruntime --threads 1"

_PROFILES = 20  # runs, of which the median counts
ENGINES = ("onnxruntime", "openvino", "ncnn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="ARTIFACT|MODEL", help="an artifact, or a model to build first")
    parser.add_argument("--model", type=Path, metavar="MODEL", help="the model of an artifact, for other engines")
    parser.add_argument(
        "--against", action="append", default=[], metavar="ENGINE,ENGINE", help=f"engines to time: {', '.join(ENGINES)}"
    )
    add_threads(parser, "threads for every engine, each pinned to so many cores", "1")
    parser.add_argument(
        "--seconds", type=seconds, default=10.0, metavar="S", help="about how long to measure (default 10)"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="time each kernel, beside what the machine can do at the most (measured: needs a C compiler)",
    )
    add_build_options(parser, variants=False)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.bench import interleave, pinned
    from convc.roofline import measure as measure_roofline
    from convc.runtime.inputs import random_inputs

    threads, engines = arguments.threads or 1, names(arguments.against)
    _check(arguments, threads, engines)
    with Progress(quiet=arguments.json).steps() as show:
        executable, model = _network(arguments, threads, show)
        inputs = random_inputs(executable.inputs, 0)
        with pinned(threads):
            calls: dict[str, Callable[[], object]] = {"convc": lambda: executable.run(inputs)}
            for engine in engines:
                assert model is not None, "_check asks for it"
                calls[engine] = _engine(engine, model, threads, inputs)
            show(f"measuring for {arguments.seconds:g} s")
            timings = interleave(calls, arguments.seconds)
            roof: Roofline | None = None
            if arguments.profile and executable.manifest["target"]["kind"] == "cpu":
                show("measuring the roofline")
                roof = measure_roofline(threads)
            profile = _profile(executable, inputs, roof) if arguments.profile else []
    if arguments.json:
        print_json(_facts(timings, threads, profile) | ({"roofline": vars(roof)} if roof else {}))
        return 0
    _print(timings, threads)
    if profile:
        print()
        _print_profile(profile, roof)
    return 0


def _check(arguments: argparse.Namespace, threads: int, engines: Sequence[str]) -> None:
    """Raises UsageError for what cannot be timed, before anything takes time."""
    from convc.runtime.cpu import usable_cores

    if unknown := [engine for engine in engines if engine not in ENGINES]:
        raise UsageError(f"--against: unknown engine '{unknown[0]}'; known: {', '.join(ENGINES)}")
    if threads > (cores := usable_cores()):
        raise UsageError(f"--threads {threads}: this process may use {cores} core{'s' * (cores > 1)}")
    if is_artifact(arguments.path):
        refuse_build_options(arguments)
        if engines and arguments.model is None:
            raise UsageError("--against: other engines need the model that it was built from: add --model MODEL")
    elif arguments.model is not None:
        raise UsageError(f"--model is for artifacts: {arguments.path} is none")


def _network(
    arguments: argparse.Namespace, threads: int, show: Callable[[str], None]
) -> tuple[Executable, Path | onnx.ModelProto | None]:
    """The network to time, built first if a model is given, and the model for other engines, if there is one."""
    from convc.frontends.source import load_source
    from convc.runtime import load

    if is_artifact(arguments.path):
        show("loading")
        executable = load(arguments.path, threads)
        computed = [name for name, *_ in executable.outputs]
        return executable, load_source(arguments.model, computed).model if arguments.model else None
    from convc.pipeline import Build
    from convc.targets.target import parse_target

    target, shapes = parse_target(arguments.target), one_shape(arguments.shape)
    source = load_source(arguments.path, names(arguments.outputs))
    with Scratch() as folder:  # a network that is loaded needs its files no more
        path = folder / "model.convc"
        build = Build(target, arguments.level, arguments.precision, threads, on_phase=show)
        build.run(source.model, path, source.shapes([shapes]))
        show("loading")
        return load(path, threads), source.model


def _engine(
    name: str, model: Path | onnx.ModelProto, threads: int, inputs: dict[str, np.ndarray]
) -> Callable[[], object]:
    given = {name: array.shape for name, array in inputs.items()}
    if name == "onnxruntime":
        from convc.verify import Reference

        reference = Reference(model, shapes=given, optimise=True, threads=threads)
        return lambda: reference(inputs)
    with _on_disk(model, given) as path:
        peer = _openvino(path, threads, inputs) if name == "openvino" else _ncnn(path, threads, inputs)
    return lambda: peer(inputs)


def _openvino(path: Path, threads: int, inputs: dict[str, np.ndarray]) -> Callable[[Mapping[str, np.ndarray]], object]:
    from convc.verify.openvino import OpenVino

    return OpenVino(path, threads, inputs)


def _ncnn(path: Path, threads: int, inputs: dict[str, np.ndarray]) -> Callable[[Mapping[str, np.ndarray]], object]:
    from convc.verify.ncnn import Ncnn, convert

    with Scratch() as folder:
        convert(path, {name: array.shape for name, array in inputs.items()}, folder)
        return Ncnn(folder, threads, inputs)


@contextmanager
def _on_disk(model: Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> Iterator[Path]:
    """The file of a model with inputs of these shapes, for engines that read no other."""
    import onnx

    from convc.frontends.onnx.reshaping import reshaped

    proto = onnx.load(model) if isinstance(model, Path) else model
    changed = reshaped(proto, shapes, None)
    if isinstance(model, Path) and changed is proto:
        yield model
        return
    with Scratch() as folder:
        path = folder / "model.onnx"
        onnx.save(changed, path)
        yield path


def _profile(executable: Executable, inputs: dict[str, np.ndarray], roof: Roofline | None) -> list[dict[str, Any]]:
    """A row a kernel: its median time over some runs, its rates, and what bounds them where a roofline is given."""
    from statistics import median

    samples = [executable.profile(inputs) for _ in range(_PROFILES)]
    times = [median(sample[i].nanoseconds for sample in samples) for i in range(len(samples[0]))]
    total = sum(times)
    kernels = executable.manifest["kernels"]

    def bound(step: StepTime, time: float) -> dict[str, Any]:
        return dict(zip(("bound", "of_bound"), roof.bound(step.macs, step.nbytes, time))) if roof else {}

    return [
        {
            "name": step.name,
            "kernel": step.kernel,
            "template": kernels[step.kernel]["template"],
            "us": time / 1e3,
            "share": time / total,
            "gflops": 2 * step.macs / max(time, 1),
            "gbytes": step.nbytes / max(time, 1),
            **bound(step, time),
        }
        for step, time in zip(samples[0], times, strict=True)
    ]


def _facts(timings: dict[str, Timing], threads: int, profile: list[dict[str, Any]]) -> dict[str, Any]:
    ours = timings["convc"]
    engines = {
        name: {"median_ms": t.median_ms, "min_ms": t.min_ms, "runs": t.runs, "convc_ratio": ours.ratio_to(t)}
        for name, t in timings.items()
    }
    return {"threads": threads, "engines": engines, "kernels": profile}


def _print(timings: dict[str, Timing], threads: int) -> None:
    ours = timings["convc"]
    rows = [
        (
            name,
            f"{timing.median_ms:.3f}",
            f"{timing.min_ms:.3f}",
            str(timing.runs),
            "" if name == "convc" else f"{ours.ratio_to(timing):.2f}",
        )
        for name, timing in timings.items()
    ]
    header = ("engine", "median ms", "min ms", "runs", "convc's time / its time")
    print_table(header, rows, right=header[1:])
    print(f"{threads} thread{'s' if threads > 1 else ''}, pinned; the engines took turns")


def _print_profile(profile: list[dict[str, Any]], roof: Roofline | None) -> None:
    rows = [
        (
            row["name"],
            row["kernel"],
            row["template"],
            f"{row['us']:.1f}",
            f"{row['share']:.1%}",
            f"{row['gflops']:.1f}" if row["gflops"] else "",
            f"{row['gbytes']:.1f}",
            *((row["bound"], f"{row['of_bound']:.0%}") if roof else ()),
        )
        for row in profile
    ]
    numbers = ("us", "share", "GFLOP/s", "GB/s")
    header = ("name", "kernel", "template", *numbers, *(("bound", "of it") if roof else ()))
    print_table(header, rows, right=(*numbers, "of it"))
    print(f"{len(rows)} kernels, {sum(row['us'] for row in profile) / 1e3:.3f} ms")
    if roof is None:
        return
    print(
        f"bounds: {roof.gflops:.0f} GFLOP/s of multiply-adds, {roof.gbytes:.1f} GB/s from memory; beyond: operands "
        "from a cache, or fewer multiplications than counted (Winograd)"
    )
