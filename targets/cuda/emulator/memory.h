// Device memory and pinned host memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convc_emulated {

enum class Place { DEVICE = 2, HOST = 1 };  // as CUmemorytype numbers them

struct Allocation {
    char *mapping;
    std::size_t mapped, size;
    Place place;
};

// null: out of memory.
void *allocate(std::size_t bytes, Place place);
bool release(void *pointer, Place place);
// The allocation that an address is in, and where it begins; null if it is in none.
const Allocation *find(const void *address, char **begin = nullptr);
std::size_t memory_limit();
std::size_t memory_used();
void release_all();
// Device memory as it was when `remember` was called: where the copy of an address is, null if there is none.
void remember();
void forget_memory();
bool remembers();
const char *remembered(const char *address);
// Whether accesses to device memory fault.
void close_memory(bool closed);
// What to say if memory around an allocation was written; null if none was.
const char *broken_guard();

}  // namespace convc_emulated
