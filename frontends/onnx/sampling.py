"""Samples at coordinates, and prefix sums."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter, normalise_axis
from convc.ir.attributes import ReduceKind
from convc.ir.functions import Fn
from convc.ir.ordering import ScanOp
from convc.ir.sampling import GridSampleOp

_MODES: Mapping[str, str] = {"bilinear": "linear", "bicubic": "cubic"}
"""What opset 16 called the modes of opset 20."""


@converter("GridSample")
def convert_grid_sample(node: Node) -> SSAValue:
    """The grid's coordinates go from -1 to 1: between the outermost centres with `align_corners`, else the outer edges.
    Halving is exact, so the order of operations is the standard's."""
    sizes, grid = node.shape(0)[:1:-1], node.value(1)
    aligned, mode = bool(node.attribute("align_corners", 0)), node.attribute("mode", "linear")
    scale = np.array([(size - 1 if aligned else size) / 2 for size in sizes], node.dtype(1))
    at = node.apply(Fn.MUL, node.apply(Fn.ADD, grid, node.scalar(1, grid)), node.weight(scale, "scale"))
    return node.emit(
        GridSampleOp(
            node.value(0),
            at if aligned else node.apply(Fn.SUB, at, node.scalar(0.5, at)),
            mode=_MODES.get(mode, mode),
            padding=node.attribute("padding_mode", "zeros"),
            align_corners=aligned,
        )
    )


@converter("CumSum", "CumProd")
def convert_scan(node: Node) -> SSAValue:
    axis = normalise_axis(int(node.constant(1, "axis").reshape(())), len(node.shape(0)))
    return node.emit(
        ScanOp(
            ReduceKind.SUM if node.op_type == "CumSum" else ReduceKind.PROD,
            node.value(0),
            axis,
            exclusive=bool(node.attribute("exclusive", 0)),
            reverse=bool(node.attribute("reverse", 0)),
        )
    )
