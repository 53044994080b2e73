// Copies that go on beside the threads: cp.async, TMA, and the mbarriers that count them.
//
// A device may do such a copy at any time between its issue and what waits for it, and a program must be right whenever
// it is. cp.async and TMA's stores are done as late as possible, when they are waited for. Of TMA's loads every other
// one, by chance, is done at once, and the others when no thread can go on without them: a buffer that is read too
// early, or filled again too early, shows.
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "engine_functions.h"
#include "in_flight.h"
#include "memory.h"
#include "results.h"
#include "tensor_maps.h"

namespace convc_emulated {

namespace {

using Work = std::function<void()>;

// Copies of one thread: those not yet committed to a group, and groups in order of commitment.
struct Groups {
    std::vector<Work> open;
    std::deque<std::vector<Work>> committed;

    void commit() {
        committed.push_back(std::move(open));
        open.clear();
    }
    void wait(unsigned pending) {
        for (; committed.size() > pending; committed.pop_front())
            for (const Work &work : committed.front()) work();
    }
    bool empty() const { return open.empty() && committed.empty(); }
};

std::map<const Thread *, Groups> copies, stores;
std::deque<Work> loads;
std::uint32_t chance;

Groups &mine(std::map<const Thread *, Groups> &all) { return all[engine.thread]; }

// An mbarrier: arrivals that are pending in this phase, arrivals that a phase has, bytes that are pending, the parity
// of the phase. Memory that was never written is not one.
struct Mbarrier {
    std::uint64_t pending : 20, expected : 20;
    std::int64_t bytes : 22;
    std::uint64_t invalid : 1, parity : 1;

    void settle() {
        if (pending || bytes) return;
        pending = expected;
        parity ^= 1;
    }
    void expect(std::int64_t count) {
        if (bytes + count >= 1 << 20 || bytes + count <= -(1 << 20))
            emulated_fail(LAUNCH_FAILED, "an mbarrier counts more than 2**20 bytes");
        bytes += count;
    }
};
static_assert(sizeof(Mbarrier) == 8);

Mbarrier &mbarrier(void *place) {
    if (reinterpret_cast<std::uintptr_t>(place) % 8) emulated_fail(MISALIGNED_ADDRESS, "an mbarrier has 8 bytes");
    auto &barrier = *static_cast<Mbarrier *>(place);
    if (barrier.invalid) emulated_fail(LAUNCH_FAILED, "an mbarrier was not initialised");
    return barrier;
}

// The same place in the shared memory of another block of the cluster.
void *in_block(void *place, unsigned rank) {
    return emulated_peer(rank)->window + reinterpret_cast<std::uintptr_t>(place) % WINDOW;
}

const TensorMap &tensor_map(const void *place, unsigned rank) {
    const auto &map = *static_cast<const TensorMap *>(place);
    if (map.magic != MAP_MAGIC) emulated_fail(ILLEGAL_INSTRUCTION, "a tensor map was not encoded");
    if (map.rank != rank) emulated_fail(ILLEGAL_INSTRUCTION, "a tensor map has another rank than the instruction");
    return map;
}

void check_waited(const char *what) {
    if (engine.thread->early) emulated_fail(LAUNCH_FAILED, what);
}

void check_tile(const void *shared) {
    if (reinterpret_cast<std::uintptr_t>(shared) % 128)
        emulated_fail(MISALIGNED_ADDRESS, "TMA needs shared memory that is aligned to 128 bytes");
}

}  // namespace

void nothing_in_flight() {
    copies.clear();
    stores.clear();
    loads.clear();
    chance = 1;
}

bool deliver() {
    if (loads.empty()) return false;
    Work load = std::move(loads.front());
    loads.pop_front();
    load();
    return true;
}

const char *left_by(const Thread &thread) {
    auto found = stores.find(&thread);
    bool none = found == stores.end() || found->second.empty();
    return none ? nullptr : "the thread ends while TMA stores read its shared memory";
}

const char *left_by_cluster() {
    return loads.empty() ? nullptr : "the block ends while TMA loads write its shared memory";
}

void emulated_copy(void *shared, const void *global, unsigned size, unsigned valid) {
    if (reinterpret_cast<std::uintptr_t>(shared) % size || (valid && reinterpret_cast<std::uintptr_t>(global) % size))
        emulated_fail(MISALIGNED_ADDRESS, "cp.async is not aligned to its size");
    check_waited("cp.async comes before the launches before have been waited for");
    if (valid > size) emulated_fail(ILLEGAL_INSTRUCTION, "cp.async reads more than it writes");
    mine(copies).open.push_back([=] {
        if (valid) std::memcpy(shared, global, valid);
        std::memset(static_cast<char *>(shared) + valid, 0, size - valid);
    });
}

void emulated_copy_commit() { mine(copies).commit(); }

void emulated_copy_wait(unsigned pending) { mine(copies).wait(pending); }

void emulated_mbarrier_init(void *place, unsigned count) {
    if (reinterpret_cast<std::uintptr_t>(place) % 8) emulated_fail(MISALIGNED_ADDRESS, "an mbarrier has 8 bytes");
    if (!count || count >= 1 << 20) emulated_fail(LAUNCH_FAILED, "an mbarrier counts 1 to 2**20 - 1 arrivals");
    *static_cast<Mbarrier *>(place) = {count, count, 0, 0, 0};
}

void emulated_mbarrier_inval(void *place) { std::memset(&mbarrier(place), 0xff, sizeof(Mbarrier)); }

void emulated_mbarrier_arrive(void *place, unsigned expected_bytes) {
    Mbarrier &barrier = mbarrier(place);
    if (!barrier.pending) emulated_fail(LAUNCH_FAILED, "more arrive at an mbarrier than it was initialised for");
    barrier.expect(expected_bytes);
    --barrier.pending;
    barrier.settle();
}

void emulated_mbarrier_wait(void *place, unsigned parity) {
    mbarrier(place);
    constexpr std::uint32_t PARITY = 1u << 31;  // in the upper word
    emulated_wait(static_cast<std::uint32_t *>(place) + 1, PARITY, parity & 1 ? PARITY : 0);
}

void emulated_tma_load(void *shared, const void *map_place, void *barrier, const int *at, unsigned rank,
                       unsigned ranks) {
    check_tile(shared);
    TensorMap map = tensor_map(map_place, rank);
    if (engine.thread->early) map.address = const_cast<char *>(remembered(map.address));
    Tile tile(map, at);
    mbarrier(barrier);
    Work load = [=] {
        std::vector<unsigned> targets;
        for (unsigned i = 0; i < 16; ++i)
            if (ranks >> i & 1) targets.push_back(i);
        unsigned count = targets.empty() ? 1 : unsigned(targets.size());
        for (unsigned i = 0; i < count; ++i) {
            tile.load(static_cast<char *>(ranks ? in_block(shared, targets[i]) : shared));
            Mbarrier &counted = mbarrier(ranks ? in_block(barrier, targets[i]) : barrier);
            counted.expect(-std::int64_t(tile.bytes()));
            counted.settle();
        }
    };
    chance = chance * 1664525 + 1013904223;
    if (chance >> 31) load();
    else loads.push_back(std::move(load));
}

void emulated_tma_store(const void *shared, const void *map_place, const int *at, unsigned rank) {
    check_tile(shared);
    check_waited("a TMA store comes before the launches before have been waited for");
    Tile tile(tensor_map(map_place, rank), at);
    mine(stores).open.push_back([=] { tile.store(static_cast<const char *>(shared)); });
}

void emulated_bulk_commit() { mine(stores).commit(); }

void emulated_bulk_wait(unsigned pending) { mine(stores).wait(pending); }

}  // namespace convc_emulated
