"""convc inspect."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convc.cli.arguments import (
    UsageError,
    add_json,
    add_outputs,
    add_shape,
    is_artifact,
    names,
    one_shape,
    refuse_build_options,
)
from convc.cli.show import megabytes, print_json, print_table

HELP = "tabulate a model's layers, or an artifact's kernels"
EXAMPLE = "convc inspect model.onnx --shape input=1x3x224x224"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="MODEL|ARTIFACT", help="what convc build takes or wrote")
    add_shape(parser, variants=False)
    add_outputs(parser)
    parser.add_argument("--graph", type=Path, metavar="FILE.svg", help="draw a model's graph before and after passes")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    found = _artifact(arguments) if is_artifact(arguments.path) else _model(arguments)
    if arguments.json:
        print_json(found)
    elif "layers" in found:
        _print_model(found)
    else:
        _print_artifact(found)
    return 0


def _model(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is in a model, which is drawn, too, if `--graph` says so."""
    from convc.cli.drawing import check_drawing, draw
    from convc.frontends.onnx.summary import summarise
    from convc.frontends.source import load_source

    if arguments.graph:
        check_drawing(arguments.graph)
    given = one_shape(arguments.shape)
    source = load_source(arguments.path, names(arguments.outputs))
    (shapes,) = source.shapes([given])
    if arguments.graph:
        draw(arguments.graph, source.model, shapes)
    found = summarise(source.model, shapes)
    return {
        "model": str(arguments.path),
        "inputs": [_tensor(*entry) for entry in found.inputs],
        "outputs": [_tensor(*entry) for entry in found.outputs],
        "layers": [asdict(layer) for layer in found.layers],
        "operators": dict(Counter(layer.type for layer in found.layers).most_common()),
        "folded": dict(found.folded.most_common()),
        "parameters": found.parameters,
        "weight_bytes": found.weight_bytes,
        "macs": found.macs,
        "notes": found.notes,
        "problem": found.problem or None,
        "needs": found.needs or None,
    }


def _tensor(name: str, shape: Sequence[int | None] | None, dtype: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype}


def _print_model(found: dict[str, Any]) -> None:
    rows = [
        (
            f"{layer['name']} ({layer['type']})",
            _dims(layer["output"]),
            f"{layer['parameters']:,}",
            _count(layer["macs"]),
        )
        for layer in found["layers"]
    ]
    print_table(("layer (type)", "output shape", "parameters", "MACs"), rows, right=("parameters", "MACs"))
    print()
    _print_signature(found)
    print(f"operators   {_histogram(found['operators'])}")
    if found["folded"]:
        print(f"at import   {_histogram(found['folded'])}")
    print(f"parameters  {found['parameters']:,} ({megabytes(found['weight_bytes'])})")
    print(f"MACs        {_count(found['macs'])}")
    for note in found["notes"]:
        print(f"note        {note}")
    if found["needs"]:
        print(f"needs       {found['needs']}")
    print(f"compiles    {'no: ' + found['problem'] if found['problem'] else 'then' if found['needs'] else 'yes'}")


def _dims(shape: Sequence[int | None] | None) -> str:
    """(None, 3, 224, 224), as Keras has it."""
    return "unknown" if shape is None else str(tuple(shape))


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _histogram(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _print_signature(found: dict[str, Any]) -> None:
    for what in ("inputs", "outputs"):
        for tensor in found[what]:
            print(f"{what[:-1]:<10}  {tensor['name']}: {_dims(tensor['shape'])} {tensor['dtype']}")


def _artifact(arguments: argparse.Namespace) -> dict[str, Any]:
    from convc.artifact.manifest import read_manifest

    if arguments.graph:
        raise UsageError("--graph: an artifact has no graph any more: give the model that it was built from")
    refuse_build_options(arguments)
    return {"artifact": str(arguments.path), **read_manifest(arguments.path)}


def _choice(kernel: Mapping[str, Any]) -> str:
    return " ".join([kernel["template"], *(f"{key}={value}" for key, value in kernel["config"].items())])


def _cost(cost: Mapping[str, int]) -> str:
    """As measured by `convc tune`, or by the model, in cycles of one core."""
    if "ns" in cost:
        return f"{cost['ns'] / 1e3:,.1f} us"
    return f"~{cost['cycles'] / 1e3:,.0f} kcycles" if "cycles" in cost else ""


_CHOSEN = ("kernel of", "function", "choice", "time", "runner-up", "MACs")
_LAUNCHED = ("kernel of", "function", "choice", "launches", "registers", "shared bytes", "MACs")


def _print_artifact(found: dict[str, Any]) -> None:
    from convc.artifact.manifest import ArtifactError
    from convc.targets.target import target_from_dict

    try:
        target = target_from_dict(found["target"])
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{found['artifact']}: its target is none that this convc knows: {error}") from None
    for variant in found["variants"]:
        kernels = [(step, found["kernels"][step["kernel"]]) for step in variant["steps"]]
        if target.kind == "cuda":
            columns: tuple[str, ...] = _LAUNCHED
            rows: list[tuple[str, ...]] = [_launched(step, kernel) for step, kernel in kernels]
        else:
            columns = _CHOSEN
            rows = [_chosen(step, kernel) for step, kernel in kernels]
        print_table(columns, rows, right=("time", "launches", "registers", "shared bytes", "MACs"))
        print()
        _print_signature(variant)
        print(f"kernels     {len(rows)}, {len({step['kernel'] for step in variant['steps']})} of them distinct")
        print(f"MACs        {sum(step['macs'] for step in variant['steps']):,}")
        print(f"arena       {megabytes(variant['arena_bytes'])} for intermediate values")
    if target.kind == "cpu":
        print("times       us as measured by convc tune, ~kcycles of one core by the model where it did not")
    print(f"weights     {megabytes(found['weight_bytes'])}")
    print(f"target      {target.name}: {target.describe()}")
    print(f"built by    convc {found['convc']} at -O{found['level']} in {found['precision']}, TVM {found['tvm']}")


def _chosen(step: Mapping[str, Any], kernel: Mapping[str, Any]) -> tuple[str, ...]:
    """A kernel of a CPU: its choice, what that costs, and what comes second."""
    second = kernel.get("runner_up")
    return (
        step["name"],
        step["kernel"],
        _choice(kernel),
        _cost(kernel.get("cost", {})),
        f"{_choice(second)}  {_cost(second['cost'])}".rstrip() if second else "",
        f"{step['macs']:,}",
    )


def _launched(step: Mapping[str, Any], kernel: Mapping[str, Any]) -> tuple[str, ...]:
    """A kernel of a GPU: its choice, and what the largest of its launches takes."""
    launches = kernel["launches"]
    registers = max((launch["registers"] for launch in launches), default=0)
    shared = max((launch["dynamic_bytes"] + launch["shared_bytes"] for launch in launches), default=0)
    macs = f"{step['macs']:,}"
    return step["name"], step["kernel"], _choice(kernel), str(len(launches)), str(registers), f"{shared:,}", macs
