// How a sleeping shard is woken by memory wires: one word in shared memory and one eventfd per
// shard. Thread rule: arm/sleep/disarm thread-bound to the one sleeper; ring from any thread or
// process that maps the page. The protocol: the sleeper arms (store + full fence), looks once more
// for work, then sleeps; the publisher publishes, fences, and rings only if the word says someone
// sleeps. No wake-up is lost, and an awake shard costs a publisher one load. Several publishers
// who find the sleeper asleep at once make one system call between them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft {

enum class SleepMode : uint32_t { awake = 0, on_futex = 1, on_eventfd = 2 };

struct alignas(64) DoorbellWord {
    std::atomic<uint32_t> mode;   // SleepMode of the sleeper
    std::atomic<uint32_t> rings;  // futex word
};

// What a publisher needs to ring: the mapped word and the eventfd.
struct DoorbellPage {
    Fd memfd;  // one page holding the word
    Fd event;
    DoorbellWord* word = nullptr;

    DoorbellPage() = default;
    DoorbellPage(const DoorbellPage&) = delete;
    DoorbellPage& operator=(const DoorbellPage&) = delete;
    ~DoorbellPage();
    // A peer's page, from descriptors it sent. Takes both.
    static Result<std::shared_ptr<DoorbellPage>> open(Fd memfd, Fd event);
};

class Doorbell {
  public:
    static Result<Doorbell> create();
    ~Doorbell();
    Doorbell(Doorbell&&) noexcept;
    Doorbell& operator=(Doorbell&&) noexcept;

    void arm(SleepMode mode);   // then look for work once more
    void sleep(Nanos timeout);  // on_futex only; returns on ring, timeout (< 0: none) or signal
    void disarm();              // also drains the eventfd when it was armed on it
    DoorbellWord* word() const { return page_->word; }
    int memfd() const { return page_->memfd.get(); }  // for peers to map
    int event_fd() const { return page_->event.get(); }
    // Shared, because publishers in this process may ring a moment after the sleeper is gone.
    const std::shared_ptr<DoorbellPage>& page() const { return page_; }

    // By publishers, after their release store. Contains the full fence.
    static void ring(DoorbellWord& word, int event_fd);
    // Wake regardless (abort, failure, from any thread of this process).
    void ring_always() { ring_always(*page_); }
    static void ring_always(DoorbellPage& page);

  private:
    Doorbell() = default;
    std::shared_ptr<DoorbellPage> page_;
    SleepMode armed_ = SleepMode::awake;
    uint32_t seen_ = 0;  // rings when armed
};

}  // namespace weft
