// Slots and credits of one channel, without a wire.
#include "transports/common/link_channel.h"

#include <vector>

#include "tests/catch.h"

namespace weft {
namespace {

// Two ends, and what is between them: sequences on their way, in any order a test likes.
struct Ends {
    explicit Ends(uint32_t slots) : from(slots), to(slots) {}
    uint32_t send() {
        REQUIRE(from.may_send());
        const uint32_t seq = from.next_seq();
        from.message_sent();
        return seq;
    }
    LinkChannel from, to;
};

TEST_CASE("channel: as many messages as slots, and no more until a credit is heard") {
    Ends ends(8);
    std::vector<uint16_t> slots;
    for (int i = 0; i < 8; i++) {
        const auto slot = ends.to.arrived(ends.send());
        REQUIRE(slot);
        slots.push_back(*slot);
    }
    CHECK(slots == std::vector<uint16_t>{0, 1, 2, 3, 4, 5, 6, 7});
    CHECK_FALSE(ends.from.may_send());
    ends.to.release(0);
    CHECK_FALSE(ends.from.may_send());
    ends.from.credit_heard(ends.to.credit());
    CHECK(ends.from.may_send());
    CHECK(ends.to.arrived(ends.send()) == uint16_t{0});
    CHECK_FALSE(ends.from.may_send());
}

TEST_CASE("channel: any order of arrival and release, over every lap of the sequence") {
    for (const uint32_t count : {2u, 8u, 64u}) {
        Ends ends(count);
        for (uint32_t lap = 0; lap < 3 * (LinkChannel::slot_seq_mask + 1) / count; lap++) {
            std::vector<uint32_t> seqs;
            for (uint32_t i = 0; i < count; i++) {
                seqs.push_back(ends.send());
            }
            for (uint32_t i = 0; i < count; i++) {
                const uint32_t which = count - 1 - i;
                REQUIRE(ends.to.arrived(seqs[which]) == static_cast<uint16_t>(which));
                REQUIRE_FALSE(ends.to.arrived(seqs[which]));  // once
            }
            REQUIRE(ends.to.credit() == lap * count);
            for (uint32_t i = count; i > 1; i--) {
                ends.to.release(static_cast<uint16_t>(i - 1));
                REQUIRE(ends.to.credit() == lap * count);  // in turn, or not yet
            }
            ends.to.release(0);
            REQUIRE(ends.to.credit() == (lap + 1) * count);
            REQUIRE_FALSE(ends.to.arrived(seqs[0]));  // of the lap before
            ends.from.credit_heard(ends.to.credit());
        }
    }
}

TEST_CASE("channel: old and impossible credits change nothing") {
    Ends ends(4);
    for (int i = 0; i < 4; i++) {
        REQUIRE(ends.to.arrived(ends.send()));
    }
    ends.from.credit_heard(5);  // more than was sent
    CHECK_FALSE(ends.from.may_send());
    ends.from.credit_heard(3);
    ends.from.credit_heard(1);  // late
    for (int i = 0; i < 3; i++) {
        ends.send();
    }
    CHECK_FALSE(ends.from.may_send());
}

TEST_CASE("channel: a credit is owed from half the slots on, and paid by any message") {
    Ends ends(4);
    for (int i = 0; i < 4; i++) {
        REQUIRE(ends.to.arrived(ends.send()));
    }
    ends.to.release(0);
    CHECK_FALSE(ends.to.credit_owed());
    ends.to.release(1);
    CHECK(ends.to.credit_owed());
    ends.to.message_sent();
    CHECK_FALSE(ends.to.credit_owed());
    ends.to.release(2);
    ends.to.release(3);
    CHECK(ends.to.credit_owed());
    ends.to.credit_told();
    CHECK_FALSE(ends.to.credit_owed());
}

TEST_CASE("channel: a slot's memory grows and stays") {
    LinkChannel channel(2);
    std::byte* const first = channel.slot_memory(1, 10);
    REQUIRE(first != nullptr);
    first[9] = std::byte{7};
    CHECK(channel.slot_memory(1, 64) == first);
    CHECK(channel.slot_memory(1, 0) == first);
    std::byte* const more = channel.slot_memory(1, 65);
    more[127] = std::byte{7};  // whole powers of two
    CHECK(channel.slot_memory(1, 128) == more);
}

}  // namespace
}  // namespace weft
