#include "src/comm/hosts_cut.h"

#include <algorithm>

#include "src/comm/hosts_stages.h"

namespace weft {

namespace {

constexpr uint64_t unit = 64;

HostsPlace user_at(const MessagePart& part) {
    return {HostsWhere::user, 0, part.user};
}

// Every other rank has a place of its own in either half of far memory.
uint64_t far_bytes(const HostsShape& shape, const HostsSizes& sizes) {
    const auto others = static_cast<uint64_t>((shape.hosts - 1) * shape.locals);
    return sizes.slot_bytes / others / unit * unit;
}

}  // namespace

uint64_t hosts_message_bytes(const HostsShape& shape, const HostsSizes& sizes, int32_t peer) {
    const auto at = std::ranges::find(shape.ranks, peer) - shape.ranks.begin();
    return at / shape.locals == shape.host ? sizes.half_bytes : far_bytes(shape, sizes);
}

HostsCut::HostsCut(const HostsShape& shape, const HostsSizes& sizes, const std::vector<Call>& calls)
    : shape_(shape), sizes_(sizes), way_(shape.ranks.size(), calls) {
}

HostsPart HostsCut::collective_part(const Call& call) {
    const uint64_t count =
        std::min(hosts_count_max(call, shape_, sizes_), call.count - way_.done());
    HostsPart part;
    part.call = call;
    part.slot = way_.part() % sizes_.slots;
    part.stages = hosts_stages(call, shape_, sizes_, way_.done(), count);
    way_.cut(count);
    return part;
}

void HostsCut::local_messages(int32_t local, HostsPart& part) {
    const auto rank = static_cast<size_t>(shape_.rank_at(shape_.host, local));
    const auto add = [&](MessageWay& way, std::vector<BoardMessage>& messages) {
        if (!way.through()) {
            messages.push_back(board_message(way, sizes_.half_bytes));
            messages.back().peer = local;
            part.alone = true;
        }
    };
    add(way_.sends()[rank], part.stages.front().sends);
    add(way_.receives()[rank], part.stages.back().receives);
}

void HostsCut::far_messages(int32_t rank, uint64_t place, HostsPart& part) {
    const uint64_t most = far_bytes(shape_, sizes_);
    HostsStage &first = part.stages.front(), &last = part.stages.back();
    const auto take = [&](MessageWay& way, bool is_send, uint64_t at) {
        const MessagePart next = way.next(most);
        const bool on_device = next.of >= sizes_.device_from;
        first.ask.push_back({rank, is_send, on_device, at, next.width, next.of});
        const HostsPlace far{on_device ? HostsWhere::device_far : HostsWhere::far, 0, at};
        hosts_move_add(is_send ? first.moves : last.moves, is_send ? far : user_at(next),
                       is_send ? user_at(next) : far, next.width);
    };
    MessageWay &send = way_.sends()[static_cast<size_t>(rank)],
               &receive = way_.receives()[static_cast<size_t>(rank)];
    if (!send.through()) {
        take(send, true, place * most);
    }
    if (!receive.through()) {
        take(receive, false, sizes_.slot_bytes + place * most);
    }
}

// Of each peer and direction the next part.
HostsPart HostsCut::round() {
    HostsPart part;
    part.stages.resize(2);
    part.stages.back().exchanged = true;
    uint64_t place = 0;
    for (int32_t host = 0; host < shape_.hosts; host++) {
        for (int32_t local = 0; local < shape_.locals; local++) {
            if (host == shape_.host) {
                local_messages(local, part);
            } else {
                far_messages(shape_.rank_at(host, local), place++, part);
            }
        }
    }
    part.slot = rounds_++ % sizes_.slots;
    return part;
}

std::optional<HostsPart> HostsCut::next() {
    if (const Call* const call = way_.collective()) {
        return collective_part(*call);
    }
    return way_.messages_through() ? std::nullopt : std::optional(round());
}

}  // namespace weft
