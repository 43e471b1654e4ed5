#include "tests/unit/bootstrap/sim_net.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace weft::sim {

namespace {

// Every process has an address that works, and before it one that leads nowhere.
NetAddress address_of(int process, bool reachable) {
    NetAddress address;
    address.ip = {static_cast<uint8_t>(reachable ? 10 : 192), 168, 0,
                  static_cast<uint8_t>(process + 1)};
    return address;
}

bool leads_nowhere(const NetAddress& address) {
    return address.ip[0] == 192;
}

Error gone(int sys) {
    return make_error(Code::remote, Scope::peer,
                      sys == 0 ? "closed by the other side" : strerror(sys), sys);
}

}  // namespace

class SimNet final : public Net {
  public:
    SimNet(World& world, int process) : world_(world), process_(process) {}
    ~SimNet() override { world_.nets_[static_cast<size_t>(process_)] = nullptr; }

    void start(NetClient& client) override { client_ = &client; }
    void stop() override {
        if (alive_) {
            die();
        }
        timers_.clear();
    }
    void die() {
        alive_ = false;
        std::erase_if(world_.listeners_, [this](const auto& one) { return one.second == this; });
        std::vector<uint64_t> own;
        for (const auto& [id, end] : world_.ends_) {
            if (end.net == this) {
                own.push_back(id);
            }
        }
        for (const uint64_t id : own) {
            world_.end_close(id, world_.pick(2) == 0 ? 0 : ECONNRESET);
        }
    }

    Result<Listening> listen(const NetAddress& at) override {
        NetAddress bound = at;
        if (bound.port == 0) {
            bound.port = static_cast<uint16_t>(10000 + next_id_);
        }
        if (!world_.listeners_.emplace(bound, this).second) {
            return make_error(Code::system, Scope::process, "in use", EADDRINUSE);
        }
        bound_[next_id_] = bound;
        return Listening{next_id_++, bound};
    }
    void unlisten(uint64_t id) override {
        const auto at = bound_.find(id);
        if (at != bound_.end()) {
            world_.listeners_.erase(at->second);
            bound_.erase(at);
        }
    }
    Conn connect(const NetAddress& to) override { return world_.connect(this, to); }
    void send(Conn conn, std::string bytes) override {
        if (alive_) {
            world_.bytes_send(conn, bytes);
        }
    }
    void close(Conn conn) override { world_.end_close(conn, 0); }

    Nanos now() const override { return world_.now(); }
    Timer at(Nanos when, std::function<void()> callback) override {
        const Timer id = next_id_++;
        timers_[id] = std::move(callback);
        world_.later(when, [world = &world_, process = process_, id] {
            SimNet* net = world->nets_[static_cast<size_t>(process)];
            if (net == nullptr || !net->alive_) {
                return;
            }
            if (auto node = net->timers_.extract(id)) {
                node.mapped()();
            }
        });
        return id;
    }
    void cancel(Timer timer) override { timers_.erase(timer); }
    void post(std::function<void()> callback) override {
        world_.later(world_.now(),
                     [world = &world_, process = process_, callback = std::move(callback)] {
                         SimNet* net = world->nets_[static_cast<size_t>(process)];
                         if (net != nullptr && net->alive_) {
                             callback();
                         }
                     });
    }
    bool on_thread() const override { return true; }

    void random(std::span<uint8_t> out) override {
        for (uint8_t& byte : out) {
            byte = static_cast<uint8_t>(world_.pick(256));
        }
    }
    std::string host() const override { return "host" + std::to_string(process_); }
    int64_t pid() const override { return 1000 + process_; }
    std::vector<NetInterface> interfaces() const override {
        std::vector<NetInterface> all{{"eth0", address_of(process_, true), true, false}};
        if (world_.options_.dead_ends) {
            all.insert(all.begin(), {"dead0", address_of(process_, false), true, false});
        }
        return all;
    }
    Result<std::vector<NetAddress>> resolve(const std::string&, uint16_t) override {
        return std::vector<NetAddress>{};
    }

  private:
    friend class World;
    World& world_;
    int process_;
    NetClient* client_ = nullptr;
    bool alive_ = true;
    uint64_t next_id_ = 1;
    std::map<uint64_t, NetAddress> bound_;
    std::map<Timer, std::function<void()>> timers_;
};

std::unique_ptr<Net> World::net_make(int process) {
    auto net = std::make_unique<SimNet>(*this, process);
    nets_.resize(std::max(nets_.size(), static_cast<size_t>(process) + 1));
    nets_[static_cast<size_t>(process)] = net.get();
    return net;
}

void World::later(Nanos when, std::function<void()> run) {
    events_.push({std::max(when, now_), next_order_++, std::move(run)});
}

bool World::run_until(const std::function<bool()>& done, Nanos limit) {
    const Nanos end = now_ + limit;
    while (!done()) {
        if (events_.empty() || events_.top().when > end) {
            now_ = end;
            return false;
        }
        const Event next = events_.top();
        events_.pop();
        now_ = next.when;
        next.run();
    }
    return true;
}

void World::run_for(Nanos time) {
    run_until([] { return false; }, time);
}

bool World::is_alive(int process) const {
    const SimNet* net = nets_[static_cast<size_t>(process)];
    return net != nullptr && net->alive_ && vanished_.count(process) == 0;
}

void World::kill(int process) {
    if (SimNet* net = nets_[static_cast<size_t>(process)]; net != nullptr && net->alive_) {
        net->die();
    }
}

// What a kernel does with a process that ends while bytes for it are unread: RST instead of FIN,
// which may overtake and void what is still under way.
void World::reset(int process) {
    for (auto& [id, end] : ends_) {
        if (end.net == nets_[static_cast<size_t>(process)] && pick(2) == 0) {
            later(now_ + 1 + static_cast<Nanos>(pick(1000)),
                  [this, other = end.other] { closed_deliver(other, ECONNRESET); });
        }
    }
    kill(process);
}

void World::vanish(int process) {
    SimNet* net = nets_[static_cast<size_t>(process)];
    vanished_.insert(process);
    net->alive_ = false;
    // Keepalive and the limit on unacknowledged data end its peers' connections.
    for (auto& [id, end] : ends_) {
        if (end.net == net) {
            end.net = nullptr;
            later(now_ + 4 * nanos_per_s,
                  [this, other = end.other] { closed_deliver(other, ETIMEDOUT); });
        }
    }
}

void World::cut(uint64_t choice) {
    std::vector<uint64_t> candidates;
    for (const auto& [id, end] : ends_) {
        if (end.net != nullptr && end.dialled) {
            candidates.push_back(id);
        }
    }
    if (!candidates.empty()) {
        const uint64_t id = candidates[choice % candidates.size()];
        const uint64_t other = ends_.at(id).other;
        later(now_ + delay(), [this, id] { closed_deliver(id, ECONNRESET); });
        later(now_ + delay(), [this, other] { closed_deliver(other, ECONNRESET); });
    }
}

uint64_t World::connect(SimNet* from, const NetAddress& to) {
    const uint64_t near = next_end_++;
    const uint64_t far = next_end_++;
    ends_[near] = {from, far, 0, true};
    later(now_ + delay(), [this, near, far, to, from] {
        const auto listener = listeners_.find(to);
        if (ends_.count(near) == 0 || leads_nowhere(to)) {
            return;  // given up, or no answer
        }
        if (listener == listeners_.end()) {
            closed_deliver(near, ECONNREFUSED);
            return;
        }
        if (vanished_.count(listener->second->process_) != 0) {
            return;
        }
        ends_[far] = {listener->second, near, now_, false};
        const NetAddress source = from == nullptr ? NetAddress{} : address_of(from->process_, true);
        listener->second->client_->accepted(far, source);
        ends_[near].busy_until = now_;
        later(now_ + delay(), [this, near] {
            const auto at = ends_.find(near);
            if (at != ends_.end() && at->second.net != nullptr && at->second.net->alive_) {
                at->second.net->client_->opened(near);
            }
        });
    });
    return near;
}

void World::bytes_send(uint64_t id, const std::string& bytes) {
    const auto at = ends_.find(id);
    if (at == ends_.end()) {
        return;
    }
    at->second.busy_until = std::max(at->second.busy_until, now_ + delay() / 2);
    for (size_t offset = 0; offset < bytes.size();) {
        const size_t length =
            std::min<size_t>(bytes.size() - offset, 1 + pick(options_.piece_most));
        at->second.busy_until += 1 + static_cast<Nanos>(pick(20'000));
        later(at->second.busy_until,
              [this, other = at->second.other, piece = bytes.substr(offset, length)] {
                  const auto to = ends_.find(other);
                  if (to != ends_.end() && to->second.net != nullptr && to->second.net->alive_) {
                      to->second.net->client_->received(other, piece);
                  }
              });
        offset += length;
    }
}

void World::end_close(uint64_t id, int sys) {
    const auto at = ends_.find(id);
    if (at == ends_.end()) {
        return;
    }
    const End end = at->second;
    ends_.erase(at);
    later(std::max(end.busy_until, now_) + delay(),
          [this, other = end.other, sys] { closed_deliver(other, sys); });
}

void World::closed_deliver(uint64_t id, int sys) {
    const auto at = ends_.find(id);
    if (at == ends_.end()) {
        return;
    }
    SimNet* net = at->second.net;
    ends_.erase(at);
    if (net != nullptr && net->alive_) {
        net->client_->closed(id, gone(sys));
    }
}

void World::stranger(int process, const std::string& bytes) {
    for (const auto& [address, net] : listeners_) {
        if (net->process_ == process && !leads_nowhere(address)) {
            const uint64_t end = connect(nullptr, address);
            later(now_ + 2 * options_.delay_most, [this, end, bytes] { bytes_send(end, bytes); });
            return;
        }
    }
}

}  // namespace weft::sim
