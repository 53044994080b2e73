/* What one core can do at the most: multiply-adds in registers, and reading memory. For `convc bench --profile`. */
#include <stdint.h>

/* Sums that hide the latency of the multiply-adds: two or four begin each cycle and take four. */
#if defined(__aarch64__)
#define SUMS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19)
enum { COUNT = 20 };
#else
#define SUMS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { COUNT = 12 };
#endif

/* a * x + y with numbers that no compiler knows: it may neither leave a step out nor put two together. */
#define DECLARE(i) vector a##i = one * x;
#define STEP(i) a##i = a##i * factor + term;
#define TOTAL(i) total += a##i;
#define MULTIPLY(name, bytes) \
    static float name(int64_t rounds, float x, float y) { \
        typedef float vector __attribute__((vector_size(bytes))); \
        const vector one = {1}, factor = one - one + x, term = one - one + y; \
        SUMS(DECLARE) \
        for (int64_t i = 0; i < rounds; ++i) { SUMS(STEP) } \
        vector total = one; \
        SUMS(TOTAL) \
        return total[0]; \
    }
/* The sum of whole lines: so many vectors at once, each from a stretch of memory of its own. */
#define READ(name, bytes) \
    static float name(const char *memory, int64_t size) { \
        typedef float vector __attribute__((vector_size(bytes))); \
        enum { STREAMS = 8 }; \
        vector total[STREAMS] = {{0}}; \
        int64_t part = size / STREAMS / bytes * bytes; \
        for (int64_t at = 0; at < part; at += bytes) \
            for (int i = 0; i < STREAMS; ++i) total[i] += *(const vector *)(memory + i * part + at); \
        for (int i = 1; i < STREAMS; ++i) total[0] += total[i]; \
        return total[0][0]; \
    }

#if defined(__x86_64__)
__attribute__((target("avx512f,fma"))) MULTIPLY(multiply_64, 64)
__attribute__((target("avx2,fma"))) MULTIPLY(multiply_32, 32)
__attribute__((target("avx512f"))) READ(read_64, 64)
__attribute__((target("avx2"))) READ(read_32, 32)
#endif
MULTIPLY(multiply_16, 16)
READ(read_16, 16)

/* Multiply-adds of `rounds` steps with vectors of so many bytes; `result` keeps them from being dead. */
int64_t convc_multiply(int bytes, int64_t rounds, float *result) {
#if defined(__x86_64__)
    if (bytes == 64) *result = multiply_64(rounds, 0.999f, 0.001f);
    else if (bytes == 32) *result = multiply_32(rounds, 0.999f, 0.001f);
    else
#endif
        *result = multiply_16(rounds, 0.999f, 0.001f);
    return rounds * COUNT * (bytes / 4);
}

/* Read memory once, with vectors of so many bytes. */
void convc_read(int bytes, const char *memory, int64_t size, float *result) {
#if defined(__x86_64__)
    if (bytes == 64) *result = read_64(memory, size);
    else if (bytes == 32) *result = read_32(memory, size);
    else
#endif
        *result = read_16(memory, size);
}
