// The remote processes this one talks to: the paths to them, one for each pair of a rail here and
// an endpoint there, counted by the wires that ride them, and whether they are still there. A
// provider says nothing when the other end of an idle connection goes, so whoever waits sends each
// process a small probe now and then. One that was connected is gone when it takes no probe for
// some time with nothing under way (sockets), or when the NIC gives several in a row up (EFA); a
// process that is merely stopped or busy takes probes: its kernel or its NIC does. Of libfabric's
// shm, which takes everything, the operating system says when the process ends. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "src/base/handle.h"
#include "transports/fabric/inbox.h"
#include "transports/fabric/rail.h"

namespace weft::fabric {

struct RemotePath {
    Rail* rail = nullptr;                // the hub's
    RemoteEndpoint* endpoint = nullptr;  // the rail's, held by one use
    uint32_t users = 0;
    std::atomic<uint32_t> probe_under_way{0};
    int refusals = 0;  // of probes, in a row
    // Of the rail here, as last confirmed from there. Another one is not probed: a process that is
    // stopped does not take the new connection, and is not gone.
    std::atomic<uint32_t> incarnation{0};
    // Where the provider's names say which process it is: readable when that has ended. Then no
    // probe is needed, and one that is stopped must not be filled with them.
    Fd process;
};

struct RemoteProcess {
    struct User {
        Inbox* inbox;   // owned by the wire
        uint32_t rank;  // the wire's name for a rank in this process
    };
    uint64_t uid = 0;
    std::atomic<bool> up{false};  // some wire was connected
    std::atomic<bool> gone{false};
    std::vector<User> users;
    std::vector<std::unique_ptr<RemotePath>> paths;
};

class Processes {
  public:
    using Paths = std::vector<RemotePath*>;

    // Paths from rail i of `rails` to rail i of the peer, as many as both have.
    Result<RemoteProcess*> acquire(const WireAddress& address, const std::vector<Rail*>& rails,
                                   RemoteProcess::User user, Paths* paths);
    // Rail `at` of the user's peer has another endpoint: `paths` gets the path to it.
    Result<void> move(RemoteProcess* process, RemoteProcess::User user, size_t at,
                      const std::string& name, Paths* paths);
    void release(RemoteProcess* process, RemoteProcess::User user, const Paths& paths);
    // Probes when it is time; tells the wires concerned of a process that is gone. By whoever
    // drives; `self` needs no ring.
    void watch(Nanos now, const Inbox* self);

  private:
    static Result<RemotePath*> path_acquire(RemoteProcess& process, Rail& rail,
                                            const std::string& name);
    void release_locked(RemoteProcess* process, RemoteProcess::User user, const Paths& paths);
    static void path_release(RemoteProcess& process, RemotePath* path);
    static bool probe_refused(RemoteProcess& process, RemotePath& path);
    // Why it is known that nobody is there any more, or empty.
    static std::string absence(RemoteProcess& process, RemotePath& path);
    void look(RemoteProcess& process, const Inbox* self);
    void tell(RemoteProcess& process, const Rail& rail, const std::string& why, const Inbox* self);

    std::atomic<Nanos> next_look_{0};
    std::mutex lock_;  // taken before a rail's, never by completions
    std::map<uint64_t, std::unique_ptr<RemoteProcess>> processes_;
    bool uneven_said_ = false;
};

}  // namespace weft::fabric
