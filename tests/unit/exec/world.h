// A world of n shards in one process over any wire hub: what the executor tests run on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "src/base/machine.h"
#include "src/exec/engine.h"
#include "transports/hubs.h"

namespace weft::test {

struct WorldOptions {
    int ranks = 2;
    plan::Limits limits;
    bool peer_load = false;
    std::vector<std::vector<int32_t>> hosts;  // as the planner sees them; empty: one
    Reactor* reactor = nullptr;
    std::string fault;  // FaultSpec text, empty: none
};

class World {
  public:
    explicit World(const WorldOptions& options, WireHub* hub = nullptr) {
        static uint64_t groups = 1000;
        faulty_ = !options.fault.empty();
        own_hub_ = hub == nullptr ? loopback_hub_make() : nullptr;
        WireHub& used = hub == nullptr ? *own_hub_ : *hub;
        const uint64_t group = groups++;
        const int n = options.ranks;
        for (int r = 0; r < n; r++) {
            bells_.push_back(std::make_unique<Doorbell>(Doorbell::create().value()));
            WireConfig config;
            config.group = group;
            config.rank = static_cast<uint32_t>(r);
            config.rank_count = static_cast<uint32_t>(n);
            config.doorbell = bells_.back().get();
            auto wire = used.attach(config).value();
            if (!options.fault.empty()) {
                wire = fault_wrap(std::move(wire), fault_parse(options.fault).value());
            }
            wires_.push_back(std::move(wire));
        }
        for (int r = 0; r < n; r++) {
            ShardConfig config;
            config.rank = r;
            config.rank_count = n;
            for (int p = 0; p < n; p++) {
                PeerRoute route;
                route.wire = p == r ? nullptr : wires_[r].get();
                route.address = wires_[p]->address();
                route.name = "rank " + std::to_string(p);
                config.peers.push_back(route);
            }
            config.doorbell = bells_[r].get();
            config.wires = {wires_[r].get()};
            config.reactor = options.reactor;
            config.limits = options.limits;
            config.peer_load = options.peer_load;
            if (!options.hosts.empty()) {
                config.cluster.at = plan::Cluster::of(options.hosts).value();
            }
            config.cores_enough = n <= cores_usable();
            config.label = "rank " + std::to_string(r);
            shards_.push_back(Shard::create(std::move(config)).value());
        }
    }

    int size() const { return static_cast<int>(shards_.size()); }
    Shard& shard(int rank) { return *shards_[rank]; }
    Wire& wire(int rank) { return *wires_[rank]; }

    // One thread drives all ranks, as a group does.
    Result<void> run(const std::function<std::vector<Call>(int)>& calls) {
        std::vector<TicketPtr> tickets;
        std::vector<Waitable> waits;
        for (int r = 0; r < size(); r++) {
            tickets.push_back(TRY(shards_[r]->submit(calls(r))));
            waits.push_back({shards_[r].get(), tickets.back().get()});
        }
        if (faulty_) {
            poke_until_done(waits);
        }
        return wait_all(waits);
    }

    // A fault wire holds back what it delays until its owner makes progress, also after the owner's
    // own operation is over; real transports have a service thread for that.
    void poke_until_done(const std::vector<Waitable>& waits) {
        const Nanos end = clock_now() + 60 * nanos_per_s;
        bool left = true;
        while (left && clock_now() < end) {
            left = false;
            for (const Waitable& wait : waits) {
                wait.shard->poke();
                left = left || wait.ticket->state() == Ticket::State::pending;
            }
        }
    }

    // A thread per rank; returns each rank's result.
    std::vector<Result<void>> run_threads(const std::function<std::vector<Call>(int)>& calls,
                                          int rounds = 1) {
        std::vector<Result<void>> results(shards_.size());
        std::vector<std::thread> threads;
        for (int r = 0; r < size(); r++) {
            threads.emplace_back([&, r] {
                for (int i = 0; i < rounds && results[r].ok(); i++) {
                    auto ticket = shards_[r]->submit(calls(r));
                    if (!ticket.ok()) {
                        results[r] = ticket.error();
                        return;
                    }
                    const Waitable wait{shards_[r].get(), ticket.value().get()};
                    results[r] = wait_all({&wait, 1});
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        return results;
    }

  private:
    bool faulty_ = false;
    std::unique_ptr<WireHub> own_hub_;
    std::vector<std::unique_ptr<Doorbell>> bells_;
    std::vector<std::unique_ptr<Wire>> wires_;
    std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace weft::test
