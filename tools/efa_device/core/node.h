// The software NICs of one process: what verbs calls do, and what the NIC does by itself when
// progress() is called. Semantics in docs/EFA-DEVICE.md.
//
// Everything that chance decides is a function of the seed and of the packet (chance.h); time is an
// argument. So a test runs many nodes in one thread on a clock of its own.
//
// Thread rule: thread-safe by one lock; once a region, receive or queue pair is removed, nothing is
// placed there any more. Lifetime: the wire and the completion queues are borrowed. Failure rule:
// calls return an errno, as verbs do; the network's failures are completions.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "tools/efa_device/core/counters.h"
#include "tools/efa_device/core/queue_pair.h"
#include "tools/efa_device/core/spec.h"
#include "tools/efa_device/core/tables.h"
#include "tools/efa_device/core/wire.h"

namespace weft::efa {

struct NodePlace {
    uint32_t process = 0;
    uint64_t epoch = 0;  // differs between processes that had the same place one after the other
    Nanos start = 0;
};

using DecisionLog = std::function<void(const std::string&)>;

class Node {
  public:
    Node(const Spec& spec, const NodePlace& place, Wire& wire, DecisionLog log = {});
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    uint32_t mr_add(uint32_t nic, uint64_t address, uint64_t length, uint32_t access, int& error);
    void mr_remove(uint32_t nic, uint32_t key);
    uint16_t ah_add(uint32_t nic, const Gid& gid);  // ah_unknown: none left
    void ah_remove(uint32_t nic, uint16_t ah);
    std::optional<Gid> ah_gid(uint32_t nic, uint16_t ah) const;
    int cq_add(uint32_t nic);  // the queue is the caller's; this counts it
    void cq_remove(uint32_t nic);

    // nullptr: none left (ENOMEM) or not possible (EINVAL).
    QueuePair* qp_create(const QpInit& init, int& error);
    void qp_destroy(QueuePair* qp);
    void qp_ready(QueuePair* qp, uint32_t qkey, uint32_t rnr_retry);  // to ready_to_send at once
    int qp_state(QueuePair* qp, QpState state);
    void qp_set(QueuePair* qp, std::optional<uint32_t> qkey, std::optional<uint32_t> rnr_retry);
    int post_send(QueuePair* qp, SendRequest request);
    int post_receive(QueuePair* qp, ReceiveRequest request);

    // A bounded amount of work; true if there was any.
    bool progress(Nanos now);
    // The same where nobody else is at it: a caller that polls in vain helps.
    bool progress_try(Nanos now);
    // When progress() has something to do, if nothing arrives; nullopt: never.
    std::optional<Nanos> due(Nanos now);
    // Nothing of ours is under way: answers have left, and what left was taken.
    bool quiet();
    // The end: from here on no memory of the program is read or written.
    void close();
    bool rail_up(uint32_t nic, Nanos now) const;
    bool died(Nanos now) const;  // the script says that this process ends

    const Spec& spec() const { return spec_; }
    uint32_t process() const { return place_.process; }
    const Counters& counters(uint32_t nic) const { return nics_[nic]->counters; }
    std::string counters_text() const;

  private:
    struct ReadJob {
        PacketHeader request;
        uint32_t next = 0;
        uint8_t attempt = 0;
    };
    struct Nic {
        Nic(const Spec& spec, const FaultPlan& plan, uint32_t index);
        Gid gid{};
        MrTable mrs;
        AhTable ahs;
        uint32_t cqs = 0;
        uint32_t cqs_max = 0;
        uint32_t qps_max = 0;
        uint32_t send_queue_max = 0;
        uint32_t qp_next = 0;  // where the search for a free number begins
        std::map<uint32_t, std::unique_ptr<QueuePair>> qps;
        std::deque<uint32_t> turns;  // queue pairs with something to send, in order
        std::deque<ReadJob> reads;   // that others asked for
        Nanos free_at = 0;           // when the line has sent what was given to it
        bool backlog = false;        // something has waited since the line was last looked at
        uint64_t sent = 0;
        uint64_t stale_left = 0;
        uint64_t order_seen = 0;  // highest departure that has left
        Counters counters;
    };
    // A packet waiting for its time.
    struct Departure {
        Nanos due = 0;
        uint64_t order = 0;
        uint32_t nic = 0;
        uint32_t qpn = 0;  // whose it is; an ack is nobody's
        uint64_t epoch = 0;
        PacketHeader header;
        bool copied = false;  // sent beside the packet itself; `kept` is its payload
        std::string kept;
        bool operator<(const Departure& other) const {
            return due != other.due ? due > other.due : order > other.order;
        }
    };

    // What waits for room in the ring of one process, and since when that takes nothing.
    struct Held {
        std::deque<Departure> queue;
        Nanos since = 0;
    };
    enum class Gone : uint8_t { yes, no_room, unwanted };  // unwanted: nobody waits for it any more

    // node.cpp
    FaultPlan::Moment moment(const Nic& nic, Nanos now) const;
    uint64_t sent_all() const;
    QueuePair* qp_find(uint32_t nic, uint32_t qpn);
    Status request_check(const Nic& nic, const QueuePair& qp, const SendRequest& request) const;
    void complete(QueuePair& qp, uint64_t number, Status status);
    void push(Nic& nic, CompletionQueue& cq, const Completion& completion);
    void flush(QueuePair& qp);
    void turn_add(Nic& nic, const QueuePair& qp);

    // node_send.cpp
    bool work(Nanos now);
    bool expire(Nic& nic, QueuePair& qp, Nanos now);
    bool pump(uint32_t index, Nanos now);
    bool packet_next(uint32_t index, QueuePair& qp, Nanos now);
    void packet_schedule(uint32_t index, QueuePair& qp, uint64_t number, uint32_t packet,
                         uint8_t attempt, Nanos now);
    bool read_next(uint32_t index, Nanos now);
    void schedule(uint32_t index, Departure departure, Nanos now);
    void answer(uint32_t index, const PacketHeader& to, Status status, Nanos now);
    bool departures(Nanos now);
    bool held_go(Nanos now);
    bool held_try(Held& held, Nanos now);
    void give_up(const Departure& departure);
    bool held_any() const;
    Gone depart(Departure& departure, Nanos now);
    bool lost(Nic& nic, const Departure& departure, Nanos now);
    Departure copy_of(const Departure& departure, std::span<const Bytes> payload, Nanos due);
    void arrive_twice(const Departure& departure, std::span<const Bytes> payload, Nanos now);
    void keep_stale(Nic& nic, const Departure& departure, std::span<const Bytes> payload,
                    Nanos now);
    bool payload_of(const Departure& departure, std::vector<Bytes>& payload);
    void departed(Nic& nic, const Departure& departure, Nanos now);
    void log_decision(const PacketHeader& header, Nanos delay) const;

    // node_receive.cpp
    void receive(const PacketHeader& header, const std::byte* payload, Nanos now);
    void receive_ack(Nic& nic, QueuePair& qp, const PacketHeader& header, Nanos now);
    void retry_later(QueuePair& qp, Message& message, const PacketHeader& header, Nanos now);
    Status receive_send(Nic& nic, QueuePair& qp, const PacketHeader& header,
                        const std::byte* payload);
    Status receive_write(Nic& nic, QueuePair& qp, const PacketHeader& header,
                         const std::byte* payload);
    Status write_count(Nic& nic, QueuePair& qp, Inbound& inbound, const PacketHeader& header);
    Status write_finish(Nic& nic, QueuePair& qp, const PacketHeader& header);
    Status receive_read(Nic& nic, const PacketHeader& header);
    void receive_response(Nic& nic, QueuePair& qp, const PacketHeader& header,
                          const std::byte* payload, Nanos now);
    void place(Nic& nic, const std::vector<Sge>& to, uint64_t offset, const PacketHeader& header,
               const std::byte* payload);

    const Spec spec_;
    const NodePlace place_;
    const FaultPlan plan_;
    Wire& wire_;
    const DecisionLog log_;
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<Nic>> nics_;
    std::priority_queue<Departure> waiting_;
    using PeerName = std::pair<uint32_t, uint32_t>;  // host, process
    std::map<PeerName, Held> held_;                  // due, but the ring was full
    Nanos held_until_ = 0;
    bool closed_ = false;
    uint64_t epochs_ = 0;
    uint64_t orders_ = 0;
};

}  // namespace weft::efa
