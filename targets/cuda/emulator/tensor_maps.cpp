#include "tensor_maps.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace convc_emulated {

const char *encode(CUtensorMap *result, int type, unsigned rank, void *address, const std::uint64_t *shape,
                   const std::uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                   int swizzle, int fill) {
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
        std::uint64_t stride = strides[i - 1];
        if (stride % 16 || stride >= 1ull << 40) return "a stride is no multiple of 16 bytes below 2**40";
        map.strides[i - 1] = stride;
    }
    unsigned inner = box[0] * SIZES[type];
    if (inner % 16) return "the inner dimension of the box is no multiple of 16 bytes";
    if (swizzle && inner > 16u << swizzle) return "the inner dimension of the box is wider than the swizzle";
    std::memset(result, 0, sizeof *result);
    std::memcpy(static_cast<void *>(result), &map, sizeof map);
    return nullptr;
}

Tile::Tile(const TensorMap &map, const int *first) : map(map) {
    for (unsigned i = 0; i < 5; ++i) {
        bool present = i < map.rank;
        at[i] = present ? first[i] : 0;
        // The step of the innermost dimension is ignored.
        count[i] = !present ? 1 : i ? (map.box[i] + map.steps[i] - 1u) / map.steps[i] : map.box[i];
    }
}

unsigned Tile::bytes() const { return count[0] * count[1] * count[2] * count[3] * count[4] * map.bytes; }

// Calls copy(offset in shared memory, address in global memory, first and last element inside) for each row.
template <class Copy>
void Tile::each_row(Copy copy) const {
    std::uintptr_t offset = 0;
    auto clamped = [this](std::int64_t place) { return std::clamp<std::int64_t>(place, 0, count[0]); };
    std::int64_t begin = clamped(-at[0]), end = clamped(std::int64_t(map.shape[0]) + 1 - at[0]);
    for (unsigned row = 0, rows = bytes() / (count[0] * map.bytes); row < rows; ++row) {
        std::int64_t place = at[0] * map.bytes;
        bool inside = true;
        for (unsigned i = 1, rest = row; i < map.rank; rest /= count[i], ++i) {
            std::int64_t x = at[i] + std::int64_t(rest % count[i]) * map.steps[i];
            inside &= x >= 0 && x <= std::int64_t(map.shape[i]);
            place += x * std::int64_t(map.strides[i - 1]);
        }
        copy(offset, map.address + place, inside ? begin : 0, inside ? std::max(begin, end) : 0);
        offset += count[0] * map.bytes;
    }
}

// Rows are multiples of 16 bytes, the unit of swizzles.
constexpr unsigned UNIT = 16;

void Tile::load(char *shared) const {
    std::vector<char> row(count[0] * map.bytes);
    each_row([&](std::uintptr_t offset, const char *global, std::int64_t begin, std::int64_t end) {
        std::fill(row.begin(), row.end(), 0);
        std::memcpy(row.data() + begin * map.bytes, global + begin * map.bytes, std::size_t(end - begin) * map.bytes);
        for (unsigned i = 0; i < row.size(); i += UNIT) {
            auto to = swizzled(reinterpret_cast<std::uintptr_t>(shared) + offset + i, map.swizzle);
            std::memcpy(reinterpret_cast<char *>(to), row.data() + i, UNIT);
        }
    });
}

void Tile::store(const char *shared) const {
    std::vector<char> row(count[0] * map.bytes);
    each_row([&](std::uintptr_t offset, char *global, std::int64_t begin, std::int64_t end) {
        for (unsigned i = 0; i < row.size(); i += UNIT) {
            auto from = swizzled(reinterpret_cast<std::uintptr_t>(shared) + offset + i, map.swizzle);
            std::memcpy(row.data() + i, reinterpret_cast<const char *>(from), UNIT);
        }
        std::memcpy(global + begin * map.bytes, row.data() + begin * map.bytes, std::size_t(end - begin) * map.bytes);
    });
}

}  // namespace convc_emulated
