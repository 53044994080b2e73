// stub until the emulator branch's header lands
#pragma once
#include "convc_types.cuh"
#ifdef CONVC_EMULATED
#include <cstring>
static inline void convc_cp_async_16(void *to, const void *from, int bytes) {
  std::memset(to, 0, 16);
  std::memcpy(to, from, bytes);
}
static inline void convc_cp_async_commit() {}
template <int N> static inline void convc_cp_async_wait() {}
#else
static __device__ __forceinline__ void convc_cp_async_16(void *to, const void *from, int bytes) {
  unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void convc_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> static __device__ __forceinline__ void convc_cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#endif
