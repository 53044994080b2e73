"""The arithmetic of shapes and bounds against onnxruntime, over everything that a small tensor can be asked for."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SIZES = st.integers(1, 4)
SHAPES = st.lists(SIZES, min_size=1, max_size=4).map(tuple)
BOUND = st.one_of(st.integers(-8, 8), st.sampled_from([2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]))

few = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(st.data())
def test_slice(agrees, data):
    """All starts, ends and steps, in and far outside the axis, forwards and backwards."""
    shape = data.draw(SHAPES)
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda axis: axis % len(shape)))
    draw = lambda bound: np.array([data.draw(bound) for _ in axes], np.int64)  # noqa: E731
    starts, ends, steps = draw(BOUND), draw(BOUND), draw(st.sampled_from([1, 1, 2, 3, -1, -2, 7]))
    agrees("Slice", [shape, starts, ends, np.array(axes, np.int64), steps])


@few
@given(st.data())
def test_pad(agrees, data):
    shape = data.draw(SHAPES)
    mode = data.draw(st.sampled_from(["constant", "edge", "reflect", "wrap"]))
    pads = [data.draw(st.integers(0, size - 1 if mode in ("reflect", "wrap") else 3)) for size in shape * 2]
    agrees("Pad", [shape, np.array(pads, np.int64)], opset=19, mode=mode)


@few
@given(st.data())
def test_crop_by_negative_pads(agrees, data):
    shape = data.draw(SHAPES)
    begins = [data.draw(st.integers(-size + 1, 2)) for size in shape]
    ends = [data.draw(st.integers(-size + 1 - min(begin, 0), 2)) for size, begin in zip(shape, begins)]
    agrees("Pad", [shape, np.array(begins + ends, np.int64)], opset=19)


@few
@given(st.data())
def test_reshape(agrees, data):
    """Any factorisation, with an axis copied (0) or left open (-1)."""
    shape = data.draw(SHAPES)
    wanted, rest = [1] * data.draw(st.integers(0, 1)), int(np.prod(shape))
    while rest > 1:
        factor = data.draw(st.sampled_from([n for n in range(2, rest + 1) if rest % n == 0]))
        wanted.append(factor)
        rest //= factor
    open_axis = data.draw(st.integers(0, len(wanted)))
    if open_axis < len(wanted):
        wanted[open_axis] = -1
    copied = [axis for axis, (a, b) in enumerate(zip(shape, wanted)) if a == b]
    for axis in data.draw(st.lists(st.sampled_from(copied), unique=True)) if copied else []:
        wanted[axis] = 0
    agrees("Reshape", [shape, np.array(wanted, np.int64)])


@few
@given(st.data())
def test_broadcasting(agrees, data):
    shape = data.draw(SHAPES)
    smaller = [size if data.draw(st.booleans()) else 1 for size in shape]
    smaller = tuple(smaller[data.draw(st.integers(0, len(shape))) :])
    agrees("Sub", data.draw(st.permutations([shape, smaller])))
    agrees("Expand", [smaller, np.array(shape, np.int64)])


@few
@given(st.data())
def test_gather(agrees, data):
    shape = data.draw(SHAPES)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    index = st.integers(-shape[axis], shape[axis] - 1)
    indices = np.array(data.draw(st.lists(index, min_size=1, max_size=12)))
    if indices.size % 2 == 0 and data.draw(st.booleans()):
        indices = indices.reshape(2, -1)
    agrees("Gather", [shape, indices], axis=axis)


@few
@given(st.data())
def test_windows(agrees, data):
    """The sizes of convolutions and pools: any kernel that fits, with any stride, padding and dilation."""
    size, kernel, dilation = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    pads = [data.draw(st.integers(0, kernel - 1)) for _ in range(2)]
    if size + sum(pads) < dilation * (kernel - 1) + 1:
        return
    window = {
        "kernel_shape": [kernel],
        "strides": [data.draw(st.integers(1, 4))],
        "dilations": [dilation],
        "pads": pads,
    }
    agrees("Conv", [(1, 2, size), (3, 2, kernel)], **window)
    ceil_mode = data.draw(st.integers(0, 1))
    agrees("MaxPool", [(1, 2, size)], opset=12, ceil_mode=ceil_mode, **window)
    options = {"ceil_mode": ceil_mode, "count_include_pad": data.draw(st.integers(0, 1)), **window}
    agrees("AveragePool", [(1, 2, size)], opset=19, **options)


@few
@given(st.data())
def test_transposed_windows(agrees, data):
    size, kernel, dilation = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    stride = data.draw(st.integers(1, 3))
    full = stride * (size - 1) + dilation * (kernel - 1) + 1
    window = {"strides": [stride], "dilations": [dilation]}
    match data.draw(st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER"])):
        case "pads":
            window["pads"] = [data.draw(st.integers(0, (full - 1) // 2)) for _ in range(2)]
            window["output_padding"] = [data.draw(st.integers(0, stride - 1))]
        case "output_shape":
            window["output_shape"] = [data.draw(st.integers(1, full))]
        case mode:
            window["auto_pad"] = mode
    agrees("ConvTranspose", [(1, 2, size), (2, 3, kernel)], **window)


@few
@given(st.data())
def test_resize(agrees, data):
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    coordinates = st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
    options = {"mode": mode, "coordinate_transformation_mode": data.draw(coordinates)}
    shape = (1, 1, data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6)))
    if mode == "nearest":  # at exact halves a rounding error decides: sizes that divide have none
        factors = [data.draw(st.sampled_from([1, 2, 4])) for _ in range(2)]
        options["nearest_mode"] = data.draw(st.sampled_from(["round_prefer_floor", "floor", "ceil"]))
        sizes = [1, 1, shape[2] * factors[0], shape[3] * factors[1]]
    else:
        sizes = [1, 1, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))]
    agrees("Resize", [shape, None, None, np.array(sizes)], opset=13, tolerance=2e-4, **options)


@few
@given(st.data())
def test_reduce(agrees, data):
    shape = data.draw(SHAPES)
    axes = data.draw(
        st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, unique_by=lambda axis: axis % len(shape))
    )
    agrees("ReduceMean", [shape, np.array(axes)], keepdims=data.draw(st.integers(0, 1)))


LABELS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True).map("".join)


@few
@given(LABELS, LABELS, st.data())
def test_einsum(agrees, left, right, data):
    sizes = dict(zip("abcd", (2, 3, 4, 5)))
    labels = sorted(set(left + right))
    result = "".join(data.draw(st.permutations(data.draw(st.lists(st.sampled_from(labels), unique=True)))))
    shapes = [tuple(sizes[label] for label in term) for term in (left, right)]
    agrees("Einsum", shapes, equation=f"{left},{right}->{result}")
