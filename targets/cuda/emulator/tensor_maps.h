// Tensor maps: what cuTensorMapEncodeTiled writes, and what TMA does by them.
#pragma once

#include "include/engine.h"

namespace convc_emulated {

// As the emulated device keeps it; opaque to programs.
struct TensorMap {
    char *address;
    std::uint64_t strides[4];  // bytes, of dimensions 1 to 4
    std::uint32_t shape[5];
    std::uint16_t box[5];
    std::uint8_t steps[5], rank, bytes, swizzle;
    std::uint32_t magic;
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));
constexpr std::uint32_t MAP_MAGIC = 0x544d4150;

// What the arguments of cuTensorMapEncodeTiled violate; null if nothing.
const char *encode(CUtensorMap *map, int type, unsigned rank, void *address, const std::uint64_t *shape,
                   const std::uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                   int swizzle, int fill);

// A tile of a tensor by its map, between global and shared memory.
class Tile {
public:
    // `at`: its first element, innermost dimension first.
    Tile(const TensorMap &map, const int *at);
    // Of shared memory.
    unsigned bytes() const;
    // What lies outside of the tensor is loaded as zeros and not stored.
    void load(char *shared) const;
    void store(const char *shared) const;

private:
    TensorMap map;
    std::int64_t at[5];
    unsigned count[5];  // elements in each dimension

    template <class Copy>
    void each_row(Copy copy) const;
};

// Where in shared memory a byte of a swizzled tile is; the mode is as cuTensorMapEncodeTiled counts: none, 32, 64, 128 B.
inline std::uintptr_t swizzled(std::uintptr_t address, unsigned mode) {
    return address ^ ((address >> 7 & ((1u << mode) - 1)) << 4);
}

}  // namespace convc_emulated
