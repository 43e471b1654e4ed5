#include "src/comm/message_lanes.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/unit/comm/cut_ranks.h"

using namespace weft;

namespace {

constexpr int32_t rank = 2;
constexpr uint64_t part = 100;

Call message(bool is_send, int32_t peer, uint64_t bytes) {
    Call call = test::call_of(Coll::send_recv, bytes, peer);
    call.type = DataType::uint8;
    call.is_send = is_send;
    return call;
}

MessageLanes lanes_of(const std::vector<Call>& calls, size_t most = 8) {
    return message_lanes(calls, rank, most, [](int32_t) { return part; });
}

// With `sends` peers and `receives`, several messages each, as they come in a program.
std::vector<Call> messages(int32_t sends, int32_t receives) {
    std::vector<Call> calls;
    for (uint64_t round = 0; round < 3; round++) {
        for (int32_t peer = 10; peer < 10 + std::max(sends, receives); peer++) {
            if (peer - 10 < sends) {
                calls.push_back(message(true, peer, part + round));
            }
            if (peer - 10 < receives) {
                calls.push_back(message(false, peer, part + round));
            }
        }
    }
    return calls;
}

}  // namespace

TEST_CASE("every way has a lane while there are lanes, and its messages their order", "[comm]") {
    for (int32_t sends = 0; sends < 12; sends++) {
        for (int32_t receives = 0; receives < 12; receives++) {
            for (size_t most = 1; most < 12; most++) {
                const std::vector<Call> calls = messages(sends, receives);
                const MessageLanes found = lanes_of(calls, most);
                CHECK(found.before.empty());
                const auto ways = static_cast<size_t>(sends + receives);
                REQUIRE(found.lanes.size() == std::min(ways, most));
                std::map<std::pair<bool, int32_t>, size_t> lane_of;
                std::map<std::pair<bool, int32_t>, uint64_t> next;
                size_t count = 0;
                for (size_t lane = 0; lane < found.lanes.size(); lane++) {
                    std::set<bool> directions;
                    for (const Call& call : found.lanes[lane]) {
                        const std::pair way(call.is_send, call.root);
                        CHECK(lane_of.emplace(way, lane).first->second == lane);
                        CHECK(call.count == part + next[way]++);
                        directions.insert(call.is_send);
                        count++;
                    }
                    CHECK(directions.size() == (most == 1 && sends > 0 && receives > 0 ? 2 : 1));
                }
                CHECK(count == calls.size());
            }
        }
    }
}

TEST_CASE("one round, one way, or collectives alone need no lanes", "[comm]") {
    CHECK(lanes_of({message(true, 1, part), message(false, 1, part), message(true, 3, 0)})
              .lanes.size() == 1);
    CHECK(lanes_of({message(true, 1, part), message(false, 1, part + 1)}).lanes.size() == 2);
    CHECK(lanes_of({message(true, 1, 1), message(true, 1, 1), message(false, 1, 1)}).lanes.size() ==
          2);
    CHECK(lanes_of({message(true, 1, 50 * part), message(true, 1, 1)}).lanes.size() == 1);
    const MessageLanes found = lanes_of({Call()});
    CHECK(found.lanes.empty());
    CHECK(found.before.size() == 1);
}

TEST_CASE("collectives go before all lanes, messages to oneself together", "[comm]") {
    const MessageLanes found =
        lanes_of({message(false, 1, 2 * part), message(true, rank, 3 * part), Call(),
                  message(true, 1, part), message(false, rank, 3 * part), Call()});
    CHECK(found.before.size() == 2);
    REQUIRE(found.lanes.size() == 2);
    size_t with_self = 0;
    for (const std::vector<Call>& lane : found.lanes) {
        const auto self =
            std::ranges::count_if(lane, [](const Call& call) { return call.root == rank; });
        CHECK((self == 0 || self == 2));
        with_self += self == 2 ? 1 : 0;
    }
    CHECK(with_self == 1);
}
