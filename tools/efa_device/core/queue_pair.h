// A queue pair: what was posted, what is under way, and what it knows of its peers.
// Thread rule: under the node's lock. Values; the node moves them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "src/base/clock.h"
#include "tools/efa_device/core/completion_queue.h"
#include "tools/efa_device/core/packet.h"

namespace weft::efa {

struct Sge {
    uint64_t address = 0;
    uint32_t length = 0;
    uint32_t lkey = 0;
};

struct SendRequest {
    uint64_t wr_id = 0;
    Operation operation = Operation::send;  // send, write or read
    std::vector<Sge> sges;
    std::string inlined;  // instead of sges
    bool is_inline = false;
    bool signaled = true;
    bool has_immediate = false;
    uint32_t immediate = 0;
    uint16_t ah = ah_unknown;
    uint32_t qpn = 0;
    uint32_t qkey = 0;
    uint32_t rkey = 0;
    uint64_t remote_address = 0;
};

struct ReceiveRequest {
    uint64_t wr_id = 0;
    std::vector<Sge> sges;
};

enum class QpType : uint8_t { srd, ud };
enum class QpState : uint8_t { reset, init, ready_to_receive, ready_to_send, error };

struct QpInit {
    uint32_t nic = 0;
    QpType type = QpType::srd;
    CompletionQueue* send_cq = nullptr;  // borrowed for the life of the queue pair
    CompletionQueue* receive_cq = nullptr;
    uint32_t send_depth = 0;
    uint32_t receive_depth = 0;
    bool unsolicited = false;  // writes with immediate consume no receive
};

// The oldest message under way and the newest are never further apart. So a receiver need not
// remember older ones.
inline constexpr uint64_t message_spread = 16384;

// A message on its way out, until its completion.
struct Message {
    SendRequest request;
    Gid target{};
    uint64_t bytes = 0;
    uint32_t packets = 0;  // that carry its payload, whoever sends them
    uint32_t next = 0;     // to send for the first time
    std::vector<bool> done;
    uint32_t done_count = 0;
    uint32_t sent = 0;  // packets that left and were not answered
    uint64_t rnr_tries = 0;
    Nanos heard = -1;  // of its target, or its first departure

    // A read is asked for until all of it is here.
    bool answered(uint32_t packet) const {
        return request.operation != Operation::read && done[packet];
    }
};

// A packet that is sent again unless it is answered by `due`.
struct Flight {
    Nanos due = 0;
    uint64_t message = 0;
    uint32_t packet = 0;
    uint8_t attempt = 0;
};

// What has arrived of one sender: complete messages below `floor` and in `above`; the others by
// packet. A try that found no receive is refused for good: its sender may have reported the message
// as not received, so no copy of a packet of that try may be delivered, though a receive has come.
struct Inbound {
    struct Partial {
        std::vector<bool> placed;
        uint32_t count = 0;
    };
    uint64_t floor = 0;
    std::set<uint64_t> above;
    std::map<uint64_t, Partial> partial;
    std::map<uint64_t, uint64_t> refused;  // message -> the last try

    bool refuses(uint64_t message, uint64_t rnr_try) const {
        const auto found = refused.find(message);
        return found != refused.end() && rnr_try <= found->second;
    }
    bool complete(uint64_t message) const { return message < floor || above.count(message) != 0; }
    bool placed(uint64_t message, uint32_t packet) const {
        const auto found = partial.find(message);
        return found != partial.end() && packet < found->second.placed.size() &&
               found->second.placed[packet];
    }
    void finish(uint64_t message) {
        partial.erase(message);
        refused.erase(message);
        above.insert(message);
        forget_before(*above.rbegin());
        while (above.erase(floor) != 0) {
            ++floor;
        }
    }
    void refuse(uint64_t message, uint64_t rnr_try) {
        uint64_t& last = refused[message];
        last = std::max(last, rnr_try);
        forget_before(message);
    }
    void forget_before(uint64_t newest) {
        floor = std::max(floor, newest > message_spread ? newest - message_spread : 0);
        above.erase(above.begin(), above.lower_bound(floor));
        partial.erase(partial.begin(), partial.lower_bound(floor));
        refused.erase(refused.begin(), refused.lower_bound(floor));
    }
};

using PeerKey = std::tuple<Gid, uint32_t, uint64_t>;  // NIC, number, epoch

struct QueuePair {
    QpInit init;
    uint32_t qpn = 0;
    uint64_t epoch = 0;
    QpState state = QpState::reset;
    uint32_t qkey = 0;
    uint32_t rnr_retry = 7;  // 7: for ever
    uint64_t next_message = 0;
    std::map<uint64_t, Message> messages;
    std::deque<uint64_t> unsent;  // messages with packets never sent
    std::deque<Flight> again;     // to send again as soon as the NIC is free
    std::deque<Flight> flights;   // by due time
    uint32_t in_flight = 0;
    std::deque<ReceiveRequest> receives;
    std::map<PeerKey, Inbound> inbound;
    std::set<std::pair<Gid, uint32_t>> heard;
};

}  // namespace weft::efa
