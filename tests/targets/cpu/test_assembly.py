"""The machine code of the hot loops: multiply-adds of full vectors, sums that stay in registers, no calls."""

from __future__ import annotations

import re

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.targets.cpu.codegen import lowered
from convc.targets.cpu.conv_depthwise import ConvDepthwise
from convc.targets.cpu.depthwise import Depthwise
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.injective import Injective
from convc.targets.cpu.matmul import PackedMatMul, PlainMatMul
from convc.targets.cpu.plain_conv import PlainConv
from convc.targets.cpu.transposed_conv import TransposedConv
from convc.targets.target import parse_target

FULL = {"cpu:skylake-avx512": "zmm", "cpu:haswell": "ymm", "cpu:cortex-a76": ".4s"}
"""Targets, and what names one of their full vectors."""

_MULTIPLY_ADD = re.compile(r"vfn?madd\w*ps|fmla\s")
_JUMP = re.compile(r"(?:j\w+|b|b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.L\w+)")
_VECTOR = re.compile(r"[xyz]mm\d|\b[qv]\d")


def hot_loop(assembly: str) -> list[str]:
    """From the first to the last multiply-add of the innermost loop that has most of them."""
    body = whole_loop(assembly)
    places = [i for i, line in enumerate(body) if is_multiply_add(line)]
    return body[places[0] : places[-1] + 1]


def whole_loop(assembly: str) -> list[str]:
    """The innermost loop that has most multiply-adds."""
    return max(inner_loops(assembly), key=lambda lines: sum(map(is_multiply_add, lines)))


def inner_loops(assembly: str) -> list[list[str]]:
    code = [re.split("#|//", line)[0].strip() for line in assembly.splitlines()]
    code = [line for line in code if line and (line.endswith(":") or not line.startswith("."))]
    place = {line[:-1]: i for i, line in enumerate(code) if line.endswith(":")}
    jumps = ((i, _JUMP.fullmatch(line)) for i, line in enumerate(code))
    loops = [(place[jump[1]], i) for i, jump in jumps if jump and place.get(jump[1], i) < i]
    inner = [loop for loop in loops if not any(other != loop and encloses(loop, other) for other in loops)]
    return [code[begin:end] for begin, end in inner]


def on_the_stack(lines: list[str]) -> list[str]:
    """Those that move vectors from or to the stack."""
    return [line for line in lines if re.search(r"%rsp|\bsp\b", line) and _VECTOR.search(line)]


def encloses(loop: tuple[int, int], other: tuple[int, int]) -> bool:
    return loop[0] <= other[0] and other[1] <= loop[1]


def is_multiply_add(line: str) -> bool:
    return _MULTIPLY_ADD.match(line) is not None


def activations(b, c, h):
    return ((1, c, h, h), "float32", f"NCHW{b}c")


def conv(c, o, h, k, stride=1):
    def kernel(build_kernel, b):
        operands = [activations(b, c, h), ((o, c, k, k), "float32", f"OIHW{b}i{b}o"), ((o,), "float32", f"O{b}o")]
        attributes = {"strides": (stride, stride), "pads": (k // 2,) * 4}
        return build_kernel(operands, lambda x, w, bias: ConvOp(x, w, bias, **attributes).result, f"NCHW{b}c")

    return DirectConv(), kernel


def first_layer(o, h, k, stride=2):
    def kernel(build_kernel, b):
        operands = [((1, 3, h, h), "float32"), ((o, 3, k, k), "float32", f"OIHW{b}o")]
        attributes = {"strides": (stride, stride), "pads": (k // 2,) * 4}
        return build_kernel(operands, lambda x, w: ConvOp(x, w, **attributes).result, f"NCHW{b}c")

    return DirectConv(), kernel


def waveform(o, n, k):
    def kernel(build_kernel, b):
        operands = [((1, 1, n), "float32"), ((o, 1, k), "float32", f"OIW{b}o")]
        return build_kernel(operands, lambda x, w: ConvOp(x, w).result, f"NCW{b}c")

    return DirectConv(), kernel


def depthwise(c, h, k, stride=1):
    def kernel(build_kernel, b):
        operands = [activations(b, c, h), ((c, 1, k, k), "float32", f"OIHW{b}o")]
        attributes = {"group": c, "strides": (stride, stride), "pads": (k // 2,) * 4}
        return build_kernel(operands, lambda x, w: ConvOp(x, w, **attributes).result, f"NCHW{b}c")

    return Depthwise(), kernel


def silu(value):
    return ElementwiseOp(Fn.SILU, value).result


def expansion(c, o, h):
    """A 1x1 convolution and the depthwise one that reads it, both with SiLU: an exponential in each."""

    def kernel(build_kernel, b):
        operands = [activations(b, c, h), ((o, c, 1, 1), "float32", f"OIHW{b}i{b}o")]
        alone = build_kernel(operands, lambda x, w: silu(ConvOp(x, w).result), f"NCHW{b}c")

        def both(w, *inputs):
            inner = KernelOp(inputs, alone.body.clone(), [alone.outputs[0].type])
            return silu(ConvOp(inner.outputs[0], w, group=o, pads=(1, 1, 1, 1)).result)

        return build_kernel([((o, 1, 3, 3), "float32", f"OIHW{b}o"), *operands], both, f"NCHW{b}c")

    return ConvDepthwise(), kernel


def transposed(c, h):
    def kernel(build_kernel, b):
        operands = [activations(b, c, h), ((c, c, 2, 2), "float32", f"HWIO{b}o{b}i")]
        return build_kernel(operands, lambda x, w: ConvTransposeOp(x, w, strides=(2, 2)).result, f"NCHW{b}c")

    return TransposedConv(), kernel


def grouped(c, h):
    def kernel(build_kernel, b):
        operands = [((1, c, h, h), "float32"), ((c, c // 3, 3, 3), "float32")]
        return build_kernel(operands, lambda x, w: ConvOp(x, w, group=3, pads=(1, 1, 1, 1)).result)

    return PlainConv(), kernel


def packed(m, k, n):
    def kernel(build_kernel, b):
        operands = [((m, k), "float32"), ((n, k), "float32", f"OI{b}o")]
        return build_kernel(operands, lambda x, w: MatMulOp(x, w, transpose_b=True).result)

    return PackedMatMul(), kernel


def dense(k, n):
    """A product of one row, with a weight in blocks of as many vectors as `assign-layouts` takes."""

    def kernel(build_kernel, b):
        operands = [((1, k), "float32"), ((n, k), "float32", f"OI{8 * b}o")]
        return build_kernel(operands, lambda x, w: MatMulOp(x, w, transpose_b=True).result)

    return PackedMatMul(), kernel


def plain(m, k, n):
    def kernel(build_kernel, b):
        return build_kernel([((m, k), "float32"), ((k, n), "float32")], lambda x, y: MatMulOp(x, y).result)

    return PlainMatMul(), kernel


CASES = {
    "3x3 at 56": conv(64, 64, 56, 3),
    "3x3 at 55": conv(64, 64, 55, 3),
    "3x3 at 27": conv(64, 64, 27, 3),
    "3x3 at 14": conv(256, 256, 14, 3),
    "3x3 at 7": conv(512, 512, 7, 3),
    "3x3 stride 2": conv(64, 128, 56, 3, 2),
    "5x5 at 27": conv(64, 64, 27, 5),
    "1x1 at 56": conv(64, 256, 56, 1),
    "1x1 at 14": conv(256, 1024, 14, 1),
    "1x1 at 7": conv(512, 2048, 7, 1),
    "first 7x7": first_layer(64, 224, 7),
    "first 3x3": first_layer(32, 224, 3),
    "first 3x3 of three blocks": first_layer(24, 224, 3),
    "first 3x3 stride 1": first_layer(64, 224, 3, 1),
    "depthwise at 56": depthwise(64, 56, 3),
    "depthwise at 14": depthwise(256, 14, 3),
    "depthwise stride 2": depthwise(64, 56, 3, 2),
    "depthwise 5x5": depthwise(256, 7, 5),
    "transposed": transposed(64, 28),
    "grouped": grouped(24, 28),
    "product": packed(128, 256, 512),
    "product of odd rows": packed(197, 768, 768),
    "dense layer": dense(2048, 1000),
    "plain product": plain(64, 64, 96),
    "plain product of odd columns": plain(197, 64, 197),
}
SPILL = {
    ("cpu:haswell", "first 3x3 of three blocks"),
    ("cpu:haswell", "depthwise at 56"),
}
"""Loops that LLVM unrolls over all taps: it then keeps some weights or inputs on the stack, which costs what loading
them again would. Tiles small enough to avoid it were no faster (measured with AVX2 on one core)."""


@pytest.mark.parametrize("target", FULL)
@pytest.mark.parametrize("case", CASES)
def test_the_hot_loop_is_multiply_adds_in_registers(case, target, build_kernel):
    described, (template, make) = parse_target(target), CASES[case]
    kernel = make(build_kernel, described.lanes())
    config = template.candidates(kernel, described)[0]
    code = lowered({"kernel": template.schedule(kernel, config, described)}, described).inspect_source("asm")
    body = hot_loop(code)
    multiply_adds = [line for line in body if is_multiply_add(line)]
    stack = on_the_stack(body)

    assert all(FULL[target] in line for line in multiply_adds)
    assert len(body) <= 2.5 * len(multiply_adds)
    assert not [line for line in body if "gather" in line or re.match(r"call|bl\s", line)]
    if template.name in ("direct_conv", "transposed_conv", "packed_matmul"):
        tile = config["height"] * config["width"] * config["blocks"]
        assert len(multiply_adds) % tile == 0, f"{len(multiply_adds)} for a tile of {tile}"
    if (target, case) in SPILL:
        assert len(stack) <= len(multiply_adds) / 3
    else:
        assert not stack, "vectors go to the stack and back"


@pytest.mark.parametrize("target", FULL)
def test_sums_are_in_registers_before_an_epilogue_of_many_constants(target, build_kernel):
    """LLVM kept the constants of an exponential there, and loaded and stored every sum; on aarch64 also what the next
    steps multiply, loaded in pairs."""
    described, (template, make) = parse_target(target), expansion(16, 96, 112)
    kernel = make(build_kernel, described.lanes())
    config = template.candidates(kernel, described)[0]
    code = lowered({"kernel": template.schedule(kernel, config, described)}, described).inspect_source("asm")
    tile = config["columns"] * config["blocks"]
    loops = [loop for loop in inner_loops(code) if (sums := sum(map(is_multiply_add, loop))) and sums % tile == 0]
    assert loops
    assert not any(map(on_the_stack, loops))


def test_long_windows_of_a_waveform_keep_their_sums_in_registers(build_kernel):
    """LLVM wrote two taps out, loaded once what they share, and put the sums on the stack."""
    described, (template, make) = parse_target("cpu:znver3"), waveform(80, 4000, 251)
    kernel = make(build_kernel, described.lanes())
    config = template.candidates(kernel, described)[0]
    code = lowered({"kernel": template.schedule(kernel, config, described)}, described).inspect_source("asm")
    body = hot_loop(code)
    assert sum(map(is_multiply_add, body)) >= 2 * config["width"] * config["blocks"]
    assert not on_the_stack(body)


@pytest.mark.parametrize("target", ["cpu:haswell", "cpu:skylake-avx512"])
@pytest.mark.parametrize("band", [4, 5])
def test_bands_that_do_not_divide_the_rows_keep_addresses_in_registers(band, target, build_kernel):
    """LLVM's strength reduction made a variable of every address, and kept 900 of them on the stack."""
    described, (template, make) = parse_target(target), conv(128, 128, 56, 3, 2)
    kernel = make(build_kernel, described.lanes())
    config = {**template.candidates(kernel, described)[0], "band": band}
    code = lowered({"kernel": template.schedule(kernel, config, described)}, described).inspect_source("asm")
    assert len(re.findall(r"%rsp", code)) <= 100


@pytest.mark.parametrize("case", ["3x3 at 7", "1x1 at 7"])
def test_weights_from_memory_are_asked_for_before_their_tiles_begin(case, build_kernel):
    """A line of the next output blocks for each two vectors of these: 4 tiles, of 2 blocks, share the asking."""
    described, (template, make) = parse_target("cpu:skylake-avx512"), CASES[case]
    kernel = make(build_kernel, described.lanes())
    config = template.candidates(kernel, described)[0]
    assert (config["height"], config["width"], config["blocks"]) == (2, 7, 2)
    code = lowered({"kernel": template.schedule(kernel, config, described)}, described).inspect_source("asm")
    body = whole_loop(code)
    steps = sum(map(is_multiply_add, body)) / 28
    assert sum("prefetcht0" in line for line in body) == 2 * steps
    assert sum("prefetcht1" in line for line in body) == steps


@pytest.mark.parametrize("target", FULL)
@pytest.mark.parametrize("fn", [Fn.ATAN, Fn.COS, Fn.POW, Fn.SIN])
def test_functions_of_the_c_library_are_written_out(fn, target, build_kernel):
    """It would be called once for each lane of a vector."""
    operands = [((4096,), "float32")] * (2 if fn is Fn.POW else 1)
    kernel = build_kernel(operands, lambda *x: ElementwiseOp(fn, *x).result)
    cpu = parse_target(target)
    function = Injective().schedule(kernel, {}, cpu)
    assembly = lowered({"kernel": function}, cpu).inspect_source("asm")
    assert not re.search(r"\b(atan|cos|pow|sin)f", assembly)
