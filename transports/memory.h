// Memory whose lifetime the library owns: memfd-backed, so that local peers can map it
// (ncclMemAlloc on hosts, landing pools). Thread-safe. A range is never used again once freed: its
// pages go back at once, and a peer that still maps it reaches nobody's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft {

struct SharedRange {
    void* base = nullptr;  // start of the allocation in this process
    size_t bytes = 0;
    int memfd = -1;   // borrowed
    uint64_t id = 0;  // never reused in this process
};

Result<void*> shared_alloc(size_t bytes);  // zeroed, page aligned
Result<void> shared_free(void* memory);    // invalid_argument if it is not the start of a range
std::optional<SharedRange> shared_find(const void* memory);  // the range that contains the address
std::optional<SharedRange> shared_get(uint64_t id);
Fd shared_dup(uint64_t id);  // a descriptor of its own to hand to a peer; none if the range is gone
size_t shared_bytes_in_use();

}  // namespace weft
