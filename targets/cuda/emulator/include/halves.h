// __half and __nv_bfloat16 with the names of cuda_fp16.h and cuda_bf16.h. Each operation is computed in float32 (a fused
// one in float64) and rounded once, to nearest even, which is what a device computes.
#pragma once

#include <type_traits>

namespace convc_emulated {

inline float bits_to_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline std::uint32_t float_to_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

struct Float16 {
    static std::uint16_t round(float value) {
        _Float16 half = static_cast<_Float16>(value);
        std::uint16_t bits;
        std::memcpy(&bits, &half, 2);
        return bits;
    }
    static float widen(std::uint16_t bits) {
        _Float16 half;
        std::memcpy(&half, &bits, 2);
        return static_cast<float>(half);
    }
};

struct BFloat16 {
    static std::uint16_t round(float value) {
        std::uint32_t bits = float_to_bits(value);
        if (value != value) return 0x7fff;
        return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    static float widen(std::uint16_t bits) { return bits_to_float(std::uint32_t(bits) << 16); }
};

template <class Format>
struct Half {
    std::uint16_t bits;

    Half() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    Half(T value) : bits(Format::round(static_cast<float>(value))) {}
    operator float() const { return Format::widen(bits); }

    friend Half operator+(Half a, Half b) { return float(a) + float(b); }
    friend Half operator-(Half a, Half b) { return float(a) - float(b); }
    friend Half operator*(Half a, Half b) { return float(a) * float(b); }
    friend Half operator/(Half a, Half b) { return float(a) / float(b); }
    friend Half operator-(Half a) { return -float(a); }
    friend Half operator+(Half a) { return a; }
    friend Half &operator+=(Half &a, Half b) { return a = a + b; }
    friend Half &operator-=(Half &a, Half b) { return a = a - b; }
    friend Half &operator*=(Half &a, Half b) { return a = a * b; }
    friend Half &operator/=(Half &a, Half b) { return a = a / b; }
    friend bool operator==(Half a, Half b) { return float(a) == float(b); }
    friend bool operator!=(Half a, Half b) { return float(a) != float(b); }
    friend bool operator<(Half a, Half b) { return float(a) < float(b); }
    friend bool operator>(Half a, Half b) { return float(a) > float(b); }
    friend bool operator<=(Half a, Half b) { return float(a) <= float(b); }
    friend bool operator>=(Half a, Half b) { return float(a) >= float(b); }
};

template <class Format>
struct alignas(4) Half2 {
    Half<Format> x, y;
    Half2() = default;
    Half2(Half<Format> x, Half<Format> y) : x(x), y(y) {}
    friend Half2 operator+(Half2 a, Half2 b) { return {a.x + b.x, a.y + b.y}; }
    friend Half2 operator-(Half2 a, Half2 b) { return {a.x - b.x, a.y - b.y}; }
    friend Half2 operator*(Half2 a, Half2 b) { return {a.x * b.x, a.y * b.y}; }
    friend Half2 operator/(Half2 a, Half2 b) { return {a.x / b.x, a.y / b.y}; }
};

}  // namespace convc_emulated

using __half = convc_emulated::Half<convc_emulated::Float16>;
using __half2 = convc_emulated::Half2<convc_emulated::Float16>;
using half = __half;
using half2 = __half2;
using __nv_bfloat16 = convc_emulated::Half<convc_emulated::BFloat16>;
using __nv_bfloat162 = convc_emulated::Half2<convc_emulated::BFloat16>;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

#define CONVC_CONVERSIONS(type, type2, name, name2)                                                  \
    inline float __##name##2float(type a) { return a; }                                              \
    inline type __float2##name(float a) { return a; }                                                \
    inline type __float2##name##_rn(float a) { return a; }                                           \
    inline type __double2##name(double a) { return float(a); }                                       \
    inline type __int2##name##_rn(int a) { return a; }                                               \
    inline type __uint2##name##_rn(unsigned a) { return a; }                                         \
    inline int __##name##2int_rz(type a) { return int(float(a)); }                                   \
    inline float2 __##name2##2float2(type2 a) { return {a.x, a.y}; }                                 \
    inline type2 __float22##name2##_rn(float2 a) { return {a.x, a.y}; }                              \
    inline type2 __floats2##name2##_rn(float a, float b) { return {a, b}; }                          \
    inline type2 __float2##name2##_rn(float a) { return {a, a}; }                                    \
    inline type2 __##name##2##name2(type a) { return {a, a}; }
CONVC_CONVERSIONS(__half, __half2, half, half2)
CONVC_CONVERSIONS(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162)
#undef CONVC_CONVERSIONS

#define CONVC_ARITHMETIC(type, type2)                                                                \
    inline type2 __halves2##type2(type a, type b) { return {a, b}; }                                 \
    inline type __low2##type(type2 a) { return a.x; }                                                \
    inline type __high2##type(type2 a) { return a.y; }                                               \
    inline float __low2float(type2 a) { return a.x; }                                                \
    inline float __high2float(type2 a) { return a.y; }                                               \
    inline type __hadd(type a, type b) { return a + b; }                                             \
    inline type __hsub(type a, type b) { return a - b; }                                             \
    inline type __hmul(type a, type b) { return a * b; }                                             \
    inline type __hdiv(type a, type b) { return a / b; }                                             \
    inline type __hneg(type a) { return -a; }                                                        \
    inline type __habs(type a) { return std::fabs(float(a)); }                                       \
    inline type __hfma(type a, type b, type c) {                                                     \
        return float(std::fma(double(float(a)), double(float(b)), double(float(c))));                \
    }                                                                                                \
    inline type __hmax(type a, type b) { return std::fmax(float(a), float(b)); }                     \
    inline type __hmin(type a, type b) { return std::fmin(float(a), float(b)); }                     \
    inline bool __heq(type a, type b) { return a == b; }                                             \
    inline bool __hne(type a, type b) { return a != b; }                                             \
    inline bool __hlt(type a, type b) { return a < b; }                                              \
    inline bool __hle(type a, type b) { return a <= b; }                                             \
    inline bool __hgt(type a, type b) { return a > b; }                                              \
    inline bool __hge(type a, type b) { return a >= b; }                                             \
    inline bool __hisnan(type a) { return a != a; }                                                  \
    inline type2 __hadd2(type2 a, type2 b) { return a + b; }                                         \
    inline type2 __hsub2(type2 a, type2 b) { return a - b; }                                         \
    inline type2 __hmul2(type2 a, type2 b) { return a * b; }                                         \
    inline type2 __hfma2(type2 a, type2 b, type2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; } \
    inline type2 __hmax2(type2 a, type2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }          \
    inline type2 __hmin2(type2 a, type2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }          \
    inline type2 make_##type2(type a, type b) { return {a, b}; }                                     \
    inline type hexp(type a) { return std::exp(float(a)); }                                          \
    inline type hexp2(type a) { return std::exp2(float(a)); }                                        \
    inline type hexp10(type a) { return std::pow(10.0f, float(a)); }                                 \
    inline type hlog(type a) { return std::log(float(a)); }                                          \
    inline type hlog2(type a) { return std::log2(float(a)); }                                        \
    inline type hlog10(type a) { return std::log10(float(a)); }                                      \
    inline type hsqrt(type a) { return std::sqrt(float(a)); }                                        \
    inline type hrsqrt(type a) { return 1 / std::sqrt(float(a)); }                                   \
    inline type hrcp(type a) { return 1 / float(a); }                                                \
    inline type hsin(type a) { return std::sin(float(a)); }                                          \
    inline type hcos(type a) { return std::cos(float(a)); }                                          \
    inline type htanh(type a) { return std::tanh(float(a)); }                                        \
    inline type hceil(type a) { return std::ceil(float(a)); }                                        \
    inline type hfloor(type a) { return std::floor(float(a)); }                                      \
    inline type htrunc(type a) { return std::trunc(float(a)); }                                      \
    inline type hrint(type a) { return std::nearbyint(float(a)); }
CONVC_ARITHMETIC(half, half2)
#define __halves2bfloat162 __halves2nv_bfloat162
#define __low2bfloat16 __low2nv_bfloat16
#define __high2bfloat16 __high2nv_bfloat16
#define make_nv_bfloat162 convc_make_nv_bfloat162  // TVM's sources define it
CONVC_ARITHMETIC(nv_bfloat16, nv_bfloat162)
#undef make_nv_bfloat162
#undef CONVC_ARITHMETIC

inline unsigned short __half_as_ushort(__half a) { return a.bits; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.bits; }
inline __half __ushort_as_half(unsigned short bits) {
    __half a;
    a.bits = bits;
    return a;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 a;
    a.bits = bits;
    return a;
}
