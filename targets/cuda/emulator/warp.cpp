// What the threads of a warp do together: shuffles, ballots, ldmatrix, mma.sync. Layouts of fragments are those of the
// PTX ISA's chapter on warp-level matrix instructions. Their sums are made in float64 and rounded once.
#include <cstring>

#include "engine_functions.h"
#include "numbers.h"
#include "results.h"

namespace convc_emulated {

std::uint64_t emulated_shuffle(std::uint32_t lanes, int kind, std::uint64_t value, unsigned operand, unsigned width) {
    struct Record {
        std::uint64_t value, result;
        int kind;
        unsigned operand, width;
    } record = {value, ~0ull, kind, operand, width};
    emulated_meet(32, lanes, &record, [](void *const *records, unsigned) {
        for (int lane = 0; lane < 32; ++lane) {
            auto *one = static_cast<Record *>(records[lane]);
            if (!one) continue;
            int width = int(one->width), first = lane & ~(width - 1), operand = int(one->operand), source = lane;
            switch (one->kind) {
            case INDEX: source = first | (operand & (width - 1)); break;
            case UP: source = lane - operand < first ? lane : lane - operand; break;
            case DOWN: source = lane + operand >= first + width ? lane : lane + operand; break;
            case XOR: source = (lane ^ operand) >= first + width ? lane : lane ^ operand; break;
            }
            // What a lane that takes no part would give is undefined: a NaN, here.
            if (auto *from = static_cast<Record *>(records[source])) one->result = from->value;
        }
    });
    return record.result;
}

std::uint32_t emulated_ballot(std::uint32_t lanes, bool predicate) {
    struct Record {
        bool predicate;
        std::uint32_t result;
    } record = {predicate, 0};
    emulated_meet(32, lanes, &record, [](void *const *records, unsigned) {
        std::uint32_t result = 0;
        for (int lane = 0; lane < 32; ++lane)
            if (records[lane] && static_cast<Record *>(records[lane])->predicate) result |= 1u << lane;
        for (int lane = 0; lane < 32; ++lane)
            if (records[lane]) static_cast<Record *>(records[lane])->result = result;
    });
    return record.result;
}

void emulated_ldmatrix(std::uint32_t *result, const void *row, unsigned count, bool transposed) {
    struct Record {
        std::uint32_t *result;
        const char *row;
        unsigned count;
        bool transposed;
    } record = {result, static_cast<const char *>(row), count, transposed};
    // Lane i holds the address of row i % 8 of matrix i / 8: 8 elements of 2 bytes.
    emulated_meet(32, ~0u, &record, [](void *const *records, unsigned) {
        for (unsigned lane = 0; lane < 32; ++lane) {
            auto *one = static_cast<Record *>(records[lane]);
            if (!one) emulated_fail(LAUNCH_FAILED, "ldmatrix needs all lanes of the warp");
            for (unsigned matrix = 0; matrix < one->count; ++matrix) {
                auto element = [&](unsigned row, unsigned column) {
                    const char *from = static_cast<Record *>(records[matrix * 8 + row])->row;
                    if (reinterpret_cast<std::uintptr_t>(from) % 16)
                        emulated_fail(MISALIGNED_ADDRESS, "a row of ldmatrix is not aligned to 16 bytes");
                    std::uint16_t bits;
                    std::memcpy(&bits, from + column * 2, 2);
                    return bits;
                };
                unsigned r = lane / 4, c = lane % 4 * 2;
                std::uint32_t low = one->transposed ? element(c, r) : element(r, c);
                std::uint32_t high = one->transposed ? element(c + 1, r) : element(r, c + 1);
                one->result[matrix] = high << 16 | low;
            }
        }
    });
}

void emulated_mma(float *d, const std::uint32_t *a, const std::uint32_t *b, Number number) {
    struct Record {
        float *d;
        const std::uint32_t *a, *b;
        Number number;
    } record = {d, a, b, number};
    emulated_meet(32, ~0u, &record, [](void *const *records, unsigned) {
        double left[16][16] = {}, right[16][8] = {};
        for (unsigned lane = 0; lane < 32; ++lane) {
            auto *one = static_cast<Record *>(records[lane]);
            if (!one) emulated_fail(LAUNCH_FAILED, "mma needs all lanes of the warp");
            unsigned group = lane / 4, in_group = lane % 4;
            for (unsigned i = 0; i < 4; ++i) {
                // A register holds one tf32 number, or two numbers of 16 bits that are neighbours in k.
                unsigned row = group + i % 2 * 8;
                if (one->number == TF32) {
                    unsigned k = in_group + i / 2 * 4;
                    left[row][k] = tf32(one->a[i]);
                    if (i < 2) right[in_group + i * 4][group] = tf32(one->b[i]);
                    continue;
                }
                for (unsigned half = 0; half < 2; ++half) {
                    unsigned k = in_group * 2 + half;
                    left[row][k + i / 2 * 8] = narrow(std::uint16_t(one->a[i] >> 16 * half), one->number);
                    if (i < 2) right[k + i * 8][group] = narrow(std::uint16_t(one->b[i] >> 16 * half), one->number);
                }
            }
        }
        for (unsigned lane = 0; lane < 32; ++lane)
            for (unsigned i = 0; i < 4; ++i) {
                unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                float &out = static_cast<Record *>(records[lane])->d[i];
                double sum = out;
                for (unsigned k = 0; k < 16; ++k) sum += left[row][k] * right[k][column];
                out = float(sum);
            }
    });
}

}  // namespace convc_emulated
