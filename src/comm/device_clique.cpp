#include "src/comm/device_clique.h"

#include <time.h>

#include <algorithm>

#include "src/base/log.h"
#include "src/base/thread.h"

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
    claims_.join(rank, ranks_[rank]->seat().context(), names[rank]);
    if (names_.empty()) {  // ranks that are connected read them
        names_ = std::move(names);
    }
    return {};
}

std::optional<uint64_t> DeviceClique::standing(uint32_t rank) {
    return ranks_[rank]->ended_count();
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

void device_release(std::shared_ptr<DeviceSide> side, bool may_wait) {
    if (side == nullptr || (may_wait && side->idle())) {
        return;
    }
    thread_aside([side = std::move(side)]() mutable { side.reset(); });
}

}  // namespace weft
