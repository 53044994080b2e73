"""Products on tensor cores by convc's device functions: on the emulated device they are what the PTX ISA says, and they
compile for GPUs."""

import numpy as np
import pytest

HEADER = '#include "convc_device.cuh"\n'
KERNEL = 'extern "C" __global__ void __launch_bounds__'

# Both operands of a product of 16 x 8 x 16 by ldmatrix; b also from its transpose.
PRODUCT = f"""{HEADER}{KERNEL}(32) product(
    const unsigned short* a, const unsigned short* b, const unsigned short* bt, float* y) {{
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

PRODUCT_64 = f"""{HEADER}{KERNEL}(160) product64(
    const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* y) {{
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


def test_stores_round_to_nearest_even(device):
    x = random(256)
    _, y = device.run(STORES, "stores", 1, 32, x, np.zeros((4, 256), np.uint16))
    for row in (0, 2):
        np.testing.assert_array_equal(y[row].view(np.float16), x.astype(np.float16))
        np.testing.assert_array_equal(y[row + 1], bfloat16(x)[0])


# What `blocks` does wrong before it begins, or what it does not do, and what the device has to say of it.
ERRORS = {
    "products are left behind": ("convc_wgmma_wait<0>();", "", "the thread ends before its products"),
    "there is no fence": ("convc_wgmma_fence();", "", "wgmma.fence must come before"),
    "an mbarrier is not initialised": ("BEGIN", "convc_mbarrier_wait(barrier, 0);", "an mbarrier was not initialised"),
    "too many arrive": (
        "BEGIN",
        "if (!threadIdx.x) convc_mbarrier_init(barrier, 2); __syncthreads();"
        "convc_mbarrier_arrive_expect_tx(barrier, 16);",
        "more arrive at an mbarrier",
    ),
    "a phase never ends": (
        "BEGIN",
        "if (!threadIdx.x) convc_mbarrier_init(barrier, 1); __syncthreads(); convc_mbarrier_wait(barrier, 0);",
        "deadlock: 128 threads",
    ),
    "a lane is missing": (
        "BEGIN",
        "unsigned one; if (threadIdx.x == 5) return; convc_ldmatrix_x1(&one, as);",
        "ldmatrix needs all lanes",
    ),
    "a copy is not aligned": ("BEGIN", "convc_cp_async_16((float*)as + 1, a, 16);", "cp.async is not aligned"),
    "a map is none": (
        "BEGIN",
        "convc_mbarrier_init(barrier, 1); convc_tma_load_2d(as, a, barrier, 0, 0);",
        "a tensor map was not encoded",
    ),
}


@pytest.mark.parametrize("mistake", ERRORS)
def test_what_a_device_forbids_is_an_error(device, DriverError, mistake):
    marked = BLOCKS.replace("  float d[12];", "  uint4* barrier = memory + 400;\n  BEGIN\n  float d[12];").removeprefix(
        HEADER
    )
    kernels = [
        marked.replace("blocks(", f"blocks{i}(").replace(old, new).replace("BEGIN", "")
        for i, (old, new, _) in enumerate(ERRORS.values())
    ]
    a, b = random(64, 16, dtype=np.float16), random(24, 16, dtype=np.float16)
    name = f"blocks{list(ERRORS).index(mistake)}"
    with pytest.raises(DriverError, match=ERRORS[mistake][-1]):
        device.run(HEADER + "".join(kernels), name, 1, 128, a, b, np.zeros((64, 24), np.float32), shared=8192)


COMPILED = {"matrices": MATRICES, "tf32": TF32, "stores": STORES}


@pytest.mark.parametrize("name", COMPILED)
def test_each_compiles_for_gpus(name, machine_code):
    machine_code(COMPILED[name], name, "sm_80")


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_products_of_a_warp_compile_for_gpus(kind, machine_code):
    machine_code(PRODUCT.replace("TYPE", kind), "product", "sm_80")


@pytest.mark.parametrize(("kind", "width", "swizzle"), PRODUCTS)
def test_products_of_a_warpgroup_keep_their_results_in_registers(kind, width, swizzle, machine_code):
    taken = machine_code(product_source(kind, width, swizzle), "product64", "sm_90a")
    assert taken.registers >= width // 2
