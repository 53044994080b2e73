"""Layouts: where the elements of a logical tensor lie in memory."""

import numpy as np
import pytest

from convc.ir.layout import (
    Layout,
    blocked_activation,
    blocked_weight,
    channel_block,
    channel_chunk,
    chunked_activation,
)

CASES = [
    ("NCHW", (2, 3, 5, 7)),
    ("NHWC", (2, 3, 5, 7)),
    ("NCHW8c", (1, 16, 4, 4)),
    ("NCHW8c", (2, 13, 3, 1)),  # 13 channels: the second block is mostly padding
    ("NCHW16c", (1, 5, 2, 2)),
    ("NCW8c", (1, 11, 9)),
    ("CNHW8c", (3, 13, 3, 2)),  # the images of a batch side by side in each block
    ("NCDHW4c", (1, 6, 2, 3, 2)),
    ("OIHW8i8o", (13, 3, 3, 3)),
    ("OIHW8o", (20, 1, 3, 3)),
    ("OI8o", (10, 7)),
    ("O8o", (10,)),
    ("OIHW4i8o2i", (9, 9, 1, 1)),  # the input channels blocked twice, as bf16 kernels want them
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_element_lies_where_physical_index_says(name, shape):
    layout = Layout.parse(name)
    array = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    packed = layout.pack(array)
    assert packed.shape == layout.physical_shape(shape)
    assert packed.flags.c_contiguous
    for index in np.ndindex(*shape):
        assert packed[layout.physical_index(index)] == array[index]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_padding_holds_zeros(name, shape):
    layout = Layout.parse(name)
    packed = layout.pack(np.ones(shape, np.float32))
    assert packed.sum() == np.prod(shape)
    assert layout.pads(shape) == (packed.size != np.prod(shape))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_unpack_inverts_pack(name, shape):
    layout = Layout.parse(name)
    array = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(layout.unpack(layout.pack(array), shape), array)


def test_logical_index_inverts_physical_index():
    layout = Layout.parse("NCHW8c")
    for index in np.ndindex(2, 13, 3, 3):
        assert layout.logical_index(layout.physical_index(index)) == index


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", 'expected a layout such as "NCHW" or "NCHW8c", got ""'),
        ("NCHW8", "expected a layout"),
        ("NCHWC", "expected a layout"),
        ("NCHW0c", "expected a layout"),
        ("NXHW", "expected a layout"),
        ("NCHW8o", "blocks axis O, which it does not have"),
    ],
)
def test_what_is_no_layout_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        Layout.parse(name)


def test_named_constructors():
    assert [str(blocked_activation(rank, 8)) for rank in (3, 4, 5)] == ["NCW8c", "NCHW8c", "NCDHW8c"]
    assert [str(chunked_activation(rank, 4)) for rank in (3, 4, 5)] == ["CNW4c", "CNHW4c", "CNDHW4c"]
    assert str(blocked_weight(4, 16, 8)) == "OIHW8i16o"
    assert str(blocked_weight(4, 16)) == "OIHW16o"
    assert str(blocked_weight(2, 8)) == "OI8o"


def test_blocks_of_channels_are_told_from_chunks():
    layouts = [*map(Layout.parse, ("NCHW8c", "CNHW8c", "CNHW", "OIHW8o", "CNHW4c2c")), None]
    assert [channel_block(layout) for layout in layouts] == [8, 0, 0, 0, 0, 0]
    assert [channel_chunk(layout) for layout in layouts] == [0, 8, 0, 0, 0, 0]
