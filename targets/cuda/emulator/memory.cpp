// Each allocation is pages of its own and ends, up to 256 bytes, where pages begin that cannot be touched. What is around
// it in its pages holds ones, which a write would change; what is in it are NaNs until it is written.
#include "memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace convc_emulated {

namespace {

constexpr std::size_t ALIGNMENT = 256, GUARD = 16 << 20;
const std::size_t PAGE = std::size_t(sysconf(_SC_PAGESIZE));

std::map<char *, Allocation> allocations;
std::map<const char *, std::vector<char>> copies;  // of allocations, by where they begin
std::size_t used;

std::size_t rounded(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool all_ones(const char *begin, const char *end) {
    return begin == end || (*begin == char(0xff) && !std::memcmp(begin, begin + 1, std::size_t(end - begin) - 1));
}

}  // namespace

std::size_t memory_limit() {
    const char *text = std::getenv("CONVC_EMULATED_MEMORY");
    return text ? std::strtoull(text, nullptr, 10) : std::size_t(4) << 30;
}

std::size_t memory_used() { return used; }

void *allocate(std::size_t bytes, Place place) {
    if (place == Place::DEVICE && bytes > memory_limit() - used) return nullptr;
    std::size_t inner = rounded(bytes, ALIGNMENT), pages = rounded(inner, PAGE), mapped = pages + 2 * GUARD;
    void *found = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return nullptr;
    char *mapping = static_cast<char *>(found);
    mprotect(mapping + GUARD, pages, PROT_READ | PROT_WRITE);
    std::memset(mapping + GUARD, 0xff, pages);
    char *begin = mapping + GUARD + pages - inner;
    allocations[begin] = {mapping, mapped, bytes, place};
    if (place == Place::DEVICE) used += bytes;
    return begin;
}

bool release(void *pointer, Place place) {
    auto found = allocations.find(static_cast<char *>(pointer));
    if (found == allocations.end() || found->second.place != place) return false;
    munmap(found->second.mapping, found->second.mapped);
    if (place == Place::DEVICE) used -= found->second.size;
    allocations.erase(found);
    return true;
}

void release_all() {
    while (!allocations.empty()) release(allocations.begin()->first, allocations.begin()->second.place);
}

const Allocation *find(const void *address, char **begin) {
    char *at = static_cast<char *>(const_cast<void *>(address));
    auto next = allocations.upper_bound(at);
    if (next == allocations.begin()) return nullptr;
    auto &[start, allocation] = *--next;
    if (at >= start + allocation.size) return nullptr;
    if (begin) *begin = start;
    return &allocation;
}

const char *broken_guard() {
    static char text[200];
    for (auto &[begin, allocation] : allocations) {
        const char *end = allocation.mapping + allocation.mapped - GUARD;
        if (all_ones(allocation.mapping + GUARD, begin) && all_ones(begin + allocation.size, end)) continue;
        void *place = begin;
        std::snprintf(text, sizeof text, "a write beside the %zu bytes at %p", allocation.size, place);
        return text;
    }
    return nullptr;
}

void remember() {
    copies.clear();
    for (auto &[begin, allocation] : allocations)
        if (allocation.place == Place::DEVICE) copies[begin].assign(begin, begin + allocation.size);
}

void forget_memory() { copies.clear(); }

bool remembers() { return !copies.empty(); }

const char *remembered(const char *address) {
    auto found = copies.upper_bound(address);
    if (found == copies.begin()) return nullptr;
    auto &[begin, copy] = *--found;
    return address < begin + copy.size() ? copy.data() + (address - begin) : nullptr;
}

void close_memory(bool closed) {
    for (auto &[begin, allocation] : allocations)
        if (allocation.place == Place::DEVICE)
            mprotect(allocation.mapping + GUARD, allocation.mapped - 2 * GUARD, closed ? PROT_NONE : PROT_READ | PROT_WRITE);
}

}  // namespace convc_emulated
