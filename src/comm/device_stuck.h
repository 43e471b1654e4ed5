// In words, where a lane was when an abort stopped it. Thread rule: pure. Failure rule: empty where
// there is nothing to tell.
#pragma once

#include <string>

#include "src/gpu/layout.h"

namespace weft {

// `end` is what lane `lane` of rank `rank` left.
std::string stuck_text(const gpu::device::LaneEnd& end, uint32_t rank, uint32_t lane,
                       const gpu::Layout& layout);

}  // namespace weft
