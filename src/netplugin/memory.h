// What regMr gives out: memory that is registered for every connection of a device until it is
// given back. Thread-safe; used by a data path that checks its buffers against it without a lock.
// Lifetime: holds the shared part of the process. Failure rule: one line that says what memory and
// why.
#pragma once

#include <memory>

#include "src/netplugin/connection.h"

namespace weft::netplugin {

class Memory {
  public:
    // `kind` as NCCL has it; with pointer_dmabuf the memory is at `offset` of `fd`, which is the
    // caller's again on return.
    struct Ask {
        void* data = nullptr;
        size_t bytes = 0;
        int kind = 0;
        int fd = -1;
        uint64_t offset = 0;
    };
    static Result<std::unique_ptr<Memory>> make(const Connection& connection, const Ask& ask);
    // Before it is destroyed, where it was registered through this connection.
    void end(Connection& connection) const { connection.memory_ends(base_, bytes_); }
    // Null memory: only for no bytes, or for what the connection registers for the one message.
    static Result<Buffer> buffer(const Memory* memory, void* data, uint64_t bytes);

  private:
    Memory(std::shared_ptr<Shared> shared, const Ask& ask, std::unique_ptr<KeptMemory> kept);

    const std::shared_ptr<Shared> shared_;
    const std::byte* const base_;
    const size_t bytes_;
    const bool host_;
    const std::unique_ptr<KeptMemory> kept_;
};

}  // namespace weft::netplugin
