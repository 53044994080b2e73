"""Reshapes, transposes, repeats, slices, joins and pads against onnxruntime."""

import numpy as np
import pytest
from onnx import helper


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("shape", [(6, 4), (-1,), (0, -1), (2, 0, 4), (4, -1, 1), (1, 24, 1, 1)])
def test_reshape(agrees, shape):
    agrees("Reshape", [(2, 3, 4), ints(*shape)])


def test_reshape_to_a_scalar_and_back(agrees):
    agrees("Reshape", [(1, 1), ints()])
    agrees("Reshape", [(), ints(1, 1)])


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_flatten(agrees, axis):
    agrees("Flatten", [(2, 3, 4)], opset=13, axis=axis)


@pytest.mark.parametrize(("shape", "axes"), [((1, 3, 1), [0]), ((1, 3, 1), [0, -1]), ((1, 3, 1), None), ((2, 1), [1])])
def test_squeeze(agrees, shape, axes):
    agrees("Squeeze", [shape], opset=11, **({} if axes is None else {"axes": axes}))
    agrees("Squeeze", [shape, *([] if axes is None else [ints(*axes)])], opset=13)


@pytest.mark.parametrize("axes", [[0], [-1], [1, 3], [3, 0], [-1, -2]])
def test_unsqueeze(agrees, axes):
    agrees("Unsqueeze", [(2, 3)], opset=11, axes=axes)
    agrees("Unsqueeze", [(2, 3), ints(*axes)], opset=13)


@pytest.mark.parametrize("options", [{}, {"perm": [1, 2, 0]}, {"perm": [0, 1, 2]}], ids=str)
def test_transpose(agrees, options):
    agrees("Transpose", [(2, 3, 4)], **options)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1), (2, 1, 1, 4), (3, 4)])
def test_expand(agrees, shape):
    agrees("Expand", [(3, 1), ints(*shape)])


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 3), (1, 2, 1), (3, 3, 3)])
def test_tile(agrees, repeats):
    agrees("Tile", [(2, 3, 1), ints(*repeats)])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(agrees, axis):
    shapes = {0: [(1, 3, 4), (2, 3, 4)], 1: [(2, 1, 4), (2, 2, 4), (2, 3, 4)], -1: [(2, 3, 1), (2, 3, 5)]}[axis]
    agrees("Concat", shapes, axis=axis)


def test_concat_leaves_empty_parts_out(agrees, operations, model_of):
    agrees("Concat", [(2, 3), np.zeros((2, 0), np.float32)], axis=1)
    node = helper.make_node("Concat", ["x", "none"], ["y"], axis=1)
    model = model_of([node], {"x": (2, 3)}, ["y"], weights={"none": np.zeros((2, 0), np.float32)})
    assert operations(model) == []


SPLITS = [
    (7, [], {"axis": 1}, 3),
    (11, [], {"axis": -1, "split": [1, 3]}, 2),
    (13, [ints(2, 1, 3)], {"axis": 1}, 3),
    (13, [], {"axis": 1}, 2),
    (18, [], {"axis": 1, "num_outputs": 4}, 4),
    (18, [], {"axis": 1, "num_outputs": 5}, 5),
    (13, [ints(6)], {"axis": 1}, 1),
]


@pytest.mark.parametrize(("opset", "operands", "options", "outputs"), SPLITS, ids=str)
def test_split(agrees, opset, operands, options, outputs):
    if options.get("num_outputs") == 5:  # 2, 2, 2 and nothing: onnxruntime refuses what the standard allows
        x = np.arange(12, dtype=np.float32).reshape(1, 12)
        want = [x[:, i : i + 3] for i in range(0, 12, 3)] + [x[:, 12:]]
        agrees("Split", [x], outputs=5, opset=opset, expected=want, **options)
        return
    agrees("Split", [(2, 6, 4), *operands], outputs=outputs, opset=opset, **options)


HUGE = 2**63 - 1
SLICES = [
    ((1,), (3,), None, None),
    ((1, 0), (2, HUGE), (0, 2), None),
    ((-2,), (HUGE,), (-1,), (1,)),
    ((0,), (HUGE,), (1,), (2,)),
    ((HUGE,), (-HUGE - 1,), (1,), (-1,)),
    ((-1,), (0,), (2,), (-2,)),
    ((4, 3), (1, 0), (1, 2), (-1, -3)),
    ((0,), (-1,), (1,), None),
    ((-100,), (100,), (1,), None),
    ((3,), (1,), (1,), (1,)),
]


@pytest.mark.parametrize("bounds", SLICES, ids=str)
def test_slice(agrees, bounds):
    starts, ends, axes, steps = bounds
    operands = [None if bound is None else ints(*bound) for bound in bounds]
    while operands[-1] is None:
        operands.pop()
    agrees("Slice", [(3, 5, 4), *operands])
    if steps is None:
        options = {} if axes is None else {"axes": axes}
        agrees("Slice", [(3, 5, 4)], opset=9, starts=starts, ends=ends, **options)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 0, 1), (1, 0, 0, 0, 2, 3), (0, -1, 1, 0, 0, -2)], ids=str)
def test_pad(agrees, mode, pads):
    agrees("Pad", [(3, 4, 5), ints(*pads)], opset=13, mode=mode)
    agrees("Pad", [(3, 4, 5)], opset=7, mode=mode, pads=list(pads))


@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 0, 1), (1, 0, 0, 0, 2, 3)], ids=str)
def test_pad_that_wraps(agrees, pads):
    """Without negative pads: onnxruntime wraps around what they take off."""
    agrees("Pad", [(3, 4, 5), ints(*pads)], opset=19, mode="wrap")


def test_pad_by_a_value_and_on_some_axes(agrees):
    agrees("Pad", [(3, 4)], opset=7, pads=[1, 0, 0, 2], value=2.5)
    agrees("Pad", [(3, 4), ints(1, 0, 0, 2), np.array(2.5, np.float32)], opset=13)
    agrees("Pad", [(3, 4), ints(1, 0, 0, 2), np.array([2.5], np.float32)], opset=13)
    agrees("Pad", [(3, 4, 5), ints(2, 1, 0, 1), None, ints(2, 0)], opset=18)
    agrees("Pad", [(3, 4, 5), ints(2, 1), np.array(-1, np.float32), ints(-1)], opset=18)


def test_pad_with_a_computed_value(agrees, live):
    for value in (np.float32(2.5), np.array([2.5], np.float32)):
        agrees("Pad", [(3, 4), ints(1, 0, -1, 2), live(np.asarray(value))], opset=13)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_and_back(agrees, mode):
    agrees("DepthToSpace", [(2, 12, 3, 4)], opset=13, blocksize=2, mode=mode)
    agrees("SpaceToDepth", [(2, 3, 4, 6)], opset=13, blocksize=2)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 0, 2])
def test_trilu_keeps_infinities_out(agrees, live, upper, k):
    x = np.full((2, 3, 4), np.inf, np.float32)
    agrees("Trilu", [live(x), *([] if k is None else [np.array(k)])], upper=upper)


@pytest.mark.parametrize("options", [{}, {"k": 1}, {"k": -1, "dtype": 7}], ids=str)
def test_eye_like(agrees, options):
    agrees("EyeLike", [(3, 4)], **options)


@pytest.mark.parametrize("options", [{}, {"start": 1}, {"start": -2, "end": -1}, {"end": 10}], ids=str)
def test_shape_and_size_are_known(agrees, options):
    agrees("Shape", [(2, 3, 4)], opset=15, **options)
    agrees("Size", [(2, 3, 4)])


def test_range_and_constant_of_shape(agrees):
    agrees("Range", [np.array(2.0, np.float32), np.array(9.0, np.float32), np.array(2.5, np.float32)])
    agrees("Range", [np.array(5), np.array(-5), np.array(-3)])
    agrees("ConstantOfShape", [ints(2, 3)])
    value = helper.make_tensor("value", 7, [1], [5])
    agrees("ConstantOfShape", [ints(2, 0, 3)], value=value)
