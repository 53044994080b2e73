// The numbers that tensor cores multiply, as float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "include/engine.h"

namespace convc_emulated {

inline float from_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline float narrow(std::uint16_t bits, Number number) {
    if (number == BF16) return from_bits(std::uint32_t(bits) << 16);
    _Float16 value;
    std::memcpy(&value, &bits, 2);
    return float(value);
}

// The lower 13 bits of the fraction are not read.
inline float tf32(std::uint32_t bits) { return from_bits(bits & ~0x1fffu); }

}  // namespace convc_emulated
