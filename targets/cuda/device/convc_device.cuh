// Instructions of NVIDIA GPUs that CUDA C++ has no name for, as functions that TIR's call_extern can call. Pointers to
// shared memory are generic ones, sizes and strides are in bytes, and accumulators and fragments lie in local arrays
// that are indexed by constants alone, so that they become registers.
//
// The emulated device (targets/cuda/emulator) has functions of the same names.
#pragma once

#ifdef CONVC_EMULATED
#include "convc_emulated.cuh"
#else

#ifdef __CUDACC_RTC__
// As cuda.h, which NVRTC cannot read, has it since CUDA 13; its address needs 64.
struct __align__(128) CUtensorMap {
    unsigned long long opaque[16];
};
#else
#include <cuda.h>
#endif

#define CONVC_DEVICE __device__ __forceinline__

typedef unsigned int convc_u32;
typedef unsigned long long convc_u64;

CONVC_DEVICE convc_u32 convc_shared_address(const void *shared) { return (convc_u32)__cvta_generic_to_shared(shared); }

// Asynchronous copies from global to shared memory, sm_80. The first `bytes` (0 to the size) are read, the rest are
// zeros: 0 reads nothing, whatever the address.

CONVC_DEVICE void convc_cp_async_16(void *shared, const void *global, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 ::"r"(convc_shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}
CONVC_DEVICE void convc_cp_async_8(void *shared, const void *global, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
                 ::"r"(convc_shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}
CONVC_DEVICE void convc_cp_async_4(void *shared, const void *global, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 ::"r"(convc_shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}
CONVC_DEVICE void convc_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most N groups of this thread are in flight.
template <int N>
CONVC_DEVICE void convc_cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Matrices of 8 x 8 halves from shared memory: lane i gives the address of row i % 8 of matrix i / 8, 16-byte-aligned.

CONVC_DEVICE void convc_ldmatrix_x1(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0]) : "r"(convc_shared_address(row)) : "memory");
}
CONVC_DEVICE void convc_ldmatrix_x2(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(convc_shared_address(row)) : "memory");
}
CONVC_DEVICE void convc_ldmatrix_x4(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(convc_shared_address(row)) : "memory");
}
CONVC_DEVICE void convc_ldmatrix_x1_trans(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0]) : "r"(convc_shared_address(row)) : "memory");
}
CONVC_DEVICE void convc_ldmatrix_x2_trans(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(convc_shared_address(row)) : "memory");
}
CONVC_DEVICE void convc_ldmatrix_x4_trans(convc_u32 *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(convc_shared_address(row)) : "memory");
}

// d[4] += a[4] b[2] over the warp, sm_80: 16 x 8 results, a row by row, b column by column.

#define CONVC_MMA(name, instruction)                                                                               \
    CONVC_DEVICE void name(float *d, const convc_u32 *a, const convc_u32 *b) {                                     \
        asm volatile("mma.sync.aligned." instruction                                                               \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                            \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                          \
    }
CONVC_MMA(convc_mma_m16n8k16_f16, "m16n8k16.row.col.f32.f16.f16.f32")
CONVC_MMA(convc_mma_m16n8k16_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
CONVC_MMA(convc_mma_m16n8k8_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef CONVC_MMA

// To the nearest number of tf32: tensor cores would cut the fraction.
CONVC_DEVICE float convc_round_tf32(float value) {
    convc_u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

// Barriers in shared memory, 8 bytes each, which count arrivals and bytes; sm_90.

CONVC_DEVICE void convc_mbarrier_init(void *barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(convc_shared_address(barrier)), "r"(count) : "memory");
}
CONVC_DEVICE void convc_mbarrier_inval(void *barrier) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(convc_shared_address(barrier)) : "memory");
}
CONVC_DEVICE void convc_mbarrier_arrive(void *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(convc_shared_address(barrier)) : "memory");
}
// Arrive, and let the phase last until so many more bytes have been loaded.
CONVC_DEVICE void convc_mbarrier_arrive_expect_tx(void *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 ::"r"(convc_shared_address(barrier)), "r"(bytes) : "memory");
}
// At the barrier in the same place of another block of the cluster.
CONVC_DEVICE void convc_mbarrier_arrive_cluster(void *barrier, int rank) {
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1;"
                 " mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there]; }"
                 ::"r"(convc_shared_address(barrier)), "r"(rank) : "memory");
}
// Until the phase of this parity (0 for the first) is over.
CONVC_DEVICE void convc_mbarrier_wait(void *barrier, int parity) {
    convc_u32 address = convc_shared_address(barrier), over;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(over) : "r"(address), "r"(parity) : "memory");
    } while (!over);
}
// Makes initialised barriers known to the cluster and to TMA.
CONVC_DEVICE void convc_fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Tiles by tensor map, sm_90; the innermost coordinate comes first. A load counts its bytes at the mbarrier; a multicast
// goes to the same place in each block of the cluster that has a bit in `ranks`, and counts at its mbarrier.

CONVC_DEVICE void convc_prefetch_tensormap(const void *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// What threads wrote to shared memory becomes visible to TMA and wgmma.
CONVC_DEVICE void convc_fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Operand %2 of a store stands for the mbarrier that it does not have.
#define CONVC_TMA(rank, places, at, values, ranks_at)                                                              \
    CONVC_DEVICE void convc_tma_load_##rank##d(void *shared, const void *map, void *barrier, places) {             \
        asm volatile("cp.async.bulk.tensor." #rank "d.shared::cluster.global.mbarrier::complete_tx::bytes"         \
                     " [%0], [%1, {" at "}], [%2];"                                                                \
                     ::"r"(convc_shared_address(shared)), "l"(map), "r"(convc_shared_address(barrier)), values     \
                     : "memory");                                                                                  \
    }                                                                                                              \
    CONVC_DEVICE void convc_tma_load_##rank##d_multicast(void *shared, const void *map, void *barrier, places,     \
                                                         int ranks) {                                              \
        asm volatile("cp.async.bulk.tensor." #rank "d.shared::cluster.global.mbarrier::complete_tx::bytes"         \
                     ".multicast::cluster [%0], [%1, {" at "}], [%2], " ranks_at ";"                               \
                     ::"r"(convc_shared_address(shared)), "l"(map), "r"(convc_shared_address(barrier)), values,    \
                       "h"((unsigned short)ranks)                                                                  \
                     : "memory");                                                                                  \
    }                                                                                                              \
    CONVC_DEVICE void convc_tma_store_##rank##d(const void *shared, const void *map, places) {                     \
        asm volatile("cp.async.bulk.tensor." #rank "d.global.shared::cta.bulk_group [%1, {" at "}], [%0];"         \
                     ::"r"(convc_shared_address(shared)), "l"(map), "n"(0), values : "memory");                    \
    }
#define CONVC_LIST(...) __VA_ARGS__
CONVC_TMA(2, CONVC_LIST(int x0, int x1), "%3, %4", CONVC_LIST("r"(x0), "r"(x1)), "%5")
CONVC_TMA(3, CONVC_LIST(int x0, int x1, int x2), "%3, %4, %5", CONVC_LIST("r"(x0), "r"(x1), "r"(x2)), "%6")
CONVC_TMA(4, CONVC_LIST(int x0, int x1, int x2, int x3), "%3, %4, %5, %6",
          CONVC_LIST("r"(x0), "r"(x1), "r"(x2), "r"(x3)), "%7")
CONVC_TMA(5, CONVC_LIST(int x0, int x1, int x2, int x3, int x4), "%3, %4, %5, %6, %7",
          CONVC_LIST("r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4)), "%8")
#undef CONVC_TMA
#undef CONVC_LIST

// Stores of this thread: until at most N groups are in flight, or still read shared memory.
CONVC_DEVICE void convc_bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int N>
CONVC_DEVICE void convc_bulk_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}
template <int N>
CONVC_DEVICE void convc_bulk_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

// Products of a warpgroup, sm_90a. A fence comes before the first, and whenever registers of one were touched.

CONVC_DEVICE void convc_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
CONVC_DEVICE void convc_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
CONVC_DEVICE void convc_wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// The compiler may move no use of these accumulators across this; it knows nothing of products in flight.
template <int COUNT>
CONVC_DEVICE void convc_fence_registers(float *d) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Barriers of a part of a block: `threads` is a multiple of 32. Barrier 0 is __syncthreads()'s.

CONVC_DEVICE void convc_bar_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
CONVC_DEVICE void convc_bar_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Registers that each thread of the warpgroup may have from here on: 24 to 256, a multiple of 8; sm_90a.
template <int REGISTERS>
CONVC_DEVICE void convc_setmaxnreg_inc() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
CONVC_DEVICE void convc_setmaxnreg_dec() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Clusters of blocks, sm_90: `shared` is in this block, and what is accessed is in the same place of another.

CONVC_DEVICE int convc_cluster_rank() {
    convc_u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
}
CONVC_DEVICE void convc_cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
CONVC_DEVICE void convc_cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
CONVC_DEVICE float convc_cluster_load_f32(const void *shared, int rank) {
    float value;
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %1, %2; ld.shared::cluster.f32 %0, [there]; }"
                 : "=f"(value) : "r"(convc_shared_address(shared)), "r"(rank) : "memory");
    return value;
}
CONVC_DEVICE void convc_cluster_load_f32x4(float *result, const void *shared, int rank) {
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %4, %5;"
                 " ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there]; }"
                 : "=f"(result[0]), "=f"(result[1]), "=f"(result[2]), "=f"(result[3])
                 : "r"(convc_shared_address(shared)), "r"(rank) : "memory");
}
CONVC_DEVICE void convc_cluster_store_f32(void *shared, int rank, float value) {
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; st.shared::cluster.f32 [there], %2; }"
                 ::"r"(convc_shared_address(shared)), "r"(rank), "f"(value) : "memory");
}

// Programmatic dependent launch, sm_90: until the kernels before have ended; the kernel after may begin. Each kernel of
// a graph waits before it touches what another one writes or reads, so that all before it have ended then.
CONVC_DEVICE void convc_grid_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
CONVC_DEVICE void convc_grid_launch_dependents() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
// Both, for kernels that have nothing to do before; nothing where there is no such launch.
CONVC_DEVICE void convc_grid_begin() {
#if __CUDA_ARCH__ >= 900
    convc_grid_launch_dependents();
    convc_grid_wait();
#endif
}

// Two numbers rounded to 16 bits each, a in the lower half.
CONVC_DEVICE convc_u32 convc_pack_f16x2(float a, float b) {
    convc_u32 packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(b), "f"(a));
    return packed;
}
CONVC_DEVICE convc_u32 convc_pack_bf16x2(float a, float b) {
    convc_u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(b), "f"(a));
    return packed;
}

#endif  // CONVC_EMULATED

#include "convc_wgmma.cuh"

// What wgmma is told of a matrix in shared memory whose rows are contiguous in k. Without swizzle it consists of
// 8 x 16-byte blocks, `leading` apart in k and `stride` apart in rows; with one, its rows are as wide as the swizzle and
// 8 of them are `stride` apart. The swizzle is counted as in a tensor map: 0 none, 1 32, 2 64, 3 128 bytes.
__device__ __forceinline__ unsigned long long convc_wgmma_descriptor(const void *shared, int leading, int stride,
                                                                     int swizzle) {
    unsigned long long start = (unsigned)__cvta_generic_to_shared(shared), mode = swizzle ? 4 - swizzle : 0;
    return (start & 0x3ffff) >> 4 | (unsigned long long)(leading >> 4) << 16 |
           (unsigned long long)(stride >> 4) << 32 | mode << 62;
}

__device__ __forceinline__ void convc_store_f32x4(void *place, const float *v) {
    *(float4 *)place = make_float4(v[0], v[1], v[2], v[3]);
}
// Rounded numbers in one store; the place is as aligned as it is wide.
__device__ __forceinline__ void convc_store_f16x2(void *place, float a, float b) {
    *(unsigned *)place = convc_pack_f16x2(a, b);
}
__device__ __forceinline__ void convc_store_bf16x2(void *place, float a, float b) {
    *(unsigned *)place = convc_pack_bf16x2(a, b);
}
__device__ __forceinline__ void convc_store_f16x8(void *place, const float *v) {
    *(uint4 *)place = make_uint4(convc_pack_f16x2(v[0], v[1]), convc_pack_f16x2(v[2], v[3]),
                                 convc_pack_f16x2(v[4], v[5]), convc_pack_f16x2(v[6], v[7]));
}
__device__ __forceinline__ void convc_store_bf16x8(void *place, const float *v) {
    *(uint4 *)place = make_uint4(convc_pack_bf16x2(v[0], v[1]), convc_pack_bf16x2(v[2], v[3]),
                                 convc_pack_bf16x2(v[4], v[5]), convc_pack_bf16x2(v[6], v[7]));
}
