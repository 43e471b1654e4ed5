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
    static Result<std::unique_ptr<Memory>> make(const Connection& connection, void* data,
                                                size_t bytes, int kind);
    // Before it is destroyed, where it was registered through this connection.
    void end(Connection& connection) const { connection.memory_ends(base_, bytes_); }
    // Null memory: only for no bytes, or for what the connection registers for the one message.
    static Result<Buffer> buffer(const Memory* memory, void* data, uint64_t bytes);

  private:
    Memory(std::shared_ptr<Shared> shared, std::byte* base, size_t bytes,
           std::unique_ptr<KeptMemory> kept);

    const std::shared_ptr<Shared> shared_;
    const std::byte* const base_;
    const size_t bytes_;
    const std::unique_ptr<KeptMemory> kept_;
};

}  // namespace weft::netplugin
