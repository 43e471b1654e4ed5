// The socket and clock seam of the control plane: everything the protocol needs from the outside.
// The real one is TCP on the Reactor; tests have a simulated one. Thread rule: thread-bound to the
// service thread, post() and on_thread() apart. Failure rule: a connection ends with exactly one
// closed() unless close() came first; nothing calls back from inside a call.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft {

struct NetAddress {
    bool v6 = false;
    std::array<uint8_t, 16> ip{};  // network order; v4 uses the first four
    uint16_t port = 0;
    auto operator<=>(const NetAddress&) const = default;
};

// One address of one network interface, as found on this machine.
struct NetInterface {
    std::string name;
    NetAddress address;  // port 0
    bool up = false;
    bool loopback = false;
};

using Conn = uint64_t;  // a connection; 0 is none

class NetClient {
  public:
    virtual ~NetClient() = default;
    virtual void accepted(Conn conn, const NetAddress& from) = 0;
    virtual void opened(Conn conn) = 0;  // a connect() succeeded
    virtual void received(Conn conn, std::string_view bytes) = 0;
    virtual void closed(Conn conn, const Error& why) = 0;
};

class Net {
  public:
    using Timer = uint64_t;
    virtual ~Net() = default;
    virtual void start(NetClient& client) = 0;  // borrowed until stop()
    virtual void stop() = 0;                    // closes everything, at once and for good

    struct Listening {
        uint64_t id = 0;
        NetAddress at;  // with the port that was given
    };
    virtual Result<Listening> listen(const NetAddress& at) = 0;
    virtual void unlisten(uint64_t id) = 0;
    virtual Conn connect(const NetAddress& to) = 0;
    virtual void send(Conn conn, std::string bytes) = 0;
    virtual void close(Conn conn) = 0;  // after what was sent; no callback any more

    virtual Nanos now() const = 0;
    virtual Timer at(Nanos when, std::function<void()> callback) = 0;
    virtual void cancel(Timer timer) = 0;
    virtual void post(std::function<void()> callback) = 0;
    virtual bool on_thread() const = 0;

    virtual void random(std::span<uint8_t> out) = 0;
    virtual std::string host() const = 0;
    virtual int64_t pid() const = 0;
    virtual std::vector<NetInterface> interfaces() const = 0;
    // May ask a name server, so it is called on the joining thread. Thread-safe.
    virtual Result<std::vector<NetAddress>> resolve(const std::string& host, uint16_t port) = 0;
};

class Reactor;
std::unique_ptr<Net> net_tcp_make(Reactor& reactor);  // the reactor is borrowed for life

}  // namespace weft
