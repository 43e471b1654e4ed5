#include "src/comm/relay_launch.h"

#include "src/base/log.h"

namespace weft {

RelayLaunch::RelayLaunch(std::shared_ptr<DeviceRelay> relay, const std::vector<Call>& calls,
                         std::vector<gpu::Stream> streams)
    : relay_(std::move(relay)),
      streams_(std::move(streams)),
      cut_(relay_->shape(), calls),
      next_(cut_.next()) {
}

Result<void> RelayLaunch::begin(const Capture& capture) {
    lock_ = std::unique_lock(relay_->mutex);
    graph_ = capture.id;
    if (graph_ == 0) {
        relay_->launch_begin();
    }
    const gpu::Seat& seat = relay_->seat(0);
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    TRY(order(capture));
    return graph_ != 0 ? graph_begin(capture) : Result<void>();
}

Result<void> RelayLaunch::order(const Capture& capture) {
    const gpu::Driver& cuda = relay_->seat(0).driver();
    const DeviceRelay::Last last = relay_->last;
    relay_->last = {true, streams_.front(), capture.id};
    // What was captured and what was not cannot wait for each other.
    if (last.launched && last.stream != streams_.front() && last.graph == capture.id) {
        TRY(stream_follow(cuda, streams_.front(), relay_->last_event()));
    }
    return streams_join(cuda, streams_, relay_->join_event());
}

// The graph keeps the relay, and tells its thread when it is launched.
Result<void> RelayLaunch::graph_begin(const Capture& capture) {
    const gpu::Driver& cuda = relay_->seat(0).driver();
    TRY(graph_hold(cuda, capture, [relay = relay_, id = capture.id]() mutable {
        relay->graph_end(id);
        device_release(std::move(relay), false);
    }));
    const auto ring = [](void* relay) { static_cast<DeviceRelay*>(relay)->ring(); };
    return gpu::driver_check(cuda, cuda.cuLaunchHostFunc(streams_.front(), ring, relay_.get()),
                             "cuLaunchHostFunc");
}

Result<bool> RelayLaunch::step() {
    const gpu::Seat& seat = relay_->seat(0);
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    gpu::Stream const stream = streams_.front();
    if (next_ && under_way_.size() < DeviceRelay::slots) {
        RelayPart part = *std::exchange(next_, cut_.next());
        TRY(relay_->part_in(part, slot_, !next_, graph_, stream));
        under_way_.push_back({std::move(part), slot_});
        slot_ = (slot_ + 1) % DeviceRelay::slots;
        return true;
    }
    if (under_way_.empty()) {
        return false;
    }
    TRY(relay_->part_out(under_way_.front().part, under_way_.front().slot, stream));
    under_way_.pop_front();
    return true;
}

Result<void> RelayLaunch::end() {
    const gpu::Seat& seat = relay_->seat(0);
    Result<void> told;
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(seat.driver(), seat.context());
    if (graph_ == 0) {
        told = relay_->launch_end(streams_.front());
    }
    const gpu::Event last[] = {relay_->last_event()};
    const Result<void> left = streams_leave(seat.driver(), streams_, last);
    lock_.unlock();
    return told.ok() ? left : told;
}

}  // namespace weft
