// Virtual hosts: each a set of unnamed network, UTS, IPC, PID and mount namespaces, held only by a
// process of ours, its init; the switch that joins their rails is one more such process. Nothing of
// it has a name in the file system, so that nothing is left when those processes end, and they end
// with the launcher.
// Thread rule: single-threaded. Lifetime rule: destruction ends every process inside; ranks that
// are children of the launcher must be reaped first (a PID namespace ends after its last process).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/run/network.h"
#include "tools/run/process.h"

namespace weft::run {

class VirtualHosts {
  public:
    // Code::invalid_usage: a tool is missing. Any other code: this machine does not allow it.
    // `shared`: a folder in /dev/shm that all hosts see at its path, or empty.
    static Result<std::unique_ptr<VirtualHosts>> make(const RailPlan& plan,
                                                      const std::string& shared);
    ~VirtualHosts();
    VirtualHosts(const VirtualHosts&) = delete;
    VirtualHosts& operator=(const VirtualHosts&) = delete;

    Home home(int host) const;
    void kill() const;  // ends every process on every host; does not wait
    const RailPlan& plan() const { return plan_; }
    std::string text() const;  // the parameters in one line

  private:
    VirtualHosts(const RailPlan& plan, const std::string& shared) : plan_(plan), shared_(shared) {}
    Result<void> switch_start();
    Result<void> host_start(int host);
    Result<void> network_start() const;

    RailPlan plan_;
    std::string shared_;
    int user_flag_ = 0;  // CLONE_NEWUSER where the user is not root
    Process switch_;
    std::vector<Process> hosts_;
};

std::string host_name(int host);  // "weft-h0"

}  // namespace weft::run
