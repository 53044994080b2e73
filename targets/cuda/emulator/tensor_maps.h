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
                   const std::uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave, int swizzle,
                   int fill);

}  // namespace convc_emulated
