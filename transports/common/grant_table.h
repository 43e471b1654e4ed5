// The grants of one link that its peer may put to: which pieces of each have landed. A piece counts
// once; one of an earlier use of the same token, or of none, is stale. Tokens are reused oldest
// first, which keeps the generations of one far apart in time. Thread rule: thread-bound to the
// link's driver.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "transports/wire.h"

namespace weft {

class GrantTable {
  public:
    GrantTable() = default;
    explicit GrantTable(uint32_t tokens) : grants_(tokens) {
        for (uint32_t i = tokens; i > 0; i--) {
            free_.push_back(static_cast<uint16_t>(i - 1));
        }
    }

    bool full() const { return free_.empty(); }

    struct Opened {
        uint16_t id = 0;
        uint8_t generation = 0;
    };
    // Not when full.
    Opened open(uint32_t pieces, uint64_t cookie) {
        const uint16_t id = free_.back();
        free_.pop_back();
        Grant& grant = grants_[id];
        const auto generation = static_cast<uint8_t>((grant.generation + 1) & 0xf);
        grant = Grant{true, generation, pieces, 0, cookie, {}};
        return {id, generation};
    }

    enum class Landing : uint8_t { counted, filled, stale, repeated };
    // `filled` ends the grant; its pieces and cookie can be asked for until the next open.
    Landing land(uint32_t id, Imm imm) {
        Grant& grant = grants_[id];
        if (!grant.open || grant.generation != imm.generation || imm.piece >= grant.pieces) {
            return Landing::stale;
        }
        uint64_t& word = grant.map[imm.piece / 64];
        const uint64_t bit = 1ull << (imm.piece % 64);
        if ((word & bit) != 0) {
            return Landing::repeated;
        }
        word |= bit;
        if (++grant.landed < grant.pieces) {
            return Landing::counted;
        }
        free(id);
        return Landing::filled;
    }
    uint32_t pieces(uint32_t id) const { return grants_[id].pieces; }
    uint64_t cookie(uint32_t id) const { return grants_[id].cookie; }

    // Ends a grant early: how many pieces had landed; none when it is not open.
    std::optional<uint32_t> close(uint32_t id) {
        if (id >= grants_.size() || !grants_[id].open) {
            return std::nullopt;
        }
        free(id);
        return grants_[id].landed;
    }

  private:
    struct Grant {
        bool open = false;
        uint8_t generation = 0;
        uint32_t pieces = 0, landed = 0;
        uint64_t cookie = 0;
        std::array<uint64_t, piece_count_max / 64> map{};
    };

    void free(uint32_t id) {
        grants_[id].open = false;
        free_.insert(free_.begin(), static_cast<uint16_t>(id));
    }

    std::vector<Grant> grants_;
    std::vector<uint16_t> free_;  // next to be used at the back
};

}  // namespace weft
