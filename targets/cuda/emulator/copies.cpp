// Memory of the device and of the host, and copies between them.
#include <cstring>
#include <vector>

#include "driver.h"
#include "memory.h"

using namespace convc_emulated;

namespace {

bool inside(const void *address, std::size_t bytes, Place place) {
    char *begin;
    const Allocation *allocation = find(address, &begin);
    return allocation && allocation->place == place &&
           bytes <= allocation->size - std::size_t(static_cast<const char *>(address) - begin);
}

// The call's result once the stream has done what it was given.
int waited(int result, void *stream) { return result ? result : finish(stream); }

int copy(void *to, const void *from, std::size_t bytes, const void *on_device, const void *other, void *stream) {
    if (!bytes) return SUCCESS;
    if (!inside(on_device, bytes, Place::DEVICE) || (other && !inside(other, bytes, Place::DEVICE)) || !to || !from)
        return say(INVALID_VALUE, "a copy of " + std::to_string(bytes) + " bytes leaves its allocation");
    Work work = [=] { std::memcpy(to, from, bytes); };
    // Host memory that is not pinned is read at once, and written before the call returns.
    if (captured(stream) || find(to == on_device ? from : to)) return enqueue(stream, work);
    if (to != on_device) return waited(enqueue(stream, work), stream);
    auto begin = static_cast<const char *>(from);
    return enqueue(stream, [=, kept = std::vector<char>(begin, begin + bytes)] {
        std::memcpy(to, kept.data(), bytes);
    });
}

struct Pool {};

Objects<Pool> pools;

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int cuMemAlloc_v2(std::uint64_t *result, std::size_t bytes) {
    READY_AND_FREE;
    if (!bytes) return INVALID_VALUE;
    void *place = allocate(bytes, Place::DEVICE);
    *result = reinterpret_cast<std::uint64_t>(place);
    return place ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemFree_v2(std::uint64_t place) {
    READY_AND_FREE;
    return !place || release(pointer(place), Place::DEVICE) ? SUCCESS : INVALID_VALUE;
}

// Pools: memory is taken at once, and given back in the order of a stream.

int cuMemPoolCreate(void **result, const void *) {
    READY_AND_FREE;
    *result = keep(pools, std::make_unique<Pool>());
    return SUCCESS;
}

int cuMemPoolSetAttribute(void *pool, int, void *) { return lookup(pools, pool) ? SUCCESS : INVALID_HANDLE; }

int cuMemPoolDestroy(void *pool) {
    LOCKED;
    return pools.erase(pool) ? SUCCESS : INVALID_HANDLE;
}

int cuMemAllocFromPoolAsync(std::uint64_t *result, std::size_t bytes, void *pool, void *stream) {
    READY;
    if (!lookup(pools, pool)) return INVALID_HANDLE;
    if (captured(stream)) return NOT_SUPPORTED;
    if (!bytes) return INVALID_VALUE;
    void *place = allocate(bytes, Place::DEVICE);
    *result = reinterpret_cast<std::uint64_t>(place);
    return place ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemFreeAsync(std::uint64_t place, void *stream) {
    READY;
    if (!find(pointer(place))) return INVALID_VALUE;
    return enqueue(stream, [=] {
        if (!release(pointer(place), Place::DEVICE)) sticky = say(INVALID_VALUE, "memory is given back twice");
    });
}

int cuMemGetInfo_v2(std::size_t *available, std::size_t *total) {
    READY;
    *total = memory_limit();
    *available = *total - memory_used();
    return SUCCESS;
}

int cuMemHostAlloc(void **result, std::size_t bytes, unsigned) {
    READY_AND_FREE;
    if (!bytes) return INVALID_VALUE;
    *result = allocate(bytes, Place::HOST);
    return *result ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemAllocHost_v2(void **result, std::size_t bytes) { return cuMemHostAlloc(result, bytes, 0); }

int cuMemFreeHost(void *place) {
    READY_AND_FREE;
    return release(place, Place::HOST) ? SUCCESS : INVALID_VALUE;
}

int cuMemcpyHtoDAsync_v2(std::uint64_t to, const void *from, std::size_t bytes, void *stream) {
    READY;
    return copy(pointer(to), from, bytes, pointer(to), nullptr, stream);
}

int cuMemcpyDtoHAsync_v2(void *to, std::uint64_t from, std::size_t bytes, void *stream) {
    READY;
    return copy(to, pointer(from), bytes, pointer(from), nullptr, stream);
}

int cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void *stream) {
    READY;
    return copy(pointer(to), pointer(from), bytes, pointer(to), pointer(from), stream);
}

int cuMemcpyHtoD_v2(std::uint64_t to, const void *from, std::size_t bytes) {
    READY_AND_FREE;
    return waited(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr), nullptr);
}

int cuMemcpyDtoH_v2(void *to, std::uint64_t from, std::size_t bytes) {
    READY_AND_FREE;
    return waited(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr), nullptr);
}

int cuMemsetD8Async(std::uint64_t to, unsigned char value, std::size_t count, void *stream) {
    READY;
    if (!inside(pointer(to), count, Place::DEVICE)) return INVALID_VALUE;
    return enqueue(stream, [=] { std::memset(pointer(to), value, count); });
}

int cuPointerGetAttribute(void *result, int attribute, std::uint64_t place) {
    READY;
    char *begin;
    const Allocation *allocation = find(pointer(place), &begin);
    if (!allocation) return INVALID_VALUE;
    switch (attribute) {
    case 1: *static_cast<void **>(result) = &context; break;
    case 2: *static_cast<unsigned *>(result) = unsigned(allocation->place); break;
    case 3: *static_cast<std::uint64_t *>(result) = place; break;
    case 4:
        if (allocation->place != Place::HOST) return INVALID_VALUE;
        *static_cast<void **>(result) = pointer(place);
        break;
    case 8: *static_cast<unsigned *>(result) = 0; break;
    case 9: *static_cast<int *>(result) = 0; break;
    case 11: *static_cast<char **>(result) = begin; break;
    case 12: *static_cast<std::size_t *>(result) = allocation->size; break;
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
