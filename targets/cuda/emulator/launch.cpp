#include "launch.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "blocks.h"
#include "engine_functions.h"
#include "fibres.h"
#include "in_flight.h"
#include "memory.h"
#include "results.h"

namespace convc_emulated {

namespace {

const Launch *launch;
std::vector<Thread> threads;  // of all blocks of the cluster
std::vector<std::unique_ptr<State>> blocks;
char *windows;  // of shared memory, one a block
pthread_t launcher;
sigjmp_buf failed;
int failure;
std::string *report;

// A launch that may begin early does, and finds memory as it was before those that it follows: what it does before it
// waits must touch none of it but by TMA, which reads what was there. Threads wait as long as any other can go on. Of
// the first clusters of a launch, that is; they all run the same program.
constexpr unsigned EARLY_CLUSTERS = 4;
unsigned clusters_begun;
std::uint32_t gate;  // 1: open
bool closed;

void shut(bool early) {
    gate = !early;
    if (early != closed) close_memory(closed = early);
}

// Faults

void on_signal(int number, siginfo_t *info, void *) {
    if (!pthread_equal(pthread_self(), launcher)) {  // a fault of another thread of the process: as if we were not here
        signal(number, SIG_DFL);
        return;
    }
    int error = ILLEGAL_ADDRESS;
    char text[200];
    const char *at = static_cast<char *>(info->si_addr);
    if (number == SIGILL || number == SIGTRAP) {  // as the compiler's checks end, by architecture
        error = MISALIGNED_ADDRESS;
        std::snprintf(text, sizeof text, "an access is not aligned to its size");
    } else if (number == SIGFPE) {
        error = LAUNCH_FAILED;
        std::snprintf(text, sizeof text, "an integer is divided by zero");
    } else if (overflows(at)) {
        error = LAUNCH_FAILED;
        std::snprintf(text, sizeof text, "a thread needs more than %zu KiB of stack", STACK_SIZE >> 10);
    } else if (closed && find(at)) {
        error = LAUNCH_FAILED;
        std::snprintf(text, sizeof text, "an access to memory before the launches before have been waited for");
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
    const std::size_t PAGE = std::size_t(sysconf(_SC_PAGESIZE));
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
        threads[i] = {at(i % size, launch->grid.threads), i % size, blocks[i / size].get(), 0, false};
}

// What a block finds in shared memory are NaNs; behind it nothing may be written.
constexpr unsigned BEHIND = 4096;

void check_behind(const State &block) {
    const char *behind = block.window + RESERVED + launch->dynamic;
    // The first bytes may be used: dynamic_shared() shifts the memory by up to half a KiB.
    for (unsigned i = RESERVED / 2; i < BEHIND; ++i)
        if (behind[i] != char(0xff)) emulated_fail(ILLEGAL_ADDRESS, "a write behind the block's dynamic shared memory");
}

void run_thread(Thread &thread) {
    thread.early = !gate;
    launch->kernel->run(launch->parameters);
    for (const char *left : {left_by(thread), products_left_by(thread)})
        if (left) emulated_fail(LAUNCH_FAILED, left);
    end_thread(thread);
}

void run_cluster(Index first) {
    const Index &shape = launch->grid.cluster;
    unsigned count = volume(shape);
    for (unsigned i = 0; i < count; ++i) {
        Index offset = at(i, shape);
        blocks[i]->index = {first.x + offset.x, first.y + offset.y, first.z + offset.z};
        begin_block(*blocks[i], volume(launch->grid.threads));
        std::memset(blocks[i]->window + RESERVED, 0xff, launch->dynamic + BEHIND);
    }
    if (launch->shared != launch->shared_end) std::memset(launch->shared, 0xff, launch->shared_end - launch->shared);
    begin_cluster(threads.size());
    nothing_in_flight();
    no_products();
    shut(launch->early && clusters_begun++ < EARLY_CLUSTERS);
    run_fibres(threads, run_thread);
    if (!gate) emulated_fail(LAUNCH_FAILED, "the block ends and has not waited for the launches before");
    if (const char *left = left_by_cluster()) emulated_fail(LAUNCH_FAILED, left);
    for (unsigned i = 0; i < count; ++i) check_behind(*blocks[i]);
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

std::string position(const Thread &thread) {
    char text[160];
    const Index &b = thread.block->index, &t = thread.index;
    std::snprintf(text, sizeof text, "block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x, t.y, t.z);
    return text;
}

Block *emulated_peer(unsigned rank) {
    if (rank >= volume(launch->grid.cluster)) emulated_fail(ILLEGAL_ADDRESS, "the cluster has no block of this rank");
    return blocks[rank].get();
}

void emulated_grid_wait() {
    emulated_wait(&gate, ~0u, 0);
    engine.thread->early = false;
}

bool open_gate() {
    if (gate) return false;
    shut(false);
    return true;
}

void emulated_fail(int error, const char *what) {
    std::string where = engine.thread ? ", " + position(*engine.thread) : "";
    *report = std::string("kernel ") + launch->name + where + ": " + what;
    failure = error;
    siglongjmp(failed, 1);
}

int run(const Launch &asked, std::string &message) {
    launch = &asked;
    report = &message;
    launcher = pthread_self();
    engine.grid = asked.grid;
    engine.thread = nullptr;
    Handlers handlers;
    failure = 0;
    clusters_begun = 0;
    if (!sigsetjmp(failed, 1)) run_grid();
    else abandon_fibres();
    shut(false);
    engine.thread = nullptr;
    return failure;
}

}  // namespace convc_emulated
