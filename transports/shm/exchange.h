// How the shm wires of one process meet those of other processes of the host. One abstract socket
// per hub, served by the reactor; whoever wants first dials, and both directions of a pair of hubs
// then use that connection. What travels: a hub's name, a wire's offer (its segment, doorbell and
// hello), closures, and descriptors of library memory that a peer wants to map.
//
// A pair of wires is up on a side when that side called connect() and has the peer's offer: the
// rings are in place then, and what is written before the peer looks simply waits there. A socket
// that ends without a closure of each wire is the death of that process.
//
// Thread rule: thread-safe; wires call it, the reactor calls it, each wire gets its news through
// its mailbox. Lifetime rule: shared by the hub, its wires and posted callbacks, which may come
// after the hub is gone and then find it closed.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/reactor.h"
#include "src/base/result.h"
#include "transports/common/local_channel.h"
#include "transports/common/mailbox.h"
#include "transports/hubs.h"
#include "transports/shm/frames.h"
#include "transports/shm/segment.h"

namespace weft::shm {

using local::Channel;
using local::Frame;

// A peer's library memory, mapped here.
struct Import {
    Mapping mapping;
    uint64_t base = 0;  // where it begins in the peer
};

// What a wire needs to talk to a connected peer. Shared by the wire and the exchange.
struct PeerLink {
    std::string remote;  // the peer's hub
    uint64_t wire = 0;   // the peer's wire there
    std::shared_ptr<SegmentView> view;
    std::shared_ptr<DoorbellPage> bell;
    pid_t pid = 0;  // may be read by process_vm_readv; 0: may not
    std::string hello;
    std::atomic<bool> dead{false};  // its process ended
};

struct News {
    enum class What : uint8_t { up, closed, failed, import, import_gone } what = What::up;
    uint32_t peer = 0;
    std::shared_ptr<PeerLink> link;  // up
    uint64_t range = 0;              // import, import_gone
    std::shared_ptr<Import> mapped;  // import: null when the peer has no such range
    Error error;                     // failed
};

// The part of a wire the exchange knows.
struct Port {
    Port(const WireConfig& from, std::shared_ptr<Segment> memory)
        : config(from), segment(std::move(memory)), mail(from.doorbell->page()) {}
    const WireConfig config;
    const std::shared_ptr<Segment> segment;
    uint64_t id = 0;
    Mailbox<News> mail;
};

class Exchange : public std::enable_shared_from_this<Exchange> {
  public:
    static Result<std::shared_ptr<Exchange>> create(Reactor& reactor, bool cma);
    ~Exchange();
    void close();  // by the hub, on its way out

    Result<std::shared_ptr<Port>> attach(const WireConfig& config);
    void detach(const Port& port);
    std::string address(const Port& port) const;
    Result<void> connect(const std::shared_ptr<Port>& port, uint32_t peer, std::string_view address,
                         std::string_view hello);
    // Asks for a peer's library memory; the answer is an `import` in the port's mailbox.
    void import_want(const Port& port, uint32_t peer, const PeerLink& link, uint64_t range);

  private:
    struct Pairing {
        uint64_t local = 0, remote = 0;  // wires
        auto operator<=>(const Pairing&) const = default;
    };
    struct Offer {
        OfferFrame frame;
        std::vector<Fd> fds;  // segment, doorbell page, eventfd
    };
    struct Imports {
        std::shared_ptr<Import> mapped;
        bool wanted = false;                            // asked, not answered
        std::set<std::pair<uint64_t, uint32_t>> users;  // wire, its name for the peer
    };
    // Another hub, as far as this one has to do with it.
    struct Remote {
        std::string name;
        pid_t pid = 0;
        int channel = -1;  // key into channels_, -1 while dialling
        std::vector<Frame> waiting;
        std::map<Pairing, uint32_t> wanted;  // connect() called: this side's name for the peer
        std::map<Pairing, uint32_t> up;      // likewise, and the peer's offer is here
        std::map<Pairing, std::shared_ptr<PeerLink>> links;  // of those that are up
        std::map<Pairing, Offer> offers;                     // come before connect()
        std::map<uint64_t, Imports> imports;
        std::set<uint64_t> exported;
    };
    struct Line {
        Channel channel;
        Reactor::Id watch = 0;
        std::string remote;  // empty until it said its name
        pid_t pid = 0;
        bool blocked = false;  // waits for EPOLLOUT
    };
    using Lock = std::lock_guard<std::mutex>;

    Exchange(Reactor& reactor, bool cma);
    Result<void> listen();
    void later(void (Exchange::*what)());  // under the lock, in retry_delay

    // All below under mutex_.
    void dial(Remote& remote);
    void dial_waiting();
    void accept_all();
    void accept_again();
    int line_add(Fd socket, const std::string& remote);
    void line_event(int key);
    void line_close(int key, const char* how);
    void line_flush(int key);
    void flush_waiting();
    void strangers_drop();
    void send(Remote& remote, Frame frame);
    Result<void> frame_take(int key, Frame frame);
    Result<void> greet_take(int key, ByteReader& body);
    Result<void> offer_take(Remote& remote, ByteReader& body, std::vector<Fd> fds);
    Result<void> closed_take(Remote& remote, ByteReader& body);
    Result<void> want_take(Remote& remote, ByteReader& body);
    Result<void> range_take(Remote& remote, ByteReader& body, std::vector<Fd> fds);
    Result<void> range_gone_take(Remote& remote, ByteReader& body);
    Result<void> dispatch(Remote& remote, FrameType type, ByteReader& body, std::vector<Fd> fds);
    void pair_up(Remote& remote, Pairing pairing, uint32_t peer, Offer offer);
    Result<std::shared_ptr<PeerLink>> link_make(const Remote& remote, Pairing pairing,
                                                Offer& offer) const;
    void tell(uint64_t wire, News news);
    void remote_lost(const std::string& name, const char* how);
    void exports_sweep(Remote& remote);
    Frame offer_frame(const Port& port, uint64_t to, uint32_t peer, std::string_view hello) const;

    Reactor& reactor_;
    const bool cma_;
    const std::array<uint8_t, 16> nonce_;
    const std::string name_;
    mutable std::mutex mutex_;
    bool closed_ = false;
    Fd listener_;
    Reactor::Id listener_watch_ = 0;
    uint64_t next_wire_ = 1;
    int next_line_ = 1;
    std::map<uint64_t, std::shared_ptr<Port>> ports_;
    std::map<int, Line> lines_;
    std::map<std::string, Remote> remotes_;
};

}  // namespace weft::shm
