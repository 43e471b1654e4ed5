#include "src/comm/parts_launch.h"

#include <sched.h>

#include <algorithm>

namespace weft {

namespace {

// Of a lane, each of a few entries of the driver's queue.
constexpr uint32_t steps_marked = 16;

}  // namespace

PartsLaunch::PartsLaunch(std::shared_ptr<DeviceStreamed> side, std::vector<Call> calls,
                         std::vector<gpu::Stream> streams)
    : side_(std::move(side)),
      calls_(std::move(calls)),
      streams_(std::move(streams)),
      lane_streams_{streams_.front()} {
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
    if (graph_ == 0) {
        side_->launch_begin();
    }
    const gpu::Seat& seat = side_->seat(0);
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    TRY(split());
    parts_ = side_->parts(split_.before, {0, streams_.front(), graph_});
    TRY(order(capture));
    return graph_ != 0 ? graph_begin(capture) : Result<void>();
}

// Two captures at once, or calls outside of one meanwhile, must share what streams there are.
Result<void> PartsLaunch::split() {
    if (std::ranges::none_of(calls_,
                             [](const Call& call) { return call.coll == Coll::send_recv; })) {
        split_.before = std::move(calls_);
        return {};
    }
    const auto part_bytes = [this](int32_t peer) { return side_->message_bytes(peer); };
    const auto rank = static_cast<int32_t>(side_->rank());
    split_ = message_lanes(calls_, rank, DeviceStreamed::lanes_max, part_bytes);
    if (split_.lanes.size() < 2) {
        return {};
    }
    for (const gpu::Stream stream : TRY(side_->lane_streams(graph_))) {
        lane_streams_.push_back(stream);
    }
    if (lane_streams_.size() < split_.lanes.size()) {
        split_ = message_lanes(calls_, rank, lane_streams_.size(), part_bytes);
    }
    lane_streams_.resize(split_.lanes.size());
    return {};
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
    if (parts_ != nullptr) {
        if (TRY(parts_->step())) {
            return true;
        }
        parts_.reset();
        TRY(lanes_begin());
    }
    return lanes_step();
}

Result<void> PartsLaunch::lanes_begin() {
    if (split_.lanes.size() > 1) {
        const gpu::Event fork[] = {side_->join_event()};
        TRY(streams_leave(side_->seat(0).driver(), lane_streams_, fork));
    }
    for (uint32_t number = 0; number < split_.lanes.size(); number++) {
        const DeviceStreamed::Lane at{number, lane_streams_[number], graph_};
        lanes_.push_back({at, side_->parts(split_.lanes[number], at)});
    }
    return {};
}

Result<void> PartsLaunch::lane_step(Lane& lane) {
    if (!TRY(lane.parts->step())) {
        lane.parts.reset();
    }
    lane.steps++;
    return graph_ == 0 && lane.steps % steps_marked == 0 ? side_->lane_mark(lane.at)
                                                         : Result<void>();
}

Result<bool> PartsLaunch::lanes_step() {
    bool more = false, stepped = false;
    for (Lane& lane : lanes_) {
        if (lane.parts == nullptr) {
            continue;
        }
        more = true;
        if (graph_ != 0 || !side_->lane_full(lane.at)) {
            TRY(lane_step(lane));
            stepped = true;
        }
    }
    if (more && !stepped) {
        sched_yield();
    }
    return more;
}

// Whatever was enqueued on lanes, the caller's stream waits for it.
Result<void> PartsLaunch::lanes_end() {
    return streams_join(side_->seat(0).driver(), lane_streams_, side_->join_event());
}

Result<void> PartsLaunch::end() {
    const gpu::Seat& seat = side_->seat(0);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(seat.driver(), seat.context());
    const Result<void> joined = lanes_end();
    Result<void> told;
    if (graph_ == 0) {
        told = side_->launch_end(streams_.front());
    }
    const gpu::Event last[] = {side_->last_event()};
    const Result<void> left = streams_leave(seat.driver(), streams_, last);
    lock_.unlock();
    return !joined.ok() ? joined : told.ok() ? left : told;
}

}  // namespace weft
