"""convc inspect."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import add_json, add_shape, is_artifact, shapes
from convc.cli.show import megabytes, print_json, print_table, sizes

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from convc.ir.dialect import CompilerContext

HELP = "tabulate a model's layers, or an artifact's kernels"
EXAMPLE = "convc inspect model.onnx --shape input=1x3x224x224"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="MODEL|ARTIFACT", help="what convc build takes or wrote")
    add_shape(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    found = _artifact(arguments.path) if is_artifact(arguments.path) else _model(arguments)
    if arguments.json:
        print_json(found)
    elif "layers" in found:
        _print_model(found)
    else:
        _print_artifact(found)
    return 0


def _model(arguments: argparse.Namespace) -> dict[str, Any]:
    from convc.frontends.onnx import import_model
    from convc.frontends.source import load_source
    from convc.ir.dialect import CompilerContext
    from convc.ir.signature import input_signature, output_signature

    context = CompilerContext()
    source = load_source(arguments.path)
    module = import_model(source.model, context, source.shapes(shapes(arguments.shape))[0])
    layers = _layers(module, context)
    return {
        "model": str(arguments.path),
        "inputs": [_tensor(*entry) for entry in input_signature(module)],
        "outputs": [_tensor(*entry) for entry in output_signature(module)],
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        "weight_bytes": context.weights.nbytes,
        "macs": sum(layer["macs"] for layer in layers),
    }


def _layers(module: ModuleOp, context: CompilerContext) -> list[dict[str, Any]]:
    """A row an operation, in order; a weight that several share is counted where it is first used."""
    from xdsl.dialects.func import ReturnOp

    from convc.ir.attributes import shape_of
    from convc.ir.data import ConstantOp, WeightOp
    from convc.ir.elementwise import ElementwiseOp
    from convc.ir.macs import macs
    from convc.ir.text import main_function

    counted: set[str] = set()
    seen: Counter[str] = Counter()  # the printer numbers equal names in the same way
    layers = []
    for op in main_function(module).body.block.ops:
        if isinstance(op, WeightOp | ConstantOp | ReturnOp):
            continue
        owners = [operand.owner for operand in op.operands]
        keys = {owner.key for owner in owners if isinstance(owner, WeightOp)} - counted
        counted |= keys
        hint = op.results[0].name_hint or "value"
        name = f"{hint}_{seen[hint]}" if seen[hint] else hint
        seen[hint] += 1
        layers.append(
            {
                "name": name,
                "type": str(op.function) if isinstance(op, ElementwiseOp) else op.name.removeprefix("convc."),
                "output": list(shape_of(op.results[0])),
                "parameters": sum(context.weights[key].size for key in keys),
                "macs": macs(op),
            }
        )
    return layers


def _tensor(name: str, shape: tuple[int, ...], dtype: object) -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "dtype": str(dtype)}


def _print_model(found: dict[str, Any]) -> None:
    rows = [
        (f"{layer['name']} ({layer['type']})", sizes(layer["output"]), f"{layer['parameters']:,}", f"{layer['macs']:,}")
        for layer in found["layers"]
    ]
    print_table(("layer (type)", "output shape", "parameters", "MACs"), rows, right=("parameters", "MACs"))
    print()
    _print_signature(found)
    print(f"parameters  {found['parameters']:,} ({megabytes(found['weight_bytes'])})")
    print(f"MACs        {found['macs']:,}")


def _print_signature(found: dict[str, Any]) -> None:
    for what in ("inputs", "outputs"):
        for tensor in found[what]:
            print(f"{what[:-1]:<10}  {tensor['name']}: {sizes(tensor['shape'])} {tensor['dtype']}")


def _artifact(path: Path) -> dict[str, Any]:
    from convc.artifact.manifest import read_manifest

    manifest = read_manifest(path)
    return {"artifact": str(path), **manifest}


def _choice(kernel: Mapping[str, Any]) -> str:
    return " ".join([kernel["template"], *(f"{key}={value}" for key, value in kernel["config"].items())])


def _cost(cost: Mapping[str, int]) -> str:
    """As measured by `convc tune`, or by the model, in cycles of one core."""
    if "ns" in cost:
        return f"{cost['ns'] / 1e3:,.1f} us"
    return f"~{cost['cycles'] / 1e3:,.0f} kcycles" if "cycles" in cost else ""


def _print_artifact(found: dict[str, Any]) -> None:
    for variant in found["variants"]:
        rows = []
        for step in variant["steps"]:
            kernel = found["kernels"][step["kernel"]]
            second = kernel.get("runner_up")
            rows.append(
                (
                    step["name"],
                    step["kernel"],
                    _choice(kernel),
                    _cost(kernel.get("cost", {})),
                    f"{_choice(second)}  {_cost(second['cost'])}".rstrip() if second else "",
                    f"{step['macs']:,}",
                )
            )
        print_table(("kernel of", "function", "choice", "time", "runner-up", "MACs"), rows, right=("time", "MACs"))
        print()
        _print_signature(variant)
        print(f"kernels     {len(rows)}, {len({step['kernel'] for step in variant['steps']})} of them distinct")
        print(f"MACs        {sum(step['macs'] for step in variant['steps']):,}")
        print(f"arena       {megabytes(variant['arena_bytes'])} for intermediate values")
    print("times       us as measured by convc tune, ~kcycles of one core by the model where it did not")
    print(f"weights     {megabytes(found['weight_bytes'])}")
    target = found["target"]
    print(f"target      {target['name']}: {target['cpu']}, {target['vector_bits']}-bit vectors")
    print(f"built by    convc {found['convc']} at -O{found['level']}, TVM {found['tvm']}")
