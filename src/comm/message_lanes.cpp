#include "src/comm/message_lanes.h"

#include <algorithm>
#include <map>
#include <utility>

namespace weft {

namespace {

using Way = std::pair<bool, int32_t>;  // a send; the peer

Way way_of(const Call& call) {
    return {call.is_send, call.root};
}

// To oneself a send is copied to a receive of the same round, and waits for nobody.
bool is_between(const Call& call, int32_t rank) {
    return call.coll == Coll::send_recv && call.root != rank;
}

// How many lanes sends have, and receives: of at least two, one each, if there are any.
struct Shares {
    size_t sends, receives;
};

Shares shares(size_t sends, size_t receives, size_t most) {
    if (most < 2) {
        return {1, 0};
    }
    const size_t for_sends = std::min(sends, std::max(most / 2, most - std::min(most, receives)));
    return {for_sends, std::min(receives, most - for_sends)};
}

}  // namespace

MessageLanes message_lanes(const std::vector<Call>& calls, int32_t rank, size_t most,
                           const std::function<uint64_t(int32_t peer)>& part_bytes) {
    std::map<Way, size_t> numbers;  // in order of appearance, of sends and of receives
    size_t sends = 0, receives = 0;
    bool one_round = true;
    for (const Call& call : calls) {
        if (is_between(call, rank)) {
            size_t& count = call.is_send ? sends : receives;
            const bool is_new = numbers.emplace(way_of(call), count).second;
            count += is_new ? 1 : 0;
            one_round =
                one_round && is_new && call.count * size_of(call.type) <= part_bytes(call.root);
        }
    }
    const Shares has = shares(sends, receives, one_round ? 1 : most);
    const auto lane_of = [&](const Call& call) {
        if (!is_between(call, rank) || has.sends + has.receives < 2) {
            return size_t{0};
        }
        const size_t number = numbers.at(way_of(call));
        return call.is_send ? number % has.sends : has.sends + number % has.receives;
    };
    MessageLanes found;
    for (const Call& call : calls) {
        if (call.coll != Coll::send_recv) {
            found.before.push_back(call);
            continue;
        }
        const size_t lane = lane_of(call);
        found.lanes.resize(std::max(found.lanes.size(), lane + 1));
        found.lanes[lane].push_back(call);
    }
    return found;
}

}  // namespace weft
