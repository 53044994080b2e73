"""The dialect: every operation prints, parses and refuses what does not fit together."""

import pytest
from xdsl.utils.exceptions import ParseError, VerifyException

from convc.ir.text import parse, to_text

OPS = {
    "conv": """%r = convc.conv %x, %w bias %b strides [2, 1] pads [1, 0, 1, 2] dilations [1, 2] group 2
        : (tensor<1x6x9x9xf32>, tensor<8x3x3x3xf32>, tensor<8xf32>) -> tensor<1x8x5x7xf32>""",
    "conv without bias": """%r = convc.conv %x, %w strides [1] pads [0, 0] dilations [1] group 1
        : (tensor<2x3x8xf32>, tensor<4x3x3xf32>) -> tensor<2x4x6xf32>""",
    "conv_transpose": """%r = convc.conv_transpose %x, %w strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1]
        output_padding [1, 0] group 1 : (tensor<1x4x5x5xf32>, tensor<4x6x2x2xf32>) -> tensor<1x6x11x10xf32>""",
    "pool": """%r = convc.pool average %x kernel [3, 3] strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1] ceil_mode
        count_include_pad : (tensor<1x4x6x6xf32>) -> tensor<1x4x3x3xf32>""",
    "matmul": """%r = convc.matmul %x, %w transpose_b : (tensor<2x5x7xf32>, tensor<3x7xf32>) -> tensor<2x5x3xf32>""",
    "reduce": """%r = convc.reduce mean %x axes [2, 3] keepdims : (tensor<1x4x6x6xf32>) -> tensor<1x4x1x1xf32>""",
    "arg_reduce": """%r = convc.arg_reduce max %x axis 1 select_last : (tensor<2x5xf32>) -> tensor<2xi64>""",
    "softmax": """%r = convc.softmax %x axes [1] log : (tensor<2x5xf32>) -> tensor<2x5xf32>""",
    "gather": """%r = convc.gather %x, %w axis 1 : (tensor<2x5x3xf32>, tensor<4x1xi64>) -> tensor<2x4x1x3xf32>""",
    "grid_sample": """%r = convc.grid_sample %x, %w mode "cubic" padding "border" align_corners
        : (tensor<2x3x5x6xf32>, tensor<2x4x7x2xf32>) -> tensor<2x3x4x7xf32>""",
    "scatter": """%r = convc.scatter %x, %w, %b mode "add"
        : (tensor<4x5xf32>, tensor<3xi64>, tensor<3x5xf32>) -> tensor<4x5xf32>""",
    "top_k": """%r = convc.top_k %x axis 1 k 3 smallest : (tensor<2x5xf32>) -> tensor<2x3xi64>""",
    "arg_pool": """%r = convc.arg_pool %x kernel [3, 2] strides [2, 2] pads [1, 0, 1, 0] dilations [1, 1] ceil_mode
        : (tensor<1x4x6x6xf32>) -> tensor<1x4x4x3xi64>""",
    "scan": """%r = convc.scan prod %x axis 0 exclusive reverse : (tensor<2x5xf32>) -> tensor<2x5xf32>""",
    "lrn": """%r = convc.lrn %x size 5 alpha 1.000000e-04 : f64 beta 7.500000e-01 : f64 bias 1.000000e+00 : f64
        : (tensor<1x8x4x4xf32>) -> tensor<1x8x4x4xf32>""",
    "batch_norm": """%r = convc.batch_norm %x, %w, %b, %m, %v epsilon 1.000000e-05 : f64 : (tensor<1x4x2x2xf32>,
        tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<1x4x2x2xf32>""",
    "elementwise": """%r = convc.elementwise clip(%x) params [0.000000e+00 : f64, 0x7ff0000000000000 : f64]
        : (tensor<2x5xf32>) -> tensor<2x5xf32>""",
    "broadcasting": """%r = convc.elementwise add(%x, %w) : (tensor<2x5x1xf32>, tensor<7xf32>) -> tensor<2x5x7xf32>""",
    "predicate": """%r = convc.elementwise less(%x, %w) : (tensor<5xf32>, tensor<5xf32>) -> tensor<5xi1>""",
    "where": """%r = convc.elementwise where(%x, %w, %b)
        : (tensor<4xi1>, tensor<4xf32>, tensor<1xf32>) -> tensor<4xf32>""",
    "reshape": """%r = convc.reshape %x : (tensor<2x6xf32>) -> tensor<3x4xf32>""",
    "transpose": """%r = convc.transpose %x perm [1, 0, 2] : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>""",
    "broadcast": """%r = convc.broadcast %x : (tensor<3x1xf32>) -> tensor<2x3x4xf32>""",
    "concat": """%r = convc.concat %x, %w axis 1 : (tensor<2x3xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>""",
    "shuffle": """%r = convc.shuffle %x groups 2 : (tensor<2x6x4xf32>) -> tensor<2x6x4xf32>""",
    "slice": """%r = convc.slice %x starts [1, 3] steps [1, -2] : (tensor<2x4xf32>) -> tensor<1x2xf32>""",
    "pad": """%r = convc.pad reflect %x pads [0, 1, 0, -1] value 0.000000e+00 : f64
        : (tensor<2x4xf32>) -> tensor<2x4xf32>""",
    "resize": """%r = convc.resize %x mode "linear" coordinates "half_pixel" nearest "floor"
        scales [1.000000e+00 : f64, 2.000000e+00 : f64] roi [] cubic_coeff -7.500000e-01 : f64
        extrapolation 0.000000e+00 : f64 exclude_outside 0 antialias 0 : (tensor<2x3xf32>) -> tensor<2x6xf32>""",
    "cast": """%r = convc.cast %x : (tensor<2xf32>) -> tensor<2xi64>""",
    "relayout": """%r = convc.relayout %x
        : (tensor<1x12x4x4xf32>) -> tensor<1x12x4x4xf32, #convc.layout<"NCHW8c">>""",
    "weight": """%r = convc.weight @w : tensor<4xf32>""",
    "constant": """%r = convc.constant 2.500000e+00 : f64 : tensor<1x1xf32>""",
    "kernel": """%r = convc.kernel template "direct" config {tile = 6 : i64}(%x) : (tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%a: tensor<4xf32>):
      %e = convc.elementwise relu(%a) : (tensor<4xf32>) -> tensor<4xf32>
      convc.yield %e : tensor<4xf32>
    }""",
}

KINDS = {"x": 0, "w": 1, "b": 2, "m": 3, "v": 4}


def wrap(op: str) -> str:
    """A module around one operation, whose operands are the function's arguments."""
    types = []
    if not op.startswith(("%r = convc.weight", "%r = convc.constant")):
        signature = op[op.rindex(": (") + 3 : op.rindex(") ->")]
        types = [part + ">" for part in signature.replace("\n", " ").split(">, ")]
        types = [part.strip().replace(">>", ">") for part in types]
    arguments = ", ".join(f"%{name}: {type_}" for name, type_ in zip(KINDS, types))
    return f"builtin.module {{ func.func @main({arguments}) {{ {op} func.return }} }}"


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_text_round_trips(op):
    module = parse(wrap(op))
    text = to_text(module)
    again = parse(text)
    assert module.is_structurally_equivalent(again)
    assert to_text(again) == text


REFUSED = [
    ("conv", "8x3x3x3", "8x4x3x3", "weight expects 8 input channels (2 groups), input has 6"),
    ("conv", "-> tensor<1x8x5x7xf32>", "-> tensor<1x8x5x6xf32>", "result should be tensor<1x8x5x7xf32>, got"),
    ("conv", "tensor<8xf32>", "tensor<9xf32>", "expected a bias of 8 channels, got shape (9,)"),
    ("conv", "strides [2, 1]", "strides [0, 1]", "expected strides and dilations of at least 1"),
    ("conv", "pads [1, 0, 1, 2]", "pads [1, 0]", "4 pads"),
    ("conv", "8x3x3x3", "7x3x3x3", "7 output channels do not divide into 2 groups"),
    ("pool", "kernel [3, 3]", "kernel [9, 9]", "a window spanning 9 does not fit an axis of 6"),
    ("matmul", "3x7", "3x8", "the left operand has 7 columns, the right 8 rows"),
    ("reduce", "axes [2, 3]", "axes [2, 4]", "expected distinct axes in [0, 4), got 2x4"),
    ("arg_reduce", "arg_reduce max", "arg_reduce mean", "expected kind max or min, got mean"),
    ("gather", "axis 1", "axis 3", "expected distinct axes in [0, 3), got 3"),
    ("gather", "xi64", "xf32", "expected integers as indices, got f32"),
    ("grid_sample", "7x2xf32", "7x3xf32", "expected x [N, C, *S] and a grid [N, *O, 2], got 2x3x5x6 and 2x4x7x3"),
    ("grid_sample", "7x2xf32", "7x2xi64", "expected floats as coordinates, got i64"),
    ("grid_sample", '"cubic"', '"bicubic"', "expected mode to be one of nearest, linear, cubic, got bicubic"),
    ("grid_sample", '"border"', '"edge"', "expected padding to be one of zeros, border, reflection, got edge"),
    ("scatter", '"add"', '"sub"', "expected mode to be one of replace, add, mul, min, max, got sub"),
    ("scatter", "tensor<3x5xf32>", "tensor<2x5xf32>", "updates [m, w], got (4, 5), (3,) and (2, 5)"),
    ("scatter", "tensor<3x5xf32>", "tensor<3x5xf64>", "expected updates of f32, got f64"),
    ("scatter", "tensor<3xi64>", "tensor<3xf32>", "expected integers as indices, got f32"),
    ("top_k", "k 3", "k 6", "expected k in [0, 5], the size of axis 1, got 6"),
    ("top_k", "xi64", "xf32", "result should be tensor<2x3xi64>"),
    ("arg_pool", "kernel [3, 2]", "kernel [10, 2]", "a window spanning 10 does not fit an axis of 6"),
    ("scan", "scan prod", "scan max", "expected kind sum or prod, got max"),
    ("scan", "axis 0", "axis 2", "expected distinct axes in [0, 2), got 2"),
    ("elementwise", "clip", "leaky_relu", "leaky_relu takes the parameters ['alpha']"),
    ("elementwise", "clip(%x)", "add(%x)", "add takes 2 operands, got 1"),
    ("broadcasting", "7xf32>)", "3x7xf32>)", "do not broadcast"),
    ("broadcasting", "tensor<7xf32>", "tensor<7xf64>", "operands have the types f32 and f64"),
    ("predicate", "xi1", "xf32", "result should be tensor<5xi1>"),
    ("where", "4xi1", "4xf32", "expected a condition of i1, got f32"),
    ("pad", "pad reflect %x pads [0, 1, 0, -1]", "pad edge %x pads [0, 1, 0, -4]", "expected elements to pad with"),
    ("reshape", "3x4", "3x5", "holds 12 elements, (3, 5) holds 15"),
    ("transpose", "[1, 0, 2]", "[1, 1, 2]", "expected a permutation of 3 axes"),
    ("broadcast", "2x3x4", "2x2x4", "do not broadcast"),
    ("concat", "2x1", "3x1", "do not join along axis 1"),
    ("shuffle", "groups 2", "groups 4", "expected channels in 4 groups of one size, got (2, 6, 4)"),
    ("slice", "starts [1, 3]", "starts [2, 3]", "leave axis 0 of 2"),
    ("slice", "steps [1, -2]", "steps [1, 0]", "by 0 leave axis 1"),
    ("resize", '"linear"', '"lanczos"', "expected mode to be one of nearest, linear, cubic, got lanczos"),
    ("relayout", "NCHW8c", "NCW8c", "layout NCW8c has 3 axes, x 4"),
    ("relayout", "NCHW8c", "QCHW", "expected a layout such as"),
    ("kernel", "convc.yield %e : tensor<4xf32>", "", "is not a terminator"),
    ("kernel", "(tensor<4xf32>) -> tensor<4xf32> {", "(tensor<4xf32>) -> tensor<5xf32> {", "yielded values differ"),
]


@pytest.mark.parametrize(("name", "before", "after", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_both_sides(name, before, after, message):
    assert before in OPS[name]
    changed = OPS[name].replace(before, after)
    with pytest.raises((VerifyException, ParseError)) as caught:
        parse(wrap(changed))
    assert message in str(caught.value)


def test_a_kernel_holds_one_anchor():
    text = """builtin.module { func.func @main(%x: tensor<1x4x6x6xf32>) {
      %r = convc.kernel (%x) : (tensor<1x4x6x6xf32>) -> tensor<1x4x1x1xf32> {
      ^bb0(%a: tensor<1x4x6x6xf32>):
        %p = convc.pool max %a kernel [2, 2] strides [2, 2] pads [0, 0, 0, 0] dilations [1, 1]
          : (tensor<1x4x6x6xf32>) -> tensor<1x4x3x3xf32>
        %m = convc.reduce mean %p axes [2, 3] keepdims : (tensor<1x4x3x3xf32>) -> tensor<1x4x1x1xf32>
        convc.yield %m : tensor<1x4x1x1xf32>
      }
      func.return } }"""
    with pytest.raises(VerifyException, match=r"at most one anchor, this one holds convc.pool, convc.reduce"):
        parse(text)


def test_a_kernel_sees_nothing_of_what_surrounds_it():
    text = """builtin.module { func.func @main(%x: tensor<4xf32>) {
      %r = convc.kernel (%x) : (tensor<4xf32>) -> tensor<4xf32> {
      ^bb0(%a: tensor<4xf32>):
        convc.yield %x : tensor<4xf32>
      }
      func.return } }"""
    with pytest.raises(VerifyException):
        parse(text)
