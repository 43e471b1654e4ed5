// What kernels leave in pinned memory, looked for by the service thread while some run.
#include "src/base/log.h"
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

void Communicator::device_stop() {
    if (const auto clique = device_clique()) {
        device_rank(*clique).stop();
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
    const auto clique = device_clique();
    if (clique == nullptr) {
        return;
    }
    Reactor& reactor = Process::get().reactor();
    const Nanos period = device_rank(*clique).idle() ? graph_period : watch_period;
    reactor.at(reactor.now() + period, [weak = weak_from_this()] {
        if (const auto comm = weak.lock()) {
            comm->device_poll();
        }
    });
}

void Communicator::device_poll() {
    const std::shared_ptr<DeviceClique> clique = device_clique();
    if (clique == nullptr || state() == CommState::failed || state() == CommState::aborted) {
        return;
    }
    DeviceRank& own = device_rank(*clique);
    if (const std::optional<Error> found = own.poll(clique->names())) {
        fail(*found, true);
        return;
    }
    // Cleared before the last look: a launch after it arms the watch again.
    device_watched_ = false;
    if ((!own.idle() || own.in_graphs()) && !device_watched_.exchange(true)) {
        device_watch_arm();
    }
}

void Communicator::device_end(bool may_wait) {
    std::shared_ptr<DeviceClique> clique;
    {
        const std::lock_guard lock(mutex_);
        clique = std::move(parts_.clique);
        parts_.clique = nullptr;
    }
    device_release(std::move(clique), may_wait);
}

}  // namespace weft
