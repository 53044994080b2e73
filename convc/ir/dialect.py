"""The convc dialect, and the context in which modules of it are parsed and rewritten."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.func import Func
from xdsl.ir import Dialect

from convc.ir.attributes import LayoutAttr, PadModeAttr, PoolKindAttr, ReduceKindAttr
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    PadOp,
    RelayoutOp,
    ReshapeOp,
    ResizeOp,
    ShuffleOp,
    SliceOp,
    TransposeOp,
    WeightOp,
)
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import FnAttr
from convc.ir.kernel import ANCHORS, KernelOp, YieldOp
from convc.ir.neural import BatchNormOp
from convc.ir.weights import WeightStore

Convc = Dialect(
    "convc",
    [
        *ANCHORS,
        BatchNormOp,
        BroadcastOp,
        CastOp,
        ConcatOp,
        ConstantOp,
        ElementwiseOp,
        KernelOp,
        PadOp,
        RelayoutOp,
        ReshapeOp,
        ResizeOp,
        ShuffleOp,
        SliceOp,
        TransposeOp,
        WeightOp,
        YieldOp,
    ],
    [FnAttr, LayoutAttr, PadModeAttr, PoolKindAttr, ReduceKindAttr],
)


@dataclass
class CompilerContext(Context):
    """xDSL's context with the dialects of convc loaded, and the weights of the module in hand."""

    weights: WeightStore = field(default_factory=WeightStore)
    notes: list[str] = field(default_factory=list)
    """What the user should know of how the module was made, in one line each."""

    def __post_init__(self) -> None:
        for dialect in (Builtin, Func, Convc):
            self.load_dialect(dialect)
