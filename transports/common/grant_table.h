// The grants of one link that its peer may put to: which pieces of each have landed. A piece counts
// once; one of an earlier use of the same token, or of none, is stale. Tokens are reused oldest
// first, which keeps the generations of one far apart in time. Thread rule: thread-bound to the
// link's driver.
//
// A grant that *may be short* of n pieces has 2n numbers: the peer either puts all n, or fewer
// under the numbers from n on. So a short put never looks like a whole one, whatever comes first,
// the last piece or the word of how many there are (expect).
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
    Opened open(uint32_t pieces, uint64_t cookie, bool may_be_short = false) {
        const uint16_t id = free_.back();
        free_.pop_back();
        Grant& grant = grants_[id];
        const auto generation = static_cast<uint8_t>((grant.generation + 1) & 0xf);
        grant = Grant{};
        grant.open = true;
        grant.generation = generation;
        grant.pieces = pieces;
        grant.cookie = cookie;
        grant.short_from = may_be_short ? pieces : piece_count_max;
        return {id, generation};
    }

    enum class Landing : uint8_t { counted, filled, stale, repeated };
    // `filled` ends the grant; its pieces and cookie can be asked for until the next open.
    Landing land(uint32_t id, Imm imm) {
        Grant& grant = grants_[id];
        const bool in_short = imm.piece >= grant.short_from;
        if (!grant.open || grant.generation != imm.generation || !grant.counts(imm.piece)) {
            return Landing::stale;
        }
        uint64_t& word = grant.map[imm.piece / 64];
        const uint64_t bit = 1ull << (imm.piece % 64);
        if ((word & bit) != 0) {
            return Landing::repeated;
        }
        word |= bit;
        grant.landed += in_short == grant.is_short;
        if (in_short != grant.is_short || grant.landed < grant.pieces) {
            return Landing::counted;
        }
        free(id);
        return Landing::filled;
    }
    // Of a grant that was filled: as many as are to be returned.
    uint32_t pieces(uint32_t id) const { return grants_[id].pieces; }
    uint64_t cookie(uint32_t id) const { return grants_[id].cookie; }

    struct Expected {
        uint32_t returned = 0;  // pieces that need not be reserved any more
        bool filled = false;    // ends the grant, as the last landing does
    };
    // The peer puts short: `pieces` of them. None when the grant is not open, may not be short or
    // is of fewer.
    std::optional<Expected> expect(uint32_t id, uint32_t pieces) {
        if (id >= grants_.size() || !grants_[id].may_turn_short(pieces)) {
            return std::nullopt;
        }
        Grant& grant = grants_[id];
        Expected expected{grant.pieces - pieces};
        grant.is_short = true;
        grant.pieces = pieces;
        grant.last = grant.short_from + pieces;
        grant.landed = 0;
        for (uint32_t i = grant.short_from; i < grant.last; i++) {
            grant.landed += grant.map[i / 64] >> i % 64 & 1;
        }
        expected.filled = grant.landed == pieces;
        if (expected.filled) {
            expected.returned += pieces;
            free(id);
        }
        return expected;
    }

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
        bool open = false, is_short = false;
        uint8_t generation = 0;
        uint32_t pieces = 0, landed = 0;  // of the whole, or of the short put once that is known
        uint32_t short_from = 0;          // piece_count_max: never short
        uint32_t last = 0;                // the first number that is none, once it is short
        uint64_t cookie = 0;
        std::array<uint64_t, piece_count_max / 64> map{};

        bool counts(uint32_t piece) const {
            if (is_short) {
                return piece >= short_from && piece < last;
            }
            return piece < (short_from < piece_count_max ? 2 * short_from : pieces);
        }
        bool may_turn_short(uint32_t of) const {
            return open && !is_short && short_from < piece_count_max && of <= pieces;
        }
    };

    void free(uint32_t id) {
        grants_[id].open = false;
        free_.insert(free_.begin(), static_cast<uint16_t>(id));
    }

    std::vector<Grant> grants_;
    std::vector<uint16_t> free_;  // next to be used at the back
};

}  // namespace weft
