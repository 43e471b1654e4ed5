// SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), for the control plane: small frames, so plain
// code. Thread rule: values, reentrant. Never fails.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace weft {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
  public:
    Sha256& update(std::string_view bytes);
    Digest finish();  // once

  private:
    void block(const uint8_t* bytes);
    std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<uint8_t, 64> pending_{};
    uint64_t length_ = 0;
};

Digest sha256(std::string_view bytes);
Digest hmac_sha256(std::string_view key, std::string_view bytes);

// Same bytes? In time that does not depend on where they differ.
bool digest_equal(std::string_view a, std::string_view b);

inline std::string_view digest_view(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace weft
