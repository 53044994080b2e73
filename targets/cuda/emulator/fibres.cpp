// Threads of a block take turns on one host thread. Each has a stack of its own and runs until it must wait; then the
// next does. A kernel that never waits runs as a loop on one stack. Where all wait and none may go on, the kernel has
// deadlocked, and says so.
//
// Fibres are switched by _setjmp and _longjmp, which make no system call; ucontext only enters them first.
#include "fibres.h"

#include <bit>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include "engine_functions.h"
#include "in_flight.h"
#include "memory.h"
#include "results.h"

namespace convc_emulated {

namespace {

constexpr std::size_t STACK = 256 << 10;
const std::size_t PAGE = std::size_t(sysconf(_SC_PAGESIZE));
constexpr unsigned BARRIERS = 16, MOST_BLOCKS = 16, MOST_THREADS = 1024;

struct Fibre {
    jmp_buf context;
    ucontext_t entry;
    char *stack;
    bool entered;
    Thread *thread;
    // Until (*word & mask) != value it waits.
    const std::uint32_t *word;
    std::uint32_t mask, value;
    // What emulated_active waits for: the lanes that are at this place.
    const void *place;
    std::uint32_t lanes;
};

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

const Launch *launch;
std::vector<Thread> threads;  // of all blocks of the cluster
std::vector<std::unique_ptr<State>> blocks;
std::vector<std::unique_ptr<Fibre>> fibres;
std::vector<Fibre *> idle, waiting, ready;
std::size_t next_ready;
unsigned started, live;
Barrier cluster;
Fibre *running;
jmp_buf finished;
sigjmp_buf failed;
int failure;
std::string *report;
char *windows;

State &state(Block *block) { return *static_cast<State *>(block); }

std::string position(const Thread &thread) {
    char text[160];
    const Index &b = thread.block->index, &t = thread.index;
    std::snprintf(text, sizeof text, "block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x, t.y, t.z);
    return text;
}

void exited(Thread &thread);
[[noreturn]] void enter(Fibre *fibre);

// What every fibre runs: threads that have not begun, as long as there are some.
void body() {
    for (;;) {
        while (started < threads.size()) {
            running->thread = engine.thread = &threads[started++];
            launch->kernel->run(launch->parameters);
            exited(*running->thread);
        }
        idle.push_back(running);
        if (_setjmp(running->context)) continue;
        if (!live) _longjmp(finished, 1);
        enter(nullptr);
    }
}

void prepare(Fibre &fibre) {
    getcontext(&fibre.entry);
    fibre.entry.uc_stack.ss_sp = fibre.stack + PAGE;
    fibre.entry.uc_stack.ss_size = STACK;
    fibre.entry.uc_link = nullptr;
    makecontext(&fibre.entry, body, 0);
    fibre.entered = false;
}

Fibre *fresh() {
    if (idle.empty()) {
        auto fibre = std::make_unique<Fibre>();
        void *stack = mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) emulated_fail(LAUNCH_FAILED, "no memory for the stack of a thread");
        fibre->stack = static_cast<char *>(stack);
        mprotect(stack, PAGE, PROT_NONE);
        prepare(*fibre);
        idle.push_back(fibre.get());
        fibres.push_back(std::move(fibre));
    }
    Fibre *fibre = idle.back();
    idle.pop_back();
    return fibre;
}

// Those that need not wait any more become ready; whether any did.
bool look() {
    std::size_t kept = 0;
    for (Fibre *fibre : waiting) {
        if ((*fibre->word & fibre->mask) == fibre->value) waiting[kept++] = fibre;
        else ready.push_back(fibre);
    }
    waiting.resize(kept);
    return next_ready < ready.size();
}

// Tell the threads of one warp that stand at one call of __activemask who they are; whether there were some.
bool converge() {
    const Fibre *first = nullptr;
    for (const Fibre *fibre : waiting)
        if (fibre->place) first = fibre;
    if (!first) return false;
    const void *place = first->place;
    const Block *block = first->thread->block;
    unsigned warp = first->thread->number / 32;
    std::vector<Fibre *> together;
    std::uint32_t lanes = 0;
    for (Fibre *fibre : waiting)
        if (fibre->place == place && fibre->thread->block == block && fibre->thread->number / 32 == warp) {
            together.push_back(fibre);
            lanes |= 1u << fibre->thread->number % 32;
        }
    for (Fibre *fibre : together) fibre->lanes = lanes, fibre->place = nullptr;
    return true;
}

[[noreturn]] void deadlock() {
    Fibre *first = waiting.front();
    std::string text = "deadlock: " + std::to_string(waiting.size()) + " threads wait for what no other will do, the first is " +
                       position(*first->thread);
    emulated_fail(LAUNCH_TIMEOUT, text.c_str());
}

Fibre *choose() {
    for (;;) {
        if (started < threads.size()) return fresh();
        if (next_ready < ready.size()) return ready[next_ready++];
        ready.clear();
        next_ready = 0;
        if (!look() && !deliver() && !converge()) deadlock();
    }
}

[[noreturn]] void enter(Fibre *fibre) {
    if (!fibre) fibre = choose();
    running = fibre;
    engine.thread = fibre->thread;
    if (fibre->entered) _longjmp(fibre->context, 1);
    fibre->entered = true;
    setcontext(&fibre->entry);
    std::abort();
}

void pause() {
    waiting.push_back(running);
    if (_setjmp(running->context)) return;
    enter(nullptr);
}

// Meetings and barriers

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

void exited(Thread &thread) {
    for (const char *left : {left_by(thread), products_left_by(thread)})
        if (left) emulated_fail(LAUNCH_FAILED, left);
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

// Faults

void on_signal(int number, siginfo_t *info, void *) {
    int error = ILLEGAL_ADDRESS;
    char text[200];
    const char *at = static_cast<char *>(info->si_addr);
    if (number == SIGILL || number == SIGTRAP) {  // as the compiler's checks end, by architecture
        error = MISALIGNED_ADDRESS;
        std::snprintf(text, sizeof text, "an access is not aligned to its size");
    } else if (number == SIGFPE) {
        error = LAUNCH_FAILED;
        std::snprintf(text, sizeof text, "an integer is divided by zero");
    } else if (running && at >= running->stack && at < running->stack + PAGE) {
        error = LAUNCH_FAILED;
        std::snprintf(text, sizeof text, "a thread needs more than %zu KiB of stack", STACK >> 10);
    } else {
        std::snprintf(text, sizeof text, "an access to %p, outside of device memory", static_cast<const void *>(at));
    }
    emulated_fail(error, text);
}

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE}, COUNT = sizeof SIGNALS / sizeof *SIGNALS;

// Faults of the kernel come here while it runs.
struct Handlers {
    struct sigaction before[COUNT];
    stack_t stack_before;
    Handlers() {
        static char stack[64 << 10];
        stack_t mine = {stack, 0, sizeof stack};
        sigaltstack(&mine, &stack_before);
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &action, &before[i]);
    }
    ~Handlers() {
        for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
        sigaltstack(&stack_before, nullptr);
    }
};

// Blocks

void map_windows() {
    if (windows) return;
    std::size_t bytes = WINDOW * (MOST_BLOCKS + 1);
    void *found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) emulated_fail(LAUNCH_FAILED, "no memory for the shared memory of blocks");
    windows = reinterpret_cast<char *>((reinterpret_cast<std::uintptr_t>(found) + WINDOW - 1) / WINDOW * WINDOW);
    for (unsigned i = 0; i < MOST_BLOCKS; ++i) mprotect(windows + (i + 1) * WINDOW - PAGE, PAGE, PROT_NONE);
}

unsigned volume(const Index &index) { return index.x * index.y * index.z; }

Index at(unsigned number, const Index &shape) {
    return {number % shape.x, number / shape.x % shape.y, number / shape.x / shape.y};
}

// As many blocks and threads as a cluster has, whose places in their block stay.
void shape_cluster() {
    unsigned count = volume(launch->grid.cluster), size = volume(launch->grid.threads);
    while (blocks.size() < count) {
        blocks.push_back(std::make_unique<State>());
        blocks.back()->rank = unsigned(blocks.size() - 1);
        blocks.back()->window = windows + (blocks.size() - 1) * WINDOW;
    }
    threads.resize(std::size_t(count) * size);
    for (unsigned i = 0; i < threads.size(); ++i)
        threads[i] = {at(i % size, launch->grid.threads), i % size, blocks[i / size].get(), 0};
}

// What a block finds in shared memory are NaNs; behind it nothing may be written.
constexpr unsigned BEHIND = 4096;

void begin(State &block, Index index) {
    unsigned size = volume(launch->grid.threads);
    block.index = index;
    block.dynamic = launch->dynamic;
    block.live = size;
    std::memset(block.window + RESERVED, 0xff, launch->dynamic + BEHIND);
    for (unsigned warp = 0; warp * 32 < size; ++warp) {
        unsigned count = size - warp * 32;
        block.lanes[warp] = count < 32 ? (1u << count) - 1 : ~0u;
        block.meetings[warp].clear();
    }
    std::memset(block.barriers, 0, sizeof block.barriers);
}

void end(const State &block) {
    const char *behind = block.window + RESERVED + launch->dynamic;
    // The first bytes may be used: dynamic_shared() shifts the memory by up to half a KiB.
    for (unsigned i = RESERVED / 2; i < BEHIND; ++i)
        if (behind[i] != char(0xff)) emulated_fail(ILLEGAL_ADDRESS, "a write behind the block's dynamic shared memory");
}

void run_cluster(Index first) {
    const Index &shape = launch->grid.cluster;
    unsigned count = volume(shape);
    for (unsigned i = 0; i < count; ++i) {
        Index offset = at(i, shape);
        begin(*blocks[i], {first.x + offset.x, first.y + offset.y, first.z + offset.z});
    }
    if (launch->shared != launch->shared_end) std::memset(launch->shared, 0xff, launch->shared_end - launch->shared);
    cluster = {};
    started = 0;
    live = unsigned(threads.size());
    nothing_in_flight();
    no_products();
    if (!_setjmp(finished)) enter(nullptr);
    if (const char *left = left_by_cluster()) emulated_fail(LAUNCH_FAILED, left);
    for (unsigned i = 0; i < count; ++i) end(*blocks[i]);
}

void run_grid() {
    map_windows();
    shape_cluster();
    const Index &grid = launch->grid.blocks, &step = launch->grid.cluster;
    for (unsigned z = 0; z < grid.z; z += step.z)
        for (unsigned y = 0; y < grid.y; y += step.y)
            for (unsigned x = 0; x < grid.x; x += step.x) run_cluster({x, y, z});
    if (const char *broken = broken_guard()) emulated_fail(ILLEGAL_ADDRESS, broken);
}

}  // namespace

void emulated_wait(const std::uint32_t *word, std::uint32_t mask, std::uint32_t value) {
    if ((*word & mask) != value) return;
    Fibre *self = running;
    self->word = word, self->mask = mask, self->value = value;
    pause();
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

std::uint32_t emulated_active(const void *place) {
    Fibre *self = running;
    self->place = place;
    self->lanes = 0;
    emulated_wait(&self->lanes, ~0u, 0);
    return self->lanes;
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

Block *emulated_peer(unsigned rank) {
    if (rank >= volume(launch->grid.cluster)) emulated_fail(ILLEGAL_ADDRESS, "the cluster has no block of this rank");
    return blocks[rank].get();
}

void emulated_fail(int error, const char *what) {
    *report = std::string("kernel ") + launch->name + ", " + (engine.thread ? position(*engine.thread) : "") + ": " + what;
    failure = error;
    siglongjmp(failed, 1);
}

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

int run(const Launch &asked, std::string &message) {
    launch = &asked;
    report = &message;
    engine.grid = asked.grid;
    engine.thread = nullptr;
    Handlers handlers;
    failure = 0;
    if (!sigsetjmp(failed, 1)) {
        run_grid();
    } else {
        // Fibres that were left in the middle of a kernel begin anew.
        idle.clear(), waiting.clear(), ready.clear();
        next_ready = 0;
        for (auto &fibre : fibres) prepare(*fibre), idle.push_back(fibre.get());
    }
    engine.thread = nullptr;
    return failure;
}

}  // namespace convc_emulated
