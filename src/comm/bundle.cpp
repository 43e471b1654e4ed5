#include "src/comm/bundle.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/device_bundle.h"
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

struct Collected {
    std::vector<Bundle> host;
    std::vector<DeviceBundle> device;
};

// The bundle of that communicator, made when there is none.
template <class Made>
Result<Made*> bundle_of(std::vector<Made>& bundles, ncclComm* handle) {
    const auto known =
        std::ranges::find_if(bundles, [&](const Made& one) { return one.handle == handle; });
    if (known != bundles.end()) {
        return &*known;
    }
    CommRef comm = TRY(CommRef::enter(handle, "ncclGroupEnd"));
    TRY(comm->usable());
    Made made{std::move(comm), handle, {}, {}};
    bundles.push_back(std::move(made));
    return &bundles.back();
}

template <class List, class Value>
void add_new(List& list, const Value& value) {
    if (std::ranges::find(list, value) == list.end()) {
        list.push_back(value);
    }
}

gpu::Stream cuda_stream(const CallStream& stream) {
    return static_cast<gpu::Stream>(const_cast<void*>(stream.device));
}

Result<Collected> collect(const std::vector<GroupCall>& calls) {
    Collected found;
    for (const GroupCall& given : calls) {
        const bool on_device = TRY(CommRef::enter(given.handle, "ncclGroupEnd"))->on_device();
        if (on_device) {
            DeviceBundle* const bundle = TRY(bundle_of(found.device, given.handle));
            bundle->calls.push_back(given.call);
            add_new(bundle->streams, cuda_stream(given.stream));
            continue;
        }
        Bundle* const bundle = TRY(bundle_of(found.host, given.handle));
        bundle->calls.push_back(given.call);
        if (given.stream.host == nullptr) {
            bundle->synchronous = true;
        } else {
            add_new(bundle->streams, given.stream.host);
        }
    }
    for (const Bundle& bundle : found.host) {
        TRY(self_pairs_check(bundle.calls, bundle.comm->rank()));
    }
    for (const DeviceBundle& bundle : found.device) {
        TRY(self_pairs_check(bundle.calls, bundle.comm->rank()));
    }
    return found;
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
    Collected found = TRY(collect(calls));
    if (!found.device.empty()) {
        TRY(device_bundles_run(std::move(found.device)));
    }
    return run(found.host);
}

Result<void> bundle_run_one(CommRef& comm, ncclComm* handle, const Call& call, CallStream stream) {
    TRY(self_pairs_check(std::span(&call, 1), comm->rank()));
    if (comm->on_device()) {
        std::vector<DeviceBundle> one;
        one.push_back(DeviceBundle{std::move(comm), handle, {call}, {cuda_stream(stream)}});
        return device_bundles_run(std::move(one));
    }
    if (stream.host == nullptr && comm->blocking() && comm->queue().empty()) {
        if (std::optional<Result<void>> result = comm->shard().run_now(call)) {
            if (!result->ok()) {
                comm->operation_failed(result->error());
            }
            return *std::move(result);
        }
    }
    std::vector<Bundle> bundles;
    bundles.push_back(Bundle{std::move(comm), handle, {call}, {}, stream.host == nullptr, {}});
    if (stream.host != nullptr) {
        bundles.front().streams.push_back(std::move(stream.host));
    }
    return run(bundles);
}

}  // namespace weft
