// Which pieces of a grant count.
#include "transports/common/grant_table.h"

#include <set>

#include "tests/catch.h"

namespace weft {
namespace {

using Landing = GrantTable::Landing;

Imm piece_of(GrantTable::Opened grant, uint32_t piece) {
    return Imm{0, piece, grant.generation};
}

TEST_CASE("grants: each piece counts once, the last one fills") {
    GrantTable table(2);
    const auto grant = table.open(piece_count_max, 77);
    for (uint32_t i = 0; i + 1 < piece_count_max; i++) {
        const Imm imm = piece_of(grant, i * 7 % (piece_count_max - 1));  // 7 and 255: no factor
        REQUIRE(table.land(grant.id, imm) == Landing::counted);
        REQUIRE(table.land(grant.id, imm) == Landing::repeated);
    }
    CHECK(table.land(grant.id, piece_of(grant, piece_count_max - 1)) == Landing::filled);
    CHECK(table.cookie(grant.id) == 77);
    CHECK(table.pieces(grant.id) == piece_count_max);
    CHECK(table.land(grant.id, piece_of(grant, 0)) == Landing::stale);
}

TEST_CASE("grants: what was never granted is stale") {
    GrantTable table(1);
    CHECK(table.land(0, Imm{0, 0, 0}) == Landing::stale);
    const auto grant = table.open(3, 0);
    CHECK(table.land(grant.id, piece_of(grant, 3)) == Landing::stale);
    CHECK(table.land(grant.id, Imm{0, 0, (grant.generation + 1u) & 0xf}) == Landing::stale);
    CHECK(table.land(grant.id, piece_of(grant, 2)) == Landing::counted);
}

TEST_CASE("grants: a use after the next of the same token starts afresh") {
    GrantTable table(1);
    const auto first = table.open(2, 1);
    CHECK(table.land(first.id, piece_of(first, 0)) == Landing::counted);
    CHECK(table.close(first.id) == 1u);
    CHECK_FALSE(table.close(first.id));
    CHECK(table.land(first.id, piece_of(first, 1)) == Landing::stale);
    const auto second = table.open(2, 2);
    REQUIRE(second.id == first.id);
    CHECK(second.generation != first.generation);
    CHECK(table.land(second.id, piece_of(first, 1)) == Landing::stale);
    CHECK(table.land(second.id, piece_of(second, 0)) == Landing::counted);
    CHECK(table.land(second.id, piece_of(second, 1)) == Landing::filled);
    CHECK(table.cookie(second.id) == 2);
    CHECK_FALSE(table.close(second.id));
    CHECK_FALSE(table.close(99));
}

TEST_CASE("grants: every token is used before one is used again") {
    constexpr uint32_t tokens = 5;
    GrantTable table(tokens);
    for (int lap = 0; lap < 4; lap++) {
        std::set<uint16_t> used;
        for (uint32_t i = 0; i < tokens; i++) {
            const auto grant = table.open(1, 0);
            used.insert(grant.id);
            REQUIRE(table.land(grant.id, piece_of(grant, 0)) == Landing::filled);
        }
        CHECK(used.size() == tokens);
    }
    for (uint32_t i = 0; i < tokens; i++) {
        CHECK_FALSE(table.full());
        table.open(1, 0);
    }
    CHECK(table.full());
}

}  // namespace
}  // namespace weft
