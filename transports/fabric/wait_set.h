// The descriptor that sleepers of a process sleep on: an epoll over the wait descriptors of its
// rails. These are themselves epolls over sockets, so every packet that arrives runs through the
// whole chain of descriptors, whether somebody sleeps or spins: measured on tcp;ofi_rxm, a tenth of
// the rate of large puts and a fifth of the latency of small ones. So the rails are in the set only
// while somebody may sleep on it; while an owner spins, they are left out.
//
// Thread-safe. Lifetime: the rails' descriptors outlive their use here. Failure rule: add() says
// what is missing; what the kernel refuses later leaves the set watched.
#pragma once

#include <mutex>
#include <vector>

#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft::fabric {

class WaitSet {
  public:
    // -1 stands for a rail that cannot wake anybody: all or none, the first decides. `name` is the
    // rail's, for the line.
    Result<void> add(int fd, const char* name);
    // A rail has another descriptor, the old one is closed; -1: it is lost.
    void replace(int closed, int fd);
    int fd() const { return epoll_.get(); }  // -1: nobody can sleep, fixed with the first add()

    // A sleeper is counted from before it sleeps until it is awake; the rails are watched
    // meanwhile.
    void sleeper_add();
    void sleeper_remove();
    void watch();
    bool leave();  // false: somebody sleeps, the rails stay

  private:
    void watch_locked();

    Fd epoll_;
    std::mutex lock_;
    std::vector<int> rails_;
    bool watched_ = true;
    uint32_t sleepers_ = 0;
};

}  // namespace weft::fabric
