// The remote processes this one talks to: their addresses, inserted once and counted by the wires
// that use them, and whether they are still there. A provider says nothing when the other end of an
// idle connection goes, so whoever waits sends each process a small probe now and then: one that
// was connected, has nothing under way and takes no probe for some time is gone. A process that is
// merely stopped or busy takes probes (its kernel does). Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "transports/fabric/inbox.h"
#include "transports/fabric/rail.h"

namespace weft::fabric {

struct RemoteProcess {
    struct User {
        Inbox* inbox;   // owned by the wire
        uint32_t rank;  // the wire's name for a rank in this process
    };
    struct Probe {
        std::atomic<uint32_t> under_way{0};
        int refusals = 0;  // in a row
    };
    std::vector<std::string> names;
    size_t rails = 0;  // both sides have
    std::array<fi_addr_t, rails_max> addresses{};
    uint64_t uid = 0;

    std::atomic<bool> up{false};  // some wire was connected
    bool gone = false;
    std::vector<User> users;
    std::array<Probe, rails_max> probes;
};

class Processes {
  public:
    using Rails = std::vector<std::unique_ptr<Rail>>;
    explicit Processes(const Rails& rails) : rails_(rails) {}

    Result<RemoteProcess*> acquire(const WireAddress& address, RemoteProcess::User user);
    void release(RemoteProcess* process, RemoteProcess::User user);
    // Probes when it is time; tells the wires concerned of a process that is gone. By whoever
    // drives; `self` needs no ring.
    void watch(Nanos now, const Inbox* self);

  private:
    Result<void> addresses_insert(RemoteProcess& process);
    void addresses_remove(RemoteProcess& process);
    bool probe_refused(RemoteProcess& process, Rail& rail);
    void look(RemoteProcess& process, const Inbox* self);
    void tell(RemoteProcess& process, const Rail& rail, const Inbox* self);

    const Rails& rails_;  // owned by the hub
    std::atomic<Nanos> next_look_{0};
    std::mutex lock_;  // taken before a rail's, never by completions
    std::map<uint64_t, std::unique_ptr<RemoteProcess>> processes_;
};

}  // namespace weft::fabric
