// Included before a CUDA source, this makes it C++ for the host, whose kernels the emulated device runs.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "engine.h"

#define CONVC_EMULATED 1
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 900
#endif
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

// The variables of a section have these around them; a library without static shared memory has neither.
extern "C" {
extern char __start_convc_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_convc_shared[] __attribute__((weak, visibility("hidden")));
}

namespace convc_emulated {

static const Engine *engine;

// Dynamic shared memory is at least as aligned as it is declared, and where there is static shared memory beside it no
// more than that.
template <class T>
inline T *dynamic_shared() {
    unsigned offset = __start_convc_shared != __stop_convc_shared && alignof(T) < RESERVED ? alignof(T) : 0;
    return reinterpret_cast<T *>(engine->thread->block->window + RESERVED + offset);
}

// A device's address of a place in shared memory, and the place that has an address.
inline std::uint32_t shared_address(const void *place) {
    const char *at = static_cast<const char *>(place);
    if (at >= __start_convc_shared && at < __stop_convc_shared) return STATIC_WINDOW + (at - __start_convc_shared);
    std::ptrdiff_t offset = at - engine->thread->block->window;
    if (offset < 0 || offset >= WINDOW) engine->fail(717, "an address outside of shared memory is used as one inside");
    return std::uint32_t(offset);
}

inline void *shared_place(std::uint32_t address) {
    if (address >= STATIC_WINDOW) return __start_convc_shared + (address - STATIC_WINDOW);
    return engine->thread->block->window + address;
}

template <class T>
T shuffle(unsigned lanes, Shuffle kind, T value, unsigned operand, unsigned width) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = engine->shuffle(lanes, kind, bits, operand, width);
    std::memcpy(static_cast<void *>(&value), &bits, sizeof(T));
    return value;
}

template <class... A>
struct Parameters {
    static constexpr unsigned count = sizeof...(A);
    static constexpr unsigned sizes[count + 1] = {sizeof(A)..., 0};
    static constexpr bool pointers[count + 1] = {std::is_pointer_v<A>..., false};

    template <void (*kernel)(A...), std::size_t... I>
    static void call(void *const *values, std::index_sequence<I...>) {
        kernel(*static_cast<A *>(values[I])...);
    }
    template <void (*kernel)(A...)>
    static void run(void *const *values) {
        call<kernel>(values, std::index_sequence_for<A...>());
    }
};

template <class... A>
Parameters<std::remove_const_t<A>...> parameters(void (*)(A...));

}  // namespace convc_emulated

// Follows a kernel's definition, so that the driver finds it.
#define CONVC_EMULATED_KERNEL(name, threads)                                                                   \
    extern "C" const ::convc_emulated::Kernel convc_kernel_##name;                                             \
    const ::convc_emulated::Kernel convc_kernel_##name = {                                                     \
        decltype(::convc_emulated::parameters(name))::run<name>, decltype(::convc_emulated::parameters(name))::count, \
        decltype(::convc_emulated::parameters(name))::sizes, decltype(::convc_emulated::parameters(name))::pointers, \
        threads};

#define threadIdx (::convc_emulated::engine->thread->index)
#define blockIdx (::convc_emulated::engine->thread->block->index)
#define blockDim (::convc_emulated::engine->grid.threads)
#define gridDim (::convc_emulated::engine->grid.blocks)
#define warpSize 32

#include "vectors.h"

#include "halves.h"

#include "intrinsics.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __maxnreg__(...)
#define __shared__ static __attribute__((section("convc_shared")))
// build.py writes this where the source says `extern __shared__ ... type name[];`.
#define CONVC_DYNAMIC_SHARED(alignment, type, name)                                        \
    struct __attribute__((aligned(alignment))) convc_aligned_##name {};                    \
    type *name = reinterpret_cast<type *>(::convc_emulated::dynamic_shared<convc_aligned_##name>())
#define __align__(n) __attribute__((aligned(n)))
// CUDA allows it between other specifiers, where C++ does not.
#define alignas(n) __attribute__((aligned(n)))

// The driver gives a library its engine, and is told where the library's static shared memory is.
extern "C" void convc_attach(const convc_emulated::Engine *engine, char *(&shared)[2]);
void convc_attach(const convc_emulated::Engine *engine, char *(&shared)[2]) {
    convc_emulated::engine = engine;
    shared[0] = __start_convc_shared;
    shared[1] = __stop_convc_shared;
}
