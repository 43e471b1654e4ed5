// Descriptors between the processes of one host: of device memory, of library memory, of anything.
// A process offers a descriptor and gets a ticket for it, a number and a secret, which its peers
// are told over the control plane; whoever shows the ticket at the process's socket, and is of the
// same user, is given a copy. The giving side never waits: it runs on the service thread.
//
// Thread rule: thread-safe; handover_ask waits, so never on the service thread. Lifetime: an offer
// lives as long as its object, however often it was taken; the reactor for longer than all.
// Failure rule: Result; strangers and those who say nothing are dropped.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/private_fd.h"
#include "src/base/reactor.h"
#include "src/base/result.h"
#include "transports/common/local_channel.h"

namespace weft {

struct HandoverTicket {
    std::string socket;
    uint64_t number = 0;
    std::array<uint8_t, 16> secret{};

    std::string encode() const;
    // Refuses what is cut, too long or of no sense.
    static Result<HandoverTicket> decode(std::string_view text);
    static Result<HandoverTicket> read(ByteReader& reader);
};

class Handover : public std::enable_shared_from_this<Handover> {
  public:
    // Shared: by the process and by the offers, which may outlive each other.
    static Result<std::shared_ptr<Handover>> create(Reactor& reactor);
    ~Handover();
    Handover(const Handover&) = delete;
    Handover& operator=(const Handover&) = delete;

    class Offer {
      public:
        ~Offer();
        Offer(const Offer&) = delete;
        Offer& operator=(const Offer&) = delete;
        const HandoverTicket& ticket() const { return ticket_; }

      private:
        friend class Handover;
        Offer(std::shared_ptr<Handover> from, HandoverTicket ticket)
            : from_(std::move(from)), ticket_(std::move(ticket)) {}
        const std::shared_ptr<Handover> from_;
        const HandoverTicket ticket_;
    };
    std::unique_ptr<Offer> offer(Fd descriptor);

    // Connections that are open now.
    size_t line_count() const;

  private:
    struct Offered {
        Fd descriptor;
        std::array<uint8_t, 16> secret{};
    };
    // One that has connected, until it was answered.
    struct Line {
        local::Channel channel;
        Reactor::Id watch = 0, limit = 0;
        bool answered = false;
    };
    using Lock = std::lock_guard<std::mutex>;

    explicit Handover(Reactor& reactor);
    Result<void> listen();
    Reactor::Id later(Nanos delay, std::function<void(Handover&)> what);
    // All below under the mutex.
    void accept_all();
    void line_add(Fd socket);
    void line_event(int key);
    void line_answer(Line& line, std::string_view body);
    void line_flush(int key);
    void line_close(int key);

    Reactor& reactor_;
    const std::string name_;
    mutable std::mutex mutex_;
    PrivateFd listener_;
    Reactor::Id listener_watch_ = 0;
    std::map<uint64_t, Offered> offers_;
    uint64_t next_offer_ = 1;
    std::map<int, Line> lines_;  // the oldest first
    int next_line_ = 1;
};

// A copy of what was offered, of the caller's own, closed on exec. Ends at `deadline` at the
// latest.
Result<Fd> handover_ask(const HandoverTicket& ticket, Nanos deadline);

}  // namespace weft
