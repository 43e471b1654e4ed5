// Whether somebody is behind an endpoint, where the machine knows and the provider does not say.
// Reentrant. Failure rule: what cannot be found out is taken to be there.
#pragma once

#include <rdma/fabric.h>

#include <string_view>

#include "src/base/handle.h"

namespace weft::fabric {

// shm: its endpoints are named after processes of this host. A descriptor that says when that one
// has ended; none for other providers, and where no process of that number is seen here that has
// the endpoint (another namespace).
Fd process_watch(std::string_view provider, std::string_view endpoint);
bool process_ended(const Fd& watch);

// tcp: whether anybody listens at an endpoint, by a connection of our own, on which nothing is
// said. Its provider tries again and again instead of saying that a connection was refused.
class Knock {
  public:
    Knock() = default;  // none
    // From the rail's address; none where endpoints are no addresses of sockets.
    Knock(const fi_info& rail, std::string_view endpoint);
    bool refused();  // known by now; never waits

  private:
    Fd socket_;
    bool refused_ = false;
};

}  // namespace weft::fabric
