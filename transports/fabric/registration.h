// Registers memory of any kind with a domain: one place fills what libfabric wants to know, in its
// newest form. Thread rule: as the domain's. Failure rule: what the library or the provider cannot
// is refused in one line before it is asked; the provider's own refusals come back as its code.
#pragma once

#include <rdma/fi_domain.h>

#include <cstddef>
#include <cstdint>

#include "src/base/result.h"

namespace weft::fabric {

enum class MemoryKind : uint8_t { host, cuda, dmabuf };

struct MemoryRequest {
    MemoryKind kind = MemoryKind::host;
    void* address = nullptr;  // of a dma-buf: where its range is mapped, or the device's address
    size_t bytes = 0;
    int device = 0;              // cuda: the device's number in this process
    int dmabuf_fd = -1;          // dmabuf: borrowed for the call
    uint64_t dmabuf_offset = 0;  // of `address` in it
};

// What a domain can register; host memory always.
struct MemoryAbility {
    bool cuda = false;    // device pointers: FI_HMEM was asked for and offered
    bool dmabuf = false;  // from libfabric 1.20 on, and a provider that takes device memory
};
MemoryAbility memory_ability(const fi_info& info, uint32_t library_version, uint32_t api_version);

// Null error: can be asked. `where` names the rail in the line.
Result<void> memory_allowed(const MemoryRequest& request, const MemoryAbility& ability,
                            const char* where);

// 0, or the provider's code, negative. `key` is ours where the provider has none of its own.
int memory_register(fid_domain* domain, const MemoryRequest& request, uint64_t access, uint64_t key,
                    fid_mr** registration);

// The provider's refusal with what it takes to judge it: the pages asked for, the bytes registered
// before, the limit of this process.
Error registration_refused(Error cause, const void* base, size_t bytes, uint64_t registered_bytes);

}  // namespace weft::fabric
