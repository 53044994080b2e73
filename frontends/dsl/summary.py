"""Keras's table of a model: a row a layer, then the totals."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.model import Model, Sequential
from convc.frontends.dsl.tensor import Node, Shape

_LINEAR = (88, (0.45, 0.80, 1.0))
_CONNECTED = (108, (0.3, 0.56, 0.74, 1.0))
"""(line length, where each column ends as a share of it), as Keras has them."""


def print_summary(
    model: Model, line_length: int | None, expand_nested: bool, print_fn: Callable[[str], object] | None
) -> None:
    """See Model.summary. Models that branch or share layers get a column that says what each layer is connected to."""
    linear = isinstance(model, Sequential) or _is_chain(model)
    widest, ends = _LINEAR if linear else _CONNECTED
    width = line_length or min(widest, shutil.get_terminal_size().columns - 4)
    edges = [0, *(int(end * width) for end in ends)]
    columns = [
        Column(header, justify="right" if header == "Param #" else "left", width=end - begin)
        for header, begin, end in zip(
            ("Layer (type)", "Output Shape", "Param #", "Connected to"), edges, edges[1:], strict=False
        )
    ]
    table = Table(*columns, width=width, show_lines=True)
    nodes = set() if linear else set(model.graph.nodes)
    for layer, depth in _rows(model.layers, expand_nested):
        indent = "   " * depth + "└ " if depth else ""
        cells = [f"{indent}{layer.name} ({layer.class_name})", _output_shape(layer), _parameters(layer)]
        table.add_row(*map(escape, cells if linear else [*cells, _connections(layer, nodes)]))
    console = Console(highlight=False)
    if print_fn is not None:
        console = Console(highlight=False, force_terminal=False, color_system=None)
        console.begin_capture()
    console.print(f'[bold]Model: "{escape(model.name)}"[/]')
    console.print(table)
    for title, weights in (
        ("Total", model.weights),
        ("Trainable", model.trainable_weights),
        ("Non-trainable", model.non_trainable_weights),
    ):
        count = sum(weight.size for weight in weights)
        console.print(f"[bold] {title} params: [/]{count:,} ({_bytes(4 * count)})")
    if print_fn is not None:
        print_fn(console.end_capture())


def _is_chain(model: Model) -> bool:
    """Whether each layer has one input and is called once."""
    nodes = [node for level in model.graph.levels for node in level]
    single = all(len(level) == 1 and len(level[0].inputs) <= 1 for level in model.graph.levels)
    return single and len({node.layer for node in nodes}) == len(nodes)


def _rows(layers: Sequence[Layer], expand: bool, depth: int = 0) -> Iterator[tuple[Layer, int]]:
    for layer in layers:
        yield layer, depth
        if expand and isinstance(layer, Model):
            yield from _rows(layer.layers, expand, depth + 1)


def _output_shape(layer: Layer) -> str:
    """Of the last call."""
    if not layer.nodes:
        return "?"
    shapes = [tensor.shape for tensor in layer.nodes[-1].outputs]
    return _shape(shapes[0]) if len(shapes) == 1 else f"[{', '.join(map(_shape, shapes))}]"


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def _parameters(layer: Layer) -> str:
    return f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"


def _connections(layer: Layer, nodes: set[Node]) -> str:
    tensors = [tensor for node in layer.nodes if node in nodes for tensor in node.inputs]
    return ", ".join(f"{tensor.layer.name}[{tensor.node.index}][{tensor.index}]" for tensor in tensors) or "-"


def _bytes(count: float) -> str:
    """In units of 1024."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TB"
