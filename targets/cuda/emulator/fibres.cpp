// Threads take turns on one host thread. Each has a stack of its own and runs until it must wait; then the next does. A
// kernel that never waits runs as a loop on one stack. Where all wait and none may go on, the kernel has deadlocked, and
// says so.
//
// Fibres are switched by _setjmp and _longjmp, which make no system call; ucontext only enters them first.
#include "fibres.h"

#include <csetjmp>
#include <cstdlib>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "engine_functions.h"
#include "in_flight.h"
#include "launch.h"
#include "results.h"

namespace convc_emulated {

namespace {

const std::size_t PAGE = std::size_t(sysconf(_SC_PAGESIZE));

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

std::vector<Thread> *threads;
void (*run_thread)(Thread &);
std::size_t started, ended;
std::vector<std::unique_ptr<Fibre>> fibres;
std::vector<Fibre *> idle, waiting, ready;
std::size_t next_ready;
Fibre *running;
jmp_buf finished;

[[noreturn]] void enter_next();

// What every fibre runs: threads that have not begun, as long as there are some.
void body() {
    for (;;) {
        while (started < threads->size()) {
            running->thread = engine.thread = &(*threads)[started++];
            run_thread(*running->thread);
            ++ended;
        }
        idle.push_back(running);
        if (_setjmp(running->context)) continue;
        if (ended == threads->size()) _longjmp(finished, 1);
        enter_next();
    }
}

void prepare(Fibre &fibre) {
    getcontext(&fibre.entry);
    fibre.entry.uc_stack.ss_sp = fibre.stack + PAGE;
    fibre.entry.uc_stack.ss_size = STACK_SIZE;
    fibre.entry.uc_link = nullptr;
    makecontext(&fibre.entry, body, 0);
    fibre.entered = false;
    fibre.place = nullptr;
}

Fibre *fresh() {
    if (idle.empty()) {
        auto fibre = std::make_unique<Fibre>();
        constexpr int FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *stack = mmap(nullptr, STACK_SIZE + PAGE, PROT_READ | PROT_WRITE, FLAGS, -1, 0);
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
    std::string text = "deadlock: " + std::to_string(waiting.size()) +
                       " threads wait for what no other will do, the first is " + position(*first->thread);
    emulated_fail(LAUNCH_TIMEOUT, text.c_str());
}

Fibre *choose() {
    for (;;) {
        if (started < threads->size()) return fresh();
        if (next_ready < ready.size()) return ready[next_ready++];
        ready.clear();
        next_ready = 0;
        if (!look() && !deliver() && !open_gate() && !converge()) deadlock();
    }
}

void enter_next() {
    Fibre *fibre = running = choose();
    engine.thread = fibre->thread;
    if (fibre->entered) _longjmp(fibre->context, 1);
    fibre->entered = true;
    setcontext(&fibre->entry);
    std::abort();
}

void pause() {
    waiting.push_back(running);
    if (_setjmp(running->context)) return;
    enter_next();
}

}  // namespace

void emulated_wait(const std::uint32_t *word, std::uint32_t mask, std::uint32_t value) {
    if ((*word & mask) != value) return;
    Fibre *self = running;
    self->word = word, self->mask = mask, self->value = value;
    pause();
}

std::uint32_t emulated_active(const void *place) {
    Fibre *self = running;
    self->place = place;
    self->lanes = 0;
    emulated_wait(&self->lanes, ~0u, 0);
    return self->lanes;
}

void run_fibres(std::vector<Thread> &all, void (*run)(Thread &)) {
    threads = &all;
    run_thread = run;
    started = ended = 0;
    if (!_setjmp(finished)) enter_next();
}

void abandon_fibres() {
    idle.clear(), waiting.clear(), ready.clear();
    next_ready = 0;
    for (auto &fibre : fibres) prepare(*fibre), idle.push_back(fibre.get());
}

bool overflows(const void *address) {
    const char *at = static_cast<const char *>(address);
    return running && at >= running->stack && at < running->stack + PAGE;
}

}  // namespace convc_emulated
