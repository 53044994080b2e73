"""Random networks, built and compared with onnxruntime: combinations that nobody wrote down.

A network grows node by node from an image. onnxruntime computes each node as it is drawn, so that shapes are known and
what it refuses, or what leaves the range where single precision means something, is drawn anew. Values are read late
ones first, some of them several times; several are outputs, and some of those are read inside too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.passes.registry import pipeline
from convc.pipeline import phases
from convc.runtime.compare import compare
from convc.targets.target import parse_target

OPSET = 18
LARGEST = 20_000
"""Elements of a value."""
TARGETS = ["cpu:x86-64-v2", "cpu:x86-64-v3", "cpu:x86-64-v4", "cuda:sm_90"]


COORDINATES = [
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"},
]
OPTIONS = ort.SessionOptions()
OPTIONS.log_severity_level = 4
OPTIONS.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
OPTIONS.intra_op_num_threads = 1


class Redraw(Exception):
    """What was drawn cannot be a node here."""


class Network:
    """A network being grown. Values are names; `arrays` holds what each is for one random input."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.arrays: dict[str, np.ndarray] = {}
        shape = (self.pick([1, 1, 2]), self.size(), *(self.pick([1, 5, 8, 13]) for _ in range(self.pick([1, 2, 2, 3]))))
        self.arrays["image"] = self.rng.standard_normal(shape).astype(np.float32)

    # Dice

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.rng.integers(len(options))]

    def size(self) -> int:
        """A number of channels: few, a whole vector, or one more."""
        return self.pick([1, 3, 4, 7, 8, 9, 16, 17])

    def operand(self, *ranks: int) -> str:
        values = [name for name, array in self.arrays.items() if array.ndim in (ranks or range(1, 7))]
        if not values:
            raise Redraw
        return values[-1 - min(self.rng.integers(5), self.rng.integers(len(values)))]

    def shape(self, value: str) -> tuple[int, ...]:
        return (self.arrays if value in self.arrays else self.weights)[value].shape

    # What drawing appends

    def weight(self, *shape: int) -> str:
        """Random numbers, such that a sum over all axes but the first stays of the size of what it sums."""
        return self.constant(self.rng.standard_normal(shape).astype(np.float32) / max(prod(shape[1:]), 1) ** 0.5)

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def node(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; its last output. Raises Redraw where onnxruntime does not compute it."""
        names = [f"v{len(self.arrays) + i}" for i in range(outputs)]
        node = helper.make_node(op_type, list(inputs), names, **attributes)
        try:
            feeds = {name: self.arrays[name] for name in inputs if name in self.arrays}
            model = self.model([node], names, list(feeds))
            session = ort.InferenceSession(model.SerializeToString(), OPTIONS)
            results = session.run(names, feeds)
        except Exception as error:
            raise Redraw from error
        for array, inferred in zip(results, session.get_outputs(), strict=True):
            # The shape inference of ONNX counts windows that ceil_mode drops: what reads them would not be loaded.
            if any(isinstance(dim, int) and dim != size for dim, size in zip(inferred.shape, array.shape)):
                raise Redraw
            top = np.abs(array).max(initial=0)
            if not array.size or array.size > LARGEST or not np.isfinite(top) or not (top == 0 or 1e-3 < top < 1e3):
                raise Redraw
        self.nodes.append(node)
        self.arrays.update(zip(names, results, strict=True))
        return names[-1]

    def model(self, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], inputs: Sequence[str]) -> onnx.ModelProto:
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "random",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, self.shape(name)) for name in inputs],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items() if name in read],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    # Draws

    def conv(self) -> None:
        x = self.operand(3, 4, 5)
        channels, spatial = self.shape(x)[1], len(self.shape(x)) - 2
        kernel = [self.pick([1, 2, 3, 3, 5]) for _ in range(spatial)]
        group = self.pick([1, 1, channels, *(n for n in range(2, channels) if channels % n == 0)])
        outputs = self.size() if group == 1 else group * self.pick([1, 1, 2, 8])
        bias = [self.weight(outputs)] if self.pick([True, False]) else []
        w = self.weight(outputs, channels // group, *kernel)
        self.node("Conv", x, w, *bias, group=group, **self.window(kernel), dilations=self.steps(spatial))

    def window(self, kernel: Sequence[int]) -> dict[str, Any]:
        before = [int(self.rng.integers(k)) for k in kernel]
        after = before if self.pick([True, False]) else [int(self.rng.integers(k)) for k in kernel]
        return {"kernel_shape": kernel, "strides": self.steps(len(kernel)), "pads": [*before, *after]}

    def steps(self, spatial: int) -> list[int]:
        return [self.pick([1, 1, 1, 2, 3])] * spatial

    def conv_transpose(self) -> None:
        x = self.operand(3, 4, 5)
        channels, spatial = self.shape(x)[1], len(self.shape(x)) - 2
        group, kernel = self.pick([1, 1, channels]), [self.pick([2, 3, 4])] * spatial
        w = self.weight(channels, self.pick([1, 2, 4]), *kernel)
        bias = [self.weight(self.shape(w)[1] * group)] if self.pick([True, False]) else []
        pads = [self.pick([0, 1])] * 2 * spatial
        self.node("ConvTranspose", x, w, *bias, group=group, strides=[2] * spatial, pads=pads)

    def pool(self) -> None:
        x = self.operand(3, 4, 5)
        # onnxruntime has a place even for a window that does not fit the image.
        options = self.window([min(self.pick([1, 2, 3]), size) for size in self.shape(x)[2:]])
        self.node(self.pick(["MaxPool", "AveragePool"]), x, ceil_mode=self.pick([0, 1]), **options)

    def batch_norm(self) -> None:
        x = self.operand(3, 4, 5)
        statistics = [self.constant(self.rng.uniform(0.5, 2, self.shape(x)[1]).astype(np.float32)) for _ in range(4)]
        self.node("BatchNormalization", x, *statistics)

    def activation(self) -> None:
        """As exporters write them."""
        x, number = self.operand(), lambda value: self.constant(np.float32(value))
        match self.pick(["plain", "plain", "hard swish", "silu", "gelu", "mish"]):
            case "plain":
                self.node(self.pick(["Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Abs", "Neg"]), x)
            case "hard swish":
                y = self.node("Clip", self.node("Add", x, number(3)), number(0), number(6))
                self.node("Div", self.node("Mul", x, y), number(6))
            case "silu":
                self.node("Mul", x, self.node("Sigmoid", x))
            case "gelu":
                y = self.node("Erf", self.node("Div", x, number(2**0.5)))
                self.node("Mul", self.node("Mul", x, self.node("Add", y, number(1))), number(0.5))
            case "mish":
                self.node("Mul", x, self.node("Tanh", self.node("Softplus", x)))

    def binary(self) -> None:
        """With another value where the two broadcast, or with a weight along some axes."""
        x = self.operand()
        y = self.operand()
        if self.pick([True, False]):
            shape = [size if self.pick([True, False]) else 1 for size in self.shape(x)]
            y = self.weight(*shape[self.rng.integers(len(shape) + 1) :])
        self.node(self.pick(["Add", "Mul", "Sub", "Max"]), *self.pick([(x, y), (y, x)]))

    def concat(self) -> None:
        x = self.operand()
        axis = self.pick(range(len(self.shape(x))))
        rest = lambda value: [*self.shape(value)[:axis], *self.shape(value)[axis + 1 :]]  # noqa: E731
        fitting = [y for y in self.arrays if len(self.shape(y)) == len(self.shape(x)) and rest(y) == rest(x)]
        self.node("Concat", x, *(self.pick(fitting) for _ in range(self.pick([1, 2]))), axis=axis)

    def slice(self) -> None:
        x = self.operand()
        axis = self.pick(range(len(self.shape(x))))
        start, step = int(self.rng.integers(self.shape(x)[axis])), self.pick([1, 1, 2, -1, -2])
        end = np.iinfo(np.int64).max * (1 if step > 0 else -1)
        self.node("Slice", x, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))

    def split(self) -> None:
        x = self.operand()
        axis = self.pick(range(len(self.shape(x))))
        first = int(self.rng.integers(1, max(self.shape(x)[axis], 2)))
        self.node("Split", x, self.ints(first, self.shape(x)[axis] - first), outputs=2, axis=axis)

    def pad(self) -> None:
        x = self.operand(3, 4, 5)
        pads = [self.pick([0, 0, 1, 2]) for _ in self.shape(x) * 2]
        self.node("Pad", x, self.ints(*pads), mode=self.pick(["constant", "constant", "edge", "reflect"]))

    def transpose(self) -> None:
        x = self.operand()
        self.node("Transpose", x, perm=self.rng.permutation(len(self.shape(x))).tolist())

    def reshape(self) -> None:
        """An axis split or two merged."""
        x = self.operand()
        shape = list(self.shape(x))
        at = self.pick(range(len(shape)))
        factor = self.pick([n for n in range(1, shape[at] + 1) if shape[at] % n == 0])
        merged, split = [prod(shape[at : at + 2])], [factor, shape[at] // factor]
        merging = len(shape) > 4 or self.pick([True, False])
        shape[at : at + (2 if merging else 1)] = merged if merging else split
        self.node("Reshape", x, self.ints(*shape))

    def reduce(self) -> None:
        x = self.operand(2, 3, 4, 5)
        axes = self.rng.permutation(len(self.shape(x)))[: self.pick([1, 2])]
        kind = self.pick(["ReduceMean", "ReduceMax", "ReduceL2"])
        self.node(kind, x, self.ints(*sorted(axes.tolist())), keepdims=self.pick([0, 1]))

    def normalise(self) -> None:
        x = self.operand(3, 4)
        if self.pick([True, False]):
            self.node("Softmax", x, axis=self.pick([-1, 1]))
        else:
            self.node("LayerNormalization", x, self.weight(self.shape(x)[-1]), self.weight(self.shape(x)[-1]))

    def resize(self) -> None:
        x = self.operand(4)
        scales = self.constant(np.array([1, 1, *(self.pick([1, 2, 3]) for _ in range(2))], np.float32))
        self.node("Resize", x, "", scales, mode=self.pick(["nearest", "linear"]), **self.pick(COORDINATES))

    def product(self) -> None:
        x = self.operand(2, 3, 4)
        self.node("MatMul", x, self.node("Transpose", self.weight(self.size(), self.shape(x)[-1])))

    def gather(self) -> None:
        x = self.operand()
        axis = self.pick(range(len(self.shape(x))))
        indices = self.rng.integers(0, self.shape(x)[axis], [self.pick([1, size]) for size in self.shape(x)])
        self.node("GatherElements", x, self.constant(indices), axis=axis)

    def grow(self) -> None:
        draws = [self.conv, self.activation, self.binary, self.transpose, self.reshape] * 3 + [
            *[self.conv_transpose, self.pool, self.batch_norm, self.concat, self.slice, self.split] * 2,
            *[self.pad, self.reduce, self.normalise, self.resize, self.product, self.gather],
        ]
        with suppress(Redraw):
            self.pick(draws)()


def random_network(seed: int, nodes: int) -> tuple[onnx.ModelProto, Network]:
    """A network of at least so many nodes: its ends are outputs, and one value within."""
    network = Network(seed)
    while len(network.nodes) < nodes:
        network.grow()
    read = {name for node in network.nodes for name in node.input}
    made = [name for name in network.arrays if name != "image"]
    outputs = dict.fromkeys([*(name for name in made if name not in read), network.pick(made)])
    return network.model(network.nodes, list(outputs), ["image"]), network


def check_passes(seed: int) -> None:
    """After each phase the module computes what onnxruntime does; it holds every float in double precision."""
    model, network = random_network(seed, 16)
    context = CompilerContext()
    module = import_model(model, context)
    for phase, passes in [("import", ""), *phases(3, parse_target(TARGETS[seed % len(TARGETS)]))]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # rewriting that does not end is one
            pipeline(passes).apply(context, module)
        module.verify()
        got = interpret(module, context.weights, {"image": network.arrays["image"]}, np.float64)
        for output in model.graph.output:
            difference = compare(got[output.name].astype(np.float32), network.arrays[output.name])
            assert difference.within(1e-4), f"{output.name} after {phase}: {difference}"


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_compute_the_same_after_each_phase(seed):
    check_passes(seed)


@pytest.mark.parametrize("seed", range(100, 104))
def test_random_networks_build_and_agree(seed, agrees):
    agrees(random_network(seed, 8)[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_many_random_networks_compute_the_same_after_each_phase(seed):
    check_passes(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2100))
def test_many_random_networks_build_and_agree(seed, agrees):
    agrees(random_network(seed, 10)[0])
