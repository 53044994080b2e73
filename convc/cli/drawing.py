"""The graph of a model, before and after passes, as an SVG that Graphviz lays out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import UsageError
from convc.scratch import Scratch

if TYPE_CHECKING:
    import onnx
    from xdsl.dialects.builtin import ModuleOp
    from xdsl.ir import Operation, SSAValue

    from convc.ir.kernel import KernelOp


_MAX_LABELS = 500
"""Edges that say what shape they have; of more the mouse says it. `dot` places labels as it does nodes, in time that
grows faster than with their square: a network of 1,000 layers took it half a minute, and 3 s without."""


def check_drawing(path: Path) -> None:
    """Raises UsageError where no drawing can be made, before anything takes time."""
    if path.suffix != ".svg":
        raise UsageError(f"--graph: expected a file that ends in .svg, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--graph: {path.parent} is no folder")
    try:
        import pygraphviz  # noqa: F401
    except ImportError:
        raise UsageError("--graph needs pygraphviz, which carries Graphviz: pip install 'convc[graph]'") from None


def draw(path: Path, model: str | Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write both graphs, that which is imported and that of kernels for this machine, into one file. Raises what
    importing does."""
    import pygraphviz

    from convc.frontends.onnx import import_model
    from convc.ir.dialect import CompilerContext
    from convc.pipeline import Build
    from convc.targets.target import parse_target

    before = import_model(model, CompilerContext(), shapes)
    after, _ = Build(parse_target("cpu")).module(model, shapes)
    graph = pygraphviz.AGraph(directed=True, rankdir="TB", fontname="sans-serif")
    graph.node_attr.update(shape="box", style="rounded,filled", fillcolor="white", fontname="sans-serif", fontsize="10")
    graph.edge_attr.update(fontname="sans-serif", fontsize="8", color="gray40")
    for name, title, module in (("before", "as imported", before), ("after", "kernels after all passes", after)):
        _cluster(graph.add_subgraph(name=f"cluster_{name}", label=title, color="gray80"), name, module)
    if graph.number_of_edges() > _MAX_LABELS:
        for edge in graph.edges():
            edge.attr["tooltip"], edge.attr["label"] = edge.attr["label"], ""
    with Scratch(path.parent) as folder:
        drawn = folder / path.name
        graph.draw(drawn, prog="dot")
        drawn.rename(path)


def _cluster(graph: Any, prefix: str, module: ModuleOp) -> None:
    from convc.ir.attributes import shape_of
    from convc.ir.signature import input_signature, output_signature
    from convc.ir.text import main_function

    block = main_function(module).body.block
    names: dict[SSAValue, str] = {}
    for argument, (name, _, _) in zip(block.args, input_signature(module), strict=True):
        names[argument] = _node(graph, f"{prefix}.in.{name}", name, shape="ellipse")
    for number, op in enumerate(block.ops):
        label = _label(op)
        if label:
            node = _node(graph, f"{prefix}.{number}", label)
            names.update(dict.fromkeys(op.results, node))
        elif op.name == "func.return":
            for value, (name, _, _) in zip(op.operands, output_signature(module), strict=True):
                _edge(graph, names, value, _node(graph, f"{prefix}.out.{name}", name, shape="ellipse"), shape_of(value))
            continue
        else:
            continue
        for value in op.operands:
            _edge(graph, names, value, node, shape_of(value))


def _node(graph: Any, key: str, label: str, **attributes: str) -> str:
    graph.add_node(key, label=label, **attributes)
    return key


def _edge(graph: Any, names: Mapping[SSAValue, str], value: SSAValue, node: str, shape: Sequence[int]) -> None:
    if value in names:  # weights and constants are not drawn
        graph.add_edge(names[value], node, label="x".join(map(str, shape)))


def _label(op: Operation) -> str:
    """What an operation does; a kernel also how, and of what it is made. Empty for what is not drawn."""
    from convc.ir.data import ConstantOp, WeightOp
    from convc.ir.kernel import KernelOp

    if isinstance(op, WeightOp | ConstantOp) or op.name == "func.return":
        return ""
    if not isinstance(op, KernelOp):
        return _verb(op)
    template = op.template.data if op.template is not None else "view"
    parts = Counter(_parts(op))
    return "\n".join([template, *(f"{count} {name}" if count > 1 else name for name, count in parts.items())])


def _parts(kernel: KernelOp) -> Iterator[str]:
    from convc.ir.kernel import KernelOp

    for op in kernel.ops:
        yield from _parts(op) if isinstance(op, KernelOp) else [_verb(op)]


def _verb(op: Operation) -> str:
    from convc.ir.elementwise import ElementwiseOp

    return str(op.function) if isinstance(op, ElementwiseOp) else op.name.removeprefix("convc.")
