"""Which template computes an operation once all passes have run."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.text import main_function, parse
from convc.passes.registry import pipeline
from convc.pipeline import phases
from convc.targets.target import parse_target


def transposed(outputs: int, taps: int, stride: int, size: int) -> str:
    """A transposed convolution of 64 channels of 99 elements, which makes `size` of them."""
    x, w, y = "tensor<2x64x99xf32>", f"tensor<64x{outputs}x{taps}xf32>", f"tensor<2x{outputs}x{size}xf32>"
    return f"""func.func @main(%x: {x}) -> {y} {{
        %w = convc.weight @w : {w}
        %y = convc.conv_transpose %x, %w strides [{stride}] pads [0, 0] dilations [1] output_padding [0] group 1
          : ({x}, {w}) -> {y}
        func.return %y : {y}
    }}"""


NETWORKS = {
    "groups of half a vector": (
        "direct_conv",
        (32, 8, 3, 1),
        """func.func @main(%x: tensor<1x32x7x7xf32>) -> tensor<1x32x7x7xf32> {
            %w = convc.weight @w : tensor<32x8x3x1xf32>
            %y = convc.conv %x, %w strides [1, 1] pads [1, 0, 1, 0] dilations [1, 1] group 4
              : (tensor<1x32x7x7xf32>, tensor<32x8x3x1xf32>) -> tensor<1x32x7x7xf32>
            func.return %y : tensor<1x32x7x7xf32>
        }""",
    ),
    "outputs of a transposed convolution that fill vectors": (
        "transposed_conv",
        (64, 32, 3),
        transposed(outputs=32, taps=3, stride=2, size=199),
    ),
    "one output of a transposed convolution": (
        "plain_conv plain_conv",  # its phases
        (64, 1, 3),
        transposed(outputs=1, taps=3, stride=2, size=199),
    ),
    "one output of a transposed convolution whose phases fill half a vector": (
        "plain_conv",
        (64, 1, 16),
        transposed(outputs=1, taps=16, stride=8, size=800),
    ),
    "depthwise upsampling": (
        "plain_conv",
        (64, 1, 4, 4),
        """func.func @main(%x: tensor<1x64x14x14xf32>) -> tensor<1x64x28x28xf32> {
            %w = convc.weight @w : tensor<64x1x4x4xf32>
            %y = convc.conv_transpose %x, %w strides [2, 2] pads [1, 1, 1, 1] dilations [1, 1] output_padding [0, 0]
              group 64 : (tensor<1x64x14x14xf32>, tensor<64x1x4x4xf32>) -> tensor<1x64x28x28xf32>
            func.return %y : tensor<1x64x28x28xf32>
        }""",
    ),
}


DENSE = """func.func @main(%x: tensor<1x300xf32>) -> tensor<1x1000xf32> {
    %w = convc.weight @w : tensor<1000x300xf32>
    %y = convc.matmul %x, %w transpose_b : (tensor<1x300xf32>, tensor<1000x300xf32>) -> tensor<1x1000xf32>
    func.return %y : tensor<1x1000xf32>
}"""


@pytest.mark.parametrize("what", NETWORKS)
def test_what_passes_bring_to_a_template(what):
    expected, shape, text = NETWORKS[what]
    assert templates(shape, text, "cpu:skylake-avx512") == expected.split()


@pytest.mark.parametrize("target", ["cpu:skylake-avx512", "cpu:haswell", "cpu:x86-64-v2", "cpu:cortex-a76"])
def test_a_product_with_a_vector_has_a_template_whatever_the_registers(target):
    """Its weights lie in blocks of several vectors, which must fit the registers beside what they are multiplied by."""
    assert templates((1000, 300), DENSE, target) == ["packed_matmul"]


def templates(shape, text, target_name):
    """Those of a network of one weight, of such a shape."""
    context, target = CompilerContext(), parse_target(target_name)
    context.weights.add(np.random.default_rng(0).standard_normal(shape).astype(np.float32), "w")
    module = parse(f"builtin.module {{ {text} }}", context)
    for _, passes in phases(3, target):
        pipeline(passes).apply(context, module)
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp) and op.anchor]
    return [kernel.template.data for kernel in kernels]
