// Several nodes in one thread, on a clock that only moves when told: every run is the same run.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tools/efa_device/core/chance.h"
#include "tools/efa_device/core/node.h"

namespace weft::efa::test {

inline constexpr Nanos us = 1'000;
inline constexpr Nanos ms = nanos_per_ms;

// Rings between the nodes of one test; `room` packets each.
class LocalNet {
  public:
    struct Packet {
        PacketHeader header;
        std::string payload;
    };
    struct Ring {
        std::deque<Packet> packets;
        bool alive = true;
    };
    using Key = std::pair<uint32_t, uint32_t>;  // host, process
    std::map<Key, Ring> rings;
    size_t room = 256;
};

class LocalWire final : public Wire {
  public:
    LocalWire(LocalNet& net, LocalNet::Key me) : net_(net), me_(me) { net_.rings[me]; }
    Pushed push(const PacketHeader& packet, std::span<const Bytes> payload) override {
        const auto found =
            net_.rings.find({gid_host(packet.target), qpn_process(packet.target_qpn)});
        if (found == net_.rings.end() || !found->second.alive) {
            return Pushed::absent;
        }
        if (found->second.packets.size() >= net_.room) {
            return Pushed::full;
        }
        std::string text;
        for (const Bytes& part : payload) {
            text.append(static_cast<const char*>(part.data), part.length);
        }
        REQUIRE(text.size() == packet.payload_bytes);
        found->second.packets.push_back({packet, std::move(text)});
        return Pushed::yes;
    }
    bool alive(uint32_t host, uint32_t process) override {
        const auto found = net_.rings.find({host, process});
        return found != net_.rings.end() && found->second.alive;
    }
    Arrived front() override {
        auto& packets = net_.rings[me_].packets;
        if (packets.empty()) {
            return {};
        }
        return {&packets.front().header,
                reinterpret_cast<const std::byte*>(packets.front().payload.data())};
    }
    bool drained() override { return true; }
    void pop() override { net_.rings[me_].packets.pop_front(); }

  private:
    LocalNet& net_;
    const LocalNet::Key me_;
};

// One process with a queue pair on every NIC, ready to be used.
struct Side {
    Side(LocalNet& net, const Spec& spec, uint32_t process)
        : wire(net, {spec.host, process}),
          node(spec, {process, 1, 0}, wire,
               [this](const std::string& line) { decisions.push_back(line); }) {}

    QueuePair* open(uint32_t nic, QpType type = QpType::srd, uint32_t rnr_retry = 7,
                    bool unsolicited = true) {
        int error = 0;
        QpInit init{nic, type, &sent, &received, 1024, 1024, unsolicited};
        QueuePair* qp = node.qp_create(init, error);
        REQUIRE(qp != nullptr);
        node.qp_ready(qp, qkey, rnr_retry);
        return qp;
    }
    uint32_t key(void* data, size_t bytes, uint32_t access = 7, uint32_t nic = 0) {
        int error = 0;
        const uint32_t key =
            node.mr_add(nic, reinterpret_cast<uint64_t>(data), bytes, access, error);
        REQUIRE(key != 0);
        return key;
    }
    const Counters& counters(uint32_t nic = 0) const { return node.counters(nic); }

    uint32_t qkey = 77;
    std::vector<std::string> decisions;
    LocalWire wire;
    Node node;
    CompletionQueue sent{1024};
    CompletionQueue received{1024};
};

// Two hosts of one process each that know each other on every NIC.
struct Pair {
    explicit Pair(const std::string& device = "", const std::string& faults = "") {
        for (uint32_t host = 0; host < 2; ++host) {
            Result<Spec> spec = spec_read({device, std::to_string(host), faults});
            if (!spec.ok()) {
                FAIL(spec.error().what);
            }
            sides.push_back(std::make_unique<Side>(net, spec.value(), 0));
        }
        for (uint32_t nic = 0; nic < a().node.spec().nics.size(); ++nic) {
            to_b.push_back(a().node.ah_add(nic, gid_make(1, nic)));
            to_a.push_back(b().node.ah_add(nic, gid_make(0, nic)));
        }
    }
    Side& a() { return *sides[0]; }
    Side& b() { return *sides[1]; }

    // Lets both work until nothing is left to do before `until`.
    void run(Nanos until = 100 * nanos_per_s) {
        for (int i = 0; i < 10'000'000; ++i) {
            bool worked = false;
            for (const auto& side : sides) {
                if (!stopped || side.get() != stopped) {
                    worked = side->node.progress(now) || worked;
                }
            }
            if (worked) {
                continue;
            }
            std::optional<Nanos> next;
            for (const auto& side : sides) {
                const std::optional<Nanos> due =
                    side.get() == stopped ? std::nullopt : side->node.due(now);
                next = due && (!next || *due < *next) ? due : next;
            }
            if (!next || *next > until) {
                now = next ? until : now;
                return;
            }
            now = std::max(*next, now + 1);
        }
        FAIL("the world does not come to rest");
    }

    SendRequest request(Operation operation, QueuePair* to, uint32_t nic = 0) {
        SendRequest request;
        request.operation = operation;
        request.ah = to_b[nic];
        request.qpn = to->qpn;
        request.qkey = b().qkey;
        return request;
    }

    LocalNet net;
    std::vector<std::unique_ptr<Side>> sides;
    std::vector<uint16_t> to_b;
    std::vector<uint16_t> to_a;
    Side* stopped = nullptr;
    Nanos now = 0;
};

inline std::string pattern(size_t bytes, uint32_t seed = 1) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) {
        text[i] = static_cast<char>(mixed({seed, i}));
    }
    return text;
}

inline Sge sge(void* data, size_t bytes, uint32_t key) {
    return {reinterpret_cast<uint64_t>(data), static_cast<uint32_t>(bytes), key};
}

inline std::vector<Completion> drain(CompletionQueue& cq) {
    std::vector<Completion> all;
    Completion one;
    while (cq.pop(one)) {
        all.push_back(one);
    }
    return all;
}

// One write of `bytes` from a to b; the memory is looked at by the caller.
struct Write {
    explicit Write(size_t bytes, const std::string& device = "", const std::string& faults = "",
                   bool unsolicited = true)
        : world(device, faults), source(pattern(bytes)), target(bytes, '\0') {
        from = world.a().open(0);
        to = world.b().open(0, QpType::srd, 7, unsolicited);
        lkey = world.a().key(source.data(), source.size() + 1);
        rkey = world.b().key(target.data(), target.size() + 1);
    }
    SendRequest request(bool immediate = true) {
        SendRequest request = world.request(Operation::write, to);
        request.wr_id = 5;
        request.sges = {sge(source.data(), source.size(), lkey)};
        request.rkey = rkey;
        request.remote_address = reinterpret_cast<uint64_t>(target.data());
        request.has_immediate = immediate;
        request.immediate = 0xabcd;
        return request;
    }
    Status post(SendRequest request) {
        REQUIRE(world.a().node.post_send(from, std::move(request)) == 0);
        world.run();
        const auto done = drain(world.a().sent);
        REQUIRE(done.size() == 1);
        REQUIRE(done[0].wr_id == 5);
        return done[0].status;
    }
    Pair world;
    std::string source;
    std::string target;
    QueuePair* from = nullptr;
    QueuePair* to = nullptr;
    uint32_t lkey = 0;
    uint32_t rkey = 0;
};

}  // namespace weft::efa::test
