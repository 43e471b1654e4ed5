// Names that people type. Pure. Thread rule: reentrant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace weft {

// Insertions, deletions and changes of a byte that lead from one to the other.
size_t edit_distance(std::string_view a, std::string_view b);

// The one of `known` (not empty) with the least distance to `typed`, of several the first. Looks at
// the first 64 bytes of `typed`, which bounds the work.
std::string_view nearest_name(std::string_view typed, std::span<const std::string_view> known);

}  // namespace weft
