#include "src/comm/device_stuck.h"

#include "src/base/log.h"

namespace weft {

using gpu::device::Ended;
using gpu::device::LaneEnd;

namespace {

unsigned long long wide(uint64_t value) {
    return value;
}

// Which word lies at a place of the rank's memory, and who posts it.
std::string word_text(const LaneEnd& end, const gpu::Layout& layout) {
    const uint32_t begin = layout.word_place(gpu::Word::granted, 0, 0);
    if (end.place < begin || end.place >= begin + layout.words()) {
        return format("the card of rank %llu", wide(end.peer));
    }
    constexpr const char* names[] = {"granted", "arrived", "exposed", "met"};
    const auto index = static_cast<uint32_t>(end.place) - begin;
    const uint32_t poster = index % layout.rank_count();
    return format("'%s' of rank %u",
                  names[index / layout.rank_count() / gpu::lane_rows % gpu::word_kinds], poster);
}

}  // namespace

std::string stuck_text(const LaneEnd& end, uint32_t rank, uint32_t lane,
                       const gpu::Layout& layout) {
    if (end.how != Ended::aborted || end.wait == 0) {
        return {};
    }
    const std::string who = format("rank %u lane %u was stopped ", rank, lane);
    if (end.wait == gpu::device::wait_small) {
        return who + "in a small operation, or before it began";
    }
    const auto step = static_cast<uint32_t>(end.wait) - 1;
    return who + format("at step %u of tile %u: it awaited %s, wanted %llu, saw %llu", step,
                        static_cast<uint32_t>(end.wait >> 32), word_text(end, layout).c_str(),
                        wide(end.own.packed), wide(end.theirs.packed));
}

}  // namespace weft
