// Places on a board and words do not overlap, for any number of ranks.
#include "src/comm/board_layout.h"

#include <algorithm>
#include <set>
#include <vector>

#include "tests/catch.h"

using namespace weft;

TEST_CASE("cards, slots and halves lie apart, on lines, within the board") {
    for (const uint32_t ranks : {1u, 2u, 7u, 32u}) {
        const BoardLayout layout(ranks);
        std::vector<std::pair<uint64_t, uint64_t>> parts;
        for (uint32_t slot = 0; slot < BoardLayout::slots; slot++) {
            parts.emplace_back(BoardLayout::card(slot, false), 64);
            parts.emplace_back(BoardLayout::card(slot, true), 64);
            parts.emplace_back(BoardLayout::slot(slot), BoardLayout::slot_bytes);
        }
        for (uint32_t peer = 0; peer < ranks; peer++) {
            for (uint32_t half = 0; half < BoardLayout::halves; half++) {
                parts.emplace_back(BoardLayout::message_card(peer, half), 64);
                parts.emplace_back(layout.half(peer, half), layout.half_bytes());
            }
        }
        std::ranges::sort(parts);
        CHECK(layout.half_bytes() >= 64 << 10);
        for (size_t i = 0; i < parts.size(); i++) {
            CHECK(parts[i].first % 64 == 0);
            CHECK(parts[i].first + parts[i].second <=
                  (i + 1 < parts.size() ? parts[i + 1].first : BoardLayout::bytes()));
        }
    }
}

TEST_CASE("every word is one of its own, and those of a slot follow each other") {
    for (const uint32_t ranks : {1u, 3u, 32u}) {
        const BoardLayout layout(ranks);
        std::set<uint32_t> words;
        for (uint32_t peer = 0; peer < ranks; peer++) {
            for (uint32_t slot = 0; slot < BoardLayout::slots; slot++) {
                words.insert({layout.arrived(slot, peer), layout.left(slot, peer),
                              layout.reduced(slot, peer)});
                CHECK(layout.arrived(slot, peer) == layout.arrived(slot, 0) + peer);
                CHECK(layout.left(slot, peer) == layout.left(slot, 0) + peer);
                CHECK(layout.reduced(slot, peer) == layout.reduced(slot, 0) + peer);
            }
            for (uint32_t half = 0; half < BoardLayout::halves; half++) {
                words.insert({layout.sent(peer, half), layout.taken(peer, half)});
            }
        }
        CHECK(words.size() == layout.word_count());
        CHECK(*words.rbegin() == layout.word_count() - 1);
    }
}
