#include "src/comm/parts_launch.h"

#include <algorithm>

namespace weft {

PartsLaunch::PartsLaunch(std::shared_ptr<DeviceStreamed> side, std::vector<Call> calls,
                         std::vector<gpu::Stream> streams)
    : side_(std::move(side)), calls_(std::move(calls)), streams_(std::move(streams)) {
}

void PartsLaunch::lock() {
    lock_ = std::unique_lock(side_->mutex);
}

StreamClaims::Launch PartsLaunch::claim(const Capture& capture) const {
    const auto collectives = std::ranges::count_if(
        calls_, [](const Call& call) { return call.coll != Coll::send_recv; });
    return {side_->rank(), streams_.front(), capture.id, static_cast<uint64_t>(collectives)};
}

Result<void> PartsLaunch::begin(const Capture& capture) {
    graph_ = capture.id;
    parts_ = side_->parts(calls_, graph_);
    if (graph_ == 0) {
        side_->launch_begin();
    }
    const gpu::Seat& seat = side_->seat(0);
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    TRY(order(capture));
    return graph_ != 0 ? graph_begin(capture) : Result<void>();
}

Result<void> PartsLaunch::order(const Capture& capture) {
    const gpu::Driver& cuda = side_->seat(0).driver();
    // What was captured and what was not cannot wait for each other.
    if (before_.launched && before_.stream != streams_.front() && before_.graph == capture.id) {
        TRY(stream_follow(cuda, streams_.front(), side_->last_event()));
    }
    return streams_join(cuda, streams_, side_->join_event());
}

// The graph keeps the side.
Result<void> PartsLaunch::graph_begin(const Capture& capture) {
    side_->graph_begin(capture.id);
    return graph_hold(side_->seat(0).driver(), capture, [side = side_, id = capture.id]() mutable {
        side->graph_end(id);
        device_release(std::move(side), false);
    });
}

Result<bool> PartsLaunch::step() {
    const gpu::Seat& seat = side_->seat(0);
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    return parts_->step(streams_.front());
}

Result<void> PartsLaunch::end() {
    const gpu::Seat& seat = side_->seat(0);
    Result<void> told;
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(seat.driver(), seat.context());
    if (graph_ == 0) {
        told = side_->launch_end(streams_.front());
    }
    const gpu::Event last[] = {side_->last_event()};
    const Result<void> left = streams_leave(seat.driver(), streams_, last);
    lock_.unlock();
    return told.ok() ? left : told;
}

}  // namespace weft
