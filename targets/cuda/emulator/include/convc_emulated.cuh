// The functions of convc_device.cuh that are instructions, as the emulated device does them.
#pragma once

namespace convc_emulated {

// The place in the block of this rank where `shared` is in this one.
template <class T>
inline T *in_peer(T *shared, int rank) {
    return reinterpret_cast<T *>(engine->peer(unsigned(rank))->window + shared_address(shared));
}

}  // namespace convc_emulated

inline void convc_cp_async_16(void *shared, const void *global, int bytes) {
    convc_emulated::engine->copy(shared, global, 16, unsigned(bytes));
}
inline void convc_cp_async_8(void *shared, const void *global, int bytes) {
    convc_emulated::engine->copy(shared, global, 8, unsigned(bytes));
}
inline void convc_cp_async_4(void *shared, const void *global, int bytes) {
    convc_emulated::engine->copy(shared, global, 4, unsigned(bytes));
}
inline void convc_cp_async_commit() { convc_emulated::engine->copy_commit(); }
template <int N> inline void convc_cp_async_wait() { convc_emulated::engine->copy_wait(N); }

#define CONVC_LDMATRIX(name, count, transposed)                                \
    inline void name(std::uint32_t *result, const void *row) {                 \
        convc_emulated::shared_address(row);                                   \
        convc_emulated::engine->ldmatrix(result, row, count, transposed);     \
    }
CONVC_LDMATRIX(convc_ldmatrix_x1, 1, false)
CONVC_LDMATRIX(convc_ldmatrix_x2, 2, false)
CONVC_LDMATRIX(convc_ldmatrix_x4, 4, false)
CONVC_LDMATRIX(convc_ldmatrix_x1_trans, 1, true)
CONVC_LDMATRIX(convc_ldmatrix_x2_trans, 2, true)
CONVC_LDMATRIX(convc_ldmatrix_x4_trans, 4, true)
#undef CONVC_LDMATRIX

inline void convc_mma_m16n8k16_f16(float *d, const std::uint32_t *a, const std::uint32_t *b) {
    convc_emulated::engine->mma(d, a, b, convc_emulated::F16);
}
inline void convc_mma_m16n8k16_bf16(float *d, const std::uint32_t *a, const std::uint32_t *b) {
    convc_emulated::engine->mma(d, a, b, convc_emulated::BF16);
}
inline void convc_mma_m16n8k8_tf32(float *d, const std::uint32_t *a, const std::uint32_t *b) {
    convc_emulated::engine->mma(d, a, b, convc_emulated::TF32);
}
inline float convc_round_tf32(float value) {  // to nearest, ties away from zero
    std::uint32_t bits = convc_emulated::float_to_bits(value);
    bool finite = (bits >> 23 & 0xff) != 0xff;
    return convc_emulated::bits_to_float((finite ? bits + 0x1000 : bits) & ~0x1fffu);
}

inline void convc_mbarrier_init(void *barrier, int count) {
    convc_emulated::engine->mbarrier_init(barrier, unsigned(count));
}
inline void convc_mbarrier_inval(void *barrier) { convc_emulated::engine->mbarrier_inval(barrier); }
inline void convc_mbarrier_arrive(void *barrier) { convc_emulated::engine->mbarrier_arrive(barrier, 0); }
inline void convc_mbarrier_arrive_expect_tx(void *barrier, int bytes) {
    convc_emulated::engine->mbarrier_arrive(barrier, unsigned(bytes));
}
inline void convc_mbarrier_arrive_cluster(void *barrier, int rank) {
    convc_emulated::engine->mbarrier_arrive(convc_emulated::in_peer(static_cast<char *>(barrier), rank), 0);
}
inline void convc_mbarrier_wait(void *barrier, int parity) {
    convc_emulated::engine->mbarrier_wait(barrier, unsigned(parity));
}
inline void convc_fence_mbarrier_init() {}

inline void convc_prefetch_tensormap(const void *) {}
inline void convc_fence_proxy_async() {}

#define CONVC_TMA(rank, ...)                                                                                       \
    inline void convc_tma_load_##rank##d(void *shared, const void *map, void *barrier, CONVC_PLACES_##rank) {      \
        const int place[] = {__VA_ARGS__};                                                                         \
        convc_emulated::engine->tma_load(shared, map, barrier, place, rank, 0);                                   \
    }                                                                                                              \
    inline void convc_tma_load_##rank##d_multicast(void *shared, const void *map, void *barrier,                   \
                                                   CONVC_PLACES_##rank, int ranks) {                               \
        const int place[] = {__VA_ARGS__};                                                                         \
        convc_emulated::engine->tma_load(shared, map, barrier, place, rank, unsigned(ranks));                     \
    }                                                                                                              \
    inline void convc_tma_store_##rank##d(const void *shared, const void *map, CONVC_PLACES_##rank) {              \
        const int place[] = {__VA_ARGS__};                                                                         \
        convc_emulated::engine->tma_store(shared, map, place, rank);                                              \
    }
#define CONVC_PLACES_2 int x0, int x1
#define CONVC_PLACES_3 int x0, int x1, int x2
#define CONVC_PLACES_4 int x0, int x1, int x2, int x3
#define CONVC_PLACES_5 int x0, int x1, int x2, int x3, int x4
CONVC_TMA(2, x0, x1)
CONVC_TMA(3, x0, x1, x2)
CONVC_TMA(4, x0, x1, x2, x3)
CONVC_TMA(5, x0, x1, x2, x3, x4)
#undef CONVC_TMA
inline void convc_bulk_commit() { convc_emulated::engine->bulk_commit(); }
template <int N> inline void convc_bulk_wait() { convc_emulated::engine->bulk_wait(N); }
template <int N> inline void convc_bulk_wait_read() { convc_emulated::engine->bulk_wait(N); }

inline void convc_wgmma_fence() { convc_emulated::engine->wgmma_fence(); }
inline void convc_wgmma_commit() { convc_emulated::engine->wgmma_commit(); }
template <int N> inline void convc_wgmma_wait() { convc_emulated::engine->wgmma_wait(N); }
template <int COUNT> inline void convc_fence_registers(float *) {}

inline void convc_bar_sync(int id, int threads) {
    convc_emulated::engine->barrier(unsigned(id), unsigned(threads), true);
}
inline void convc_bar_arrive(int id, int threads) {
    convc_emulated::engine->barrier(unsigned(id), unsigned(threads), false);
}
template <int REGISTERS> inline void convc_setmaxnreg_inc() {}
template <int REGISTERS> inline void convc_setmaxnreg_dec() {}

inline int convc_cluster_rank() { return int(convc_emulated::engine->thread->block->rank); }
inline void convc_cluster_arrive() { convc_emulated::engine->cluster_arrive(); }
inline void convc_cluster_wait() { convc_emulated::engine->cluster_wait(); }
inline float convc_cluster_load_f32(const void *shared, int rank) {
    return *convc_emulated::in_peer(static_cast<const float *>(shared), rank);
}
inline void convc_cluster_load_f32x4(float *result, const void *shared, int rank) {
    float4 values = *convc_emulated::in_peer(static_cast<const float4 *>(shared), rank);
    std::memcpy(result, &values, sizeof values);
}
inline void convc_cluster_store_f32(void *shared, int rank, float value) {
    *convc_emulated::in_peer(static_cast<float *>(shared), rank) = value;
}

inline void convc_grid_wait() { convc_emulated::engine->grid_wait(); }
inline void convc_grid_launch_dependents() {}
inline void convc_grid_begin() { convc_grid_wait(); }

inline std::uint32_t convc_pack_f16x2(float a, float b) {
    return std::uint32_t(convc_emulated::Float16::round(b)) << 16 | convc_emulated::Float16::round(a);
}
inline std::uint32_t convc_pack_bf16x2(float a, float b) {
    return std::uint32_t(convc_emulated::BFloat16::round(b)) << 16 | convc_emulated::BFloat16::round(a);
}
