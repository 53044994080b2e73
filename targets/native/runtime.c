/* What the kernels of an artifact call at run time: threads and scratch memory.
 *
 * A parallel region is cut into more tasks than threads. Each thread has a share of neighbouring tasks, which it does in
 * order, so that it finds in its caches what it wrote in the region before; then it takes from the ends of the others'
 * shares. One that the system takes away delays a task, not its whole share. After a region a worker spins for about as
 * long as the next one may take to come, then sleeps: a quiet machine pays for no wake-ups, a busy one for little
 * spinning.
 */
#define _GNU_SOURCE
#include "convc.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 256, TASKS_PER_THREAD = 8, SPIN_NS = 50000, LINE = 64, HUGE_PAGE = 2 << 20, STACK = 256 << 10 };

/* As TVM's code generator has them. */
struct group { void *sync_handle; int32_t num_task; };
typedef int lambda(int task, struct group *group, void *data);

int convc_abi(void) { return CONVC_ABI; }

int64_t convc_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* While kernels run, results below the least normal number are 0: each costs x86 some 150 cycles, and what decays through
 * a network makes many. Operands may be as small as they like: what a user gives is seen as it is. */

#if defined(__x86_64__)
static uint32_t rounding(void) { return __builtin_ia32_stmxcsr(); }
void convc_restore(uint32_t mode) { __builtin_ia32_ldmxcsr(mode); }
enum { FLUSH = 1 << 15 };
#else
static uint32_t rounding(void) { return 0; }
void convc_restore(uint32_t mode) { (void)mode; }
enum { FLUSH = 0 };
#endif

uint32_t convc_flush_small(void) {
    uint32_t before = rounding();
    convc_restore(before | FLUSH);
    return before;
}

/* Threads */

static struct {
    pthread_mutex_t owner; /* held by the call whose regions the workers share */
    atomic_int process;    /* whose threads the workers are */
    atomic_int workers;    /* that were started */
    atomic_int limit;      /* of workers that may join: one less than the threads of the call */
    /* The region. Whoever claims a task finds it as it was posted: no region ends, and no other begins, while a task of
       it is open. */
    uint32_t number;
    int tasks;
    lambda *run;
    void *data;
    uint32_t rounding; /* of the thread that opened it */
    _Alignas(LINE) atomic_int open;   /* tasks that have not ended */
    atomic_int waiting;               /* whether the owner sleeps until they have */
    atomic_int status;                /* what a task returned, if not 0 */
    _Alignas(LINE) atomic_int posted; /* regions so far, modulo 2**32; workers sleep on it */
    atomic_int asleep;                /* workers that do */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER};

/* A thread's tasks that nobody has claimed: the number of their region (32 bits), the end (16), the begin (16). */
static struct { _Alignas(LINE) _Atomic uint64_t tasks; } shares[MAX_THREADS];

static _Thread_local bool inside;     /* a region: those that it opens run in one piece */
static _Thread_local int threads = 1; /* of the call that this thread makes */

static void futex_wait(atomic_int *word, int value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_int *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void spin_while(atomic_int *word, int value) {
    for (int64_t end = convc_now() + SPIN_NS; convc_now() < end;)
        for (int i = 0; i < 32; ++i) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            __asm__ volatile("isb");
#endif
        }
}

/* A task of a thread's share, its first or its last; -1 where none is left. */
static int claim(int thread, bool first) {
    uint64_t tasks = atomic_load(&shares[thread].tasks);
    for (;;) {
        int end = (tasks >> 16) & 0xffff, begin = tasks & 0xffff;
        if (begin >= end) return -1;
        uint64_t rest = first ? tasks + 1 : tasks - (1 << 16);
        if (atomic_compare_exchange_weak(&shares[thread].tasks, &tasks, rest)) return first ? begin : end - 1;
    }
}

/* Do tasks of the open region until none is left, one's own first. */
static void help(int me) {
    inside = true;
    int count = atomic_load(&pool.workers) + 1;
    for (int i = 0; i < count; ++i) {
        int task, done = 0;
        for (; (task = claim((me + i) % count, !i)) >= 0; ++done) {
            struct group group = {NULL, pool.tasks};
            if (me) convc_restore(pool.rounding);
            int status = pool.run(task, &group, pool.data);
            if (status) atomic_store(&pool.status, status);
        }
        /* Once a share: the line goes from core to core each time. */
        if (done && atomic_fetch_sub(&pool.open, done) == done && atomic_load(&pool.waiting)) futex_wake(&pool.open, 1);
    }
    inside = false;
}

static void *worker(void *argument) {
    int number = (int)(intptr_t)argument;
    for (;;) {
        int limit = atomic_load(&pool.limit);
        if (number >= limit) {
            futex_wait(&pool.limit, limit);
            continue;
        }
        int seen = atomic_load(&pool.posted);
        help(number + 1);
        spin_while(&pool.posted, seen);
        atomic_fetch_add(&pool.asleep, 1);
        if (atomic_load(&pool.posted) == seen) futex_wait(&pool.posted, seen);
        atomic_fetch_sub(&pool.asleep, 1);
    }
    return NULL;
}

/* Make sure that so many workers exist; how many do. */
static int start(int wanted) {
    int count = atomic_load(&pool.workers);
    if (count >= wanted) return wanted;
    sigset_t all, before; /* signals are for the threads of the program */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    while (count < wanted && !pthread_create(&thread, &attributes, worker, (void *)(intptr_t)count)) ++count;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    atomic_store(&pool.workers, count);
    return count;
}

static int in_one_piece(lambda *run, void *data) {
    struct group group = {NULL, 1};
    return run(0, &group, data);
}

static int launch(lambda *run, void *data, int count) {
    (void)count; /* TVM leaves it to us */
    if (inside || threads < 2 || pthread_mutex_trylock(&pool.owner)) return in_one_piece(run, data);
    int helpers = start(threads - 1);
    int status = 0;
    if (helpers < 1) {
        status = in_one_piece(run, data);
    } else {
        pool.number += 1;
        pool.tasks = (helpers + 1) * TASKS_PER_THREAD;
        pool.run = run;
        pool.data = data;
        pool.rounding = rounding();
        atomic_store(&pool.status, 0);
        if (atomic_exchange(&pool.limit, helpers) != helpers) futex_wake(&pool.limit, INT_MAX);
        atomic_store(&pool.open, pool.tasks);
        for (int i = 0; i <= helpers; ++i) {
            uint64_t begin = i * TASKS_PER_THREAD, end = begin + TASKS_PER_THREAD;
            atomic_store(&shares[i].tasks, (uint64_t)pool.number << 32 | end << 16 | begin);
        }
        atomic_fetch_add(&pool.posted, 1);
        if (atomic_load(&pool.asleep)) futex_wake(&pool.posted, INT_MAX);
        help(0);
        int open = atomic_load(&pool.open);
        while (open) {
            spin_while(&pool.open, open);
            atomic_store(&pool.waiting, 1);
            if ((open = atomic_load(&pool.open))) futex_wait(&pool.open, open);
            atomic_store(&pool.waiting, 0);
            open = atomic_load(&pool.open);
        }
        status = atomic_load(&pool.status);
    }
    pthread_mutex_unlock(&pool.owner);
    return status;
}

/* How many threads the regions that this thread opens may use. */
void convc_use_threads(int wanted) {
    threads = wanted < 1 ? 1 : wanted > MAX_THREADS ? MAX_THREADS : wanted;
    int process = (int)getpid();
    if (pool.process == process) return;
    if (pool.process) { /* a forked child has none of its parent's threads, and maybe a lock that nobody will open */
        atomic_store(&pool.workers, 0);
        atomic_store(&pool.asleep, 0);
        for (int i = 0; i < MAX_THREADS; ++i) atomic_store(&shares[i].tasks, 0);
        pool.owner = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    }
    pool.process = process;
}

/* Scratch memory: a stack for each thread, which grows while it is empty to the most that was ever asked of it */

struct scratch { char *base; size_t size, used, most; };

static pthread_key_t scratch_key;

static void discard(void *pointer) {
    struct scratch *scratch = pointer;
    if (scratch->base) munmap(scratch->base, scratch->size);
    free(scratch);
}

static void make_key(void) { pthread_key_create(&scratch_key, discard); }

static struct scratch *mine(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Thread_local struct scratch *known;
    if (known) return known;
    pthread_once(&once, make_key);
    known = calloc(1, sizeof *known);
    if (known) pthread_setspecific(scratch_key, known);
    return known;
}

static void *allocate(int device_type, int device, uint64_t bytes, int code, int bits) {
    (void)device_type, (void)device, (void)code, (void)bits;
    struct scratch *scratch = mine();
    if (!scratch) return NULL;
    bytes = (bytes + LINE - 1) / LINE * LINE;
    if (scratch->used + bytes > scratch->most) scratch->most = scratch->used + bytes;
    if (!scratch->used && scratch->size < scratch->most) {
        if (scratch->base) munmap(scratch->base, scratch->size);
        scratch->size = (scratch->most + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        scratch->base = mmap(NULL, scratch->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (scratch->base == MAP_FAILED) scratch->base = NULL, scratch->size = 0;
        else madvise(scratch->base, scratch->size, MADV_HUGEPAGE);
    }
    if (scratch->used + bytes > scratch->size) return aligned_alloc(LINE, bytes);
    scratch->used += bytes;
    return scratch->base + scratch->used - bytes;
}

static int release(int device_type, int device, void *pointer) {
    (void)device_type, (void)device;
    struct scratch *scratch = mine();
    char *place = pointer;
    size_t at = place - scratch->base;
    if (place < scratch->base || at >= scratch->size) free(pointer);
    else if (at < scratch->used) scratch->used = at; /* a scope gives its blocks back together, in any order */
    return 0;
}

/* TVM's code calls through these; it declares them weakly itself. */
int (*__TVMBackendParallelLaunch)(lambda *, void *, int) = launch;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
