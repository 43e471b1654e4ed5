// Memory a clause puts to and from, and how the sides tell each other about it.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "tests/conformance/side.h"
#include "transports/memory.h"

namespace weft::test {

enum class MemoryKind : uint8_t { own, library };

class Memory {
  public:
    Memory(MemoryKind kind, size_t bytes) {
        if (kind == MemoryKind::library) {
            shared_ = static_cast<std::byte*>(shared_alloc(bytes).value());
        } else {
            own_.resize(bytes);
        }
    }
    ~Memory() {
        if (shared_ != nullptr) {
            [[maybe_unused]] const auto freed = shared_free(shared_);
        }
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::byte* data() { return shared_ != nullptr ? shared_ : own_.data(); }

  private:
    std::vector<std::byte> own_;
    std::byte* shared_ = nullptr;
};

inline RemoteRef ref_swap(Side& side, const RemoteRef& mine) {
    const std::string theirs =
        side.swap(std::string(reinterpret_cast<const char*>(&mine), sizeof mine));
    RemoteRef ref;
    std::memcpy(&ref, theirs.data(), sizeof ref);
    return ref;
}

// Reserves tokens here and returns the first of the peer's.
inline uint32_t tokens_swap(Side& side, uint32_t count) {
    const uint32_t mine = side.wire().tokens_reserve(count).value();
    return static_cast<uint32_t>(std::stoul(side.swap(std::to_string(mine))));
}

}  // namespace weft::test
