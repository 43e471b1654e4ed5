#include "src/comm/stream_claims.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft {

void StreamClaims::join(uint32_t rank, gpu::Context context, std::string name) {
    const std::lock_guard lock(mutex_);
    ranks_[rank].joined = true;
    ranks_[rank].context = context;
    ranks_[rank].name = std::move(name);
}

Result<void> StreamClaims::check(const Launch& launch, std::span<const Launch> together) const {
    const Rank& own = ranks_[launch.rank];
    for (uint32_t rank = 0; rank < ranks_.size(); rank++) {
        const Rank& other = ranks_[rank];
        const bool same = other.joined && other.last.launched &&
                          other.last.stream == launch.stream && other.last.graph == launch.graph &&
                          other.context == own.context;
        if (same && other.collectives > own.collectives &&
            std::ranges::find(together, rank, &Launch::rank) == together.end()) {
            return make_error(
                Code::invalid_usage, Scope::call,
                format("%s and %s use the same stream %p in different calls: what is on one stream "
                       "runs one after the other, and the first would wait for the second for "
                       "ever; give every rank a stream of its own, or make the calls in one group",
                       own.name.c_str(), other.name.c_str(), static_cast<void*>(launch.stream)));
        }
    }
    return {};
}

std::string StreamClaims::waits_for(uint32_t rank) {
    const std::lock_guard lock(mutex_);
    const uint64_t own = ranks_[rank].collectives;
    std::string late;
    for (const Rank& other : ranks_) {
        if (other.collectives < own) {
            late +=
                format("%s%s, which has made %llu collectives of %llu", late.empty() ? "" : ", ",
                       other.name.c_str(), static_cast<unsigned long long>(other.collectives),
                       static_cast<unsigned long long>(own));
        }
    }
    return late.empty()
               ? "a message's partner, or what stands before it on the streams of the ranks"
               : late;
}

Result<std::vector<StreamClaims::Last>> StreamClaims::claim(std::span<const Launch> launches) {
    const std::lock_guard lock(mutex_);
    for (const Launch& launch : launches) {
        TRY(check(launch, launches));
    }
    std::vector<Last> before;
    for (const Launch& launch : launches) {
        Rank& own = ranks_[launch.rank];
        before.push_back(own.last);
        own.last = {true, launch.stream, launch.graph};
        own.collectives += launch.collectives;
    }
    return before;
}

}  // namespace weft
