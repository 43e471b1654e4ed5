// What kernels leave in pinned memory, looked for by the service thread while some run.
#include <algorithm>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/comm/communicator.h"
#include "src/comm/process.h"

namespace weft {

namespace {

// Replays of graphs are not announced, so those are looked for less often and as long as the graphs
// are there.
constexpr Nanos watch_period = 2 * nanos_per_ms, graph_period = 20 * nanos_per_ms;

}  // namespace

std::shared_ptr<DeviceClique> Communicator::device_clique() const {
    const std::lock_guard lock(mutex_);
    return parts_.clique;
}

std::shared_ptr<DeviceStreamed> Communicator::device_streamed() const {
    const std::lock_guard lock(mutex_);
    return parts_.streamed;
}

std::shared_ptr<DeviceSide> Communicator::device_side() const {
    const std::lock_guard lock(mutex_);
    return parts_.clique != nullptr ? std::shared_ptr<DeviceSide>(parts_.clique) : parts_.streamed;
}

void Communicator::device_stop() {
    if (const auto side = device_side()) {
        side->stop(static_cast<uint32_t>(rank()));
    }
}

void Communicator::device_watch(size_t calls) {
    device_ops_.fetch_add(calls, std::memory_order_relaxed);
    if (!device_watched_.exchange(true)) {
        Process::get().reactor().post([weak = weak_from_this()] {
            if (const auto comm = weak.lock()) {
                comm->device_watch_arm();
            }
        });
    }
}

void Communicator::device_watch_arm() {
    const auto side = device_side();
    if (side == nullptr) {
        return;
    }
    Reactor& reactor = Process::get().reactor();
    const Nanos period =
        side->rank_idle(static_cast<uint32_t>(rank())) ? graph_period : watch_period;
    reactor.at(reactor.now() + period, [weak = weak_from_this()] {
        if (const auto comm = weak.lock()) {
            comm->device_poll();
        }
    });
}

void Communicator::device_poll() {
    const auto side = device_side();
    if (side == nullptr || state() == CommState::failed || state() == CommState::aborted) {
        return;
    }
    const auto own = static_cast<uint32_t>(rank());
    if (const std::optional<Error> found = side->poll(own)) {
        fail(*found, true);
        return;
    }
    device_late_look(*side);
    // Cleared before the last look: a launch after it arms the watch again.
    device_watched_ = false;
    if ((!side->rank_idle(own) || side->in_graphs(own)) && !device_watched_.exchange(true)) {
        device_watch_arm();
    }
}

// Lateness is reported, never fatal: ranks legitimately arrive minutes late.
void Communicator::device_late_look(DeviceSide& side) {
    const Nanos limit = settings().late_report_s * nanos_per_s,
                now = Process::get().reactor().now();
    const auto own = static_cast<uint32_t>(rank());
    const auto found = limit > 0 && !side.rank_idle(own) ? side.standing(own) : std::nullopt;
    if (!found || *found != device_state_ || device_moved_ == 0) {
        device_state_ = found.value_or(0);
        device_moved_ = found ? now : 0;
        device_reported_ = 0;
    } else if (now - std::max(device_moved_, device_reported_) >= limit) {
        device_reported_ = now;
        device_late_reports_++;
        LOG(warn, coll, "%s: no progress for %lld s on device memory: it waits for %s",
            name().c_str(), static_cast<long long>((now - device_moved_) / nanos_per_s),
            side.waits_for(own).c_str());
    }
}

void Communicator::device_end(bool may_wait) {
    std::shared_ptr<DeviceClique> clique;
    std::shared_ptr<DeviceStreamed> streamed;
    {
        const std::lock_guard lock(mutex_);
        clique.swap(parts_.clique);
        streamed.swap(parts_.streamed);
    }
    if (streamed != nullptr) {
        streamed->leave();
    }
    device_release(std::move(clique), may_wait);
    device_release(std::move(streamed), may_wait);
}

}  // namespace weft
