#include "src/comm/device_build.h"

#include <algorithm>
#include <optional>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/base/thread.h"
#include "src/comm/device_board.h"
#include "src/comm/device_hosts.h"
#include "src/comm/device_relay.h"
#include "src/comm/hosts_grid.h"
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

Result<std::shared_ptr<DeviceStreamed>> board_make(const DeviceSeat& at,
                                                   std::shared_ptr<gpu::Seat> seat) {
    if (at.way == DeviceWay::hosts) {
        return std::shared_ptr<DeviceStreamed>(
            TRY(DeviceHosts::create(std::move(seat), at.hosts, !at.one_process)));
    }
    return std::shared_ptr<DeviceStreamed>(
        TRY(DeviceBoard::create(std::move(seat), at.rank, at.rank_count, !at.one_process)));
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
        Result<std::shared_ptr<DeviceStreamed>> made = board_make(at, std::move(seat));
        if (made.ok()) {
            parts.board = std::move(made).value();
            Process::get().boards().add(at.group, static_cast<uint32_t>(at.rank),
                                        parts.board->boards()->memory());
        } else {
            parts.why = made.error().what;
        }
    }
    return parts;
}

// For tests, as many hosts as they say, if ranks can be dealt out to them.
std::vector<std::vector<int32_t>> hosts_pretended(std::vector<std::vector<int32_t>> hosts,
                                                  size_t ranks) {
    const auto count = static_cast<size_t>(settings().device_hosts);
    if (count == 0 || ranks % count != 0) {
        return hosts;
    }
    hosts.assign(count, std::vector<int32_t>(ranks / count));
    for (size_t rank = 0; rank < ranks; rank++) {
        hosts[rank / (ranks / count)][rank % (ranks / count)] = static_cast<int32_t>(rank);
    }
    return hosts;
}

// Nothing: some hosts have more ranks than others.
std::optional<HostsShape> hosts_shape(const std::vector<std::vector<int32_t>>& hosts,
                                      int32_t rank) {
    HostsShape shape;
    shape.hosts = static_cast<int32_t>(hosts.size());
    shape.locals = static_cast<int32_t>(hosts.front().size());
    for (const std::vector<int32_t>& host : hosts) {
        if (host.size() != hosts.front().size()) {
            return {};
        }
        if (const auto found = std::ranges::find(host, rank); found != host.end()) {
            shape.host = static_cast<int32_t>(&host - hosts.data());
            shape.local = static_cast<int32_t>(found - host.begin());
        }
        shape.ranks.insert(shape.ranks.end(), host.begin(), host.end());
    }
    return shape;
}

DeviceWay way_of(const std::vector<PeerInfo>& infos, const std::optional<HostsShape>& shape) {
    const PeerInfo& first = infos.front();
    if (settings().device_relay || !shape ||
        shape->locals > static_cast<int32_t>(gpu::device::ranks_max) ||
        hosts_grid(static_cast<uint64_t>(shape->hosts), DeviceHosts::line_max).empty()) {
        return DeviceWay::relay;
    }
    if (shape->hosts > 1) {
        return DeviceWay::hosts;
    }
    const bool together = std::ranges::all_of(infos, [&](const PeerInfo& info) {
        return info.process == first.process && info.device == first.device;
    });
    return together && !settings().device_board ? DeviceWay::clique : DeviceWay::board;
}

}  // namespace

void DeviceParts::release() {
    device_release(std::move(clique), false);
    device_release(std::move(board), false);
    device_release(std::move(relay), false);
}

std::vector<int32_t> DeviceSeat::board_ranks() const {
    const auto first = hosts.ranks.begin() + hosts.host * hosts.locals;
    return {first, first + hosts.locals};
}

DeviceSeat device_seat(const std::vector<PeerInfo>& infos,
                       const std::vector<std::vector<int32_t>>& hosts, int32_t rank,
                       uint64_t group) {
    DeviceSeat seat;
    seat.group = group;
    seat.device = infos[static_cast<size_t>(rank)].device;
    seat.rank = rank;
    seat.rank_count = static_cast<int32_t>(infos.size());
    const std::optional<HostsShape> shape = hosts_shape(hosts_pretended(hosts, infos.size()), rank);
    seat.way = way_of(infos, shape);
    if (shape) {
        seat.hosts = *shape;
        seat.one_process = std::ranges::all_of(seat.board_ranks(), [&](int32_t other) {
            return infos[static_cast<size_t>(other)].process ==
                   infos[static_cast<size_t>(rank)].process;
        });
    }
    return seat;
}

Result<Wire*> device_wire(const DeviceSeat& at, const std::vector<WireKind>& kinds, Wire* fabric) {
    const auto no = [](std::string why) {
        return make_error(Code::unsupported, Scope::communicator, std::move(why));
    };
    const std::vector<int32_t> near = at.board_ranks();
    for (int32_t rank = 0; rank < at.rank_count; rank++) {
        const WireKind kind = kinds[static_cast<size_t>(rank)];
        if (std::ranges::find(near, rank) == near.end() && kind != WireKind::fabric) {
            return no(format("%s reaches memory of hosts alone", to_string(kind)));
        }
    }
    if (!settings().gpudirect) {
        return no("WEFT_GPUDIRECT is 0");
    }
    if (fabric == nullptr || !fabric->caps().device_memory) {
        return no((fabric != nullptr ? fabric->caps().name : "no wire") +
                  " reaches no memory of GPUs");
    }
    return fabric;
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
