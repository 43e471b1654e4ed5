#include "src/comm/device_streams.h"

#include <memory>
#include <optional>

#include "src/base/log.h"

namespace weft {

namespace {

using End = std::function<void()>;

void end_call(void* held) {
    const std::unique_ptr<End> end(static_cast<End*>(held));
    (*end)();
}

}  // namespace

Result<Capture> stream_capture(const gpu::Driver& cuda, gpu::Stream stream) {
    Capture found;
    int state = 0;
    TRY(gpu::driver_check(
        cuda,
        cuda.cuStreamGetCaptureInfo(stream, &state, &found.id, &found.graph, nullptr, nullptr),
        format("asking whether stream %p is captured", static_cast<void*>(stream))));
    return state == gpu::capture_status::active ? found : Capture{};
}

Result<Capture> capture_of(const std::vector<StreamSet>& sets) {
    std::optional<Capture> first;
    for (const StreamSet& set : sets) {
        const gpu::Driver& cuda = set.seat->driver();
        const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, set.seat->context()));
        for (const gpu::Stream stream : set.streams) {
            const Capture found = TRY(stream_capture(cuda, stream));
            if (first.value_or(found).id != found.id) {
                return make_error(
                    Code::invalid_usage, Scope::call,
                    format("%s : of the streams of one group, some are captured into a graph and "
                           "some are not, or into another: capture all of them, or end the group "
                           "before the capture begins",
                           set.name.c_str()));
            }
            first = found;
        }
    }
    return first.value_or(Capture{});
}

Result<void> streams_join(const gpu::Driver& cuda, std::span<const gpu::Stream> streams,
                          gpu::Event mark) {
    for (const gpu::Stream other : streams.subspan(1)) {
        TRY(gpu::driver_check(cuda, cuda.cuEventRecord(mark, other),
                              "marking a stream of the group"));
        TRY(gpu::driver_check(cuda, cuda.cuStreamWaitEvent(streams.front(), mark, 0),
                              "waiting for a stream of the group"));
    }
    return {};
}

Result<void> stream_follow(const gpu::Driver& cuda, gpu::Stream stream, gpu::Event last) {
    return gpu::driver_check(cuda, cuda.cuStreamWaitEvent(stream, last, 0),
                             "waiting for the launch before");
}

Result<void> streams_leave(const gpu::Driver& cuda, std::span<const gpu::Stream> streams,
                           std::span<const gpu::Event> lasts) {
    for (const gpu::Event last : lasts) {
        TRY(gpu::driver_check(cuda, cuda.cuEventRecord(last, streams.front()),
                              "marking the launch"));
    }
    for (const gpu::Stream other : streams.subspan(1)) {
        TRY(gpu::driver_check(cuda, cuda.cuStreamWaitEvent(other, lasts.front(), 0),
                              "a stream of the group waiting for the launch"));
    }
    return {};
}

Result<void> graph_hold(const gpu::Driver& cuda, const Capture& capture, End end) {
    auto held = std::make_unique<End>(std::move(end));
    gpu::UserObject object = nullptr;
    TRY(gpu::driver_check(cuda,
                          cuda.cuUserObjectCreate(&object, held.get(), end_call, 1,
                                                  gpu::user_object_flag::no_destructor_sync),
                          "cuUserObjectCreate"));
    (void)held.release();
    const gpu::Status retained =
        cuda.cuGraphRetainUserObject(capture.graph, object, 1, gpu::user_object_flag::graph_move);
    if (retained != gpu::status::success) {
        cuda.cuUserObjectRelease(object, 1);  // which calls it
    }
    return gpu::driver_check(cuda, retained, "cuGraphRetainUserObject");
}

}  // namespace weft
