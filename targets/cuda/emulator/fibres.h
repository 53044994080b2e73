// Threads as fibres of one host thread.
#pragma once

#include <cstddef>
#include <vector>

#include "include/engine.h"

namespace convc_emulated {

constexpr std::size_t STACK_SIZE = 256 << 10;  // of each thread

// Run all threads to their end.
void run_fibres(std::vector<Thread> &threads, void (*run)(Thread &));
// After a jump out of run_fibres: those that were left in the middle of a thread begin anew.
void abandon_fibres();
// Whether an access to this address was for want of stack.
bool overflows(const void *address);

}  // namespace convc_emulated
