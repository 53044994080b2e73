"""The CPU's templates, in the order in which they are asked: the special before the general."""

from __future__ import annotations

from collections.abc import Sequence

from convc.targets.cpu.conv_depthwise import ConvDepthwise
from convc.targets.cpu.depthwise import Depthwise
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective
from convc.targets.cpu.matmul import PackedMatMul, PlainMatMul
from convc.targets.cpu.ordered import Ordered
from convc.targets.cpu.plain_conv import PlainConv
from convc.targets.cpu.plain_pool import PlainPool
from convc.targets.cpu.reduce import BlockedReduce, RowReduce
from convc.targets.cpu.scattered import Scattered
from convc.targets.cpu.softmax import SoftmaxRows
from convc.targets.cpu.transposed_conv import TransposedConv
from convc.targets.cpu.window import BlockedWindow
from convc.targets.cpu.winograd import Winograd
from convc.targets.target import CpuTarget
from convc.targets.template import Template

TEMPLATES: Sequence[Template[CpuTarget]] = (
    ConvDepthwise(),
    Depthwise(),
    BlockedWindow(),
    DirectConv(),
    Winograd(),
    TransposedConv(),
    PlainConv(),
    PlainPool(),
    PackedMatMul(),
    PlainMatMul(),
    BlockedReduce(),
    SoftmaxRows(),
    RowReduce(),
    Ordered(),
    Scattered(),
    Injective(),
    Generic(),
)
"""The last one takes every kernel."""
