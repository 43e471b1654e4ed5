// Streams and events of the stand-in driver. A stream is a thread that does what it is given in
// order; the null stream is one more, without the legacy stream's barriers. Thread-safe. What was
// given to a stream is done before it is destroyed.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "src/gpu/driver_types.h"

namespace weft::gpu {

struct StreamOpaque {
    explicit StreamOpaque(Context of);
    ~StreamOpaque();
    StreamOpaque(const StreamOpaque&) = delete;
    StreamOpaque& operator=(const StreamOpaque&) = delete;
    void give(std::function<void()> work);
    bool idle();
    void wait_idle();
    const Context context;

  private:
    void run();
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> queue_;  // the front is under way
    bool ending_ = false;
    std::thread thread_;
};

// How often an event was recorded, and how many of these records its streams have reached.
struct EventState {
    void record(StreamOpaque& stream);
    void wait_in(StreamOpaque& stream);
    bool reached();
    void wait_reached();
    static void wait_for(const std::shared_ptr<EventState>& state, uint64_t record);
    static std::shared_ptr<EventState> create();

  private:
    std::weak_ptr<EventState> self_;
    std::mutex mutex_;
    std::condition_variable changed_;
    uint64_t recorded_ = 0, reached_ = 0;
};

struct EventOpaque {
    std::shared_ptr<EventState> state = EventState::create();  // also held by what waits for it
};

}  // namespace weft::gpu
