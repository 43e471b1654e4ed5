#include "src/comm/device_bundle.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/device_clique.h"
#include "src/comm/device_launch.h"

namespace weft {

namespace {

// Ranks of one communicator on one device, in the order of ranks.
struct Gang {
    std::shared_ptr<DeviceClique> clique;  // shared: see device_clique.h
    std::vector<DeviceBundle*> bundles;
    std::vector<DeviceRank*> ranks;
    std::vector<gpu::Stream> streams;  // distinct, the one launched on first
};

std::vector<Gang> gangs_of(std::vector<DeviceBundle>& bundles) {
    std::vector<Gang> gangs;
    for (DeviceBundle& bundle : bundles) {
        const auto clique = bundle.comm->device_clique();
        DeviceRank* const rank = &bundle.comm->device_rank(*clique);
        auto gang = std::ranges::find_if(gangs, [&](const Gang& known) {
            return known.clique == clique && &known.ranks.front()->seat() == &rank->seat();
        });
        if (gang == gangs.end()) {
            gang = gangs.insert(gang, Gang{clique, {}, {}, {}});
        }
        const auto at =
            std::ranges::lower_bound(gang->ranks, rank->rank(), {},
                                     [](const DeviceRank* one) { return one->rank(); }) -
            gang->ranks.begin();
        gang->ranks.insert(gang->ranks.begin() + at, rank);
        gang->bundles.insert(gang->bundles.begin() + at, &bundle);
        for (const gpu::Stream stream : bundle.streams) {
            if (std::ranges::find(gang->streams, stream) == gang->streams.end()) {
                gang->streams.push_back(stream);
            }
        }
    }
    return gangs;
}

// What streams are being captured into; all of one group into the same, or none.
Result<Capture> capture_of(const std::vector<Gang>& gangs) {
    std::optional<Capture> first;
    for (const Gang& gang : gangs) {
        const gpu::Driver& cuda = gang.ranks.front()->driver();
        const gpu::ContextGuard guard =
            TRY(gpu::ContextGuard::push(cuda, gang.ranks.front()->seat().context()));
        for (const gpu::Stream stream : gang.streams) {
            Capture found;
            int state = 0;
            TRY(gpu::driver_check(
                cuda,
                cuda.cuStreamGetCaptureInfo(stream, &state, &found.id, &found.graph, nullptr,
                                            nullptr),
                format("asking whether stream %p is captured", static_cast<void*>(stream))));
            if (state != gpu::capture_status::active) {
                found = {};
            }
            if (first.value_or(found).id != found.id) {
                return make_error(
                    Code::invalid_usage, Scope::call,
                    format("%s : of the streams of one group, some are captured into a graph and "
                           "some are not, or into another: capture all of them, or end the group "
                           "before the capture begins",
                           gang.clique->names()[gang.ranks.front()->rank()].c_str()));
            }
            first = found;
        }
    }
    return first.value_or(Capture{});
}

bool is_pair(const Call& call) {
    return call.coll == Coll::send_recv;
}

std::vector<Call> collectives_of(const DeviceBundle& bundle) {
    std::vector<Call> found;
    std::ranges::copy_if(bundle.calls, std::back_inserter(found),
                         [](const Call& call) { return !is_pair(call); });
    return found;
}

// Ranks of one launch do the same, which is known here without asking the device.
Result<void> calls_agree(const Gang& gang) {
    const std::vector<Call> first = collectives_of(*gang.bundles.front());
    for (size_t i = 1; i < gang.bundles.size(); i++) {
        const std::vector<Call> other = collectives_of(*gang.bundles[i]);
        const auto& names = gang.clique->names();
        const std::string& a = names[gang.ranks.front()->rank()];
        const std::string& b = names[gang.ranks[i]->rank()];
        if (first.size() != other.size()) {
            return make_error(Code::invalid_usage, Scope::call,
                              format("mismatched arguments: in one group, %s calls %zu collectives "
                                     "and %s calls %zu",
                                     a.c_str(), first.size(), b.c_str(), other.size()));
        }
        for (size_t k = 0; k < first.size(); k++) {
            if (!(args_of(first[k]) == args_of(other[k]))) {
                return make_error(Code::invalid_usage, Scope::call,
                                  format("mismatched arguments: %s called %s, %s called %s",
                                         a.c_str(), args_text(args_of(first[k])).c_str(), b.c_str(),
                                         args_text(args_of(other[k])).c_str()));
            }
        }
    }
    return {};
}

// The stream launched on waits for the other streams of the group, and for the ranks' launches
// before, where these were on other streams.
Result<void> streams_join(const Gang& gang, const std::vector<DeviceClique::Before>& before,
                          const Capture& capture) {
    const gpu::Driver& cuda = gang.ranks.front()->driver();
    const gpu::Stream main = gang.streams.front();
    for (size_t i = 0; i < gang.ranks.size(); i++) {
        // What was captured and what was not cannot wait for each other.
        const bool waits =
            before[i].launched && before[i].stream != main && before[i].graph == capture.id;
        if (waits) {
            TRY(gpu::driver_check(cuda,
                                  cuda.cuStreamWaitEvent(main, gang.ranks[i]->last_event(), 0),
                                  "waiting for the launch before"));
        }
    }
    const gpu::Event join = gang.ranks.front()->join_event();
    for (size_t i = 1; i < gang.streams.size(); i++) {
        TRY(gpu::driver_check(cuda, cuda.cuEventRecord(join, gang.streams[i]),
                              "marking a stream of the group"));
        TRY(gpu::driver_check(cuda, cuda.cuStreamWaitEvent(main, join, 0),
                              "waiting for a stream of the group"));
    }
    return {};
}

Result<void> streams_leave(const Gang& gang) {
    const gpu::Driver& cuda = gang.ranks.front()->driver();
    const gpu::Stream main = gang.streams.front();
    for (const DeviceRank* rank : gang.ranks) {
        TRY(gpu::driver_check(cuda, cuda.cuEventRecord(rank->last_event(), main),
                              "marking the launch"));
    }
    for (size_t i = 1; i < gang.streams.size(); i++) {
        TRY(gpu::driver_check(
            cuda, cuda.cuStreamWaitEvent(gang.streams[i], gang.ranks.front()->last_event(), 0),
            "a stream of the group waiting for the launch"));
    }
    return {};
}

// What a graph holds of the ranks it launches; let go on whatever thread ends the graph, which must
// not call CUDA.
struct GraphHold {
    std::shared_ptr<DeviceClique> clique;  // shared: see device_clique.h
    std::vector<uint32_t> ranks;
    uint64_t graph = 0;
    static void end(void* held) {
        const std::unique_ptr<GraphHold> own(static_cast<GraphHold*>(held));
        for (const uint32_t rank : own->ranks) {
            own->clique->rank(rank)->graph_end(own->graph);
        }
        device_release(std::move(own->clique), false);
    }
};

Result<void> graph_hold(const Gang& gang, const Capture& capture) {
    const gpu::Driver& cuda = gang.ranks.front()->driver();
    auto hold = std::make_unique<GraphHold>(GraphHold{gang.clique, {}, capture.id});
    for (const DeviceRank* rank : gang.ranks) {
        hold->ranks.push_back(rank->rank());
    }
    gpu::UserObject object = nullptr;
    TRY(gpu::driver_check(cuda,
                          cuda.cuUserObjectCreate(&object, hold.get(), GraphHold::end, 1,
                                                  gpu::user_object_flag::no_destructor_sync),
                          "cuUserObjectCreate"));
    (void)hold.release();
    const gpu::Status held =
        cuda.cuGraphRetainUserObject(capture.graph, object, 1, gpu::user_object_flag::graph_move);
    if (held != gpu::status::success) {
        cuda.cuUserObjectRelease(object, 1);
    }
    return gpu::driver_check(cuda, held, "cuGraphRetainUserObject");
}

// One collective of every rank of the gang for each place in their lists.
std::vector<DeviceLaunch> launches_of(const Gang& gang, const Capture& capture) {
    std::vector<DeviceLaunch> launches;
    for (const DeviceBundle* bundle : gang.bundles) {
        const std::vector<Call> own = collectives_of(*bundle);
        launches.resize(own.size(), {gang.ranks, gang.streams.front(), capture.id, {}});
        for (size_t i = 0; i < own.size(); i++) {
            launches[i].calls.push_back(own[i]);
        }
    }
    return launches;
}

Result<void> gang_launch(const Gang& gang, const Capture& capture,
                         const std::vector<DeviceLaunch>& collectives) {
    if (capture.id != 0) {
        TRY(graph_hold(gang, capture));
    }
    for (const DeviceLaunch& collective : collectives) {
        TRY(collective_launch(collective));
    }
    std::vector<std::vector<Call>> pairs;
    for (const DeviceBundle* bundle : gang.bundles) {
        std::vector<Call>& own = pairs.emplace_back();
        std::ranges::copy_if(bundle->calls, std::back_inserter(own), is_pair);
    }
    return pairs_launch({gang.ranks, gang.streams.front(), capture.id, {}}, std::move(pairs));
}

Result<void> gang_run(const Gang& gang, const Capture& capture) {
    const gpu::Driver& cuda = gang.ranks.front()->driver();
    const gpu::ContextGuard guard =
        TRY(gpu::ContextGuard::push(cuda, gang.ranks.front()->seat().context()));
    std::vector<std::unique_lock<std::mutex>> locks;
    for (DeviceRank* rank : gang.ranks) {
        locks.emplace_back(rank->mutex);
    }
    const std::vector<DeviceLaunch> collectives = launches_of(gang, capture);
    for (const DeviceLaunch& collective : collectives) {
        TRY(collective_check(collective));
    }
    const std::vector<DeviceClique::Before> before = TRY(gang.clique->stream_claim(
        gang.ranks, gang.streams.front(), capture.id, collectives.size()));
    Result<void> launched = streams_join(gang, before, capture);
    if (launched.ok()) {
        launched = gang_launch(gang, capture, collectives);
    }
    if (launched.ok()) {
        launched = streams_leave(gang);
    }
    if (!launched.ok()) {
        launched.error().scope = Scope::communicator;  // some of it may be under way
    }
    return launched;
}

}  // namespace

Result<void> device_bundles_run(std::vector<DeviceBundle> bundles) {
    const std::vector<Gang> gangs = gangs_of(bundles);
    const Capture capture = TRY(capture_of(gangs));
    for (const Gang& gang : gangs) {
        TRY(calls_agree(gang));
    }
    std::optional<Error> first;
    for (const Gang& gang : gangs) {
        const Result<void> run = gang_run(gang, capture);
        for (DeviceBundle* bundle : gang.bundles) {
            if (!run.ok()) {
                bundle->comm->operation_failed(run.error());
            }
            bundle->comm->device_watch(run.ok() ? bundle->calls.size() : 0);
        }
        if (!run.ok() && !first) {
            first = run.error();
        }
    }
    return first ? Result<void>(*first) : Result<void>();
}

}  // namespace weft
