"""The emulated CUDA device: kernels compute what they would on a device, and fail where they would."""

import ctypes
from ctypes import byref, c_float, c_int

import numpy as np
import pytest

from convc.targets.cuda.emulator import build
from convc.targets.toolchain import ToolchainError

SAXPY = """
extern "C" __global__ void __launch_bounds__(128) saxpy(int n, float a, const float* __restrict__ x, float* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
"""


def random(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def test_threads_without_barriers(device):
    x, y = random(1000), random(1000)
    _, after = device.run(SAXPY, "saxpy", 8, 128, c_int(1000), c_float(2), x, y)
    np.testing.assert_allclose(after, 2 * x + y, rtol=1e-6)


@pytest.mark.parametrize("threads", [32, 96, 256, 1000])
def test_a_block_meets_at_barriers(device, threads):
    source = """
extern "C" __global__ void total(const float* x, float* y) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float first;
  float* sums = (float*)memory;
  int t = threadIdx.x, n = blockDim.x;
  sums[t] = x[blockIdx.x * n + t];
  for (int size = n; size > 1; size = (size + 1) / 2) {
    __syncthreads();
    int half = (size + 1) / 2;
    float other = t + half < size ? sums[t + half] : 0;
    __syncthreads();
    if (t < half) sums[t] += other;
  }
  if (t == 0) first = sums[0];
  __syncthreads();
  y[blockIdx.x * n + t] = first;
}
"""
    x = random(3, threads)
    _, y = device.run(source, "total", 3, threads, x, np.zeros_like(x), shared=4 * threads)
    np.testing.assert_allclose(y, np.repeat(x.sum(1, keepdims=True), threads, 1), rtol=1e-4, atol=1e-5)


def test_lanes_of_a_warp_exchange_values(device):
    source = """
extern "C" __global__ void lanes(const float* x, float* y, unsigned* masks) {
  int t = threadIdx.x;
  float v = x[t];
  y[t] = __shfl_sync(0xffffffffu, v, 5);
  y[64 + t] = __shfl_up_sync(0xffffffffu, v, 3, 16);
  y[128 + t] = __shfl_down_sync(0xffffffffu, v, 3);
  y[192 + t] = __shfl_xor_sync(0xffffffffu, v, 9);
  masks[t] = __ballot_sync(0xffffffffu, v > 0);
  if (t % 2) masks[64 + t] = __activemask();
  else masks[64 + t] = __activemask();
  if (t % 32 < 8) y[256 + t] = __shfl_xor_sync(0xffu, v, 1);
}
"""
    x = random(64)
    _, y, masks = device.run(source, "lanes", 1, 64, x, np.zeros((5, 64), np.float32), np.zeros((2, 64), np.uint32))
    warps, lane = x.reshape(2, 32), np.arange(32)
    np.testing.assert_array_equal(y[0], np.repeat(warps[:, 5], 32))
    np.testing.assert_array_equal(y[1], warps[:, np.where(lane % 16 < 3, lane, lane - 3)].ravel())
    np.testing.assert_array_equal(y[2], warps[:, np.where(lane > 28, lane, lane + 3)].ravel())
    np.testing.assert_array_equal(y[3], warps[:, lane ^ 9].ravel())
    np.testing.assert_array_equal(y[4].reshape(2, 32)[:, :8], warps[:, :8][:, np.arange(8) ^ 1])
    bits = [int(sum(1 << i for i in range(32) if warp[i] > 0)) for warp in warps]
    np.testing.assert_array_equal(masks[0], np.repeat(np.array(bits, np.uint32), 32))
    np.testing.assert_array_equal(masks[1], np.where(np.arange(64) % 2, 0xAAAAAAAA, 0x55555555))


def test_half_precision_rounds_each_operation_to_nearest_even(device):
    source = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void halves(const half* a, const half* b, half* c, const float* x, nv_bfloat16* y) {
  int t = threadIdx.x;
  c[t] = a[t] * b[t] + a[t];
  c[1024 + t] = __hfma(a[t], b[t], a[t]);
  y[t] = __float2bfloat16_rn(x[t]);
}
"""
    a, b, x = random(1024, dtype=np.float16), random(1024, 1, dtype=np.float16)[::-1, 0], random(1024)
    _, _, c, _, y = device.run(
        source, "halves", 1, 1024, a, b, np.zeros((2, 1024), np.float16), x, np.zeros(1024, np.uint16)
    )
    np.testing.assert_array_equal(c[0], a * b + a)
    np.testing.assert_array_equal(c[1], (a.astype(float) * b + a).astype(np.float16))
    bits = x.view(np.uint32).astype(np.uint64)
    np.testing.assert_array_equal(y, ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16))


def test_memory_that_was_never_written_is_not_a_number(device):
    source = """
extern "C" __global__ void stale(float* y) {
  __shared__ float fixed[4];
  extern __shared__ float dynamic[];
  y[0] = fixed[3];
  y[1] = dynamic[7];
  y[2] = y[3];
  fixed[3] = dynamic[7] = 1;
}
"""
    (function,) = device.functions(source, "stale")
    place = device.handle("cuMemAlloc_v2", ctypes.c_size_t(16))
    device.launch(function, 2, 1, place, shared=32)
    assert np.isnan(device.get(place, np.zeros(3, np.float32))).all()


def test_clusters_share_their_memory(device):
    source = """
extern "C" __global__ void neighbour(const float* x, float* y) {
  extern __shared__ float memory[];
  memory[threadIdx.x] = x[blockIdx.x * 32 + threadIdx.x];
  convc_emulated::engine->cluster_arrive();
  convc_emulated::engine->cluster_wait();
  unsigned rank = blockIdx.x % 4;
  float* other = (float*)(convc_emulated::engine->peer(rank ^ 1)->window + convc_emulated::RESERVED);
  y[blockIdx.x * 32 + threadIdx.x] = other[threadIdx.x];
}
"""
    x = random(8, 32)
    _, y = device.run(source, "neighbour", 8, 32, x, np.zeros_like(x), shared=128, cluster=[4])
    np.testing.assert_array_equal(y, x[np.arange(8) ^ 1])


FAULTS = {
    "beyond": ("if (threadIdx.x > 1) y[4096] = 0;", "ILLEGAL_ADDRESS: .*thread \\(2, 0, 0\\): an access to"),
    "beside": ("y[threadIdx.x + 59] = 0;", "ILLEGAL_ADDRESS: .*a write beside the 240 bytes"),
    "null": ("((volatile float*)nullptr)[threadIdx.x] = 1;", "ILLEGAL_ADDRESS: .*an access to"),
    "shared": (
        "extern __shared__ float m[]; m[threadIdx.x + 300] = 1; y[0] = m[threadIdx.x + 299];",
        "ILLEGAL_ADDRESS: .*behind the block's dynamic shared memory",
    ),
    "misaligned": ("y[0] = ((float2*)(y + threadIdx.x))->x;", "MISALIGNED_ADDRESS"),
    "deadlock": ("if (threadIdx.x) __syncthreads(); else while (true) __syncwarp(3);", "LAUNCH_TIMEOUT: .*deadlock"),
    "trap": ("__trap();", "LAUNCH_FAILED"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_kernel_that_errs_ends_with_the_error_of_a_device(device, DriverError, fault):
    source = "".join(
        f'extern "C" __global__ void {name}(float* y) {{ {code} }}\n' for name, (code, _) in FAULTS.items()
    )
    expected = FAULTS[fault][1]
    with pytest.raises(DriverError, match=expected):
        device.run(source, fault, 1, 4, random(60), shared=64)
    # The context is lost with it, until it is reset.
    with pytest.raises(DriverError, match=expected.split(":")[0]):
        device.handle("cuMemAlloc_v2", ctypes.c_size_t(4))
    device.cuDevicePrimaryCtxReset_v2(0)
    device.run(SAXPY, "saxpy", 1, 32, c_int(32), c_float(1), random(32), random(32))


def test_a_pointer_of_the_host_is_not_one_of_the_device(device, DriverError):
    (function,) = device.functions(SAXPY, "saxpy")
    host = random(32)
    pointer = ctypes.c_void_p(host.ctypes.data)
    device.launch(function, 1, 32, c_int(32), c_float(1), pointer, device.put(host))
    with pytest.raises(DriverError, match=r"ILLEGAL_ADDRESS.*parameter 2"):
        device.cuCtxSynchronize()


def test_wrong_calls_are_refused(device, DriverError):
    (function,) = device.functions(SAXPY, "saxpy")
    place = device.put(random(8))
    arguments = (c_int(8), c_float(1), place, place)
    for grid, block in ((0, 1), (1, 1025), ((1, 70000), 1), (1, (1, 1, 65))):
        with pytest.raises(DriverError, match="INVALID_VALUE"):
            device.launch(function, grid, block, *arguments)
    with pytest.raises(DriverError, match=r"INVALID_VALUE.*dynamic shared memory"):
        device.cuLaunchKernel(function, *(1,) * 6, (48 << 10) + 1, None, (ctypes.c_void_p * 4)(), None)
    with pytest.raises(DriverError, match="INVALID_VALUE"):
        device.launch(function, 1, 32, *arguments, shared=228 << 10)
    with pytest.raises(DriverError, match="INVALID_CLUSTER_SIZE"):
        device.launch(function, 3, 32, *arguments, cluster=[2])
    with pytest.raises(DriverError, match="INVALID_VALUE"):
        device.get(place, np.zeros(9, np.float32))
    with pytest.raises(DriverError, match="INVALID_IMAGE"):
        device.handle("cuModuleLoadData", b"no kernels")
    module = device.handle("cuModuleLoadData", device.compiled(SAXPY))
    with pytest.raises(DriverError, match="NOT_FOUND"):
        device.handle("cuModuleGetFunction", module, b"nothing")


def test_a_block_has_no_more_threads_than_its_kernel_is_bound_to(device, DriverError):
    (function,) = device.functions(SAXPY, "saxpy")
    bound = c_int()
    device.cuFuncGetAttribute(ctypes.byref(bound), 0, function)
    assert bound.value == 128
    x = random(129)
    arguments = (c_int(129), c_float(1), device.put(x), device.put(x))
    device.launch(function, 1, 128, *arguments)
    for shape in (129, (1, 129), (43, 3)):
        with pytest.raises(DriverError, match=r"INVALID_VALUE.*saxpy: a block of 129 threads, its bound is 128"):
            device.launch(function, 1, shape, *arguments)


def test_device_memory_is_limited(device, DriverError, monkeypatch):
    monkeypatch.setenv("CONVC_EMULATED_MEMORY", str(1 << 20))
    kept = device.handle("cuMemAlloc_v2", ctypes.c_size_t(1 << 19))
    with pytest.raises(DriverError, match="OUT_OF_MEMORY"):
        device.handle("cuMemAlloc_v2", ctypes.c_size_t((1 << 19) + 1))
    device.cuMemFree_v2(kept)
    device.handle("cuMemAlloc_v2", ctypes.c_size_t(1 << 20))
    available, total = ctypes.c_size_t(), ctypes.c_size_t()
    device.cuMemGetInfo_v2(byref(available), byref(total))
    assert (available.value, total.value) == (0, 1 << 20)


def test_a_graph_replays_what_was_captured(device, DriverError):
    (function,) = device.functions(SAXPY, "saxpy")
    x, y = random(64), random(64, 1)[:, 0]
    places, result = (device.put(x), device.put(y)), np.empty(64, np.float32)
    first, second = device.handle("cuStreamCreate", 1), device.handle("cuStreamCreate", 1)
    fork, join = device.handle("cuEventCreate", 0), device.handle("cuEventCreate", 0)
    factor = c_float(3)
    device.cuStreamBeginCapture_v2(first, 0)
    device.launch(function, 2, 32, c_int(64), factor, *places, stream=first)
    factor.value = 1000  # arguments were copied
    device.cuEventRecord(fork, first)
    device.cuStreamWaitEvent(second, fork, 0)
    device.launch(function, 2, 32, c_int(64), c_float(1), *places, stream=second)
    device.cuEventRecord(join, second)
    device.cuStreamWaitEvent(first, join, 0)
    device.cuMemcpyDtoHAsync_v2(result.ctypes.data_as(ctypes.c_void_p), places[1], result.nbytes, first)
    graph = ctypes.c_void_p()
    device.cuStreamEndCapture(first, byref(graph))
    np.testing.assert_array_equal(device.get(places[1], y), y)
    executable = device.handle("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
    device.cuGraphDestroy(graph)
    for times in (1, 2, 3):
        device.cuGraphLaunch(executable, first)
        device.cuStreamSynchronize(first)
        np.testing.assert_allclose(result, y + 4 * times * x, rtol=1e-5, atol=1e-5)
    device.cuGraphExecDestroy(executable)
    with pytest.raises(DriverError, match="INVALID_HANDLE"):
        device.cuGraphLaunch(executable, first)


def test_what_cannot_be_captured_spoils_the_capture(device, DriverError):
    stream, graph = device.handle("cuStreamCreate", 1), ctypes.c_void_p()
    device.cuStreamBeginCapture_v2(stream, 0)
    with pytest.raises(DriverError, match="STREAM_CAPTURE_UNSUPPORTED"):
        device.handle("cuMemAlloc_v2", ctypes.c_size_t(4))
    with pytest.raises(DriverError, match="STREAM_CAPTURE_INVALIDATED"):
        device.cuStreamEndCapture(stream, byref(graph))


def test_no_compiler_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    build._compiler.cache_clear()
    try:
        with pytest.raises(ToolchainError, match=r"expected a C\+\+ compiler .* found none"):
            build.emulated_kernels(SAXPY, ["saxpy"], tmp_path / "none.so")
    finally:
        build._compiler.cache_clear()


def test_an_error_of_the_source_names_its_line(tmp_path):
    with pytest.raises(ToolchainError, match=r"wrong\.cu:2:.*nonsense"):
        build.emulated_kernels('\nextern "C" __global__ void k() { nonsense(); }', ["k"], tmp_path / "wrong.so")


def test_a_graph_does_not_outlive_its_kernels(device, DriverError):
    module = device.handle("cuModuleLoadData", device.compiled(SAXPY))
    function = device.handle("cuModuleGetFunction", module, b"saxpy")
    stream, graph, place = device.handle("cuStreamCreate", 1), ctypes.c_void_p(), device.put(random(8))
    device.cuStreamBeginCapture_v2(stream, 0)
    device.launch(function, 1, 8, c_int(8), c_float(1), place, place, stream=stream)
    device.cuStreamEndCapture(stream, byref(graph))
    executable = device.handle("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
    device.cuModuleUnload(module)
    device.cuGraphLaunch(executable, stream)
    with pytest.raises(DriverError, match=r"INVALID_HANDLE.*unloaded"):
        device.cuStreamSynchronize(stream)
