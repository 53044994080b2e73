// The engine and its functions, by the names that they have in the driver. What each does is said in engine.h.
#pragma once

#include <type_traits>

#include "include/engine.h"

namespace convc_emulated {

#define CONVC_ENGINE_FUNCTIONS(X)                                                                                \
    X(wait) X(meet) X(active) X(barrier) X(grid_wait) X(cluster_arrive) X(cluster_wait) X(peer) X(fail)         \
    X(shuffle) X(ballot) X(copy) X(copy_commit) X(copy_wait) X(mbarrier_init) X(mbarrier_inval) X(mbarrier_arrive) X(mbarrier_wait)   \
    X(tma_load) X(tma_store) X(bulk_commit) X(bulk_wait) X(ldmatrix) X(mma) X(wgmma) X(wgmma_fence)              \
    X(wgmma_commit) X(wgmma_wait)

extern Engine engine;

[[noreturn]] void emulated_fail(int error, const char *what);
#define X(name) std::remove_pointer_t<decltype(Engine::name)> emulated_##name;
CONVC_ENGINE_FUNCTIONS(X)
#undef X

}  // namespace convc_emulated
