"""Copies, barriers and clusters by convc's device functions: on the emulated device they do what the PTX ISA says, and
they compile for GPUs."""

import ctypes
from ctypes import c_int

import numpy as np
import pytest

HEADER = '#include "convc_device.cuh"\n'
KERNEL = 'extern "C" __global__ void __launch_bounds__'

COPIES = f"""{HEADER}{KERNEL}(32) copies(const float* x, float* y, int valid) {{
  __shared__ __align__(16) float early[128], late[128];
  int t = threadIdx.x;
  convc_cp_async_16(early + 4 * t, x + 4 * t, valid);
  convc_cp_async_commit();
  convc_cp_async_8(late + 4 * t, x + 4 * t, valid / 2);
  convc_cp_async_4(late + 4 * t + 2, x + 4 * t + 2, valid / 4);
  convc_cp_async_4(late + 4 * t + 3, x, 0);
  convc_cp_async_commit();
  convc_cp_async_wait<1>();
  __syncwarp();
  for (int i = t; i < 128; i += 32) y[i] = early[i];
  convc_cp_async_wait<0>();
  __syncwarp();
  for (int i = t; i < 128; i += 32) y[128 + i] = late[i];
}}
"""

# Warp 0 fills three buffers in turn, warps 1 and 2 read each.
RING = f"""{HEADER}{KERNEL}(96) ring(const float* x, float* y, int rounds) {{
  __shared__ float buffers[3][32];
  __shared__ unsigned long long full[3], empty[3];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0)
    for (int i = 0; i < 3; ++i) convc_mbarrier_init(full + i, 32), convc_mbarrier_init(empty + i, 64);
  convc_fence_mbarrier_init();
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < rounds; ++i) {{
    int stage = i % 3, phase = i / 3 % 2;
    if (warp == 0) {{
      if (i >= 3) convc_mbarrier_wait(empty + stage, phase ^ 1);
      buffers[stage][lane] = x[i * 32 + lane];
      convc_mbarrier_arrive(full + stage);
    }} else {{
      convc_mbarrier_wait(full + stage, phase);
      sum = sum * 0.5f + buffers[stage][lane ^ warp];
      convc_mbarrier_arrive(empty + stage);
    }}
  }}
  if (warp) y[(warp - 1) * 32 + lane] = sum;
  __syncthreads();
  if (threadIdx.x < 3) convc_mbarrier_inval(full + threadIdx.x), convc_mbarrier_inval(empty + threadIdx.x);
}}
"""

# A tile is loaded, shown as it lies in shared memory, and stored elsewhere.
TILE = f"""{HEADER}{KERNEL}(32) tile(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to,
    unsigned char* y, int bytes, PLACES) {{
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ unsigned long long barrier;
  if (threadIdx.x == 0) {{
    convc_prefetch_tensormap(&from);
    convc_mbarrier_init(&barrier, 1);
    convc_fence_proxy_async();
    convc_mbarrier_arrive_expect_tx(&barrier, bytes);
    convc_tma_load_RANKd(memory, &from, &barrier, NAMES);
  }}
  __syncthreads();
  convc_mbarrier_wait(&barrier, 0);
  for (int i = threadIdx.x; i < bytes; i += 32) y[i] = memory[i];
  if (threadIdx.x == 0) {{
    convc_tma_store_RANKd(memory, &to, NAMES);
    convc_bulk_commit();
    convc_bulk_wait_read<0>();
    convc_bulk_wait<0>();
  }}
}}
"""

MULTICAST = f"""{HEADER}{KERNEL}(32) spread(const __grid_constant__ CUtensorMap map, float* y) {{
  extern __shared__ __align__(128) float memory[];
  unsigned long long* barrier = (unsigned long long*)(memory + 128);
  int rank = convc_cluster_rank();
  if (threadIdx.x == 0) {{
    convc_mbarrier_init(barrier, 1);
    convc_fence_mbarrier_init();
    convc_mbarrier_arrive_expect_tx(barrier, 512);
  }}
  convc_cluster_arrive();
  convc_cluster_wait();
  // Either block loads half of the tile, for both.
  if (threadIdx.x == 0) convc_tma_load_2d_multicast(memory + rank * 64, &map, barrier, 0, rank * 2, 3);
  convc_mbarrier_wait(barrier, 0);
  for (int i = threadIdx.x; i < 128; i += 32) y[rank * 128 + i] = memory[i];
}}
"""

NEIGHBOURS = f"""{HEADER}{KERNEL}(32) neighbours(const float* x, float* y) {{
  extern __shared__ __align__(16) float memory[];
  unsigned long long* barrier = (unsigned long long*)(memory + 64);
  int rank = convc_cluster_rank(), t = threadIdx.x, other = rank ^ 1;
  convc_grid_wait();
  convc_grid_launch_dependents();
  memory[t] = x[blockIdx.x * 32 + t];
  if (t == 0) convc_mbarrier_init(barrier, 32), convc_fence_mbarrier_init();
  convc_cluster_arrive();
  convc_cluster_wait();
  convc_cluster_store_f32(memory + 32 + t, other, memory[t] * 2);
  convc_mbarrier_arrive_cluster(barrier, other);
  convc_mbarrier_wait(barrier, 0);
  float four[4];
  convc_cluster_load_f32x4(four, memory + t / 4 * 4, other);
  float* to = y + blockIdx.x * 96;
  to[t] = convc_cluster_load_f32(memory + t, other);
  to[32 + t] = four[t % 4 == 0 ? 3 : 0];
  to[64 + t] = memory[32 + t];
  convc_cluster_arrive();
  convc_cluster_wait();
}}
"""

# One warp waits for the other at barrier 1; the block's own barrier is not concerned.
NAMED = f"""{HEADER}{KERNEL}(128) named(const float* x, float* y) {{
  __shared__ float s[32];
  int t = threadIdx.x;
  if (t < 32) {{
    convc_setmaxnreg_dec<40>();
    s[t] = x[t];
    convc_bar_arrive(1, 64);
  }} else if (t < 64) {{
    convc_setmaxnreg_dec<40>();
    convc_bar_sync(1, 64);
    y[t - 32] = s[t - 32] + 1;
  }} else {{
    convc_setmaxnreg_inc<232>();
  }}
}}
"""


def tile_source(rank):
    names = [f"x{i}" for i in range(rank)]
    places = ", ".join(f"int {name}" for name in names)
    return TILE.replace("PLACES", places).replace("RANK", str(rank)).replace("NAMES", ", ".join(names))


def random(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("valid", [0, 8, 16])
def test_copies_arrive_when_waited_for_and_are_filled_with_zeros(device, valid):
    x = random(32, 4)
    _, y = device.run(COPIES, "copies", 1, 32, x, np.zeros((2, 32, 4), np.float32), c_int(valid))
    given, early, late = (array.view(np.uint8).reshape(-1, 16) for array in (x, y[0], y[1]))
    byte = np.arange(16)
    np.testing.assert_array_equal(early, np.where(byte < valid, given, 0))
    # Copies of 8, 4 and 4 bytes: in part, in part, nothing.
    kept = (byte < valid // 2) | (byte >= 8) & (byte < 8 + valid // 4)
    np.testing.assert_array_equal(late, np.where(kept, given, 0))


def test_a_copy_that_is_not_waited_for_is_not_there(device):
    x = random(32, 4)
    source = COPIES.replace("convc_cp_async_wait<0>();", "")
    _, y = device.run(source, "copies", 1, 32, x, np.zeros((2, 32, 4), np.float32), c_int(16))
    np.testing.assert_array_equal(y[0], x)
    assert np.isnan(y[1]).all()


def test_a_producer_and_consumers_take_turns_by_mbarriers(device):
    x = random(20, 32)
    _, y = device.run(RING, "ring", 1, 96, x, np.zeros((2, 32), np.float32), c_int(20))
    lane = np.arange(32)
    for warp in (1, 2):
        expected = np.zeros(32, np.float32)
        for row in x:
            expected = expected * np.float32(0.5) + row[lane ^ warp]
        np.testing.assert_allclose(y[warp - 1], expected, rtol=1e-5, atol=1e-6)


def window(x, place, box, steps):
    """The box at a place of an array, zeros outside of it; and the index of what is inside."""
    at = [np.arange(p, p + b, s) for p, b, s in zip(place, box, steps, strict=True)]
    inside = [(i >= 0) & (i < n) for i, n in zip(at, x.shape, strict=True)]
    result = np.zeros([len(i) for i in at], x.dtype)
    held = np.ix_(*(i[j] for i, j in zip(at, inside, strict=True)))
    result[np.ix_(*inside)] = x[held]
    return result, held


TILES = {
    "plain": ((9, 40), (4, 16), None, (3, 8), 0),
    "beyond the end": ((9, 40), (8, 32), None, (5, 24), 0),
    "before the start": ((9, 40), (8, 32), None, (-3, -5), 0),
    "far outside": ((9, 40), (2, 16), None, (9, 40), 0),
    "32 B": ((20, 16), (16, 8), None, (1, 8), 1),
    "64 B": ((20, 16), (16, 16), None, (-1, 0), 2),
    "128 B": ((20, 32), (16, 32), None, (3, 0), 3),
    "narrow rows, 128 B": ((20, 32), (16, 16), None, (2, 4), 3),
    "3-D": ((3, 5, 8), (2, 3, 8), None, (1, 3, 0), 0),
    "strides": ((2, 9, 9, 8), (1, 5, 7, 8), (1, 2, 2, 1), (1, -1, 0, 0), 1),
    "5-D": ((2, 3, 4, 5, 4), (2, 1, 2, 3, 4), (1, 1, 1, 2, 1), (0, 2, 1, 1, 0), 0),
}


@pytest.mark.parametrize("case", TILES)
def test_tiles_travel_between_global_and_shared_memory(device, case):
    shape, box, steps, at, swizzle = TILES[case]
    steps = steps or (1,) * len(shape)
    x = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    expected, held = window(x, at, box, steps)
    (function,) = device.functions(tile_source(len(shape)), "tile")
    source, target, seen = device.put(x), device.put(np.zeros_like(x)), device.put(expected)
    maps = [device.tensor_map(place, x, box, steps, swizzle) for place in (source, target)]
    place = [c_int(i) for i in at[::-1]]
    device.launch(function, 1, 32, *maps, seen, c_int(expected.nbytes), *place, shared=expected.nbytes)
    # Bits 4 to 6 of an address are XORed with as many of bits 7 to 9 as the swizzle has.
    units = np.arange(0, expected.nbytes, 16)
    units ^= (units >> 7 & (1 << swizzle) - 1) << 4
    lying = device.get(seen, expected).view(np.uint8).reshape(-1, 16)
    np.testing.assert_array_equal(lying[units // 16].reshape(-1).view(np.float32).reshape(expected.shape), expected)
    copied = np.zeros_like(x)
    copied[held] = x[held]
    np.testing.assert_array_equal(device.get(target, x), copied)


def test_a_tile_goes_to_all_blocks_of_a_cluster(device):
    x = random(4, 32)
    (function,) = device.functions(MULTICAST, "spread")
    source, target = device.put(x), device.put(np.zeros((2, 4, 32), np.float32))
    device.launch(function, 2, 32, device.tensor_map(source, x, (2, 32)), target, shared=1024, cluster=[2])
    np.testing.assert_array_equal(device.get(target, np.stack([x, x])), np.stack([x, x]))


def test_blocks_of_a_cluster_reach_each_others_memory(device):
    x = random(4, 32)
    _, y = device.run(NEIGHBOURS, "neighbours", 4, 32, x, np.zeros((4, 3, 32), np.float32), shared=512, cluster=[2])
    other, lane = x[np.arange(4) ^ 1], np.arange(32)
    np.testing.assert_array_equal(y[:, 0], other)
    np.testing.assert_array_equal(y[:, 1], other[:, lane // 4 * 4 + np.where(lane % 4, 0, 3)])
    np.testing.assert_array_equal(y[:, 2], other * 2)


def test_a_part_of_a_block_meets_at_a_barrier_of_its_own(device):
    x = random(32)
    _, y = device.run(NAMED, "named", 1, 128, x, np.zeros_like(x))
    np.testing.assert_array_equal(y, x + 1)


MAPS = {
    "16 bytes": lambda device, place, x: device.tensor_map(ctypes.c_void_p(place.value + 4), x, (4, 16)),
    "inner dimension of the box is no multiple": lambda device, place, x: device.tensor_map(place, x, (4, 3)),
    "wider than the swizzle": lambda device, place, x: device.tensor_map(place, x, (4, 16), swizzle=1),
    "not 1 to 256": lambda device, place, x: device.tensor_map(place, x, (300, 16)),
    "a stride": lambda device, place, x: device.tensor_map(place, x[:, :15].copy(), (4, 8)),
}


@pytest.mark.parametrize("message", MAPS)
def test_tensor_maps_that_a_device_cannot_use_are_refused(device, DriverError, message):
    x = random(20, 16)
    place = device.put(x)
    with pytest.raises(DriverError, match=message):
        MAPS[message](device, place, x)


COMPILED = {
    "copies": (COPIES, "sm_80"),
    "ring": (RING, "sm_90a"),
    "spread": (MULTICAST, "sm_90a"),
    "neighbours": (NEIGHBOURS, "sm_90a"),
    "named": (NAMED, "sm_90a"),
}


@pytest.mark.parametrize("name", COMPILED)
def test_each_compiles_for_gpus(name, machine_code):
    source, arch = COMPILED[name]
    machine_code(source, name, arch)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_tiles_compile_for_gpus(rank, machine_code):
    machine_code(tile_source(rank), "tile", "sm_90a")
