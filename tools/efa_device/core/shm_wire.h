// The wire between processes: each has a ring of packets in a file of its own, mapped by those that
// send to it, in a folder that all of them know. The name says host and process, so an address
// leads to the ring without asking anybody.
//
// A ring belongs to a living process as long as that holds a record lock on it; the kernel drops
// the lock whatever the end. What the dead left is removed by the next that starts there, with the
// folder name().sys, which is its owner's to fill. Thread
// rule: push, alive, front, pop by one thread at a time; wait() by the one NIC thread; ring_bell()
// by any. Lifetime: the destructor removes the name, not what others have mapped. Failure rule:
// Result, one line.
#pragma once

#include <memory>
#include <string>

#include "src/base/clock.h"
#include "src/base/result.h"
#include "tools/efa_device/core/wire.h"

namespace weft::efa {

struct Ring;

struct WirePlace {
    std::string folder;
    uint32_t host = 0;
    int wanted = -1;  // process number; -1, or taken: the first that is free
};

class ShmWire final : public Wire {
  public:
    // Makes the folder if need be, private to the user.
    static Result<std::unique_ptr<ShmWire>> open(const WirePlace& place);
    ~ShmWire() override;
    ShmWire(const ShmWire&) = delete;
    ShmWire& operator=(const ShmWire&) = delete;

    Pushed push(const PacketHeader& packet, std::span<const Bytes> payload) override;
    bool alive(uint32_t host, uint32_t process) override;
    Arrived front() override;
    void pop() override;

    uint32_t process() const;
    bool drained() override;

    // Sleeps until something has arrived or the bell has rung since `heard`, or the timeout. Who
    // reads the bell before it looks for work misses nothing.
    uint32_t bell() const;
    void wait(uint32_t heard, Nanos timeout);
    void ring_bell();
    std::string name() const;  // of what belongs to this process, without an ending
    void name_remove();        // as the destructor does; for processes whose end destroys nothing

  private:
    struct State;
    explicit ShmWire(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace weft::efa
