// CUDA's vector types and what makes them.
#pragma once

#define CONVC_VECTOR(name, type, align1, align2, align4)                                      \
    struct alignas(align1) name##1 { type x; };                                               \
    struct alignas(align2) name##2 { type x, y; };                                            \
    struct name##3 { type x, y, z; };                                                         \
    struct alignas(align4) name##4 { type x, y, z, w; };                                      \
    inline name##1 make_##name##1(type x) { return {x}; }                                     \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                          \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }               \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CONVC_VECTOR(char, signed char, 1, 2, 4)
CONVC_VECTOR(uchar, unsigned char, 1, 2, 4)
CONVC_VECTOR(short, short, 2, 4, 8)
CONVC_VECTOR(ushort, unsigned short, 2, 4, 8)
CONVC_VECTOR(int, int, 4, 8, 16)
CONVC_VECTOR(uint, unsigned, 4, 8, 16)
CONVC_VECTOR(long, long, 8, 16, 16)
CONVC_VECTOR(ulong, unsigned long, 8, 16, 16)
CONVC_VECTOR(longlong, long long, 8, 16, 16)
CONVC_VECTOR(ulonglong, unsigned long long, 8, 16, 16)
CONVC_VECTOR(float, float, 4, 8, 16)
CONVC_VECTOR(double, double, 8, 16, 16)
#undef CONVC_VECTOR

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
