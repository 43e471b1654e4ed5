// One direction of a connection: a wire whose only peer is the other side, links on top of it, and
// what both directions have in common. What is said on it, and by whom, is in protocol.h.
//
// Thread rule: one thread at a time; NCCL's service thread until connect or accept has given it
// out, its progress thread from then on, and whoever closes it. Registrations are not its business
// (memory.h). Lifetime: holds the shared part of the process. Failure rule: the first error ends
// it, in one line that names device, peer and cause; every request that is unfinished then answers
// with its code.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "include/weft/nccl.h"
#include "src/netplugin/process.h"
#include "src/netplugin/protocol.h"
#include "transports/link.h"
#include "transports/meeting.h"

namespace weft::netplugin {

class Connection;

// What test() is asked about; a field of the requests of either direction.
struct Request {
    Connection* owner = nullptr;
    bool taken = false;
    bool flush = false;  // of what was received
};

// A buffer of a call, with what its registration says.
struct Buffer {
    std::byte* data = nullptr;
    uint64_t bytes = 0;
    bool host = true;  // the CPU may copy it; a GPU's only NICs touch
};

class Connection : protected LinkSink {
  public:
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() override = default;

    Result<void> begin();
    bool up() const { return links_.up(peer_); }
    // Moves what can be moved, never waits.
    Result<void> drive();
    // Done: the request is free and `sizes`, if any, filled.
    virtual Result<bool> test(Request& request, int* sizes) = 0;
    virtual bool sends() const = 0;
    // These bytes are about to be deregistered: after return no put lands in them. Only where a
    // receive of them is under way, which NCCL has when it aborts, does this wait, and end the
    // connection; nobody else uses it then.
    virtual void memory_ends(const std::byte* /*base*/, size_t /*bytes*/) {}

    const std::shared_ptr<Shared>& shared() const { return shared_; }
    const Device& device() const { return device_; }
    const WireCounters& wire_counters() const { return wire_->counters(); }
    const LinkCounters& link_counters() const { return links_.counters(); }

  protected:
    Connection(std::shared_ptr<Shared> shared, const Device& device, Met met);
    virtual void work() = 0;  // what waits, once the wire has been asked
    void fail(Error error);
    Result<void> healthy() const;
    // Of a tag's message on the control channel; false: not now.
    bool tell(Word word, Label label, uint64_t bytes, const void* body = nullptr,
              uint32_t body_bytes = 0);
    void on_link_failure(uint32_t peer, Error error) override;
    Error mismatch(Label label, uint64_t sent, uint64_t room) const;

    const std::shared_ptr<Shared> shared_;
    const Device& device_;  // of `shared_`
    const std::string peer_name_;
    const uint32_t peer_;
    const uint32_t eager_bytes_;
    const std::unique_ptr<Wire> wire_;
    Links links_;
    std::optional<Error> failure_;
};

}  // namespace weft::netplugin
