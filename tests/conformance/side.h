// One side of a clause: a wire with its doorbell, what it has reported, and a way to talk to the
// other side that does not use the wire. Failures are thrown, so that they work in a thread and in
// a forked child alike; clause_run collects them.
#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/conformance/wires.h"

namespace weft::test {

struct Arrival {
    Imm imm;
    bool by_value = false;
    std::string value;
};

// A message channel between the sides, in one process or between two.
class Talk {
  public:
    virtual ~Talk() = default;
    virtual void say(const std::string& text) = 0;
    virtual std::string hear() = 0;  // throws when the other side is gone
    virtual bool heard() = 0;        // hear() would not wait
};

class Side final : private WireSink {
  public:
    Side(const WireCase& wire_case, int index, End end, Talk& talk)
        : kind(wire_case), index(index), bell(*end.bell), end_(std::move(end)), talk_(talk) {}

    const WireCase& kind;
    const int index;  // 0 or 1; also the wire's rank
    Doorbell& bell;
    Wire& wire() { return *end_.wire; }
    uint32_t peer() const { return static_cast<uint32_t>(1 - index); }
    bool faulty() const { return !kind.fault.empty(); }

    // Out of band. swap: both sides call, each gets the other's text. It does not drive the wire.
    std::string swap(const std::string& mine);
    void meet() { swap("."); }
    // Like meet, but drives the wire until the other side is there too.
    void meet_driving();

    void require(bool condition, const std::string& what);

    // Connects both sides and waits until the wire is up.
    void connect(const std::string& hello = "hello");
    int drive(int budget = 64);
    // Drives until it holds, at most 20 s.
    void until(const std::function<bool()>& holds, const std::string& what);

    Post put(const Put& put) { return end_.wire->put(put); }
    void put_must(const Put& put);  // drives through `again`
    Put by_value(const void* from, size_t bytes, Imm imm) const;
    Put to_memory(const RemoteRef& to, const void* from, size_t bytes, Region source,
                  Imm imm) const;

    // Everything reported so far.
    std::vector<Arrival> arrivals;
    std::map<uint64_t, int> delivered;  // cookie: times
    std::vector<Error> failures;
    // Instead of being kept in `arrivals`.
    std::function<void(Imm, const std::byte*, uint32_t)> on_each;

    // Distinct immediates that ever arrived: a clause uses each token for one phase only.
    size_t arrived_distinct() const { return seen_.size(); }
    int times(Imm imm) const;
    void forget();
    void wire_close() { end_.wire.reset(); }

  private:
    void on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) override;
    void on_delivered(uint64_t cookie) override { delivered[cookie]++; }
    void on_failure(uint32_t peer, Error error) override;

    End end_;
    Talk& talk_;
    std::map<uint32_t, int> seen_;
};

using Clause = std::function<void(Side&)>;
// Runs it on both sides of the case; empty, or what went wrong.
enum class Ending : uint8_t { both_return, second_is_killed };
std::string clause_run(const WireCase& wire_case, const Clause& clause,
                       Ending ending = Ending::both_return);

// The test case of one clause: every wire, or those that `fits` picks. TEST_WIRES=TEXT leaves those
// whose name contains TEXT.
void every_wire(const Clause& clause, const std::function<bool(const WireCase&)>& fits = nullptr,
                Ending ending = Ending::both_return);

// Bytes that tell where they belong.
std::vector<std::byte> pattern(size_t bytes, uint64_t seed);
bool pattern_holds(const std::byte* at, size_t bytes, uint64_t seed);

}  // namespace weft::test
