#include "src/comm/device_clique.h"

#include <time.h>

#include <algorithm>
#include <thread>

#include "src/base/log.h"

namespace weft {

void DeviceClique::join(std::unique_ptr<DeviceRank> rank) {
    const std::lock_guard lock(mutex_);
    ranks_[rank->rank()] = std::move(rank);
}

Result<void> DeviceClique::connect(uint32_t rank, std::vector<std::string> names) {
    const std::lock_guard lock(mutex_);
    std::vector<uint64_t> memories;
    const gpu::DeviceFacts& own = ranks_[rank]->seat().facts();
    for (size_t peer = 0; peer < ranks_.size(); peer++) {
        if (ranks_[peer] == nullptr) {
            return make_error(Code::internal, Scope::communicator,
                              format("%s has no device memory here", names[peer].c_str()));
        }
        const gpu::DeviceFacts& theirs = ranks_[peer]->seat().facts();
        if (theirs.uuid != own.uuid) {
            return make_error(
                Code::unsupported, Scope::communicator,
                format("%s is on CUDA device %d and %s on device %d: ranks of a communicator on "
                       "device memory are for one device; set WEFT_DEVICE=host and use host memory",
                       names[rank].c_str(), own.ordinal, names[peer].c_str(), theirs.ordinal));
        }
        memories.push_back(ranks_[peer]->memory());
    }
    // A block to a multiprocessor.
    const auto blocks = static_cast<uint32_t>(own.multiprocessors);
    const auto ranks = static_cast<uint32_t>(ranks_.size());
    ranks_[rank]->connect(memories, std::clamp(blocks / ranks, 1u, gpu::lane_max));
    if (names_.empty()) {  // ranks that are connected read them
        names_ = std::move(names);
    }
    return {};
}

bool DeviceClique::idle() const {
    const std::lock_guard lock(mutex_);
    // Every rank is asked, for that is what makes it take back what has ended.
    return std::ranges::count_if(
               ranks_, [](const auto& rank) { return rank != nullptr && !rank->idle(); }) == 0;
}

DeviceClique::~DeviceClique() {
    const timespec pause{0, 1'000'000};
    while (!idle()) {
        nanosleep(&pause, nullptr);
    }
}

Result<std::vector<DeviceClique::Before>> DeviceClique::stream_claim(
    std::span<DeviceRank* const> gang, gpu::Stream stream, uint64_t graph, uint64_t collectives) {
    const std::lock_guard lock(mutex_);
    const DeviceRank& own = *gang.front();
    for (const auto& other : ranks_) {
        const bool in_gang = std::ranges::find(gang, other.get()) != gang.end();
        const Claim& claim = claims_[other->rank()];
        const bool same = claim.last.launched && claim.last.stream == stream &&
                          claim.last.graph == graph && &other->seat() == &own.seat();
        if (!in_gang && same && claim.collectives > claims_[own.rank()].collectives) {
            return make_error(
                Code::invalid_usage, Scope::call,
                format("%s and %s use the same stream %p in different calls: kernels of one stream "
                       "run one after the other, and the first would wait for the second for ever; "
                       "give every rank a stream of its own, or make the calls in one group",
                       names_[own.rank()].c_str(), names_[other->rank()].c_str(),
                       static_cast<void*>(stream)));
        }
    }
    std::vector<Before> before;
    for (const DeviceRank* rank : gang) {
        Claim& claim = claims_[rank->rank()];
        before.push_back(claim.last);
        claim.last = {true, stream, graph};
        claim.collectives += collectives;
    }
    return before;
}

void device_release(std::shared_ptr<DeviceSide> side, bool may_wait) {
    if (side == nullptr || (may_wait && side->idle())) {
        return;
    }
    std::thread([side = std::move(side)]() mutable { side.reset(); }).detach();
}

}  // namespace weft
