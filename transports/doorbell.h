// How a sleeping shard is woken by memory wires: one word in shared memory and one eventfd per
// shard. Thread rule: arm/wait/disarm thread-bound to the one sleeper; ring from any thread or
// process that maps the page. The protocol: the sleeper arms (store + full fence), looks once more
// for work, then sleeps; the publisher publishes, fences, and rings only if the word says someone
// sleeps. No wake-up is lost, and an awake shard costs a publisher one load.
#pragma once

#include <atomic>
#include <cstdint>

#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft {

enum class SleepMode : uint32_t { awake = 0, on_futex = 1, on_eventfd = 2 };

struct alignas(64) DoorbellWord {
    std::atomic<uint32_t> mode;   // SleepMode of the sleeper
    std::atomic<uint32_t> rings;  // futex word
};

class Doorbell {
  public:
    static Result<Doorbell> create();
    ~Doorbell();
    Doorbell(Doorbell&&) noexcept;
    Doorbell& operator=(Doorbell&&) noexcept;

    void arm(SleepMode mode);   // then look for work once more
    void sleep(Nanos timeout);  // on_futex only; returns on ring, timeout or signal
    void disarm();              // also drains the eventfd when it was armed on it
    DoorbellWord* word() const { return word_; }
    int memfd() const { return memfd_.get(); }  // one page holding the word, for peers to map
    int event_fd() const { return event_.get(); }

    // By publishers, after their release store. Contains the full fence.
    static void ring(DoorbellWord& word, int event_fd);
    // Wake regardless (abort, failure, from any thread of this process).
    void ring_always();

  private:
    Doorbell() = default;
    Fd memfd_;
    Fd event_;
    DoorbellWord* word_ = nullptr;
};

}  // namespace weft
