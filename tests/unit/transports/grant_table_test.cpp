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

TEST_CASE("grants: a short put fills when it is known how many, whatever came before") {
    constexpr uint32_t granted = 120;
    const uint32_t put = GENERATE_COPY(1u, 70u, granted);
    const uint32_t early = GENERATE_COPY(0u, put / 2, put);
    CAPTURE(put, early);
    GrantTable table(1);
    const auto grant = table.open(granted, 5, true);
    const auto piece = [&](uint32_t i) { return piece_of(grant, granted + put - 1 - i); };
    for (uint32_t i = 0; i < early; i++) {
        REQUIRE(table.land(grant.id, piece(i)) == Landing::counted);
        REQUIRE(table.land(grant.id, piece(i)) == Landing::repeated);
    }
    const auto expected = table.expect(grant.id, put);
    REQUIRE(expected);
    CHECK(expected->filled == (early == put));
    CHECK(expected->returned == granted - put + (early == put ? put : 0));
    for (uint32_t i = early; i < put; i++) {
        const Landing landing = table.land(grant.id, piece(i));
        REQUIRE(landing == (i + 1 == put ? Landing::filled : Landing::counted));
    }
    CHECK(table.pieces(grant.id) == put);
    CHECK(table.land(grant.id, piece(0)) == Landing::stale);
    CHECK_FALSE(table.full());
}

TEST_CASE("grants: one that may be short is filled by the whole as well") {
    GrantTable table(1);
    const auto grant = table.open(3, 5, true);
    CHECK(table.land(grant.id, piece_of(grant, 2)) == Landing::counted);
    CHECK(table.land(grant.id, piece_of(grant, 6)) == Landing::stale);
    CHECK(table.land(grant.id, piece_of(grant, 0)) == Landing::counted);
    CHECK(table.land(grant.id, piece_of(grant, 1)) == Landing::filled);
    CHECK(table.pieces(grant.id) == 3);
}

TEST_CASE("grants: one that nothing will be put to ends at once, with all its pieces") {
    GrantTable table(1);
    const auto grant = table.open(7, 5, true);
    const auto expected = table.expect(grant.id, 0);
    REQUIRE(expected);
    CHECK(expected->filled);
    CHECK(expected->returned == 7);
    CHECK_FALSE(table.expect(grant.id, 0));
    CHECK(table.land(grant.id, piece_of(grant, 7)) == Landing::stale);
}

TEST_CASE("grants: no more can be short than was granted, nor what may not be or is not open") {
    GrantTable table(3);
    const auto grant = table.open(3, 5, true);
    const auto whole = table.open(3, 5);
    CHECK_FALSE(table.expect(grant.id, 4));
    CHECK_FALSE(table.expect(whole.id, 1));
    CHECK(table.land(whole.id, piece_of(whole, 3)) == Landing::stale);
    CHECK_FALSE(table.expect(3 - grant.id - whole.id, 1));
    CHECK_FALSE(table.expect(9, 1));
    // What is beyond a short put, or of the whole, does not count for it.
    CHECK(table.land(grant.id, piece_of(grant, 3 + 2)) == Landing::counted);
    CHECK(table.land(grant.id, piece_of(grant, 0)) == Landing::counted);
    REQUIRE(table.expect(grant.id, 2));
    CHECK_FALSE(table.expect(grant.id, 1));
    CHECK(table.land(grant.id, piece_of(grant, 1)) == Landing::stale);
    CHECK(table.land(grant.id, piece_of(grant, 3 + 2)) == Landing::stale);
    CHECK(table.land(grant.id, piece_of(grant, 3)) == Landing::counted);
    CHECK(table.land(grant.id, piece_of(grant, 4)) == Landing::filled);
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
