// The order between a launch and the streams it was called on, and what a capture asks for. Thread
// rule: reentrant; with the device's context current. Failure rule: Result.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/gpu/seat.h"

namespace weft {

struct Capture {
    uint64_t id = 0;  // 0: none
    gpu::Graph graph = nullptr;
};

// Distinct streams of one launch, the first launched on.
struct StreamSet {
    const gpu::Seat* seat = nullptr;
    std::vector<gpu::Stream> streams;
    std::string name;  // of the rank, for messages
};

// What one stream is being captured into.
Result<Capture> stream_capture(const gpu::Driver& cuda, gpu::Stream stream);
// What streams are being captured into; all of one group into the same, or none.
Result<Capture> capture_of(const std::vector<StreamSet>& sets);

// The first stream waits for the others, by an event that may be recorded again afterwards.
Result<void> streams_join(const gpu::Driver& cuda, std::span<const gpu::Stream> streams,
                          gpu::Event mark);
// It waits for a launch before.
Result<void> stream_follow(const gpu::Driver& cuda, gpu::Stream stream, gpu::Event last);
// Marks the launch on the first stream; the others wait for it.
Result<void> streams_leave(const gpu::Driver& cuda, std::span<const gpu::Stream> streams,
                           std::span<const gpu::Event> lasts);

// `end` is called when the graph goes, on whatever thread ends it: it must not call CUDA. After
// a failure it may have been called.
Result<void> graph_hold(const gpu::Driver& cuda, const Capture& capture, std::function<void()> end);

}  // namespace weft
