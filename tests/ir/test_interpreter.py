"""The interpreter: modules at every stage, in their own precision and in double."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from convc.ir.attributes import layout_of
from convc.ir.data import WeightOp
from convc.ir.interpreter import interpret
from convc.ir.text import parse
from convc.ir.winograd import transformed_weight

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_prefix_products(exclusive, reverse):
    flags = " exclusive" * exclusive + " reverse" * reverse
    module = parse(f"""func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {{
      %y = convc.scan prod %x axis 0{flags} : (tensor<4xf32>) -> tensor<4xf32>
      func.return %y : tensor<4xf32> }}""")
    found = interpret(module, {}, {"input0": np.float32([2, 3, 5, 7])})["output0"].tolist()
    assert found == ([[2, 6, 30, 210], [210, 105, 35, 7]], [[1, 2, 6, 30], [105, 35, 7, 1]])[exclusive][reverse]


# input, window, pads, dilations, groups, strides
WINDOWS = {
    "outputs that no m divides": ((2, 4, 6, 9), (3, 3), (1, 2, 0, 1), (1, 1), 1),
    "groups": ((2, 4, 6, 9), (3, 3), (1, 1, 1, 1), (1, 1), 2),
    "dilation": ((1, 4, 11, 9), (3, 3), (2, 3, 2, 3), (2, 3), 1),
    "a dilation beyond the image": ((1, 4, 3, 9), (3, 3), (5, 1, 5, 1), (5, 1), 2),
    "a column": ((2, 4, 7, 5), (3, 1), (1, 0, 1, 0), (1, 1), 1),
    "a row, dilated": ((1, 4, 5, 13), (1, 3), (0, 4, 0, 2), (1, 4), 1),
    "a line": ((2, 4, 21), (3,), (2, 2), (2,), 2),
    "a plane of a volume": ((1, 4, 3, 5, 6), (1, 3, 3), (0, 1, 1, 0, 1, 1), (1, 1, 1), 1),
    "time": ((1, 4, 5, 3, 4), (3, 1, 1), (1, 0, 0, 1, 0, 0), (1, 1, 1), 1),
    "a stride": ((2, 4, 11, 14), (3, 3), (1, 2, 0, 1), (1, 1), 2, (2, 2)),
    "a stride along one axis": ((1, 4, 9, 10), (3, 3), (1, 1, 1, 1), (1, 1), 1, (1, 2)),
    "a stride and a dilation": ((1, 4, 17, 9), (3, 3), (0, 3, 1, 3), (1, 3), 1, (2, 1)),
    "a stride that leaves the last out": ((1, 4, 8), (3,), (0, 0), (1,), 1, (2,)),
}


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("case", WINDOWS)
def test_a_winograd_convolution_is_a_convolution(case, m):
    shape, taps, pads, dilations, group, *rest = WINDOWS[case]
    ones = [1] * len(taps)
    strides = [*rest[0]] if rest else ones
    ends = zip(shape[2:], taps, pads, pads[len(taps) :], dilations, strides)
    out = (shape[0], 4, *((size + a + b - (k - 1) * d - 1) // s + 1 for size, k, a, b, d, s in ends))

    def typed(sizes):
        return f"tensor<{'x'.join(map(str, sizes))}xf64>"

    def text(op, w):
        return f"""func.func @main(%x: {typed(shape)}) -> {typed(out)} {{
          %b = convc.weight @b : tensor<4xf64>
          %w = convc.weight @w : {typed(w)}
          %y = {op} : ({typed(shape)}, {typed(w)}, tensor<4xf64>) -> {typed(out)}
          func.return %y : {typed(out)} }}"""

    channels = (4, 4 // group)
    direct = f"convc.conv %x, %w bias %b strides {strides} pads {[*pads]} dilations {[*dilations]} group {group}"
    apart = f" strides {strides}" * (strides != ones) + f" dilations {[*dilations]}" * (set(dilations) != {1})
    apart += f" group {group}" * (group > 1)
    windows = [m + 2 if k > 1 else 1 for k in taps]
    direct = text(direct, (*channels, *taps))
    winograd = text(f"convc.winograd_conv %x, %w bias %b pads {[*pads]} m {m}{apart}", (*channels, *windows))
    weight, bias = RNG.standard_normal((*channels, *taps)), RNG.standard_normal(4)
    x = {"input0": RNG.standard_normal(shape)}
    expected = interpret(parse(direct), {"w": weight, "b": bias}, x)["output0"]
    found = interpret(parse(winograd), {"w": transformed_weight(weight, m, strides), "b": bias}, x)["output0"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


HEAD = "func.func @main(%x: tensor<1x12x4x4xf32>) -> tensor<1x12x4x4xf32> {"


def test_double_precision_is_the_reference():
    """1/3 is not rounded to single precision on its way."""
    text = f"""{HEAD}
      %c = convc.constant 3.0 : f64 : tensor<f32>
      %y = convc.elementwise div(%x, %c) : (tensor<1x12x4x4xf32>, tensor<f32>) -> tensor<1x12x4x4xf32>
      func.return %y : tensor<1x12x4x4xf32> }}"""
    x = np.ones((1, 12, 4, 4), np.float32)
    assert interpret(parse(text), {}, {"input0": x}, np.float64)["output0"].reshape(-1)[0] == 1 / 3
    single = interpret(parse(text), {}, {"input0": x})["output0"]
    assert single.dtype == np.float32
    assert single.reshape(-1)[0] == np.float32(1) / np.float32(3)


def test_layouts_change_nothing_but_how_a_weight_lies_in_the_store(random):
    blocked = '#convc.layout<"NCHW8c">'
    text = f"""{HEAD}
      %w = convc.weight @w : tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>
      %a = convc.relayout %x : (tensor<1x12x4x4xf32>) -> tensor<1x12x4x4xf32, {blocked}>
      %k = convc.kernel template "direct"(%a, %w)
          : (tensor<1x12x4x4xf32, {blocked}>, tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>)
          -> tensor<1x12x4x4xf32, {blocked}> {{
      ^bb0(%b: tensor<1x12x4x4xf32, {blocked}>, %v: tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>):
        %c = convc.conv %b, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
          : (tensor<1x12x4x4xf32, {blocked}>, tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>)
          -> tensor<1x12x4x4xf32, {blocked}>
        convc.yield %c : tensor<1x12x4x4xf32, {blocked}>
      }}
      %y = convc.relayout %k : (tensor<1x12x4x4xf32, {blocked}>) -> tensor<1x12x4x4xf32>
      func.return %y : tensor<1x12x4x4xf32> }}"""
    module = parse(text)
    weight = next(op for op in module.walk() if isinstance(op, WeightOp))
    array = RNG.standard_normal((12, 12, 1, 1)).astype(np.float32)
    packed = layout_of(weight.result).pack(array)
    x = random((1, 12, 4, 4), "float32", np.random.default_rng(3))
    found = interpret(module, {"w": packed}, {"input0": x})["output0"]
    np.testing.assert_allclose(found, np.einsum("nchw,oc->nohw", x, array[:, :, 0, 0]), rtol=0, atol=1e-4)


def test_inputs_that_do_not_fit_are_refused_with_both_sides():
    module = parse(f"{HEAD} func.return %x : tensor<1x12x4x4xf32> }}")
    with pytest.raises(ValueError, match=r"expected inputs of the shapes .*\(1, 12, 4, 4\).*, got .*\(1, 12, 4, 5\)"):
        interpret(module, {}, {"input0": np.zeros((1, 12, 4, 5), np.float32)})


def test_a_network_means_what_onnxruntime_computes(check, random):
    """A few nodes with two outputs and values that several nodes read."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Mul", ["c", "d"], ["e"]),
    ]
    weight = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 6, 6))],
        [ValueInfoProto(name="e"), ValueInfoProto(name="b")],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.reshape(-1))],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = random((2, 3, 6, 6), "float32", np.random.default_rng(3))
    check(proto, [x])
    check(proto, [x], dtype=np.float64)
