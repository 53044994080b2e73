// Blocks of threads, and where their threads meet.
#pragma once

#include <vector>

#include "include/engine.h"

namespace convc_emulated {

constexpr unsigned BARRIERS = 16, MOST_BLOCKS = 16, MOST_THREADS = 1024;

// Threads that come together in an operation of their warp or warpgroup.
struct Meeting {
    unsigned size;
    std::uint32_t lanes;
    Perform perform;
    unsigned arrived;
    void *records[128];
    std::uint32_t *done[128];
};

struct Barrier {
    unsigned arrived, count;
    std::uint32_t generation;
};

struct State : Block {
    unsigned live;
    std::uint32_t lanes[MOST_THREADS / 32];  // live ones of each warp
    std::vector<Meeting> meetings[MOST_THREADS / 32];
    Barrier barriers[BARRIERS];
};

// Before a cluster of so many threads runs, and each of its blocks.
void begin_cluster(std::size_t threads);
void begin_block(State &block, unsigned threads);
// Those that wait for a thread that has ended wait no longer.
void end_thread(Thread &thread);

}  // namespace convc_emulated
