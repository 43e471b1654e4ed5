#include "src/comm/device_stuck.h"

#include "tests/catch.h"

using namespace weft;
using gpu::device::Ended;
using gpu::device::LaneEnd;

namespace {

constexpr gpu::Layout layout(4, 0);

LaneEnd stopped(uint64_t wait, uint64_t place) {
    LaneEnd end{};
    end.how = Ended::aborted;
    end.peer = 2;
    end.own.packed = 12;
    end.theirs.packed = 11;
    end.wait = wait;
    end.place = place;
    return end;
}

}  // namespace

TEST_CASE("a lane that was stopped says which word of whom it awaited") {
    const uint32_t arrived = layout.word_place(gpu::Word::arrived, 5, 3);
    CHECK(stuck_text(stopped(7ull << 32 | 5, arrived), 1, 5, layout) ==
          "rank 1 lane 5 was stopped at step 4 of tile 7: it awaited 'arrived' of rank 3, wanted "
          "12, saw 11");
    const uint32_t last = layout.word_place(gpu::Word::exposed, gpu::pair_lane, 0);
    CHECK(stuck_text(stopped(1, last), 0, 0, layout).find("'exposed' of rank 0,") !=
          std::string::npos);
    const uint32_t card = layout.card_place(0, 2);
    CHECK(stuck_text(stopped(1, card), 0, 0, layout).find("the card of rank 2,") !=
          std::string::npos);
}

TEST_CASE("a small operation tells only that it was stopped; others nothing") {
    CHECK(stuck_text(stopped(gpu::device::wait_small, 0), 1, 0, layout).find("small operation") !=
          std::string::npos);
    CHECK(stuck_text(stopped(0, 0), 1, 0, layout).empty());
    LaneEnd well = stopped(5, 0);
    well.how = Ended::well;
    CHECK(stuck_text(well, 1, 0, layout).empty());
}
