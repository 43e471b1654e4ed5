// The two processes of every check on two hosts: each host has a weft-net-check, rank 0's says what
// is played, and both join their processes by one TCP connection a check. Thread-bound. Failure
// rule: an Error once the other one cannot be reached any more.
#pragma once

#include <string>

#include "tools/net_check/supervise.h"

namespace weft::netcheck {

struct Place {
    int rank = 0;
    std::string address;  // of rank 0, IPv4
    uint16_t port = 0;
};

class Meeting {
  public:
    static Result<Meeting> at(const Place& place, Nanos timeout);
    int rank() const { return place_.rank; }

    // Rank 0: plays `task` with the other host.
    Result<Verdict> check(const Task& task, Nanos deadline, bool verbose);
    Result<void> end();
    // Rank 1: plays what rank 0 says, until it ends.
    Result<void> follow(Task task, Nanos deadline, bool verbose);

  private:
    Meeting(Place place, Fd listener, Channel control)
        : place_(std::move(place)), listener_(std::move(listener)), control_(std::move(control)) {}
    Result<Verdict> half_play(const Task& task, Nanos deadline, bool verbose);

    Place place_;
    Fd listener_;  // rank 0's
    Channel control_;
};

}  // namespace weft::netcheck
