// One socket between two processes of a host: frames of at most frame_bytes_max with up to four
// descriptors, over an abstract SOCK_SEQPACKET socket (no file anywhere; it stays inside the
// network namespace, so that virtual hosts cannot reach each other by it). Thread rule:
// thread-bound, or under a lock of the owner's. Failure rule: a socket that fails or talks nonsense
// is `broken`, and stays so.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft::local {

inline constexpr size_t frame_bytes_max = 1024;
inline constexpr size_t frame_fds_max = 4;
inline constexpr size_t channel_name_bytes_max = 64;

struct Frame {
    std::string body;
    std::vector<Fd> fds;
};

class Channel {
  public:
    explicit Channel(Fd socket) : socket_(std::move(socket)) {}

    // Who is at the other end, as the kernel says it: 0 when it is not of our user; `pid` is 0 when
    // its process has no number in our PID namespace.
    struct Peer {
        bool same_user = false;
        pid_t pid = 0;
    };
    Peer peer() const;

    enum class Sent : uint8_t { all, blocked, retry, broken };
    void queue(Frame frame) { out_.push_back(std::move(frame)); }
    Sent flush();  // blocked: wait for EPOLLOUT; retry: too many descriptors in flight, soon again

    enum class Got : uint8_t { frame, nothing, cut, broken };  // cut: descriptors were lost
    Got receive(Frame* frame);

    int fd() const { return socket_.get(); }

  private:
    Fd socket_;
    std::deque<Frame> out_;
};

// A name that nobody else has, and whether a peer gave one of this form.
std::string channel_name();
bool channel_name_good(std::string_view name);

Result<Fd> channel_listen(const std::string& name);
Fd channel_accept(int listener);

enum class Dial : uint8_t { connected, busy, refused };
Dial channel_dial(const std::string& name, Fd* socket);

}  // namespace weft::local
