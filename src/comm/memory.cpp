#include "src/comm/memory.h"

#include "src/base/log.h"
#include "transports/memory.h"

namespace weft {

Result<void*> memory_alloc(size_t bytes) {
    if (bytes == 0) {
        return static_cast<void*>(nullptr);
    }
    void* memory = TRY(shared_alloc(bytes));
    LOG(info, alloc, "ncclMemAlloc size %zu pointer %p", bytes, memory);
    return memory;
}

Result<void> memory_free(void* memory) {
    return memory == nullptr ? Result<void>() : shared_free(memory);
}

}  // namespace weft
