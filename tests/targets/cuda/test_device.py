"""convc's device functions: on the emulated device each does what the PTX ISA says, and each compiles for GPUs."""

import ctypes
from ctypes import c_int

import numpy as np
import pytest

from convc.targets.cuda.compiler import compile_cuda, compiler_version
from convc.targets.toolchain import ToolchainError

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

# Both operands of a product of 16 x 8 x 16 by ldmatrix; b also from its transpose.
PRODUCT = f"""{HEADER}{KERNEL}(32) product(const unsigned short* a, const unsigned short* b, const unsigned short* bt, float* y) {{
  __shared__ __align__(16) unsigned short as[256], bs[128], ts[128];
  int t = threadIdx.x;
  for (int i = t; i < 256; i += 32) as[i] = a[i];
  for (int i = t; i < 128; i += 32) bs[i] = b[i], ts[i] = bt[i];
  __syncwarp();
  unsigned fa[4], fb[2], ft[2];
  convc_ldmatrix_x4(fa, as + t % 16 * 16 + t / 16 * 8);
  convc_ldmatrix_x2(fb, bs + t % 8 * 16 + t / 8 % 2 * 8);
  convc_ldmatrix_x2_trans(ft, ts + t % 16 * 8);
  float d[4] = {{1, 1, 1, 1}}, e[4] = {{1, 1, 1, 1}};
  convc_mma_m16n8k16_TYPE(d, fa, fb);
  convc_mma_m16n8k16_TYPE(e, fa, ft);
  for (int i = 0; i < 4; ++i) {{
    int place = (t / 4 + i / 2 * 8) * 8 + t % 4 * 2 + i % 2;
    y[place] = d[i];
    y[128 + place] = e[i];
  }}
}}
"""

# x4.trans, x1 and x1.trans of one 8 x 8 matrix after another.
MATRICES = f"""{HEADER}{KERNEL}(32) matrices(const unsigned short* x, unsigned* y) {{
  __shared__ __align__(16) unsigned short s[256];
  int t = threadIdx.x;
  for (int i = t; i < 256; i += 32) s[i] = x[i];
  __syncwarp();
  unsigned r[4], one, turned;
  convc_ldmatrix_x4_trans(r, s + t * 8);
  convc_ldmatrix_x1(&one, s + t % 8 * 8);
  convc_ldmatrix_x1_trans(&turned, s + t % 8 * 8);
  for (int i = 0; i < 4; ++i) y[i * 32 + t] = r[i];
  y[128 + t] = one;
  y[160 + t] = turned;
}}
"""

TF32 = f"""{HEADER}{KERNEL}(32) tf32(const float* a, const float* b, float* y) {{
  int t = threadIdx.x, g = t / 4, c = t % 4;
  unsigned fa[4], fb[2];
  for (int i = 0; i < 4; ++i) fa[i] = __float_as_uint(convc_round_tf32(a[(g + i % 2 * 8) * 8 + c + i / 2 * 4]));
  for (int i = 0; i < 2; ++i) fb[i] = __float_as_uint(convc_round_tf32(b[g * 8 + c + i * 4]));
  float d[4] = {{0, 0, 0, 0}};
  convc_mma_m16n8k8_tf32(d, fa, fb);
  for (int i = 0; i < 4; ++i) y[(g + i / 2 * 8) * 8 + c * 2 + i % 2] = d[i];
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

PRODUCT_64 = f"""{HEADER}{KERNEL}(160) product64(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* y) {{
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ unsigned long long barrier;
  const int width = WIDTH, row = 16 << SWIZZLE, step = 32, chunks = 256 / row;
  unsigned char *as = memory, *bs = memory + chunks * 64 * row;
  if (threadIdx.x == 0) {{
    convc_mbarrier_init(&barrier, 1);
    convc_fence_proxy_async();
  }}
  __syncthreads();
  if (threadIdx.x == 128) {{
    convc_mbarrier_arrive_expect_tx(&barrier, (64 + width) * 256);
    for (int c = 0; c < chunks; ++c) {{
      convc_tma_load_2d(as + c * 64 * row, &a, &barrier, c * row / SIZE, 0);
      convc_tma_load_2d(bs + c * width * row, &b, &barrier, c * row / SIZE, 0);
    }}
  }}
  if (threadIdx.x >= 128) return;
  convc_mbarrier_wait(&barrier, 0);
  float d[width / 2];
  convc_fence_registers<width / 2>(d);
  convc_wgmma_fence();
#pragma unroll
  for (int c = 0; c < chunks; ++c)
#pragma unroll
    for (int k = 0; k < row; k += step)
      INSTRUCTION(d, convc_wgmma_descriptor(as + c * 64 * row + k, 16, 8 * row, SWIZZLE),
                  convc_wgmma_descriptor(bs + c * width * row + k, 16, 8 * row, SWIZZLE), c + k > 0);
  convc_wgmma_commit();
  convc_wgmma_wait<0>();
  convc_fence_registers<width / 2>(d);
  int r = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, q = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < width / 2; ++j) y[(r + j % 4 / 2 * 8) * width + j / 4 * 8 + q + j % 2] = d[j];
}}
"""

# Without swizzle: blocks of 8 rows x 16 bytes, whose distances in k and in rows are the descriptor's.
BLOCKS = f"""{HEADER}{KERNEL}(128) blocks(const uint4* a, const uint4* b, float* y) {{
  extern __shared__ __align__(128) uint4 memory[];
  uint4 *as = memory, *bs = memory + 8 * 16 + 64;
  for (int i = threadIdx.x; i < 128; i += 128) as[i / 2 / 8 * 8 + i % 2 * 64 + i / 2 % 8] = a[i];
  for (int i = threadIdx.x; i < 48; i += 128) bs[i / 2 / 8 * 24 + i % 2 * 8 + i / 2 % 8] = b[i];
  convc_fence_proxy_async();
  __syncthreads();
  float d[12];
  convc_wgmma_fence();
  convc_wgmma_m64n24k16_f16(d, convc_wgmma_descriptor(as, 1024, 128, 0), convc_wgmma_descriptor(bs, 128, 384, 0), 0);
  convc_wgmma_commit();
  convc_wgmma_wait<0>();
  convc_fence_registers<12>(d);
  int r = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, q = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < 12; ++j) y[(r + j % 4 / 2 * 8) * 24 + j / 4 * 8 + q + j % 2] = d[j];
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

STORES = f"""{HEADER}{KERNEL}(32) stores(const float* x, unsigned short* y) {{
  float v[8];
  for (int i = 0; i < 8; ++i) v[i] = x[threadIdx.x * 8 + i];
  for (int i = 0; i < 8; i += 2) {{
    convc_store_f16x2(y + threadIdx.x * 8 + i, v[i], v[i + 1]);
    convc_store_bf16x2(y + 256 + threadIdx.x * 8 + i, v[i], v[i + 1]);
  }}
  convc_store_f16x8(y + 512 + threadIdx.x * 8, v);
  convc_store_bf16x8(y + 768 + threadIdx.x * 8, v);
}}
"""


def tile_source(rank):
    names = [f"x{i}" for i in range(rank)]
    places = ", ".join(f"int {name}" for name in names)
    return TILE.replace("PLACES", places).replace("RANK", str(rank)).replace("NAMES", ", ".join(names))


def product_source(kind, width, swizzle):
    k, size = (8, 4) if kind == "tf32" else (16, 2)
    text = PRODUCT_64.replace("INSTRUCTION", f"convc_wgmma_m64n{width}k{k}_{kind}").replace("SIZE", str(size))
    return text.replace("WIDTH", str(width)).replace("SWIZZLE", str(swizzle))


def random(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def bfloat16(x):
    """float32 as the bits of the nearest bfloat16, and that number."""
    bits = x.view(np.uint32).astype(np.uint64)
    bits = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def tf32(x):
    """The nearest number of 10 bits of fraction; ties go away from zero."""
    return ((x.view(np.uint32) + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def halves(kind, *shape, seed=0):
    """Random bits of a 16-bit type, and the numbers that they are."""
    x = random(*shape, seed=seed)
    return bfloat16(x) if kind == "bf16" else (x.astype(np.float16).view(np.uint16), x.astype(np.float16))


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


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


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_a_warp_multiplies_what_ldmatrix_loads(device, kind):
    (a, left), (b, right) = halves(kind, 16, 16), halves(kind, 8, 16, seed=1)
    source = PRODUCT.replace("TYPE", kind)
    *_, y = device.run(source, "product", 1, 32, a, b, np.ascontiguousarray(b.T), np.zeros((2, 16, 8), np.float32))
    expected = 1 + left.astype(np.float64) @ right.astype(np.float64).T
    close(y[0], expected)
    close(y[1], expected)


def test_ldmatrix_gives_a_lane_two_neighbours_of_a_row_or_column(device):
    x = np.arange(256, dtype=np.uint16)
    _, y = device.run(MATRICES, "matrices", 1, 32, x, np.zeros((6, 32), np.uint32))
    blocks = x.reshape(4, 8, 8)
    pairs = y.view(np.uint16).reshape(6, 8, 8)
    np.testing.assert_array_equal(pairs[:4], blocks.transpose(0, 2, 1))
    np.testing.assert_array_equal(pairs[4], blocks[0])
    np.testing.assert_array_equal(pairs[5], blocks[0].T)


def test_a_warp_multiplies_tf32(device):
    a, b = random(16, 8), random(8, 8, seed=1)
    *_, y = device.run(TF32, "tf32", 1, 32, a, b, np.zeros((16, 8), np.float32))
    close(y, tf32(a).astype(np.float64) @ tf32(b).astype(np.float64).T)


def test_a_producer_and_consumers_take_turns_by_mbarriers(device):
    x = random(20, 32)
    _, y = device.run(RING, "ring", 1, 96, x, np.zeros((2, 32), np.float32), c_int(20))
    lane = np.arange(32)
    for warp in (1, 2):
        expected = np.zeros(32, np.float32)
        for row in x:
            expected = expected * np.float32(0.5) + row[lane ^ warp]
        close(y[warp - 1], expected)


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


PRODUCTS = [("f16", n, 3) for n in (8, 64, 136, 256)] + [
    ("f16", 64, 1),
    ("f16", 48, 2),
    ("bf16", 128, 3),
    ("tf32", 96, 3),
]


@pytest.mark.parametrize(("kind", "width", "swizzle"), PRODUCTS)
def test_a_warpgroup_multiplies_what_tma_loads(device, kind, width, swizzle):
    if kind == "tf32":
        a, b = random(64, 64), random(width, 64, seed=1)
        # What is not rounded is cut.
        left, right = ((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for x in (a, b))
    else:
        (a, left), (b, right) = halves(kind, 64, 128), halves(kind, width, 128, seed=1)
    (function,) = device.functions(product_source(kind, width, swizzle), "product64")
    maps, row = [], (16 << swizzle) // a.itemsize
    for matrix in (a, b):
        maps.append(device.tensor_map(device.put(matrix), matrix, (len(matrix), row), swizzle=swizzle))
    target = device.put(np.zeros((64, width), np.float32))
    device.launch(function, 1, 160, *maps, target, shared=a.nbytes + b.nbytes)
    close(device.get(target, np.zeros((64, width), np.float32)), left.astype(np.float64) @ right.astype(np.float64).T)


def test_a_warpgroup_multiplies_blocks_that_are_not_swizzled(device):
    a, b = random(64, 16, dtype=np.float16), random(24, 16, dtype=np.float16, seed=1)
    *_, y = device.run(BLOCKS, "blocks", 1, 128, a, b, np.zeros((64, 24), np.float32), shared=8192)
    close(y, a.astype(np.float64) @ b.astype(np.float64).T)


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


def test_stores_round_to_nearest_even(device):
    x = random(256)
    _, y = device.run(STORES, "stores", 1, 32, x, np.zeros((4, 256), np.uint16))
    for row in (0, 2):
        np.testing.assert_array_equal(y[row].view(np.float16), x.astype(np.float16))
        np.testing.assert_array_equal(y[row + 1], bfloat16(x)[0])


def test_a_copy_that_is_not_waited_for_is_not_there(device):
    x = random(32, 4)
    source = COPIES.replace("convc_cp_async_wait<0>();", "")
    _, y = device.run(source, "copies", 1, 32, x, np.zeros((2, 32, 4), np.float32), c_int(16))
    np.testing.assert_array_equal(y[0], x)
    assert np.isnan(y[1]).all()


ERRORS = {
    "products are left behind": (
        BLOCKS.replace("convc_wgmma_wait<0>();", ""),
        "the thread ends before its products",
    ),
    "there is no fence": (BLOCKS.replace("convc_wgmma_fence();", ""), "wgmma.fence must come before"),
    "an mbarrier is not initialised": (
        BLOCKS.replace("float d[12];", "convc_mbarrier_wait(memory + 400, 0); float d[12];"),
        "an mbarrier was not initialised",
    ),
    "too many arrive": (
        BLOCKS.replace(
            "float d[12];",
            "if (!threadIdx.x) { convc_mbarrier_init(memory + 400, 2); for (int i = 0; i < 3; ++i)"
            " convc_mbarrier_arrive_expect_tx(memory + 400, 16); } float d[12];",
        ),
        "more arrive at an mbarrier",
    ),
    "a phase never ends": (
        BLOCKS.replace(
            "float d[12];",
            "if (!threadIdx.x) convc_mbarrier_init(memory + 400, 1); __syncthreads();"
            " convc_mbarrier_wait(memory + 400, 0); float d[12];",
        ),
        "deadlock: 128 threads",
    ),
    "a lane is missing": (
        BLOCKS.replace(
            "float d[12];", "unsigned one; if (threadIdx.x == 5) return; convc_ldmatrix_x1(&one, as); float d[12];"
        ),
        "ldmatrix needs all lanes",
    ),
    "a copy is not aligned": (
        BLOCKS.replace("float d[12];", "convc_cp_async_16((float*)as + 1, a, 16); float d[12];"),
        "cp.async is not aligned",
    ),
    "a map is none": (
        BLOCKS.replace(
            "float d[12];",
            "convc_mbarrier_init(memory + 400, 1); convc_tma_load_2d(as, a, memory + 400, 0, 0); float d[12];",
        ),
        "a tensor map was not encoded",
    ),
}


@pytest.mark.parametrize("mistake", ERRORS)
def test_what_a_device_forbids_is_an_error(device, DriverError, mistake):
    source, message = ERRORS[mistake]
    a, b = random(64, 16, dtype=np.float16), random(24, 16, dtype=np.float16)
    with pytest.raises(DriverError, match=message):
        device.run(source, "blocks", 1, 128, a, b, np.zeros((64, 24), np.float32), shared=8192)


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
    **{f"{kind}-sm_80": (PRODUCT.replace("TYPE", kind), "product", "sm_80") for kind in ("f16", "bf16")},
    **{name: (source, name, "sm_80") for name, source in {"copies": COPIES, "matrices": MATRICES}.items()},
    **{name: (source, name, "sm_80") for name, source in {"tf32": TF32, "stores": STORES}.items()},
    "ring": (RING, "ring", "sm_90a"),
    **{f"tile-{rank}": (tile_source(rank), "tile", "sm_90a") for rank in (2, 3, 4, 5)},
    "spread": (MULTICAST, "spread", "sm_90a"),
    **{f"product-{kind}-{n}-{s}": (product_source(kind, n, s), "product64", "sm_90a") for kind, n, s in PRODUCTS},
    **{name: (source, name, "sm_90a") for name, source in {"blocks": BLOCKS, "neighbours": NEIGHBOURS}.items()},
    "named": (NAMED, "named", "sm_90a"),
}


@pytest.mark.parametrize("case", COMPILED)
def test_each_compiles_for_gpus_without_spills(case, capfd):
    source, name, arch = COMPILED[case]
    try:
        compiler_version()
    except ToolchainError as error:
        pytest.skip(str(error))
    resources = compile_cuda(source, arch, [name]).resources[name]
    assert (resources.stack_bytes, resources.spilled_bytes) == (0, 0)
    # What it says where it must keep the products of a warpgroup from overlapping.
    assert "warpgroup." not in capfd.readouterr().err
