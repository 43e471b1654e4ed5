// Inside src/plan: the ranks of one host give each other what the rails between the hosts need.
// Thread rule: reentrant.
#pragma once

#include <vector>

#include "src/plan/gen.h"

namespace weft::plan {

// Units whose puts go out before they are needed: a put inside a host takes as long as it takes to
// post and sum up a few units of small blocks.
inline constexpr int32_t exchange_ahead = 4;

// A rank's place in its cluster.
struct Home {
    const Cluster& cluster;
    int32_t host, local;  // this rank's
    int32_t ranks;        // on its host
    int32_t ports;        // rails each of them stands for, the last ones maybe fewer

    Home(const Cluster& of, int32_t rank)
        : cluster(of),
          host(of.host_of(rank)),
          local(of.local_of(rank)),
          ranks(of.ranks_on(host)),
          ports((of.rails() + ranks - 1) / ranks) {}
    int32_t rank(int32_t of_local) const {
        return cluster.host(host)[static_cast<size_t>(of_local)];
    }
    // The local rank `offset` places after this one, around the host.
    int32_t at(int32_t offset) const { return (local + offset + ranks) % ranks; }
};

// Units: for each position in a given order, for each port, every rank of the host gets from each
// of the others its input for (position, own rail of that port), in a scratch slot. The puts of a
// unit go out a few units ahead, grants further: the tiles of the next units travel while this one
// is summed up or sent on. A fixed order on all ranks of a host, so no unit waits for a later one.
class Exchange {
  public:
    struct Config {
        std::vector<int32_t> order;  // positions (hosts)
        Places input;
        bool by_rank = false;               // the key of (position, rail) is the rank there
        int32_t ahead = exchange_ahead;     // puts of so many units go out early
        int32_t sets = exchange_ahead + 3;  // units with slots: granted before their puts' turn
        bool release_puts = false;  // the inputs put are overwritten later, if the call is in place
        Marks* released = nullptr;  // told so, by (rail, position)
    };
    Exchange(Writer& to, const Home& home, Config config);

    uint32_t slots() const;  // taken, from number 0
    void start();            // grants and puts of the first units
    void fetch();            // the next unit is there
    // Adds what fetch() brought, and `own`, in the order of local ranks.
    void append(Step& step, Operand own) const;
    // The slot that holds what `from` gave; the slots of the oldest unit fetched are free again.
    Operand slot(int32_t from) const { return slot_of(unit_, from); }
    void used();
    void end();  // the last inputs are released

  private:
    int32_t units() const;
    int32_t pos(int32_t unit) const {
        return config_.order[static_cast<size_t>(unit / home_.ports)];
    }
    int32_t rail(int32_t unit, int32_t local) const {
        return unit % home_.ports * home_.ranks + local;
    }
    int32_t key(int32_t unit, int32_t local) const;  // -1: nothing to move
    Operand slot_of(int32_t unit, int32_t from) const;
    uint32_t chunk(int32_t unit, int32_t local) const;
    void grant(int32_t unit);
    void put(int32_t unit);
    void release_puts(int32_t unit);

    Writer* to_;
    const Home& home_;
    Config config_;
    int32_t unit_ = -1;  // fetched last
    int32_t used_ = 0;   // units whose slots are free again
};

}  // namespace weft::plan
