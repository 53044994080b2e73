#include "tensor_maps.h"

#include <cstring>

namespace convc_emulated {

const char *encode(CUtensorMap *result, int type, unsigned rank, void *address, const std::uint64_t *shape,
                   const std::uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave, int swizzle,
                   int fill) {
    constexpr unsigned SIZES[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};  // by CUtensorMapDataType
    if (reinterpret_cast<std::uintptr_t>(result) % 64) return "the map is not aligned to 64 bytes";
    if (type < 0 || type > 12) return "the data type is unknown";
    if (rank < 1 || rank > 5) return "the rank is not 1 to 5";
    if (interleave) return "interleaved layouts are not emulated";
    if (swizzle < 0 || swizzle > 3) return "swizzles other than none, 32, 64 and 128 bytes are not emulated";
    if (fill) return "out-of-bounds values other than zero are not emulated";
    if (!address || reinterpret_cast<std::uintptr_t>(address) % 16) return "the address is not aligned to 16 bytes";
    TensorMap map = {};
    map.address = static_cast<char *>(address);
    map.rank = std::uint8_t(rank);
    map.bytes = std::uint8_t(SIZES[type]);
    map.swizzle = std::uint8_t(swizzle);
    map.magic = MAP_MAGIC;
    for (unsigned i = 0; i < rank; ++i) {
        if (shape[i] < 1 || shape[i] > 1ull << 32) return "a dimension is not 1 to 2**32";
        if (box[i] < 1 || box[i] > 256) return "a dimension of the box is not 1 to 256";
        if (steps[i] < 1 || steps[i] > 8) return "an element stride is not 1 to 8";
        map.shape[i] = std::uint32_t(shape[i] - 1);
        map.box[i] = std::uint16_t(box[i]);
        map.steps[i] = std::uint8_t(steps[i]);
        if (!i) continue;
        if (strides[i - 1] % 16 || strides[i - 1] >= 1ull << 40) return "a stride is no multiple of 16 bytes below 2**40";
        map.strides[i - 1] = strides[i - 1];
    }
    unsigned inner = box[0] * SIZES[type];
    if (inner % 16) return "the inner dimension of the box is no multiple of 16 bytes";
    if (swizzle && inner > 16u << swizzle) return "the inner dimension of the box is wider than the swizzle";
    std::memset(result, 0, sizeof *result);
    std::memcpy(static_cast<void *>(result), &map, sizeof map);
    return nullptr;
}

}  // namespace convc_emulated
