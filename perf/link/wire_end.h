// One of two ranks over a wire alone, without links: what a benchmark of a wire begins with.
// Thread rule: thread-bound to whoever made it, as the wire is. Failure rule: `stop`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "perf/link/processes.h"
#include "src/base/clock.h"
#include "transports/doorbell.h"
#include "transports/hubs.h"
#include "transports/wire.h"

namespace weft::bench {

// Links between the same two ranks take another.
inline constexpr uint64_t wire_group = 1, link_group = 2;

class WireEnd final : public WireSink {
  public:
    // What the wire is told of the time: the memory wires need none, and reading it would show.
    enum class Time : uint8_t { none, real };

    // Returns when the wire is up here. `pipe` is this side's end of a Pipes.
    WireEnd(int pipe, uint32_t rank, WireHub& hub, Time time)
        : pipe_(pipe), rank_(rank), time_(time), bell_(must(Doorbell::create())) {
        WireConfig config;
        config.group = wire_group;
        config.rank = rank;
        config.rank_count = 2;
        config.doorbell = &bell_;
        wire_ = must(hub.attach(config));
        const auto begun = wire_->connect(peer(), swap(wire_->address()), "bench");
        if (!begun.ok()) {
            stop(begun.error().what);
        }
        while (wire_->state(peer()) != PeerState::up) {
            drive();
        }
    }

    uint32_t rank() const { return rank_; }
    uint32_t peer() const { return 1 - rank_; }
    Wire& wire() { return *wire_; }
    std::string swap(const std::string& mine) const { return bench::swap(pipe_, mine); }

    void drive() { wire_->progress(*this, time_ == Time::none ? 0 : clock_now(), 64); }
    void post(const Put& put) {
        while (wire_->put(put) == Post::again) {
            drive();
        }
    }

    uint64_t arrived = 0, delivered = 0;

  private:
    void on_arrival(Imm, const std::byte*, uint32_t) override { arrived++; }
    void on_delivered(uint64_t) override { delivered++; }
    void on_failure(uint32_t, Error error) override { stop(error.what); }

    const int pipe_;
    const uint32_t rank_;
    const Time time_;
    Doorbell bell_;
    std::unique_ptr<Wire> wire_;
};

}  // namespace weft::bench
