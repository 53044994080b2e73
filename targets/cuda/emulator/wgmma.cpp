// Products that the four warps of a warpgroup issue together: wgmma.mma_async. They are computed when wait_group says
// that they must be there: accumulators that are read, or operands that are written, too early show.
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "engine_functions.h"
#include "in_flight.h"
#include "numbers.h"
#include "results.h"
#include "tensor_maps.h"

namespace convc_emulated {

namespace {

constexpr unsigned M = 64, MOST_N = 256, K = 16, THREADS = 128;

// A matrix of rows x 32 bytes in shared memory, each row contiguous in k ("K-major").
struct Operand {
    std::uintptr_t window;
    std::uint64_t descriptor;

    static std::uint32_t field(std::uint64_t bits, unsigned at) { return std::uint32_t(bits >> at & 0x3fff) << 4; }

    // Of the 16 bytes `unit` of a row.
    std::uintptr_t address(unsigned row, unsigned unit) const {
        constexpr unsigned MODES[] = {0, 3, 2, 1};  // of the descriptor: none, 128, 64, 32 B
        std::uint32_t start = field(descriptor, 0), leading = field(descriptor, 16), stride = field(descriptor, 32);
        unsigned mode = MODES[descriptor >> 62];
        std::uintptr_t at = window + start + row / 8 * stride;
        if (!mode) return at + row % 8 * 16 + unit * leading;
        return swizzled(at + row % 8 * (16u << mode) + unit * 16, mode);
    }

    // As float32, [rows, K].
    template <class Convert>
    void read(unsigned rows, float (*to)[K], Convert convert) const {
        if (descriptor >> 49 & 7) emulated_fail(NOT_SUPPORTED, "base offsets of matrix descriptors are not emulated");
        for (unsigned row = 0; row < rows; ++row)
            for (unsigned unit = 0; unit < 2; ++unit) {
                std::uintptr_t from = address(row, unit);
                if (from < window + RESERVED || from + 16 > window + WINDOW)
                    emulated_fail(ILLEGAL_ADDRESS, "a matrix descriptor leaves shared memory");
                convert(reinterpret_cast<const char *>(from), to[row], unit);
            }
    }

    void read(unsigned rows, Number number, float (*to)[K]) const {
        if (number == TF32)
            read(rows, to, [](const char *from, float *row, unsigned unit) {
                std::uint32_t bits[4];
                std::memcpy(bits, from, sizeof bits);
                for (unsigned i = 0; i < 4; ++i) row[unit * 4 + i] = tf32(bits[i]);
            });
        else
            read(rows, to, [number](const char *from, float *row, unsigned unit) {
                std::uint16_t bits[8];
                std::memcpy(bits, from, sizeof bits);
                for (unsigned i = 0; i < 8; ++i) row[unit * 8 + i] = narrow(bits[i], number);
            });
    }
};

using Eight = float __attribute__((vector_size(32)));

struct Product {
    Operand a, b;
    unsigned n;
    Number number;
    bool accumulate;
    float *d[THREADS];

    void compute() const {
        static float left[M][K], right[MOST_N][K], transposed[K][MOST_N];
        a.read(M, number, left);
        b.read(n, number, right);
        unsigned depth = number == TF32 ? 8 : 16;
        for (unsigned k = 0; k < depth; ++k)
            for (unsigned j = 0; j < n; ++j) transposed[k][j] = right[j][k];
        for (unsigned row = 0; row < M; row += 4)
            for (unsigned j = 0; j < n; j += 8) {
                Eight sums[4] = {};
                for (unsigned k = 0; k < depth; ++k) {
                    Eight column;
                    std::memcpy(&column, &transposed[k][j], sizeof column);
#pragma GCC unroll 4
                    for (unsigned i = 0; i < 4; ++i) sums[i] += left[row + i][k] * column;
                }
#pragma GCC unroll 4
                for (unsigned i = 0; i < 4; ++i) write(row + i, j, sums[i]);
            }
    }

private:
    // Each warp has 16 rows, a lane two of them: two neighbours in every 8 columns.
    void write(unsigned row, unsigned column, Eight sums) const {
#pragma GCC unroll 8
        for (unsigned j = 0; j < 8; ++j) {
            unsigned thread = row / 16 * 32 + row % 8 * 4 + j / 2;
            float &out = d[thread][column / 2 + row % 16 / 8 * 2 + j % 2];
            out = accumulate ? out + sums[j] : sums[j];
        }
    }
};

struct Warpgroup {
    bool fenced = false;
    std::vector<Product> open;
    std::deque<std::vector<Product>> committed;
};

std::map<std::pair<const Block *, unsigned>, Warpgroup> warpgroups;

Warpgroup &group_of(const Thread &thread) { return warpgroups[{thread.block, thread.number / THREADS}]; }

struct Record {
    const Thread *thread;
    float *d;
    std::uint64_t a, b;
    unsigned n;
    Number number;
    bool accumulate;
};

const Record &record(void *const *records, unsigned i) {
    if (!records[i]) emulated_fail(LAUNCH_FAILED, "wgmma needs all 128 threads of the warpgroup");
    return *static_cast<const Record *>(records[i]);
}

}  // namespace

void no_products() { warpgroups.clear(); }

const char *products_left_by(const Thread &thread) {
    if (warpgroups.empty()) return nullptr;
    const Warpgroup &group = group_of(thread);
    bool none = group.open.empty() && group.committed.empty();
    return none ? nullptr : "the thread ends before its products (wgmma) are there";
}

void emulated_wgmma_fence() { group_of(*engine.thread).fenced = true; }

void emulated_wgmma(float *d, std::uint64_t a, std::uint64_t b, unsigned n, Number number, bool accumulate) {
    if (!group_of(*engine.thread).fenced)
        emulated_fail(LAUNCH_FAILED, "wgmma.fence must come before the first product");
    Record mine = {engine.thread, d, a, b, n, number, accumulate};
    emulated_meet(THREADS, ~0u, &mine, [](void *const *records, unsigned) {
        const Record &first = record(records, 0);
        auto window = reinterpret_cast<std::uintptr_t>(first.thread->block->window);
        Product product = {{window, first.a}, {window, first.b}, first.n, first.number, first.accumulate, {}};
        for (unsigned i = 0; i < THREADS; ++i) {
            const Record &one = record(records, i);
            if (one.a != first.a || one.b != first.b || one.n != first.n)
                emulated_fail(LAUNCH_FAILED, "threads of a warpgroup ask for different products");
            product.d[i] = one.d;
        }
        group_of(*first.thread).open.push_back(product);
    });
}

void emulated_wgmma_commit() {
    Record mine = {engine.thread, nullptr, 0, 0, 0, F16, false};
    emulated_meet(THREADS, ~0u, &mine, [](void *const *records, unsigned) {
        Warpgroup &group = group_of(*record(records, 0).thread);
        group.committed.push_back(std::move(group.open));
        group.open.clear();
    });
}

void emulated_wgmma_wait(unsigned pending) {
    Record mine = {engine.thread, nullptr, 0, 0, pending, F16, false};
    emulated_meet(THREADS, ~0u, &mine, [](void *const *records, unsigned) {
        const Record &first = record(records, 0);
        Warpgroup &group = group_of(*first.thread);
        for (; group.committed.size() > first.n; group.committed.pop_front())
            for (const Product &product : group.committed.front()) product.compute();
    });
}

}  // namespace convc_emulated
