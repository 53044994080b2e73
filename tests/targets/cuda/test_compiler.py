"""CUDA C++ to machine code, and targets by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from convc.runtime.cuda import driver
from convc.runtime.cuda.driver import Gpu
from convc.targets.cuda import compiler
from convc.targets.cuda.compiler import compile_cuda
from convc.targets.cuda.target import CudaTarget, cuda_names, parse_cuda
from convc.targets.target import TargetError, parse_target, target_from_dict
from convc.targets.toolchain import ToolchainError

KERNEL = 'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }\n'


@pytest.mark.parametrize("name", [name for name in cuda_names() if name < "cuda:sm_9" or "90" in name])
def test_machine_code_of_every_architecture(name: str) -> None:
    made = compile_cuda(KERNEL, parse_cuda(name).arch, ["twice"])
    assert made.cubin[:4] == b"\x7fELF"
    taken = made.resources["twice"]
    assert 0 < taken.registers < 32
    assert (taken.shared_bytes, taken.stack_bytes, taken.spilled_bytes) == (0, 0, 0)


def test_what_does_not_compile_is_one_line() -> None:
    with pytest.raises(ToolchainError, match=r"NVRTC \d+\.\d+ failed: .*error: .*nothing"):
        compile_cuda('extern "C" __global__ void twice(float *x) { nothing; }\n', "sm_80", ["twice"])


def test_a_function_that_is_not_there_is_missed() -> None:
    with pytest.raises(ToolchainError, match="made no machine code of thrice"):
        compile_cuda(KERNEL, "sm_80", ["twice", "thrice"])


def test_without_nvrtc_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_libraries", lambda: iter(()))
    compiler._nvrtc.cache_clear()
    try:
        with pytest.raises(ToolchainError, match=r"expected NVRTC .*, found none: pip install 'convc\[cuda\]'"):
            compile_cuda(KERNEL, "sm_80", ["twice"])
    finally:
        compiler._nvrtc.cache_clear()


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks"),
    [
        (256, 32, 0, 8),  # of 2048 threads
        (288, 96, 0, 2),  # 20 warps have so many registers
        (288, 97, 0, 1),  # 16 warps have 104, though 18 would fit into all that there are
        (128, 128, 0, 4),
        (128, 168, 0, 3),
        (160, 58, 116 << 10, 1),
        (160, 58, 113 << 10, 2),  # and 1 KiB each
    ],
)
def test_blocks_of_a_multiprocessor(threads: int, registers: int, shared: int, blocks: int) -> None:
    """As CUDA's occupancy calculator says of compute capability 9.0."""
    assert parse_cuda("cuda:sm_90a").resident(threads, registers, shared) == blocks


def test_a_gpu_whose_driver_knows_no_clock_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those say whose memory is the host's."""
    says = Gpu("Orin", (8, 7), 8, 163 << 10, 164 << 10, 1536, 2 << 20, 0.0, 1.3e9)
    monkeypatch.setattr(driver, "Driver", lambda: SimpleNamespace(describe=lambda: says))
    assert parse_cuda("cuda").bandwidth == parse_cuda("cuda:sm_87").bandwidth > 0


def test_targets_by_name() -> None:
    target = parse_target("cuda:sm_90a")
    assert isinstance(target, CudaTarget)
    assert (target.kind, target.arch, target.capability, target.tf32) == ("cuda", "sm_90a", (9, 0), False)
    assert target_from_dict(target.to_dict()) == target
    assert parse_cuda("cuda:sm_80+tf32") == parse_cuda("cuda:sm_80").with_tf32()
    assert parse_cuda("cuda:sm_120").capability == (12, 0)
    for wrong in ("cuda:", "cuda:sm_75", "cuda:sm_90a+fp8", "cuda sm_80"):
        with pytest.raises(TargetError, match="unknown target"):
            parse_target(wrong)
