"""In which layout a CPU computes what could be in either, by the model and by what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import pytest

from convc.ir.attributes import layout_of
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text, main_function, parse
from convc.passes.layouts import alternatives
from convc.passes.registry import pipeline
from convc.targets.choosing import candidates
from convc.targets.cpu.layout_costs import Cycles
from convc.targets.cpus import parse_cpu
from convc.targets.measurements import Record

TARGET = "cpu:skylake-avx512"
CONV = "strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1"


def layouts(text: str) -> list[str]:
    """Those of the results of a network's kernels."""
    context = CompilerContext()
    module = parse(f"builtin.module {{ func.func @main{text} }}", context)
    pipeline(f'fuse,assign-layouts{{channel_block=16 target="{TARGET}"}}').apply(context, module)
    module.verify()
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    return [str(layout_of(kernel.outputs[0]) or "NCHW") for kernel in kernels]


def pool(shape: str) -> str:
    """A network that is a pool of three elements along each axis in space, of as many results as it reads."""
    axes = shape.count("x") - 2
    three, one, pads = [3] * axes, [1] * axes, [1, 1] * axes
    return f"""(%x: tensor<{shape}>) -> tensor<{shape}> {{
      %y = convc.pool max %x kernel {three} strides {one} pads {pads} dilations {one}
        : (tensor<{shape}>) -> tensor<{shape}>
      func.return %y : tensor<{shape}>
    }}"""


def test_a_single_output_is_computed_where_its_input_lies() -> None:
    """After a convolution that is blocked, change one channel's layout, not those of all inputs."""
    found = layouts(f"""(%x: tensor<1x64x40x40xf32>) -> tensor<1x1x40x40xf32> {{
      %w = convc.weight @w : tensor<64x64x1x1xf32>
      %v = convc.weight @v : tensor<1x64x1x1xf32>
      %a = convc.conv %x, %w {CONV} : (tensor<1x64x40x40xf32>, tensor<64x64x1x1xf32>) -> tensor<1x64x40x40xf32>
      %y = convc.conv %a, %v {CONV} : (tensor<1x64x40x40xf32>, tensor<1x64x1x1xf32>) -> tensor<1x1x40x40xf32>
      func.return %y : tensor<1x1x40x40xf32>
    }}""")
    assert found == ["NCHW16c", "NCHW16c"]


def test_a_few_outputs_of_a_plain_value_are_plain() -> None:
    found = layouts(f"""(%x: tensor<1x24x40x40xf32>) -> tensor<1x2x40x40xf32> {{
      %v = convc.weight @v : tensor<2x24x1x1xf32>
      %y = convc.conv %x, %v {CONV} : (tensor<1x24x40x40xf32>, tensor<2x24x1x1xf32>) -> tensor<1x2x40x40xf32>
      func.return %y : tensor<1x2x40x40xf32>
    }}""")
    assert found == ["NCHW"]


def test_strides_make_vectors_along_the_width_dear() -> None:
    strided = CONV.replace("[1, 1] pads [0, 0, 0, 0]", "[2, 2] pads [1, 1, 1, 1]")
    found = layouts(f"""(%x: tensor<1x3x48x192xf32>) -> tensor<1x8x24x96xf32> {{
      %v = convc.weight @v : tensor<8x3x3x3xf32>
      %y = convc.conv %x, %v {strided} : (tensor<1x3x48x192xf32>, tensor<8x3x3x3xf32>) -> tensor<1x8x24x96xf32>
      func.return %y : tensor<1x8x24x96xf32>
    }}""")
    assert found == ["NCHW16c"]


def test_a_small_pool_stays_as_it_is() -> None:
    """Along the width all lanes of vectors are full; in a block of channels half of them are empty."""
    found = layouts(pool("1x8x40x40xf32"))
    assert found == ["NCHW"]


def test_a_small_pool_of_volumes_stays_as_it_is() -> None:
    found = layouts(pool("1x8x12x12x40xf32"))
    assert found == ["NCHW"]  # as all plain ones


def test_a_small_pool_without_a_template_is_blocked_where_its_window_costs_more_than_two_relayouts() -> None:
    """Of half precision there is none in plain layout; half of the vectors' lanes are empty."""
    found = layouts(pool("1x8x12x12x12xf16"))
    assert found == ["NCDHW16c"]


class Known:
    """Implements `Measurements`, by the text of kernels."""

    def __init__(self, times: dict[str, Record]) -> None:
        self.times = times

    def records(self, texts: Sequence[str]) -> list[list[Record]]:
        return [[self.times[text]] if text in self.times else [] for text in texts]


@pytest.fixture(name="forms")
def _forms() -> list[KernelOp]:
    """A convolution of few outputs, blocked and plain."""
    context = CompilerContext()
    module = parse(
        f"""builtin.module {{ func.func @main(%x: tensor<1x24x40x40xf32>) -> tensor<1x2x40x40xf32> {{
          %v = convc.weight @v : tensor<2x24x1x1xf32>
          %y = convc.conv %x, %v {CONV} : (tensor<1x24x40x40xf32>, tensor<2x24x1x1xf32>) -> tensor<1x2x40x40xf32>
          func.return %y : tensor<1x2x40x40xf32>
        }} }}""",
        context,
    )
    pipeline("fuse").apply(context, module)
    kernel = next(op for op in main_function(module).body.block.ops if isinstance(op, KernelOp))
    return alternatives(kernel, 16, chunks=False)


def costs(forms: list[KernelOp], *results: float | str | None) -> Sequence[float]:
    """Of a kernel's forms, where so many ns were measured for each, or it failed, or nothing is known."""
    target, times = parse_cpu(TARGET), {}
    for form, result in zip(forms, results, strict=True):
        template, config = next(iter(candidates(form, target)))
        if isinstance(result, str):
            times[kernel_text(form)] = Record(template, config, "wrong")
        elif result is not None:
            times[kernel_text(form)] = Record(template, config, "ok", result)
    return Cycles(target, Known(times), cold=False).kernel(forms)


def test_times_count_if_those_of_all_layouts_are_known(forms: list[KernelOp]) -> None:
    modelled = costs(forms, None, None)
    assert len(modelled) == 2
    assert costs(forms, 1.0, None) == costs(forms, None, 1e9) == modelled
    blocked, plain = costs(forms, 100.0, 300.0)
    assert plain == pytest.approx(3 * blocked)
    assert blocked + plain == pytest.approx(sum(modelled)), "times are brought to the scale of the model"


def test_what_failed_is_not_chosen(forms: list[KernelOp]) -> None:
    blocked, plain = costs(forms, "wrong", 100.0)
    assert (blocked, np.isfinite(plain)) == (inf, True)


def test_a_kernel_with_one_layout_has_nothing_to_choose(forms: list[KernelOp]) -> None:
    assert costs(forms[:1], 100.0) == [0.0]


def resized(coordinates: str, height: int, width: int) -> str:
    """The layout in which a plain image of 19 channels of 32 x 32 points is resized by lines between them."""
    (found,) = layouts(f"""(%x: tensor<1x19x32x32xf32>) -> tensor<1x19x{height}x{width}xf32> {{
      %y = convc.resize %x mode "linear" coordinates "{coordinates}" nearest "floor"
        scales [1.0 : f64, 1.0 : f64, {height / 32} : f64, {width / 32} : f64] roi [] cubic_coeff -0.75 : f64
        extrapolation 0.0 : f64 exclude_outside 0 antialias 0
        : (tensor<1x19x32x32xf32>) -> tensor<1x19x{height}x{width}xf32>
      func.return %y : tensor<1x19x{height}x{width}xf32>
    }}""")
    return found


def test_a_resize_whose_loads_are_gathers_is_blocked() -> None:
    """Channels lie side by side in blocks; in rows the inputs of neighbouring points follow no stride."""
    assert resized("align_corners", 128, 128) == "NCHW16c"
    assert resized("half_pixel", 80, 80) == "NCHW16c"


def test_a_resize_by_whole_numbers_is_as_good_in_rows() -> None:
    assert resized("half_pixel", 128, 128) == "NCHW"
