"""The C runtime that is linked into every artifact: parallel regions and scratch memory, called as TVM's code does."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from pathlib import Path

import pytest

from convc.targets.toolchain import NATIVE, compile_c, link

KERNELS = r"""
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
struct group { void *sync; int32_t num_task; };
typedef int lambda(int, struct group *, void *);
extern int (*__TVMBackendParallelLaunch)(lambda *, void *, int);
extern void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__TVMBackendFreeWorkspace)(int, int, void *);

struct job { int *hits; int count; int fail_at; };

static int count_up(int task, struct group *group, void *data) {
    struct job *job = data;
    int chunk = (job->count + group->num_task - 1) / group->num_task;
    for (int i = task * chunk; i < (task + 1) * chunk && i < job->count; ++i) {
        ++job->hits[i];
        if (i == job->fail_at) return -7;
    }
    return 0;
}

int region(int *hits, int count, int fail_at) {
    struct job job = {hits, count, fail_at};
    return __TVMBackendParallelLaunch(count_up, &job, 0);
}

static int outer(int task, struct group *group, void *data) {
    struct job *job = data;
    int chunk = (8 + group->num_task - 1) / group->num_task;
    for (int i = task * chunk; i < (task + 1) * chunk && i < 8; ++i)
        if (region(job->hits + i * job->count, job->count, -1)) return -1;
    return 0;
}

int nested(int *hits, int count) {
    struct job job = {hits, count, -1};
    return __TVMBackendParallelLaunch(outer, &job, 0);
}

/* The first task of each thread, which waits there for the others; the one that has task 0 waits until all else is
   done. */
static atomic_int region_number, arrived, done;
static int firsts[256], wanted;
static int meet(int task, struct group *group, void *data) {
    static _Thread_local int seen;
    if (seen != region_number) {
        seen = region_number;
        firsts[atomic_fetch_add(&arrived, 1)] = task;
        while (arrived < wanted) sched_yield();
        while (task == 0 && done < group->num_task - 1) sched_yield();
    }
    *(int *)data = group->num_task;
    ++done;
    return 0;
}

int meeting(int threads, int *found) {
    int tasks;
    ++region_number;
    arrived = done = 0;
    wanted = threads;
    int status = __TVMBackendParallelLaunch(meet, &tasks, 0);
    memcpy(found, firsts, threads * sizeof *found);
    return status ? -1 : tasks;
}

/* Ask for blocks of growing size, give them back last first, three times over; what was written must stay. */
int stack(int depth) {
    char *blocks[64];
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < depth; ++i) {
            uint64_t size = 1000 + 100000 * (uint64_t)i;
            blocks[i] = __TVMBackendAllocWorkspace(1, 0, size, 2, 32);
            if (!blocks[i] || (uintptr_t)blocks[i] % 64) return 1;
            memset(blocks[i], i, size);
        }
        for (int i = depth - 1; i >= 0; --i) {
            if (blocks[i][0] != i || blocks[i][999 + 100000 * (uint64_t)i] != i) return 2;
            __TVMBackendFreeWorkspace(1, 0, blocks[i]);
        }
    }
    return 0;
}

int impossible(void) { return __TVMBackendAllocWorkspace(1, 0, UINT64_C(1) << 60, 2, 32) != NULL; }
"""


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("native")
    (folder / "kernels.c").write_text(KERNELS)
    objects = [folder / "kernels.o", folder / "runtime.o"]
    compile_c(folder / "kernels.c", objects[0], platform.machine())
    compile_c(NATIVE / "runtime.c", objects[1], platform.machine())
    link(folder / "native.so", objects, platform.machine())
    return ctypes.CDLL(str(folder / "native.so"))


def hits(native: ctypes.CDLL, threads: int, count: int) -> list[int]:
    native.convc_use_threads(threads)
    counts = (ctypes.c_int * count)()
    assert native.region(counts, count, -1) == 0
    return list(counts)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 100, 10_000])
def test_every_iteration_runs_once(native: ctypes.CDLL, threads: int, count: int) -> None:
    assert hits(native, threads, count) == [1] * count


def test_regions_follow_each_other_without_losing_a_task(native: ctypes.CDLL) -> None:
    for number in range(3000):
        assert hits(native, 2 + number % 3, 37) == [1] * 37


def test_a_region_inside_a_region_runs_too(native: ctypes.CDLL) -> None:
    native.convc_use_threads(3)
    counts = (ctypes.c_int * (8 * 50))()
    assert native.nested(counts, 50) == 0
    assert list(counts) == [1] * (8 * 50)


def wait_until_workers_sleep() -> None:
    """One that still looks through the shares of a region, on a busy machine, may take a task of the next."""
    me = threading.get_native_id()
    others = [path / "stat" for path in Path("/proc/self/task").iterdir() if path.name != str(me)]
    while any(stat.read_text().rpartition(")")[2].split()[0] != "S" for stat in others):
        time.sleep(0.001)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_each_thread_begins_with_its_own_tasks_and_takes_those_of_one_that_is_stuck(
    native: ctypes.CDLL, threads: int
) -> None:
    native.convc_use_threads(threads)
    for _ in range(20):
        wait_until_workers_sleep()
        first = (ctypes.c_int * threads)()
        tasks = native.meeting(threads, first)  # ends only if others do what the thread with task 0 leaves
        assert sorted(first) == list(range(0, tasks, tasks // threads))


@pytest.mark.parametrize("threads", [1, 4])
def test_what_a_task_returns_is_what_the_region_returns(native: ctypes.CDLL, threads: int) -> None:
    native.convc_use_threads(threads)
    assert native.region((ctypes.c_int * 1000)(), 1000, 777) == -7
    assert native.region((ctypes.c_int * 1000)(), 1000, -1) == 0


def test_threads_of_the_program_may_all_open_regions(native: ctypes.CDLL) -> None:
    wrong: list[list[int]] = []

    def caller() -> None:
        for _ in range(300):
            found = hits(native, 4, 200)
            if found != [1] * 200:
                wrong.append(found)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
def test_a_forked_child_starts_threads_of_its_own(native: ctypes.CDLL) -> None:
    assert hits(native, 3, 100) == [1] * 100
    child = os.fork()
    if not child:
        os._exit(0 if hits(native, 3, 100) == [1] * 100 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_scratch_memory_is_a_stack(native: ctypes.CDLL, depth: int) -> None:
    assert native.stack(depth) == 0


def test_memory_that_the_system_has_not_is_refused(native: ctypes.CDLL) -> None:
    assert native.impossible() == 0


def test_the_interface_has_a_version(native: ctypes.CDLL) -> None:
    from convc.runtime.cpu import ABI

    assert native.convc_abi() == ABI
