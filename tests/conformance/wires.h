// The wires every clause of the suite runs on, and the two sides it runs them with. A clause is a
// function that both sides call: in two threads, or in two processes forked before any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "transports/hubs.h"

namespace weft::test {

// What one side holds. Destroyed in reverse order; a wire may be reset by a clause.
struct End {
    std::shared_ptr<Reactor> reactor;  // shared by the ends of one process
    std::shared_ptr<WireHub> hub;      // likewise
    std::unique_ptr<Doorbell> bell;
    std::unique_ptr<Wire> wire;
};

struct WireCase {
    std::string name;
    bool two_processes = false;
    // Makes this process's ends: both sides of a one-process case, or the given one.
    std::function<std::shared_ptr<WireHub>(std::shared_ptr<Reactor>, int side)> hub;
    bool one_hub = false;  // both sides of the process attach to the same hub
    std::string fault;     // FaultSpec text, empty: none
    bool network = false;  // the death of a peer is told by other means, if at all
    // Neither of the two processes is this one: a device does not survive a fork.
    bool both_fork = false;
};

// Every case of this build and machine. A provider that is missing here is left out, and named in
// `missing`.
std::vector<WireCase> wire_cases(std::vector<std::string>* missing);
// The part of it over libfabric (wires_fabric.cpp).
std::vector<WireCase> fabric_cases(std::vector<std::string>* missing);

}  // namespace weft::test
