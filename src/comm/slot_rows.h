// Rows of bytes between a buffer of a call and a slot of the library's memory, as parts of calls
// have them. Thread rule: values.
#pragma once

#include <cstdint>

namespace weft {

struct SlotRows {
    uint64_t user = 0;  // address
    uint64_t slot = 0;  // offset
    uint64_t width = 0, rows = 1;
    uint64_t user_pitch = 0, slot_pitch = 0;
    bool operator==(const SlotRows&) const = default;
};

}  // namespace weft
