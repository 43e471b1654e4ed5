// The meetings of a process that are under way: who listens, who calls, what either heard. A
// message of a meeting is small, may be lost and is then asked for again; asking twice is the same
// as asking once, and an answer is given again for as long as its wire lives.
//
// Thread-safe. Locks: heard() may be called with a rail's lock, everything else takes such.
// Lifetime: the hub's; it goes before the rails. Bounded: what nobody can take is dropped, and
// comes again.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "transports/fabric/handle.h"
#include "transports/fabric/rail.h"

namespace weft::fabric {

class FabricHub;

class Introductions {
  public:
    // Who asked, and by which way it is answered.
    struct Caller {
        Ask ask;
        uint8_t rail = 0;  // of the hub
        uint8_t at = 0;    // among the caller's
    };
    struct Reply {
        MeetKind kind = MeetKind::wait;
        std::string text;
    };

    explicit Introductions(FabricHub& hub) : hub_(hub) {}
    ~Introductions();

    // By dispatchers. `rail` is the hub's number.
    void heard(uint8_t rail, const MessageHeader& header, std::string_view body);
    bool waiting() const { return waiting_.load(std::memory_order_relaxed); }
    void serve();  // what was heard; by whoever polls, without a lock

    uint64_t port_open(bool listens);
    void port_close(uint64_t port);
    // Somebody listened here: others may still call, and are told that nobody does any more.
    bool called_by_others() const { return listened_.load(std::memory_order_relaxed); }

    // Who takes a caller answers or refuses it.
    std::optional<Caller> caller_next(uint64_t port);
    size_t callers_waiting(uint64_t port);
    void answer(const Caller& caller, uint64_t wire, const std::string& address);
    void refuse(const Caller& caller, const std::string& why);
    void wire_gone(uint64_t wire);

    // From the rail `at` of the caller's to the endpoint.
    void ask(Rail& rail, size_t at, const std::string& endpoint, uint64_t listener, Ask ask);
    // The caller has lost interest.
    void leave(Rail& rail, size_t at, const std::string& endpoint, uint64_t listener,
               uint64_t port);
    std::optional<Reply> reply_take(uint64_t port);
    // "ADDRESS: why nothing gets there", of an endpoint that was asked.
    std::string trouble(Rail& rail, const std::string& endpoint);
    // Its NIC has answered that it does not exist.
    bool absent(Rail& rail, const std::string& endpoint);

  private:
    struct Message {
        uint8_t rail;
        MessageHeader header;
        std::string body;
    };
    struct Port {
        bool listens = false;
        std::deque<Caller> callers;
        std::optional<Reply> reply;
    };
    struct Answer {
        uint64_t wire = 0;
        std::string address;  // empty: it is being accepted
    };
    // Kept for a while, so that what is said to it leaves.
    struct Acquaintance {
        Rail* rail;
        RemoteEndpoint* endpoint;
        Nanos until;
    };
    void serve(const Message& message);
    void asked(Caller caller, uint64_t listener);
    void left(const Message& message);
    void tell(const Caller& caller, MeetKind kind, std::string_view text);
    void tell(Rail& rail, const std::string& endpoint, MessageHeader header, std::string_view body);
    RemoteEndpoint* acquainted(Rail& rail, const std::string& endpoint);
    void acquaintances_end(Nanos now);

    FabricHub& hub_;
    std::mutex lock_;  // of what follows; taken before a rail's
    std::map<uint64_t, Port> ports_;
    std::atomic<bool> listened_{false};
    std::map<uint64_t, Answer> answers_;  // by the caller's port
    std::vector<Acquaintance> acquaintances_;

    std::mutex heard_lock_;  // of heard_; taken last
    std::vector<Message> heard_;
    std::atomic<bool> waiting_{false};
};

}  // namespace weft::fabric
