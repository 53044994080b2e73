"""The GPU's templates, in the order in which they are asked: the special before the general."""

from __future__ import annotations

from collections.abc import Sequence

from convc.targets.cuda.blocked_reduce import BlockedReduce
from convc.targets.cuda.conv import ImplicitGemm
from convc.targets.cuda.generic import Generic
from convc.targets.cuda.hopper import HopperGemm
from convc.targets.cuda.injective import Injective
from convc.targets.cuda.matmul import MatMul
from convc.targets.cuda.ordered import Ordered
from convc.targets.cuda.reduce import RowReduce
from convc.targets.cuda.scattered import Scattered
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.transposed_conv import TransposedGemm
from convc.targets.cuda.window import Window
from convc.targets.cuda.winograd import Winograd
from convc.targets.template import Template

TEMPLATES: Sequence[Template[CudaTarget]] = (
    HopperGemm(),
    ImplicitGemm(),
    TransposedGemm(),
    Winograd(),
    Window(),
    MatMul(),
    BlockedReduce(),
    RowReduce(),
    Ordered(),
    Scattered(),
    Injective(),
    Generic(),
)
"""The last one takes every kernel."""
