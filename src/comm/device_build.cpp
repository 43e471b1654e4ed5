#include "src/comm/device_build.h"

#include <algorithm>
#include <thread>

#include "src/base/settings.h"
#include "src/comm/process.h"
#include "src/plan/algo_list.h"

namespace weft {

namespace {

Result<DeviceParts> parts_make(const DeviceSeat& at) {
    const gpu::Driver* const driver = TRY(Process::get().cuda());
    const gpu::RelaxedCapture relaxed(*driver);
    std::shared_ptr<gpu::Seat> seat = TRY(Process::get().seat(at.device));
    const auto rank = static_cast<uint32_t>(at.rank), ranks = static_cast<uint32_t>(at.rank_count);
    DeviceParts parts;
    if (!at.clique) {
        parts.relay = TRY(DeviceRelay::create(std::move(seat), at.rank, at.rank_count));
        return parts;
    }
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
    return parts;
}

}  // namespace

void DeviceParts::release() {
    device_release(std::move(clique), false);
    device_release(std::move(relay), false);
}

bool device_clique_fits(const std::vector<PeerInfo>& infos) {
    const PeerInfo& first = infos.front();
    return !settings().device_relay && infos.size() <= gpu::device::ranks_max &&
           std::ranges::all_of(infos, [&](const PeerInfo& info) {
               return info.process == first.process && info.device == first.device;
           });
}

void device_parts_make(const DeviceSeat& at, std::function<void(Result<DeviceParts>)> done) {
    // Ranks of a clique meet in one object, which must be there until the last has come.
    auto clique =
        at.clique ? Process::get().clique(at.group, static_cast<uint32_t>(at.rank_count)) : nullptr;
    std::thread([at, done = std::move(done), clique = std::move(clique)]() mutable {
        Result<DeviceParts> made = parts_make(at);
        device_release(std::move(clique), true);
        Process::get().reactor().post(
            [done = std::move(done), made = std::move(made)]() mutable { done(std::move(made)); });
    }).detach();
}

}  // namespace weft
