// Runs a kernel on a grid: the threads of a block, or of the blocks of a cluster, at a time.
#pragma once

#include <string>

#include "include/engine.h"

namespace convc_emulated {

struct Launch {
    const Kernel *kernel;
    const char *name;
    Grid grid;
    unsigned dynamic;           // bytes of dynamic shared memory
    char *shared, *shared_end;  // static shared memory
    void *const *parameters;
    bool early;  // it may begin before the launches before it have ended
};

// A CUresult; what went wrong is in `message`.
int run(const Launch &launch, std::string &message);

// Let threads that wait for the launches before go on; whether some do.
bool open_gate();
// Its block and its place in it.
std::string position(const Thread &thread);

}  // namespace convc_emulated
