// Registers memory of any kind with a domain: one place fills what libfabric wants to know, in its
// newest form. Thread rule: as the domain's. Failure rule: what the library or the provider cannot
// is refused in one line before it is asked; the provider's own refusals come back as its code.
#pragma once

#include <rdma/fi_domain.h>

#include <cstddef>
#include <cstdint>

#include "src/base/result.h"
#include "transports/memory.h"

namespace weft::fabric {

using weft::MemoryKind;
using weft::MemoryRequest;

// What a domain can register; host memory always.
struct MemoryAbility {
    // Device pointers: FI_HMEM was asked for and offered, and what was written can be read back.
    bool cuda = false;
    bool dmabuf = false;    // from libfabric 1.20 on, and a provider that takes device memory
    bool by_calls = false;  // but an endpoint said that it takes CUDA calls, which are not allowed
};
MemoryAbility memory_ability(const fi_info& info, uint32_t library_version, uint32_t api_version);

// Null error: can be asked. `where` names the rail in the line.
Result<void> memory_allowed(const MemoryRequest& request, const MemoryAbility& ability,
                            const char* where);

// 0, or the provider's code, negative. `key` is ours where the provider has none of its own.
int memory_register(fid_domain* domain, const MemoryRequest& request, uint64_t access, uint64_t key,
                    fid_mr** registration);

// What peers and this process may do with memory of a kind.
uint64_t memory_access(MemoryKind kind);

// The provider's refusal with what it takes to judge it: the pages asked for, the bytes registered
// before, the limit of this process; of a GPU's memory, what to look at and what to do without.
Error registration_refused(Error cause, const MemoryRequest& request, uint64_t registered_bytes);

}  // namespace weft::fabric
