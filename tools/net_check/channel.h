// What the two processes of a check say to each other outside the plugin: frames over a stream
// socket. Thread-bound to the thread that runs the check. Failure rule: an Error with Code::remote
// when the other process has gone, for which the supervisor knows a better reason.
#pragma once

#include <string>

#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft::netcheck {

class Channel {
  public:
    Channel() = default;
    Channel(Fd fd, Nanos timeout) : fd_(std::move(fd)), timeout_(timeout) {}
    int fd() const { return fd_.get(); }
    Result<void> send(const std::string& bytes);
    Result<std::string> receive() { return receive(timeout_); }
    Result<std::string> receive(Nanos timeout);
    Result<void> barrier();
    bool gone() const;  // the other side has closed or died; what it sent may still be there

  private:
    Result<void> read_exactly(char* to, size_t bytes, Nanos deadline);
    Fd fd_;
    Nanos timeout_ = 0;
};

}  // namespace weft::netcheck
