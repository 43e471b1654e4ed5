// ncclMemAlloc on hosts: memory that peers on the same host reach without a copy. Thread-safe.
#pragma once

#include <cstddef>

#include "src/base/result.h"

namespace weft {

Result<void*> memory_alloc(size_t bytes);  // null for 0 bytes
Result<void> memory_free(void* memory);    // null: nothing to do

}  // namespace weft
