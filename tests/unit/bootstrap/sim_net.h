// A network and a clock inside one thread: every delay, split and order comes from a seed, and the
// same seed gives the same run bit for bit. Connections keep their bytes in order; everything else
// may overtake. Processes can be killed, hosts can vanish, connections can be cut.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "src/bootstrap/net.h"

namespace weft::sim {

class SimNet;

class World {
  public:
    struct Options {
        uint64_t seed = 0;
        Nanos delay_most = 20 * nanos_per_ms;
        size_t piece_most = 4096;  // bytes that arrive together, 1 for byte-wise
        bool dead_ends = true;     // every process also has an address that leads nowhere
    };
    explicit World(const Options& options) : options_(options), random_(options.seed) {}

    std::unique_ptr<Net> net_make(int process);  // process numbers start at 0
    // Runs until `done` or until `limit` of virtual time went by; false in the second case.
    bool run_until(const std::function<bool()>& done, Nanos limit);
    void run_for(Nanos time);
    void kill(int process);     // its kernel closes what it had open
    void reset(int process);    // the same, and what it sent last is lost on some connections
    void vanish(int process);   // its host is gone: no answer, ever; senders give up after 4 s
    void cut(uint64_t choice);  // one connection, chosen by the number, breaks on both sides
    void stranger(int process, const std::string& bytes);  // connects, sends, stays
    bool is_alive(int process) const;

    Nanos now() const { return now_; }
    uint64_t pick(uint64_t below) { return random_() % below; }

  private:
    friend class SimNet;
    struct Event {
        Nanos when;
        uint64_t order;
        std::function<void()> run;
        bool operator<(const Event& other) const {
            return std::pair(when, order) > std::pair(other.when, other.order);
        }
    };
    struct End {                // one side of a connection
        SimNet* net = nullptr;  // null: a stranger's, or closed
        uint64_t other = 0;
        Nanos busy_until = 0;  // when the last piece sent to the other side arrives
        bool dialled = false;
    };

    void later(Nanos when, std::function<void()> run);
    Nanos delay() {
        return 1 + static_cast<Nanos>(pick(static_cast<uint64_t>(options_.delay_most)));
    }
    uint64_t connect(SimNet* from, const NetAddress& to);
    void bytes_send(uint64_t end, const std::string& bytes);
    void end_close(uint64_t end, int sys);  // the other side hears of it
    void closed_deliver(uint64_t end, int sys);

    Options options_;
    std::mt19937_64 random_;
    Nanos now_ = nanos_per_s;
    uint64_t next_order_ = 0;
    uint64_t next_end_ = 1;
    std::map<uint64_t, End> ends_;
    std::map<NetAddress, SimNet*> listeners_;
    std::vector<SimNet*> nets_;  // owned by the hubs, by process; null once gone
    std::set<int> vanished_;
    std::priority_queue<Event> events_;  // last: what has not run may own a hub, and that its net
};

}  // namespace weft::sim
