// What a kernel compiled for the host asks of the emulated device: who the running thread is, and the ways in which
// threads wait for each other. The driver implements it; emulate.h builds CUDA's own names on it.
#pragma once

#include <cstddef>
#include <cstdint>

struct alignas(128) CUtensorMap {
    std::uint64_t opaque[16];
};

namespace convc_emulated {

struct Index {
    unsigned x, y, z;
};

// Shared memory of a block lies in a window of its own, aligned to its size, so that the 14 bits which a matrix
// descriptor has for an address (in 16-byte units) hold an offset into it. The first KiB is the system's, as on sm_90.
constexpr unsigned WINDOW = 256 << 10, RESERVED = 1 << 10;
// Static shared memory is a section of the kernel's library, which has addresses of its own.
constexpr unsigned STATIC_WINDOW = 1u << 30;

struct Block;

struct Thread {
    Index index;      // threadIdx
    unsigned number;  // in the block: x fastest
    Block *block;
    unsigned cluster_arrival;  // the generation of the cluster's barrier at which the thread arrived
    bool early;                // the launches before may not have ended
};

struct Block {
    Index index;          // blockIdx
    unsigned rank;        // in the cluster
    char *window;         // of shared memory
};

struct Grid {
    Index blocks, threads, cluster;
};

// Called for the last of the threads that meet in an operation of a warp or a warpgroup: a record of each, null for
// those that do not take part.
using Perform = void (*)(void *const *records, unsigned count);

// A kernel's entry for the driver.
struct Kernel {
    void (*run)(void *const *parameters);
    unsigned count;  // of parameters
    const unsigned *sizes;
    const bool *pointers;
    unsigned threads;  // that a block may have: __launch_bounds__; 0 if it says nothing
};

enum Shuffle { INDEX, UP, DOWN, XOR };
// What tensor cores multiply.
enum Number { F16, BF16, TF32 };

// What runs kernels. A library of kernels is given it when it is loaded.
struct Engine {
    Thread *thread;  // that runs
    Grid grid;

    // Wait while (*word & mask) == value.
    void (*wait)(const std::uint32_t *word, std::uint32_t mask, std::uint32_t value);
    // Meet the other threads of `lanes` among the `size` threads of the warp (32) or warpgroup (128).
    void (*meet)(unsigned size, std::uint32_t lanes, void *record, Perform perform);
    // The lanes of the warp that stand at this place of the program.
    std::uint32_t (*active)(const void *place);
    // Barrier 0 is of all threads of the block (count 0); a count names how many threads take part.
    void (*barrier)(unsigned id, unsigned count, bool wait);
    // Wait until the launches before this one have ended.
    void (*grid_wait)();
    void (*cluster_arrive)();
    void (*cluster_wait)();
    // The block of this rank in the cluster.
    Block *(*peer)(unsigned rank);
    // Ends the launch with a CUresult; does not return.
    void (*fail)(int error, const char *what);
    // Lanes exchange values of up to 8 bytes; the kind is a Shuffle.
    std::uint64_t (*shuffle)(std::uint32_t lanes, int kind, std::uint64_t value, unsigned operand, unsigned width);
    std::uint32_t (*ballot)(std::uint32_t lanes, bool predicate);

    // What convc_emulated.cuh makes the functions of convc_device.cuh from.
    void (*copy)(void *shared, const void *global, unsigned size, unsigned valid);
    void (*copy_commit)();
    void (*copy_wait)(unsigned pending);
    void (*mbarrier_init)(void *barrier, unsigned count);
    void (*mbarrier_inval)(void *barrier);
    void (*mbarrier_arrive)(void *barrier, unsigned expected_bytes);
    void (*mbarrier_wait)(void *barrier, unsigned parity);
    // To the blocks of the cluster that `ranks` has bits for; 0 is the block that `shared` is in.
    void (*tma_load)(void *shared, const void *map, void *barrier, const int *place, unsigned rank, unsigned ranks);
    void (*tma_store)(const void *shared, const void *map, const int *place, unsigned rank);
    void (*bulk_commit)();
    void (*bulk_wait)(unsigned pending);
    void (*ldmatrix)(std::uint32_t *result, const void *row, unsigned count, bool transposed);
    void (*mma)(float *d, const std::uint32_t *a, const std::uint32_t *b, Number number);
    void (*wgmma)(float *d, std::uint64_t a, std::uint64_t b, unsigned n, Number number, bool accumulate);
    void (*wgmma_fence)();
    void (*wgmma_commit)();
    void (*wgmma_wait)(unsigned pending);
};

}  // namespace convc_emulated
