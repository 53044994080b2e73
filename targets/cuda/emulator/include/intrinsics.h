// CUDA's functions of the global namespace: barriers, exchanges within a warp, atomics, arithmetic.
#pragma once

inline void __syncthreads() { convc_emulated::engine->barrier(0, 0, true); }
inline void __syncwarp(unsigned lanes = ~0u) { convc_emulated::engine->ballot(lanes, false); }
inline unsigned __ballot_sync(unsigned lanes, int predicate) {
    return convc_emulated::engine->ballot(lanes, predicate);
}
inline int __any_sync(unsigned lanes, int predicate) { return __ballot_sync(lanes, predicate) != 0; }
inline int __all_sync(unsigned lanes, int predicate) { return __ballot_sync(lanes, !predicate) == 0; }
// The place where a call stands: the address of a static object of the lambda, which each use of the macro has anew.
#define __activemask() \
    ([] { static const char place = 0; return ::convc_emulated::engine->active(&place); }())

template <class T>
inline T __shfl_sync(unsigned lanes, T value, int source, int width = 32) {
    return convc_emulated::shuffle(lanes, convc_emulated::INDEX, value, source, width);
}
template <class T>
inline T __shfl_up_sync(unsigned lanes, T value, unsigned delta, int width = 32) {
    return convc_emulated::shuffle(lanes, convc_emulated::UP, value, delta, width);
}
template <class T>
inline T __shfl_down_sync(unsigned lanes, T value, unsigned delta, int width = 32) {
    return convc_emulated::shuffle(lanes, convc_emulated::DOWN, value, delta, width);
}
template <class T>
inline T __shfl_xor_sync(unsigned lanes, T value, int mask, int width = 32) {
    return convc_emulated::shuffle(lanes, convc_emulated::XOR, value, mask, width);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}
[[noreturn]] inline void __trap() {
    convc_emulated::engine->fail(719, "__trap was called");
    __builtin_unreachable();
}
inline std::size_t __cvta_generic_to_shared(const void *place) { return convc_emulated::shared_address(place); }
inline void *__cvta_shared_to_generic(std::size_t address) {
    return convc_emulated::shared_place(std::uint32_t(address));
}

template <class T> inline T __ldg(const T *place) { return *place; }
template <class T> inline T __ldca(const T *place) { return *place; }
template <class T> inline T __ldcg(const T *place) { return *place; }
template <class T> inline T __ldcs(const T *place) { return *place; }
template <class T> inline void __stcg(T *place, T value) { *place = value; }
template <class T> inline void __stcs(T *place, T value) { *place = value; }

// No two threads of the emulated device run at once.
#define CONVC_ATOMIC(name, expression)                                                   \
    template <class T>                                                                   \
    inline T name(T *place, std::common_type_t<T> value) {                               \
        T old = *place;                                                                  \
        *place = expression;                                                             \
        return old;                                                                      \
    }
CONVC_ATOMIC(atomicAdd, old + value)
CONVC_ATOMIC(atomicSub, old - value)
CONVC_ATOMIC(atomicMax, old < value ? value : old)
CONVC_ATOMIC(atomicMin, value < old ? value : old)
CONVC_ATOMIC(atomicAnd, old & value)
CONVC_ATOMIC(atomicOr, old | value)
CONVC_ATOMIC(atomicXor, old ^ value)
CONVC_ATOMIC(atomicExch, value)
CONVC_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef CONVC_ATOMIC
template <class T>
inline T atomicCAS(T *place, std::common_type_t<T> compare, std::common_type_t<T> value) {
    T old = *place;
    if (old == compare) *place = value;
    return old;
}

// min and max of numbers: a NaN loses.
template <class A, class B>
inline std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(a) != T(a) ? T(b) : T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B>
inline std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(a) != T(a) ? T(b) : T(b) < T(a) ? T(b) : T(a);
}

inline float __expf(float a) { return std::exp(a); }
inline float __exp10f(float a) { return std::pow(10.0f, a); }
inline float __logf(float a) { return std::log(a); }
inline float __log2f(float a) { return std::log2(a); }
inline float __log10f(float a) { return std::log10(a); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __sinf(float a) { return std::sin(a); }
inline float __cosf(float a) { return std::cos(a); }
inline float __tanf(float a) { return std::tan(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float a) { return a > 0 ? (a < 1 ? a : 1) : 0; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frsqrt_rn(float a) { return 1 / std::sqrt(a); }
inline float rsqrtf(float a) { return 1 / std::sqrt(a); }
inline double rsqrt(double a) { return 1 / std::sqrt(a); }
inline float exp10f(float a) { return std::pow(10.0f, a); }

inline int __float_as_int(float a) { return int(convc_emulated::float_to_bits(a)); }
inline unsigned __float_as_uint(float a) { return convc_emulated::float_to_bits(a); }
inline float __int_as_float(int a) { return convc_emulated::bits_to_float(unsigned(a)); }
inline float __uint_as_float(unsigned a) { return convc_emulated::bits_to_float(a); }
inline int __float2int_rn(float a) { return int(std::nearbyint(a)); }
inline int __float2int_rz(float a) { return int(a); }
inline int __float2int_rd(float a) { return int(std::floor(a)); }
inline int __float2int_ru(float a) { return int(std::ceil(a)); }
inline float __int2float_rn(int a) { return float(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __clz(int a) { return a ? __builtin_clz(unsigned(a)) : 32; }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __mul24(int a, int b) { return a * b; }
inline int __mulhi(int a, int b) { return int((std::int64_t(a) * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((std::uint64_t(a) * b) >> 32); }
inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += int(std::int8_t(a >> i)) * int(std::int8_t(b >> i));
    return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 32; i += 8) c += unsigned(std::uint8_t(a >> i)) * unsigned(std::uint8_t(b >> i));
    return c;
}
