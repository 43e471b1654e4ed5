#include "src/comm/bundle.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/process.h"

namespace weft {

namespace {

struct Bundle {
    CommRef comm;
    ncclComm* handle = nullptr;
    std::vector<Call> calls;
    std::vector<StreamPtr> streams;  // distinct
    bool synchronous = false;
    LaunchPtr launch;
};

Result<std::vector<Bundle>> collect(std::vector<GroupCall> calls) {
    std::vector<Bundle> bundles;
    for (GroupCall& given : calls) {
        auto bundle = std::find_if(bundles.begin(), bundles.end(), [&](const Bundle& known) {
            return known.handle == given.handle;
        });
        if (bundle == bundles.end()) {
            CommRef comm = TRY(CommRef::enter(given.handle, "ncclGroupEnd"));
            TRY(comm->usable());
            bundle =
                bundles.insert(bundle, Bundle{std::move(comm), given.handle, {}, {}, false, {}});
        }
        bundle->calls.push_back(given.call);
        auto& streams = bundle->streams;
        if (given.stream == nullptr) {
            bundle->synchronous = true;
        } else if (std::find(streams.begin(), streams.end(), given.stream) == streams.end()) {
            streams.push_back(std::move(given.stream));
        }
    }
    for (const Bundle& bundle : bundles) {
        TRY(self_pairs_check(bundle.calls, bundle.comm->rank()));
    }
    return bundles;
}

// What the launch must follow: the last launches of its streams on other communicators. The queue
// keeps the order of its own.
std::vector<LaunchPtr> predecessors(const Bundle& bundle) {
    std::vector<LaunchPtr> after;
    for (const StreamPtr& stream : bundle.streams) {
        for (LaunchPtr& launch : stream->tail()) {
            if (launch->handle != bundle.handle && !launch->finished()) {
                after.push_back(std::move(launch));
            }
        }
    }
    return after;
}

void launch_make(Bundle& bundle) {
    bundle.launch = std::make_shared<Launch>();
    Launch& launch = *bundle.launch;
    launch.handle = bundle.handle;
    launch.calls = std::move(bundle.calls);
    launch.after = predecessors(bundle);
    launch.attended = bundle.synchronous && bundle.comm->blocking();
}

void launch_start(Bundle& bundle) {
    if (bundle.comm->queue().add(bundle.launch)) {
        Process::get().pump_later(bundle.handle);
    }
    if (bundle.synchronous && !bundle.comm->blocking()) {
        bundle.comm->pending_add(bundle.launch);
    }
}

void streams_add(const std::vector<Bundle>& bundles) {
    std::vector<std::pair<StreamPtr, std::vector<LaunchPtr>>> tails;
    for (const Bundle& bundle : bundles) {
        for (const StreamPtr& stream : bundle.streams) {
            auto tail = std::find_if(tails.begin(), tails.end(),
                                     [&](const auto& known) { return known.first == stream; });
            if (tail == tails.end()) {
                tail = tails.insert(tail, {stream, {}});
            }
            tail->second.push_back(bundle.launch);
        }
    }
    for (const auto& [stream, launches] : tails) {
        stream->add(launches);
    }
}

Result<void> synchronous_wait(std::vector<Bundle>& bundles) {
    std::vector<LaunchPtr> waits;
    bool unfinished = false;
    for (const Bundle& bundle : bundles) {
        if (!bundle.synchronous) {
            continue;
        }
        if (bundle.comm->blocking()) {
            waits.push_back(bundle.launch);
        } else {
            unfinished = true;
        }
    }
    Result<void> first = launches_wait(waits);
    for (Bundle& bundle : bundles) {
        if (bundle.synchronous && bundle.launch->finished() &&
            bundle.launch->failure() != nullptr) {
            bundle.comm->operation_failed(*bundle.launch->failure());
        }
    }
    if (first.ok() && unfinished) {
        return make_error(Code::in_progress, Scope::call, "");
    }
    return first;
}

Result<void> run(std::vector<Bundle>& bundles) {
    // All launches are made before any tail of a stream moves: members of a group do not follow
    // each other.
    for (Bundle& bundle : bundles) {
        launch_make(bundle);
    }
    for (Bundle& bundle : bundles) {
        launch_start(bundle);
    }
    streams_add(bundles);
    return synchronous_wait(bundles);
}

}  // namespace

Result<void> self_pairs_check(std::span<const Call> calls, int32_t rank) {
    int64_t sends = 0, receives = 0;
    for (const Call& call : calls) {
        if (call.coll == Coll::send_recv && call.root == rank) {
            (call.is_send ? sends : receives)++;
        }
    }
    if (sends == receives) {
        return {};
    }
    return make_error(Code::invalid_usage, Scope::call,
                      sends > receives ? "Trying to send to self without a matching recv"
                                       : "Trying to recv to self without a matching send");
}

Result<void> bundles_run(std::vector<GroupCall> calls) {
    std::vector<Bundle> bundles = TRY(collect(std::move(calls)));
    return run(bundles);
}

Result<void> bundle_run_one(CommRef& comm, ncclComm* handle, const Call& call, StreamPtr stream) {
    TRY(self_pairs_check(std::span(&call, 1), comm->rank()));
    if (stream == nullptr && comm->blocking() && comm->queue().empty()) {
        if (std::optional<Result<void>> result = comm->shard().run_now(call)) {
            if (!result->ok()) {
                comm->operation_failed(result->error());
            }
            return *std::move(result);
        }
    }
    std::vector<Bundle> bundles;
    bundles.push_back(Bundle{std::move(comm), handle, {call}, {}, stream == nullptr, {}});
    if (stream != nullptr) {
        bundles.front().streams.push_back(std::move(stream));
    }
    return run(bundles);
}

}  // namespace weft
