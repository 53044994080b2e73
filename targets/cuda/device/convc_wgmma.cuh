// The products of a warpgroup, one function a width:
//
//     convc_wgmma_m64nNk16_f16(d, a, b, accumulate)    N = 8, 16, ..., 256; _bf16; m64nNk8_tf32
//
// computes d = a b, or d += a b, of matrices of 64 x k and N x k that descriptors name (convc_wgmma_descriptor), both
// contiguous in k. `d` are the thread's N / 2 accumulators: d[4j] and d[4j + 1] of row r, d[4j + 2] and d[4j + 3] of
// row r + 8, in columns 8j + c and 8j + c + 1, where r = 16 * warp + lane / 4 and c = 2 * (lane % 4) (PTX ISA,
// wgmma.mma_async, matrix D).
#pragma once

#ifdef CONVC_EMULATED

#define CONVC_WGMMA_OF(n, depth, type, number)                                                                       \
    inline void convc_wgmma_m64n##n##k##depth##_##type(float *d, std::uint64_t a, std::uint64_t b, int accumulate) {    \
        convc_emulated::engine->wgmma(d, a, b, n, convc_emulated::number, accumulate != 0);                       \
    }
#define CONVC_WGMMA(n, i, a, b, p)          \
    CONVC_WGMMA_OF(n, 16, f16, F16)         \
    CONVC_WGMMA_OF(n, 16, bf16, BF16)       \
    CONVC_WGMMA_OF(n, 8, tf32, TF32)

#else

// Operands are listed one by one: CONVC_Pi names the first 4i registers in the text, CONVC_Di passes them.
#define CONVC_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define CONVC_P1 "%0, %1, %2, %3"
#define CONVC_P2 CONVC_P1 ", %4, %5, %6, %7"
#define CONVC_P3 CONVC_P2 ", %8, %9, %10, %11"
#define CONVC_P4 CONVC_P3 ", %12, %13, %14, %15"
#define CONVC_P5 CONVC_P4 ", %16, %17, %18, %19"
#define CONVC_P6 CONVC_P5 ", %20, %21, %22, %23"
#define CONVC_P7 CONVC_P6 ", %24, %25, %26, %27"
#define CONVC_P8 CONVC_P7 ", %28, %29, %30, %31"
#define CONVC_P9 CONVC_P8 ", %32, %33, %34, %35"
#define CONVC_P10 CONVC_P9 ", %36, %37, %38, %39"
#define CONVC_P11 CONVC_P10 ", %40, %41, %42, %43"
#define CONVC_P12 CONVC_P11 ", %44, %45, %46, %47"
#define CONVC_P13 CONVC_P12 ", %48, %49, %50, %51"
#define CONVC_P14 CONVC_P13 ", %52, %53, %54, %55"
#define CONVC_P15 CONVC_P14 ", %56, %57, %58, %59"
#define CONVC_P16 CONVC_P15 ", %60, %61, %62, %63"
#define CONVC_P17 CONVC_P16 ", %64, %65, %66, %67"
#define CONVC_P18 CONVC_P17 ", %68, %69, %70, %71"
#define CONVC_P19 CONVC_P18 ", %72, %73, %74, %75"
#define CONVC_P20 CONVC_P19 ", %76, %77, %78, %79"
#define CONVC_P21 CONVC_P20 ", %80, %81, %82, %83"
#define CONVC_P22 CONVC_P21 ", %84, %85, %86, %87"
#define CONVC_P23 CONVC_P22 ", %88, %89, %90, %91"
#define CONVC_P24 CONVC_P23 ", %92, %93, %94, %95"
#define CONVC_P25 CONVC_P24 ", %96, %97, %98, %99"
#define CONVC_P26 CONVC_P25 ", %100, %101, %102, %103"
#define CONVC_P27 CONVC_P26 ", %104, %105, %106, %107"
#define CONVC_P28 CONVC_P27 ", %108, %109, %110, %111"
#define CONVC_P29 CONVC_P28 ", %112, %113, %114, %115"
#define CONVC_P30 CONVC_P29 ", %116, %117, %118, %119"
#define CONVC_P31 CONVC_P30 ", %120, %121, %122, %123"
#define CONVC_P32 CONVC_P31 ", %124, %125, %126, %127"
#define CONVC_D1 CONVC_FOUR(0)
#define CONVC_D2 CONVC_D1, CONVC_FOUR(4)
#define CONVC_D3 CONVC_D2, CONVC_FOUR(8)
#define CONVC_D4 CONVC_D3, CONVC_FOUR(12)
#define CONVC_D5 CONVC_D4, CONVC_FOUR(16)
#define CONVC_D6 CONVC_D5, CONVC_FOUR(20)
#define CONVC_D7 CONVC_D6, CONVC_FOUR(24)
#define CONVC_D8 CONVC_D7, CONVC_FOUR(28)
#define CONVC_D9 CONVC_D8, CONVC_FOUR(32)
#define CONVC_D10 CONVC_D9, CONVC_FOUR(36)
#define CONVC_D11 CONVC_D10, CONVC_FOUR(40)
#define CONVC_D12 CONVC_D11, CONVC_FOUR(44)
#define CONVC_D13 CONVC_D12, CONVC_FOUR(48)
#define CONVC_D14 CONVC_D13, CONVC_FOUR(52)
#define CONVC_D15 CONVC_D14, CONVC_FOUR(56)
#define CONVC_D16 CONVC_D15, CONVC_FOUR(60)
#define CONVC_D17 CONVC_D16, CONVC_FOUR(64)
#define CONVC_D18 CONVC_D17, CONVC_FOUR(68)
#define CONVC_D19 CONVC_D18, CONVC_FOUR(72)
#define CONVC_D20 CONVC_D19, CONVC_FOUR(76)
#define CONVC_D21 CONVC_D20, CONVC_FOUR(80)
#define CONVC_D22 CONVC_D21, CONVC_FOUR(84)
#define CONVC_D23 CONVC_D22, CONVC_FOUR(88)
#define CONVC_D24 CONVC_D23, CONVC_FOUR(92)
#define CONVC_D25 CONVC_D24, CONVC_FOUR(96)
#define CONVC_D26 CONVC_D25, CONVC_FOUR(100)
#define CONVC_D27 CONVC_D26, CONVC_FOUR(104)
#define CONVC_D28 CONVC_D27, CONVC_FOUR(108)
#define CONVC_D29 CONVC_D28, CONVC_FOUR(112)
#define CONVC_D30 CONVC_D29, CONVC_FOUR(116)
#define CONVC_D31 CONVC_D30, CONVC_FOUR(120)
#define CONVC_D32 CONVC_D31, CONVC_FOUR(124)

// After the registers come the descriptors a and b and whether to accumulate, operands %a, %b and %p. Types of 16 bits
// could be transposed, and are not.
#define CONVC_WGMMA_OF(n, depth, type, i, a_at, b_at, p_at, transposed)                                                \
    __device__ __forceinline__ void convc_wgmma_m64n##n##k##depth##_##type(float *d, unsigned long long a,             \
                                                                       unsigned long long b, int accumulate) {     \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #p_at ", 0;"                                               \
                     " wgmma.mma_async.sync.aligned.m64n" #n "k" #depth ".f32." #type "." #type " {" CONVC_P##i "}, %" \
                     #a_at ", %" #b_at ", p, 1, 1" transposed "; }"                                                \
                     : CONVC_D##i                                                                                  \
                     : "l"(a), "l"(b), "r"(accumulate));                                                           \
    }
#define CONVC_WGMMA(n, i, a, b, p)                          \
    CONVC_WGMMA_OF(n, 16, f16, i, a, b, p, ", 0, 0")        \
    CONVC_WGMMA_OF(n, 16, bf16, i, a, b, p, ", 0, 0")       \
    CONVC_WGMMA_OF(n, 8, tf32, i, a, b, p, "")

#endif

CONVC_WGMMA(8, 1, 4, 5, 6)
CONVC_WGMMA(16, 2, 8, 9, 10)
CONVC_WGMMA(24, 3, 12, 13, 14)
CONVC_WGMMA(32, 4, 16, 17, 18)
CONVC_WGMMA(40, 5, 20, 21, 22)
CONVC_WGMMA(48, 6, 24, 25, 26)
CONVC_WGMMA(56, 7, 28, 29, 30)
CONVC_WGMMA(64, 8, 32, 33, 34)
CONVC_WGMMA(72, 9, 36, 37, 38)
CONVC_WGMMA(80, 10, 40, 41, 42)
CONVC_WGMMA(88, 11, 44, 45, 46)
CONVC_WGMMA(96, 12, 48, 49, 50)
CONVC_WGMMA(104, 13, 52, 53, 54)
CONVC_WGMMA(112, 14, 56, 57, 58)
CONVC_WGMMA(120, 15, 60, 61, 62)
CONVC_WGMMA(128, 16, 64, 65, 66)
CONVC_WGMMA(136, 17, 68, 69, 70)
CONVC_WGMMA(144, 18, 72, 73, 74)
CONVC_WGMMA(152, 19, 76, 77, 78)
CONVC_WGMMA(160, 20, 80, 81, 82)
CONVC_WGMMA(168, 21, 84, 85, 86)
CONVC_WGMMA(176, 22, 88, 89, 90)
CONVC_WGMMA(184, 23, 92, 93, 94)
CONVC_WGMMA(192, 24, 96, 97, 98)
CONVC_WGMMA(200, 25, 100, 101, 102)
CONVC_WGMMA(208, 26, 104, 105, 106)
CONVC_WGMMA(216, 27, 108, 109, 110)
CONVC_WGMMA(224, 28, 112, 113, 114)
CONVC_WGMMA(232, 29, 116, 117, 118)
CONVC_WGMMA(240, 30, 120, 121, 122)
CONVC_WGMMA(248, 31, 124, 125, 126)
CONVC_WGMMA(256, 32, 128, 129, 130)
