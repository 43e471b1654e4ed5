// How a communicator ends in order.
//
// 1. Its own operations finish and nothing of them is undelivered.
// 2. Farewell: an empty all-gather among all ranks. A rank's wires stay until everybody has said
//    farewell, because a peer may still owe it an acknowledgement, and a wire that vanishes in the
//    middle of a peer's operation looks like a failure.
// 3. The control group is left and everything freed.
//
// One thread may end many ranks one after the other, so only the last rank of a process waits for
// step 2, and not longer than `farewell_wait`: a peer may have good reasons to keep its
// communicator. What is left is done in the background; only a process that exits before that can
// disturb a peer.
#include <algorithm>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/process.h"

namespace weft {

namespace {

constexpr Nanos farewell_wait = 5 * nanos_per_s;
constexpr Nanos quiet_period = nanos_per_ms / 5;  // between two looks for outstanding work

}  // namespace

Result<void> Communicator::finalize_begin() {
    {
        const std::lock_guard lock(mutex_);
        if (state_ == CommState::finalizing || state_ == CommState::finalized) {
            return make_error(
                Code::invalid_argument, Scope::call,
                format("ncclCommFinalize : %s has already been finalized", name().c_str()));
        }
        if (state_ == CommState::failed || state_ == CommState::aborted) {
            return earlier_failure_locked();
        }
        if (state_ == CommState::initialising || busy_locked()) {
            return busy_error();
        }
        state_ = CommState::finalizing;
    }
    // On the service thread only, so that its steps never overlap.
    Process::get().reactor().post([weak = weak_from_this()] {
        if (const auto comm = weak.lock()) {
            comm->finalize_step();
        }
    });
    return {};
}

bool Communicator::quiet() {
    const std::shared_ptr<DeviceSide> side = device_side();
    return queue_->empty() && parts_.shard->quiet() &&
           (side == nullptr || side->rank_idle(static_cast<uint32_t>(rank())));
}

void Communicator::finalize_step() {
    if (state() != CommState::finalizing) {
        return;
    }
    queue_->pump();
    if (quiet()) {
        farewell();
        return;
    }
    Reactor& reactor = Process::get().reactor();
    reactor.at(reactor.now() + quiet_period, [weak = weak_from_this()] {
        if (const auto comm = weak.lock()) {
            comm->finalize_step();
        }
    });
}

void Communicator::farewell() {
    {
        const std::lock_guard lock(mutex_);
        farewell_begun_ = true;
    }
    Process& process = Process::get();
    const bool last = process.farewell_count(group_->id(), parts_.process_ranks.size());
    group_->all_gather("", [weak = weak_from_this()](Result<std::vector<std::string>>) {
        // Also when a rank died or left otherwise: then nobody can be waited for.
        if (const auto comm = weak.lock()) {
            comm->farewell_end();
        }
    });
    if (!last) {
        finalized();
        return;
    }
    Reactor& reactor = process.reactor();
    reactor.at(reactor.now() + farewell_wait, [weak = weak_from_this()] {
        if (const auto comm = weak.lock()) {
            comm->finalized();
        }
    });
}

void Communicator::farewell_end() {
    {
        const std::lock_guard lock(mutex_);
        farewell_over_ = true;
    }
    finalized();
    leave();
    Process::get().farewell_over(this);
}

void Communicator::finalized() {
    {
        const std::lock_guard lock(mutex_);
        if (state_ != CommState::finalizing) {
            return;
        }
        state_ = CommState::finalized;
    }
    changed_.notify_all();
}

Result<void> Communicator::finalize_wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state_ != CommState::finalizing; });
    if (error_) {
        return earlier_failure_locked();
    }
    return {};
}

bool Communicator::farewell_over() const {
    const std::lock_guard lock(mutex_);
    return farewell_over_;
}

}  // namespace weft
