// Names of types that TVM's CUDA code uses, and what it takes for granted about 16-bit floats. It follows the CUDA
// headers of those 16-bit types that a source uses.
#pragma once

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#else
#include <cstdint>
#endif
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

// Four 16-bit floats side by side.
template <typename T>
struct __align__(8) convc_four {
  T x, y, z, w;
};

// Functions of a 16-bit float by way of a 32-bit one.
#define CONVC_BY_FLOAT_1(type, name, function) \
  static __device__ __forceinline__ type name(type x) { return type(function(float(x))); }
#define CONVC_BY_FLOAT_2(type, name, function) \
  static __device__ __forceinline__ type name(type x, type y) { return type(function(float(x), float(y))); }

#define CONVC_16_BIT_FLOAT(type, bits_of)                                                                \
  static __device__ __forceinline__ type max(type a, type b) { return __hgt(a, b) ? a : b; }             \
  static __device__ __forceinline__ type min(type a, type b) { return __hlt(a, b) ? a : b; }             \
  static __device__ __forceinline__ uint bits_of(type low, type high) {                                  \
    return uint(*reinterpret_cast<ushort *>(&high)) << 16 | uint(*reinterpret_cast<ushort *>(&low));     \
  }                                                                                                      \
  CONVC_BY_FLOAT_2(type, hpow, powf)                                                                     \
  CONVC_BY_FLOAT_1(type, htan, tanf)                                                                     \
  CONVC_BY_FLOAT_1(type, hatan, atanf)                                                                   \
  CONVC_BY_FLOAT_1(type, herf, erff)

#ifdef __CUDA_FP16_H__
CONVC_16_BIT_FLOAT(half, __pack_half2)
using half4 = convc_four<half>;
static __device__ __forceinline__ half4 make_half4(half x, half y, half z, half w) { return {x, y, z, w}; }
#endif
#ifdef __CUDA_BF16_H__
CONVC_16_BIT_FLOAT(nv_bfloat16, __pack_nv_bfloat162)
using nv_bfloat164 = convc_four<nv_bfloat16>;
static __device__ __forceinline__ nv_bfloat164 make_nv_bfloat164(
    nv_bfloat16 x, nv_bfloat16 y, nv_bfloat16 z, nv_bfloat16 w) {
  return {x, y, z, w};
}
#endif
