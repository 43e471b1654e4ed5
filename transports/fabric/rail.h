// One NIC of this process: fabric, domain, endpoint, completion queue and address vector, shared by
// all wires of the process. Thread rule: every method wants lock() held, except where it says
// otherwise; with manual-progress providers nothing lands while nobody polls. Lifetime: rail before
// registrations. Failure rule: posting answers `again` for back-pressure and an Error for the rest.
//
// A rail may be given up and opened again as its next *incarnation* (renew): endpoint, completion
// queue and address vector are closed, so that nothing a peer had under way to it lands any more
// and nothing of ours leaves it, and new ones are opened on the same NIC; registered memory and its
// keys stay. What was under way ends with an error. Peers must learn the new endpoint's name.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_rma.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "transports/fabric/addresses.h"
#include "transports/fabric/buffers.h"
#include "transports/fabric/credits.h"
#include "transports/fabric/features.h"
#include "transports/fabric/inbox.h"
#include "transports/fabric/provider.h"
#include "transports/fabric/registration.h"
#include "transports/wire.h"

namespace weft::fabric {

// Whose a transmission is; pointers may be null and are cleared when the owner goes.
struct TxOwner {
    Inbox* inbox = nullptr;                // owned by the wire
    PeerFlow* flow = nullptr;              // owned by the inbox
    std::atomic<uint32_t>* use = nullptr;  // lowered when it ends; owned by a region or a probe
    uint32_t peer = 0;
    uint64_t cookie = 0;
    bool notify = false;            // report on_delivered when it completes; of a flush, its end
    uint64_t rail_bytes = 0;        // counted in flow_rail
    Window::Mark mark;              // with them
    FlowRail* flow_rail = nullptr;  // owned by the inbox
    uint8_t at = 0;                 // the rail, counted among the wire's
    bool control = false;           // a control message, which nobody waits for
    bool probe = false;             // nor for this: what becomes of it is told to its endpoint
    bool own = false;               // goes from this side to this side
};

// In place of a peer's rank: it has none, the two are yet to meet.
inline constexpr uint32_t no_rank = UINT32_MAX;

struct TxOp : Op {
    TxOwner owner;
    RemoteEndpoint* to = nullptr;  // null once nobody uses it any more
    size_t bytes = 0;
    BufferPtr buffer;                // of messages
    uint32_t parts = 1;              // completions to come
    uint64_t stream_at = 0;          // where the stream stood with it, 0: its end says nothing
    std::unique_ptr<Error> failure;  // the first, while others are to come
    bool busy = false;
};

// Of one transmission in a stream, with what libfabric puts before it, rather too many (rxm's 64
// bytes and tcp's 16 of a message, tcp's 88 of a write in two).
inline constexpr uint64_t stream_headers = 128;

struct RemoteWrite {
    RemoteEndpoint* to = nullptr;
    const void* from = nullptr;
    size_t bytes = 0;
    void* descriptor = nullptr;
    uint64_t address = 0;
    uint64_t key = 0;
    uint32_t imm = 0;
};

// `at` lies in `memory`, which starts at `base`.
struct OwnRead {
    fid_mr* memory = nullptr;
    const std::byte* base = nullptr;
    const std::byte* at = nullptr;
    size_t bytes = sizeof(uint64_t);  // at most so many
};

class Rail;

// What a poll found. Called with the rail's lock held.
class RailEvents {
  public:
    virtual ~RailEvents() = default;
    virtual void on_write(uint32_t imm) = 0;  // a peer's write has been placed
    virtual void on_message(Rail& rail, BufferPtr buffer, size_t bytes) = 0;
    virtual void on_finished(Rail& rail, const TxOwner& owner, const Error* error) = 0;
};

class Rail {
  public:
    static Result<std::unique_ptr<Rail>> open(const Library& library, const RailChoice& choice,
                                              uint8_t index, const FabricLimits& limits);
    ~Rail();

    std::mutex& lock() { return lock_; }
    // Fixed after open(); any thread.
    uint8_t index() const { return index_; }
    const std::string& name() const { return name_; }
    const fi_info& info() const { return *info_; }
    size_t key_bytes() const { return key_bytes_; }  // of the keys that peers get: 4 or 8
    const EndpointFeatures& features() const { return features_; }
    bool virtual_addresses() const { return (info_->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0; }
    // It registers memory of GPUs, and reads it back.
    bool device_memory() const { return ability().cuda && !ability().by_calls; }
    int wait_fd() const { return wait_fd_; }  // -1: must be polled; another one after renew()
    uint32_t incarnation() const { return incarnation_.load(); }
    uint64_t outstanding_bytes() const { return outstanding_bytes_.load(); }
    bool unfinished() const { return outstanding_.load() != 0 || controls_waiting_.load() != 0; }

    const std::string& endpoint_name() const { return endpoint_name_; }  // under the lock
    // `why` is said to the owners of what was under way. Where opening fails, everything that is
    // asked of the rail from now on fails. An error: it could not even be closed.
    Result<void> renew(RailEvents& events, const std::string& why);
    // Completions cannot be read, or the provider has failed: it should be renewed, or nobody need
    // say so again.
    bool failing() const { return queue_broken_ && !failing_noted_; }
    void failing_noted() { failing_noted_ = true; }
    // Something of `inbox` to `peer` is under way.
    bool busy_towards(const Inbox* inbox, uint32_t peer) const;

    // A peer's endpoint, counted; good until the last release.
    Result<RemoteEndpoint*> endpoint_acquire(const std::string& endpoint_name);
    void endpoint_release(RemoteEndpoint* endpoint);
    // As the provider writes addresses.
    std::string address_text(const RemoteEndpoint& endpoint) const {
        return address_text(endpoint.name);
    }
    std::string address_text(const std::string& endpoint_name) const;
    // Something was heard from it: its address handle is in use.
    static void heard(RemoteEndpoint& endpoint, Nanos now) { endpoint.used = now; }
    Result<FidHandle<fid_mr>> memory_register(void* memory, size_t bytes);
    Result<FidHandle<fid_mr>> memory_register(const MemoryRequest& request, uint64_t access);

    Result<Post> write(const RemoteWrite& write, const TxOwner& owner);
    Result<Post> send(RemoteEndpoint& to, const MessageHeader& header, const void* body,
                      const TxOwner& owner);
    // Reads memory that is registered here for FI_REMOTE_READ over the NIC; `owner.use` is lowered
    // when it is done.
    Result<Post> flush(const OwnRead& read, const TxOwner& owner);
    // This rail's own endpoint, until the next renew().
    Result<RemoteEndpoint*> own_endpoint();
    // Sends a message as soon as there is room; its loss is nobody's failure (hellos are repeated),
    // but on EFA warned of once: it is how a network that drops packets shows. `peer`: its rank.
    void control(RemoteEndpoint& to, const MessageHeader& header, std::string_view body,
                 uint32_t peer);

    int poll(RailEvents& events);
    bool may_sleep();                 // false: there is work, poll first
    void orphan(const Inbox* inbox);  // its operations end without a report
    void use_forget(const std::atomic<uint32_t>* use);

  private:
    struct Control {
        RemoteEndpoint* to;
        MessageHeader header;
        std::string body;
        uint32_t peer;
    };
    Rail(const Library& library, const RailChoice& choice, uint8_t index, InfoPtr info,
         const FabricLimits& limits);
    AddressLimits address_limits() const;
    MemoryAbility ability() const;
    Error named(Error error) const;
    Result<fi_addr_t> address_of(RemoteEndpoint& endpoint);
    Result<fi_addr_t> address_insert(const std::string& name);
    void address_remove(fi_addr_t address);
    Result<void> open_objects();
    Result<void> open_vector();
    Result<void> open_queue();
    void open_events();
    void events_bind(fid_ep* endpoint);
    void events_read();
    Result<void> open_endpoint();
    void make_parts();
    Result<void> usable() const;
    Result<void> renewable() const;
    void close_objects();
    Result<void> open_again();
    void end_transmits(RailEvents& events, const std::string& why);
    // `scarce`: what EFA may have run out of.
    Result<void> check(int rc, const char* what, const char* scarce = "") const;
    TxOp* tx_take(const TxOwner& owner, RemoteEndpoint& to, size_t bytes);
    void tx_give(TxOp& op);
    Result<Post> posted(TxOp& op, ssize_t rc, const char* what);
    Error refused(int code, const char* what, uint32_t peer) const;
    ssize_t write_post(TxOp& op, const RemoteWrite& write, fi_addr_t to, uint64_t flags);
    Result<Post> write_apart(TxOp& op, const RemoteWrite& write, fi_addr_t to);
    uint64_t stream_written(const RemoteEndpoint& to) const;
    bool arrives_whole(const RemoteWrite& write) const;
    void peers_writes_count(const fi_cq_data_entry* entries, ssize_t count);
    void transmitted(TxOp& op, const Error* error, RailEvents& events);
    void receives_post();
    Buffer* received(Op* op);
    void controls_flush();
    bool peers_write(const fi_cq_data_entry& entry) const;
    void complete(const fi_cq_data_entry& entry, RailEvents& events);
    void complete_error(RailEvents& events);
    void control_lost(const TxOp& op, const Error& failure) const;
    // Of messages that nobody waits for: it came to its endpoint, or failed.
    void message_came(const TxOp& op) const;
    void message_failed(const TxOp& op, int provider_code, const std::string& cause) const;
    void queue_failed(ssize_t rc);
    // Error, the provider's own code and what both mean.
    std::string cause_of(const fi_cq_err_entry& entry) const;
    Error error_of(const fi_cq_err_entry& entry, const TxOwner& owner,
                   const std::string& cause) const;
    void rail_failed(const std::string& why);

    const Library& library_;
    const std::string name_;
    const uint8_t index_;
    const FabricLimits limits_;
    InfoPtr info_;
    const bool immediate_apart_;  // see rail_write.cpp
    const QueueShare share_;
    size_t key_bytes_ = 4;
    FidHandle<fid_fabric> fabric_;
    FidHandle<fid_domain> domain_;
    FidHandle<fid_av> addresses_;
    FidHandle<fid_cq> queue_;
    FidHandle<fid_eq> events_;  // null: not on EFA, or not offered
    FidHandle<fid_ep> endpoint_;
    std::unique_ptr<BufferPool> buffers_;
    std::unique_ptr<Addresses> peers_;
    EndpointFeatures features_;
    uint64_t flush_word_ = 0;
    FidHandle<fid_mr> flush_memory_;
    RemoteEndpoint* flush_self_ = nullptr;
    std::string endpoint_name_;
    int wait_fd_ = -1;

    std::mutex lock_;
    std::vector<TxOp> ops_;
    std::vector<TxOp*> free_ops_;
    std::deque<Control> controls_;
    uint32_t receives_posted_ = 0;
    int receive_error_ = 0;  // why the last one was not posted
    uint32_t receives_wanted_ = 0;
    uint64_t next_key_;
    bool queue_broken_ = false;  // reported once
    bool failing_noted_ = false;
    std::string lost_;  // why it could not be opened again; empty: it is open
    std::atomic<uint32_t> incarnation_{0};
    Nanos renewed_ = 0;            // when last
    uint64_t stream_answers_ = 0;  // bytes of what libfabric answered peers' writes with
    bool answers_known_ = false;   // that is all of them
    std::atomic<uint32_t> outstanding_{0};
    std::atomic<size_t> controls_waiting_{0};  // size of controls_, for readers without the lock
    std::atomic<uint64_t> outstanding_bytes_{0};
};

}  // namespace weft::fabric
