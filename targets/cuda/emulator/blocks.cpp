#include "blocks.h"

#include <bit>
#include <cstring>

#include "engine_functions.h"
#include "results.h"

namespace convc_emulated {

namespace {

Barrier cluster;
std::size_t live;  // threads of the cluster

State &state(Block *block) { return *static_cast<State *>(block); }

unsigned expected(const State &block, unsigned warp, const Meeting &meeting) {
    unsigned count = 0;
    for (unsigned i = 0; i < meeting.size / 32; ++i) count += std::popcount(block.lanes[warp + i] & meeting.lanes);
    return count;
}

// Perform the operation if all are there; whether it was.
bool hold(State &block, unsigned warp, std::size_t number) {
    Meeting &open = block.meetings[warp][number];
    if (open.arrived < expected(block, warp, open)) return false;
    Meeting meeting = open;
    block.meetings[warp].erase(block.meetings[warp].begin() + std::ptrdiff_t(number));
    meeting.perform(meeting.records, meeting.size);
    for (unsigned i = 0; i < meeting.size; ++i)
        if (meeting.done[i]) *meeting.done[i] = 1;
    return true;
}

void open_barrier(Barrier &barrier) {
    barrier.arrived = barrier.count = 0;
    ++barrier.generation;
}

}  // namespace

void begin_cluster(std::size_t threads) {
    cluster = {};
    live = threads;
}

void begin_block(State &block, unsigned threads) {
    block.live = threads;
    for (unsigned warp = 0; warp * 32 < threads; ++warp) {
        unsigned count = threads - warp * 32;
        block.lanes[warp] = count < 32 ? (1u << count) - 1 : ~0u;
        block.meetings[warp].clear();
    }
    std::memset(block.barriers, 0, sizeof block.barriers);
}

void end_thread(Thread &thread) {
    State &block = state(thread.block);
    unsigned warp = thread.number / 32;
    block.lanes[warp] &= ~(1u << thread.number % 32);
    --block.live, --live;
    for (unsigned first : {warp, warp / 4 * 4})
        for (std::size_t i = block.meetings[first].size(); i-- > 0;) hold(block, first, i);
    Barrier &all = block.barriers[0];
    if (all.arrived && !all.count && all.arrived >= block.live) open_barrier(all);
    if (cluster.arrived && cluster.arrived >= live) open_barrier(cluster);
}

void emulated_meet(unsigned size, std::uint32_t lanes, void *record, Perform perform) {
    State &block = state(engine.thread->block);
    unsigned number = engine.thread->number, warp = number / size * size / 32, place = number % size;
    if (size == 32 && !(lanes >> place & 1)) emulated_fail(LAUNCH_FAILED, "a thread is not in the mask that it gives");
    auto &meetings = block.meetings[warp];
    std::size_t found = 0;
    while (found < meetings.size() && !(meetings[found].size == size && meetings[found].lanes == lanes)) ++found;
    if (found == meetings.size()) {
        meetings.emplace_back();
        meetings.back().size = size, meetings.back().lanes = lanes, meetings.back().perform = perform;
    }
    Meeting &meeting = meetings[found];
    if (meeting.perform != perform)
        emulated_fail(LAUNCH_FAILED, "threads of one warp meet in different operations");
    std::uint32_t done = 0;
    ++meeting.arrived;
    meeting.records[place] = record;
    meeting.done[place] = &done;
    if (!hold(block, warp, found)) emulated_wait(&done, ~0u, 0);
}

void emulated_barrier(unsigned id, unsigned count, bool wait) {
    State &block = state(engine.thread->block);
    if (id >= BARRIERS) emulated_fail(ILLEGAL_INSTRUCTION, "a block has 16 barriers");
    if (count % 32) emulated_fail(ILLEGAL_INSTRUCTION, "the threads of a barrier must be whole warps");
    Barrier &barrier = block.barriers[id];
    if (barrier.arrived && barrier.count != count)
        emulated_fail(LAUNCH_FAILED, "threads arrive at one barrier with different counts");
    barrier.count = count;
    std::uint32_t generation = barrier.generation;
    if (++barrier.arrived >= (count ? count : block.live)) open_barrier(barrier);
    else if (wait) emulated_wait(&barrier.generation, ~0u, generation);
}

void emulated_cluster_arrive() {
    engine.thread->cluster_arrival = cluster.generation;
    if (++cluster.arrived >= live) open_barrier(cluster);
}

void emulated_cluster_wait() { emulated_wait(&cluster.generation, ~0u, engine.thread->cluster_arrival); }

}  // namespace convc_emulated
