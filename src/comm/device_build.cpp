#include "src/comm/device_build.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/base/thread.h"
#include "src/comm/device_relay.h"
#include "src/comm/process.h"
#include "src/plan/algo_list.h"

namespace weft {

namespace {

Result<void> clique_make(const DeviceSeat& at, std::shared_ptr<gpu::Seat> seat,
                         DeviceParts& parts) {
    const auto rank = static_cast<uint32_t>(at.rank), ranks = static_cast<uint32_t>(at.rank_count);
    plan::Limits limits;
    limits.algo = settings().algo;
    limits.granted = TRY(plan::proto_list_parse(settings().proto));
    limits.tile_bytes = static_cast<uint64_t>(settings().tile_bytes);
    parts.clique = Process::get().clique(at.group, ranks);
    Result<std::unique_ptr<DeviceRank>> made =
        DeviceRank::create(std::move(seat), rank, ranks, limits);
    if (!made.ok()) {
        device_release(std::move(parts.clique), true);
        return std::move(made).error();
    }
    parts.clique->join(std::move(made).value());
    return {};
}

Result<DeviceParts> parts_make(const DeviceSeat& at) {
    const gpu::Driver* const driver = TRY(Process::get().cuda());
    const gpu::RelaxedCapture relaxed(*driver);
    std::shared_ptr<gpu::Seat> seat = TRY(Process::get().seat(at.device));
    DeviceParts parts;
    if (at.way == DeviceWay::clique) {
        TRY(clique_make(at, std::move(seat), parts));
    } else if (at.way == DeviceWay::relay) {
        parts.relay = TRY(DeviceRelay::create(std::move(seat), at.rank, at.rank_count));
    } else {
        Result<std::shared_ptr<DeviceBoard>> made =
            DeviceBoard::create(std::move(seat), at.rank, at.rank_count, !at.one_process);
        if (made.ok()) {
            parts.board = std::move(made).value();
            Process::get().boards().add(at.group, static_cast<uint32_t>(at.rank),
                                        parts.board->boards().memory());
        } else {
            parts.why = made.error().what;
        }
    }
    return parts;
}

}  // namespace

void DeviceParts::release() {
    device_release(std::move(clique), false);
    device_release(std::move(board), false);
    device_release(std::move(relay), false);
}

DeviceWay device_way(const std::vector<PeerInfo>& infos) {
    const PeerInfo& first = infos.front();
    if (settings().device_relay || infos.size() > gpu::device::ranks_max) {
        return DeviceWay::relay;
    }
    const bool together = std::ranges::all_of(infos, [&](const PeerInfo& info) {
        return info.process == first.process && info.device == first.device;
    });
    if (together && !settings().device_board) {
        return DeviceWay::clique;
    }
    const bool near = std::ranges::all_of(
        infos, [&](const PeerInfo& info) { return info.host_key == first.host_key; });
    return near ? DeviceWay::board : DeviceWay::relay;
}

bool one_process(const std::vector<PeerInfo>& infos) {
    return std::ranges::all_of(
        infos, [&](const PeerInfo& info) { return info.process == infos.front().process; });
}

void streamed_serve(const StreamedReady& what) {
    LOG(info, init, "comm %p rank %d: %s", static_cast<void*>(what.ready.handle()),
        what.ready.rank(), what.side.way().c_str());
    const auto ranks = static_cast<uint32_t>(what.ready.rank_count());
    what.side.claims_join(Process::get().claims(what.ready.group()->id(), ranks), what.name);
    what.side.serve(what.shard, [weak = what.comm](const Error& error) {
        if (const auto held = weak.lock()) {
            Error cause = error;
            cause.scope = Scope::communicator;
            held->operation_failed(cause);
        }
    });
}

void device_parts_make(const DeviceSeat& at, std::function<void(Result<DeviceParts>)> done) {
    // Ranks of a clique meet in one object, which must be there until the last has come.
    auto clique = at.way == DeviceWay::clique
                      ? Process::get().clique(at.group, static_cast<uint32_t>(at.rank_count))
                      : nullptr;
    thread_aside([at, done = std::move(done), clique = std::move(clique)]() mutable {
        Result<DeviceParts> made = parts_make(at);
        device_release(std::move(clique), true);
        Process::get().reactor().post(
            [done = std::move(done), made = std::move(made)]() mutable { done(std::move(made)); });
    });
}

}  // namespace weft
