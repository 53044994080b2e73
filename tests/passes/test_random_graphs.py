"""Random graphs compute the same after any pass: what no sample thought of.

Graphs grow from two images by operations drawn at random, biased towards what rules look for: transposes and their
inverses, constants that do nothing, scales and pads around convolutions, values with several readers.
"""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import PadMode, PoolKind, ReduceKind
from convc.ir.data import BroadcastOp, CastOp, ConcatOp, PadOp, ReshapeOp, SliceOp, TransposeOp
from convc.ir.dtypes import from_numpy
from convc.ir.neural import BatchNormOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp

PASSES = [
    "canonicalise",
    "recognise-activations",
    "canonicalise,fold-batch-norm",
    "canonicalise,fold-conv-scale",
    "canonicalise,fold-pads,trim-taps",
    "canonicalise,recognise-activations,fold-batch-norm,fold-conv-scale,fold-pads,canonicalise",
]
UNARY = ["relu", "sigmoid", "neg", "abs", "tanh", "hard_swish", "exp"]
BINARY = ["add", "sub", "mul", "max", "min"]


class Grower:
    """A graph, and the values that operations may still read."""

    def __init__(self, graph, seed):
        self.rng = np.random.default_rng(seed)
        self.graph = graph((1, 4, 6, 5), (1, 4, 6, 5))
        self.values = list(self.graph.inputs)

    def pick(self):
        # Late values more often: chains grow, and some values get several readers.
        return self.values[max(int(self.rng.integers(-4, len(self.values))), 0) - 1]

    def number(self):
        return float(self.rng.choice([0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 6.0, 1 / 6]))

    def weight(self, shape):
        array = self.rng.uniform(0.5, 1.5, shape) * self.rng.choice([-1, 1])
        return self.graph.weight(np.full(shape, 1.0) if self.rng.random() < 0.2 else array)

    def grow(self):
        x = self.pick()
        maker = self.rng.choice(
            [
                *[self.unary, self.binary, self.scalar, self.vector, self.clip] * 2,
                *[self.transpose, self.reshape, self.slice, self.concat, self.pad, self.reduce, self.conv] * 2,
                *[
                    self.batch_norm,
                    self.pool,
                    self.softmax,
                    self.matmul,
                    self.broadcast,
                    self.cast,
                    self.conv_transpose,
                ],
            ]
        )
        y = maker(x)
        if y is not None and int(np.prod(y.shape)) < 4000:
            self.values.append(y)

    def unary(self, x):
        return x.function(str(self.rng.choice(UNARY)))

    def clip(self, x):
        low = float(self.rng.choice([-np.inf, -1, 0]))
        return x.clip(min=low, max=float(self.rng.choice([1, 6, np.inf])))

    def binary(self, x):
        fitting = [y for y in self.values if self.broadcasts(y.shape, x.shape)]
        y = fitting[self.rng.integers(len(fitting))]
        return x.function(str(self.rng.choice(BINARY)), y)

    def broadcasts(self, shape, to):
        return len(shape) <= len(to) and all(m in (1, n) for m, n in zip(shape[::-1], to[::-1]))

    def scalar(self, x):
        name = str(self.rng.choice(BINARY))
        return (
            self.graph.append_function(name, self.number(), x)
            if self.rng.random() < 0.3
            else x.function(name, self.number())
        )

    def vector(self, x):
        axis = int(self.rng.integers(len(x.shape))) if x.shape else 0
        shape = [size if i == axis else 1 for i, size in enumerate(x.shape)]
        return x.function(
            str(self.rng.choice(["add", "mul", "sub", "div"])), self.weight(shape[self.rng.integers(2) :])
        )

    def transpose(self, x):
        if len(x.shape) == 4 and self.rng.random() < 0.8:
            return x.transpose(*([0, 2, 3, 1] if self.rng.random() < 0.5 else [0, 3, 1, 2]))
        return self.graph.append(TransposeOp(x.value, self.rng.permutation(len(x.shape)).tolist()))

    def reshape(self, x):
        shape = list(x.shape)
        choice = self.rng.integers(4)
        if choice == 0 and 1 in shape:
            shape.remove(1)
        elif choice == 1:
            shape.insert(int(self.rng.integers(len(shape) + 1)), 1)
        elif choice == 2 and len(shape) > 1:
            at = int(self.rng.integers(len(shape) - 1))
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        else:
            at = int(self.rng.integers(len(shape))) if shape else 0
            if not shape or shape[at] % 2:
                return None
            shape[at : at + 1] = [2, shape[at] // 2]
        return self.graph.append(ReshapeOp(x.value, shape)) if len(shape) < 7 else None

    def slice(self, x):
        starts = [int(self.rng.integers(min(size, 2))) for size in x.shape]
        sizes = [int(self.rng.integers(1, size - start + 1)) for size, start in zip(x.shape, starts)]
        if self.rng.random() < 0.5:
            keep = int(self.rng.integers(len(x.shape))) if x.shape else 0
            starts = [start if i == keep else 0 for i, start in enumerate(starts)]
            sizes = [size if i == keep else whole for i, (size, whole) in enumerate(zip(sizes, x.shape))]
        return self.graph.append(SliceOp(x.value, starts, sizes))

    def concat(self, x):
        same = [y for y in self.values if y.shape == x.shape]
        parts = [x, *(same[self.rng.integers(len(same))] for _ in range(self.rng.integers(1, 3)))]
        axis = int(self.rng.integers(len(x.shape))) if x.shape else None
        return None if axis is None else self.graph.append(ConcatOp([part.value for part in parts], axis))

    def pad(self, x):
        pads = [int(self.rng.integers(0, 2)) if i % max(len(x.shape), 1) > 1 else 0 for i in range(2 * len(x.shape))]
        mode = PadMode.EDGE if self.rng.random() < 0.2 else PadMode.CONSTANT
        return self.graph.append(PadOp(x.value, pads, mode=mode, value=float(self.rng.choice([0, 0, 0, 1]))))

    def reduce(self, x):
        axes = [axis for axis in range(len(x.shape)) if self.rng.random() < 0.4]
        kind = ReduceKind(str(self.rng.choice(["mean", "sum", "max", "l2", "sum_square"])))
        return (
            self.graph.append(ReduceOp(kind, x.value, axes, keepdims=bool(self.rng.random() < 0.7))) if axes else None
        )

    def conv(self, x):
        if len(x.shape) not in (3, 4):
            return None
        channels, spatial = x.shape[1], len(x.shape) - 2
        depthwise = self.rng.random() < 0.3
        outputs = channels if depthwise else int(self.rng.choice([4, channels]))
        kernel = [int(self.rng.choice([1, min(3, size)])) for size in x.shape[2:]]
        w = self.weight([outputs, 1 if depthwise else channels, *kernel])
        bias = self.weight([outputs]).value if self.rng.random() < 0.4 else None
        pads = [int(self.rng.integers(2)) * (k > 1) for k in kernel] * 2
        return self.graph.append(
            ConvOp(x.value, w.value, bias, pads=pads, group=channels if depthwise else 1, strides=[1] * spatial)
        )

    def conv_transpose(self, x):
        if len(x.shape) != 4:
            return None
        w = self.weight([x.shape[1], 2, 2, 2])
        return self.graph.append(ConvTransposeOp(x.value, w.value, strides=[2, 2]))

    def batch_norm(self, x):
        if len(x.shape) < 2:
            return None
        statistics = [self.graph.weight(self.rng.uniform(0.5, 1.5, x.shape[1])).value for _ in range(4)]
        return self.graph.append(BatchNormOp(x.value, *statistics))

    def pool(self, x):
        if len(x.shape) != 4 or min(x.shape[2:]) < 2:
            return None
        whole = self.rng.random() < 0.3
        return self.graph.append(
            PoolOp(
                PoolKind.MAX if self.rng.random() < 0.5 else PoolKind.AVERAGE,
                x.value,
                x.shape[2:] if whole else [2, 2],
                strides=[1, 1] if whole else [2, 2],
                pads=[0, 0, 0, 0] if whole else [0, 0, 1, 1],
                ceil_mode=bool(self.rng.random() < 0.3),
                count_include_pad=bool(self.rng.random() < 0.3),
            )
        )

    def softmax(self, x):
        return self.graph.append(SoftmaxOp(x.value, [int(self.rng.integers(len(x.shape)))])) if x.shape else None

    def matmul(self, x):
        if len(x.shape) < 2:
            return None
        transposed = bool(self.rng.random() < 0.5)
        w = self.weight([3, x.shape[-1]] if transposed else [x.shape[-1], 3])
        return self.graph.append(MatMulOp(x.value, w.value, transpose_b=transposed))

    def broadcast(self, x):
        if 1 not in x.shape[1:]:
            return None
        axis = x.shape.index(1, 1)
        return self.graph.append(BroadcastOp(x.value, [3 if i == axis else size for i, size in enumerate(x.shape)]))

    def cast(self, x):
        wide = self.graph.append(CastOp(x.value, from_numpy("float64")))
        return self.graph.append(CastOp(wide.value, from_numpy("float32")))


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_compute_the_same(seed, graph, apply):
    grower = Grower(graph, seed)
    for _ in range(25):
        grower.grow()
    outputs = [*grower.values[-2:], grower.pick()]
    apply(PASSES[seed % len(PASSES)], grower.graph.module(*outputs), grower.graph.context, tolerance=1e-5, scale=1)
