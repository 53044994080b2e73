"""The text by which kernels that compute the same are known."""

from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text, main_function, parse

KERNEL = """
builtin.module {{
  func.func @main(%x: tensor<1x4x8x8xf32>, %w: tensor<4x{c}x6x6xf32>) -> tensor<1x4x{h}x{h}xf32> {{
    %y = convc.kernel(%x, %w) : (tensor<1x4x8x8xf32>, tensor<4x{c}x6x6xf32>) -> tensor<1x4x{h}x{h}xf32> {{
    ^bb0(%a: tensor<1x4x8x8xf32>, %b: tensor<4x{c}x6x6xf32>):
      %c = convc.winograd_conv %a, %b pads [1, 1, 1, 1] m 4 {more}
        : (tensor<1x4x8x8xf32>, tensor<4x{c}x6x6xf32>) -> tensor<1x4x{h}x{h}xf32>
      convc.yield %c : tensor<1x4x{h}x{h}xf32>
    }}
    func.return %y : tensor<1x4x{h}x{h}xf32>
  }}
}}
"""


def text(more="", c=4, h=8):
    block = main_function(parse(KERNEL.format(more=more, c=c, h=h))).body.block
    (kernel,) = (op for op in block.ops if isinstance(op, KernelOp))
    return kernel_text(kernel)


def test_a_property_at_its_default_is_left_out_so_that_older_measurements_are_found():
    assert text() == text("group 1")
    assert "stride" not in text()
    assert "m=4 : i64" in text()


def test_any_other_property_tells_kernels_apart():
    assert len({text(), text("strides [2, 2]", h=4), text("group 2", c=2)}) == 3
    assert "strides=array<i64: 2, 2>" in text("strides [2, 2]", h=4)
    assert "group=2 : i64" in text("group 2", c=2)
