"""Launches that begin before those before them have ended: on the software device they do so as early as may be, and
what they touch before they wait shows."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

DECLARE = '#include "convc_device.cuh"\nextern "C" __global__ void __launch_bounds__'
FILL = f"""{DECLARE}(32) fill(float* x, float value) {{
  convc_grid_begin();
  x[blockIdx.x * 32 + threadIdx.x] = value;
}}
"""
# Copies a tile: its load, before or after the thread has waited, is in the place of %s.
COPY = f"""{DECLARE}(32) copy(const __grid_constant__ CUtensorMap from, float* y) {{
  __shared__ __align__(128) float tile[32];
  __shared__ unsigned long long full;
  if (threadIdx.x == 0) convc_mbarrier_init(&full, 1);
  convc_fence_mbarrier_init();
  __syncthreads();
  convc_grid_launch_dependents();
  if (threadIdx.x == 0) {{
    %s
  }}
  convc_grid_wait();
  convc_mbarrier_wait(&full, 0);
  y[threadIdx.x] = tile[threadIdx.x];
}}
"""
LOAD = "convc_mbarrier_arrive_expect_tx(&full, 128); convc_tma_load_2d(tile, &from, &full, 0, 0);"
PLAIN = f"""{DECLARE}(32) plain(float* x, float* y) {{
  %s
}}
"""
NUMBERS = np.arange(32, dtype=np.float32).reshape(1, 32)


def replayed(device, *launches):
    """What launches of one block, `(function, arguments)`, do as a graph in which each may begin early."""
    stream, graph = device.handle("cuStreamCreate", 1), ctypes.c_void_p()
    device.cuStreamBeginCapture_v2(stream, 1)
    for function, arguments in launches:
        device.launch(function, 1, 32, *arguments, stream=stream, early=True)
    device.cuStreamEndCapture(stream, ctypes.byref(graph))
    executable = device.handle("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
    device.cuGraphLaunch(executable, stream)
    device.cuStreamSynchronize(stream)


@pytest.mark.parametrize("early", [False, True])
def test_what_is_loaded_too_early_is_what_was_there_before(early, device):
    code = COPY % (LOAD if early else f"convc_grid_wait(); {LOAD}")
    (fill,), (copy,) = device.functions(FILL, "fill"), device.functions(code, "copy")
    x, y = device.put(NUMBERS), device.put(NUMBERS)
    replayed(device, (fill, (x, ctypes.c_float(7))), (copy, (device.tensor_map(x, NUMBERS, (1, 32)), y)))
    np.testing.assert_array_equal(device.get(y, NUMBERS), NUMBERS if early else np.full_like(NUMBERS, 7))


def test_what_no_launch_writes_may_be_loaded_early(device):
    (fill,), (copy,) = device.functions(FILL, "fill"), device.functions(COPY % LOAD, "copy")
    x, y, weight = device.put(NUMBERS), device.put(0 * NUMBERS), device.put(3 * NUMBERS)
    loads = (copy, (device.tensor_map(weight, NUMBERS, (1, 32)), y))
    replayed(device, (fill, (x, ctypes.c_float(7))), loads)
    np.testing.assert_array_equal(device.get(y, NUMBERS), 3 * NUMBERS)


WRONG = {
    "reads": ("float v = x[threadIdx.x]; convc_grid_wait(); y[threadIdx.x] = v;", "an access to memory before the"),
    "writes": ("y[threadIdx.x] = 1; convc_grid_wait();", "an access to memory before the launches before"),
    "copies": (
        "__shared__ __align__(16) float m[32]; convc_cp_async_4(m + threadIdx.x, x + threadIdx.x, 4);"
        "convc_grid_wait(); convc_cp_async_commit(); convc_cp_async_wait<0>(); y[0] = m[0];",
        "cp.async comes before the launches before",
    ),
    "never": ("if (threadIdx.x > 32) y[0] = x[0];", "has not waited for the launches before"),
}


@pytest.mark.parametrize("what", WRONG)
def test_who_does_not_wait_is_found(what, device, DriverError):
    code, message = WRONG[what]
    (fill,), (plain,) = device.functions(FILL, "fill"), device.functions(PLAIN % code, "plain")
    x, y = device.put(NUMBERS), device.put(NUMBERS)
    with pytest.raises(DriverError, match=f"LAUNCH_FAILED.*plain.*{message}"):
        replayed(device, (fill, (x, ctypes.c_float(7))), (plain, (x, y)))
    device.cuDevicePrimaryCtxReset_v2(0)
    x = device.put(NUMBERS)  # memory is open again
    np.testing.assert_array_equal(device.get(x, NUMBERS), NUMBERS)


def test_the_first_launch_of_a_graph_and_those_of_streams_come_after_all(device):
    (plain,) = device.functions(PLAIN % "y[threadIdx.x] = x[threadIdx.x];", "plain")
    x, y = device.put(NUMBERS), device.put(0 * NUMBERS)
    replayed(device, (plain, (x, y)))
    device.launch(plain, 1, 32, y, x, early=True)
    device.cuCtxSynchronize()
    np.testing.assert_array_equal(device.get(y, NUMBERS), NUMBERS)


def test_waiting_compiles_where_there_is_such_a_launch_and_where_there_is_none(machine_code):
    for arch in ("sm_80", "sm_90", "sm_90a"):
        machine_code(FILL, "fill", arch)
    machine_code(COPY % LOAD, "copy", "sm_90a")
