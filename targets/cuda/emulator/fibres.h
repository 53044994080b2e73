// Runs a kernel: the threads of a block, or of the blocks of a cluster, as fibres of one host thread.
#pragma once

#include <string>

#include "include/engine.h"

namespace convc_emulated {

struct Launch {
    const Kernel *kernel;
    const char *name;
    Grid grid;
    unsigned dynamic;  // bytes of dynamic shared memory
    char *shared, *shared_end;  // static shared memory
    void *const *parameters;
};

// A CUresult; what went wrong is in `message`.
int run(const Launch &launch, std::string &message);

}  // namespace convc_emulated
