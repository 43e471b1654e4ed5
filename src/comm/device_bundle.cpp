#include "src/comm/device_bundle.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/device_clique.h"
#include "src/comm/device_launch.h"
#include "src/comm/parts_launch.h"

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
        if (clique == nullptr) {
            continue;  // ordered by streams
        }
        DeviceRank* const rank = clique->rank(static_cast<uint32_t>(bundle.comm->rank()));
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
Result<void> gang_join(const Gang& gang, const std::vector<StreamClaims::Last>& before,
                       const Capture& capture) {
    const gpu::Driver& cuda = gang.ranks.front()->driver();
    const gpu::Stream main = gang.streams.front();
    for (size_t i = 0; i < gang.ranks.size(); i++) {
        // What was captured and what was not cannot wait for each other.
        if (before[i].launched && before[i].stream != main && before[i].graph == capture.id) {
            TRY(stream_follow(cuda, main, gang.ranks[i]->last_event()));
        }
    }
    return streams_join(cuda, gang.streams, gang.ranks.front()->join_event());
}

Result<void> gang_leave(const Gang& gang) {
    std::vector<gpu::Event> lasts;
    for (const DeviceRank* rank : gang.ranks) {
        lasts.push_back(rank->last_event());
    }
    return streams_leave(gang.ranks.front()->driver(), gang.streams, lasts);
}

Result<void> gang_hold(const Gang& gang, const Capture& capture) {
    std::vector<uint32_t> ranks;
    for (const DeviceRank* rank : gang.ranks) {
        ranks.push_back(rank->rank());
    }
    return graph_hold(gang.ranks.front()->driver(), capture,
                      [clique = gang.clique, ranks, id = capture.id]() mutable {
                          for (const uint32_t rank : ranks) {
                              clique->rank(rank)->graph_end(id);
                          }
                          device_release(std::move(clique), false);
                      });
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
        TRY(gang_hold(gang, capture));
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
    std::vector<StreamClaims::Launch> claims;
    for (const DeviceRank* rank : gang.ranks) {
        claims.push_back({rank->rank(), gang.streams.front(), capture.id, collectives.size()});
    }
    const std::vector<StreamClaims::Last> before = TRY(gang.clique->claims().claim(claims));
    Result<void> launched = gang_join(gang, before, capture);
    if (launched.ok()) {
        launched = gang_launch(gang, capture, collectives);
    }
    if (launched.ok()) {
        launched = gang_leave(gang);
    }
    if (!launched.ok()) {
        launched.error().scope = Scope::communicator;  // some of it may be under way
    }
    return launched;
}

// What happened to one communicator's calls.
void bundle_end(DeviceBundle& bundle, const Result<void>& run, std::optional<Error>& first) {
    if (!run.ok()) {
        bundle.comm->operation_failed(run.error());
        first = first ? first : run.error();
    }
    bundle.comm->device_watch(run.ok() ? bundle.calls.size() : 0);
}

// Communicators whose parts are ordered by streams, one part of each in turn.
struct Streamed {
    DeviceBundle* bundle = nullptr;
    std::unique_ptr<PartsLaunch> launch;
    Result<void> run;
    bool begun = false;
    bool more = false;
};

std::vector<Streamed> streamed_of(std::vector<DeviceBundle>& bundles) {
    std::vector<Streamed> found;
    for (DeviceBundle& bundle : bundles) {
        if (auto side = bundle.comm->device_streamed()) {
            found.push_back(
                {&bundle,
                 std::make_unique<PartsLaunch>(std::move(side), bundle.calls, bundle.streams),
                 {}});
        }
    }
    // Each is locked while it is launched: in an order that all threads have.
    std::ranges::sort(found, {}, [](const Streamed& one) { return &one.launch->side(); });
    return found;
}

void streamed_step(Streamed& one) {
    Result<bool> stepped = one.launch->step();
    one.more = stepped.ok() && stepped.value();
    if (!stepped.ok()) {
        one.run = std::move(stepped).error();
    }
}

// Those of one group from `first` on claim their streams together.
void streamed_claim(std::vector<Streamed>& streamed, size_t first, const Capture& capture) {
    StreamClaims* const claims = streamed[first].launch->side().claims();
    std::vector<Streamed*> ranks;
    std::vector<StreamClaims::Launch> launches;
    for (Streamed& one : std::span(streamed).subspan(first)) {
        if (one.launch->side().claims() == claims) {
            ranks.push_back(&one);
            launches.push_back(one.launch->claim(capture));
        }
    }
    const Result<std::vector<StreamClaims::Last>> before = claims->claim(launches);
    for (size_t i = 0; i < ranks.size(); i++) {
        ranks[i]->run = before.ok() ? Result<void>() : before.error();
        ranks[i]->launch->follow(before.ok() ? before.value()[i] : StreamClaims::Last());
    }
}

void streamed_begin(std::vector<Streamed>& streamed, const Capture& capture) {
    for (Streamed& one : streamed) {
        one.launch->lock();
    }
    std::vector<const StreamClaims*> done;
    for (size_t i = 0; i < streamed.size(); i++) {
        const StreamClaims* const claims = streamed[i].launch->side().claims();
        if (std::ranges::find(done, claims) == done.end()) {
            streamed_claim(streamed, i, capture);
            done.push_back(claims);
        }
    }
    for (Streamed& one : streamed) {
        one.begun = one.run.ok();
        if (one.begun) {
            one.run = one.launch->begin(capture);
            one.more = one.run.ok();
        }
    }
}

void streamed_run(std::vector<Streamed>& streamed, const Capture& capture) {
    streamed_begin(streamed, capture);
    while (std::ranges::any_of(streamed, &Streamed::more)) {
        for (Streamed& one : streamed) {
            if (one.more) {
                streamed_step(one);
            }
        }
    }
    for (Streamed& one : streamed) {
        if (!one.begun) {
            continue;
        }
        const Result<void> ended = one.launch->end();
        if (one.run.ok()) {
            one.run = ended;
        }
        if (!one.run.ok()) {
            one.run.error().scope = Scope::communicator;  // some of it may be under way
        }
    }
}

}  // namespace

Result<void> device_bundles_run(std::vector<DeviceBundle> bundles) {
    const std::vector<Gang> gangs = gangs_of(bundles);
    std::vector<Streamed> streamed = streamed_of(bundles);
    std::vector<StreamSet> sets;
    for (const Gang& gang : gangs) {
        sets.push_back({&gang.ranks.front()->seat(), gang.streams,
                        gang.clique->names()[gang.ranks.front()->rank()]});
    }
    for (const Streamed& one : streamed) {
        sets.push_back(
            {&one.launch->side().seat(0), one.bundle->streams, one.bundle->comm->name()});
    }
    const Capture capture = TRY(capture_of(sets));
    for (const Gang& gang : gangs) {
        TRY(calls_agree(gang));
    }
    std::optional<Error> first;
    for (const Gang& gang : gangs) {
        const Result<void> run = gang_run(gang, capture);
        for (DeviceBundle* bundle : gang.bundles) {
            bundle_end(*bundle, run, first);
        }
    }
    streamed_run(streamed, capture);
    for (Streamed& one : streamed) {
        bundle_end(*one.bundle, one.run, first);
    }
    return first ? Result<void>(*first) : Result<void>();
}

}  // namespace weft
