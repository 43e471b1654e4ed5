// What one way to do a call costs on a table, in closed form: estimates for plans of several lanes,
// strands and tiles, over hosts that may be uneven, where cost.h has exact forms for one level, one
// lane and equal hosts. Every plan is a lane or a few: what the first tile's way through them
// takes, how soon the next tile may follow, and what each tile takes of what strands share (a
// rank's thread, its port inside the host, its rails). Tests hold them within 15 % of the simulator
// on equal hosts where plans are bound by latency or by a wire; docs/SIMULATOR.md says where they
// are further off. Basic IEEE operations only, built without contraction: the same bits on every
// machine. Thread rule: reentrant, pure.
#pragma once

#include <cstdint>

#include "src/plan/planner.h"
#include "src/tune/table.h"

namespace weft::tune {

// The machine as far as a price depends on it, in nanoseconds and bytes.
struct Scene {
    Level inside, between;  // what threads do takes its turns already
    double ranks = 1, hosts = 1;
    double host_ranks = 1;        // of the largest host: a rail of the plan each
    double ports = 1;             // rails of the plan that a rank of the smallest host stands for
    double crossings = 0;         // from host to host, of a ring through all ranks
    double rails = 1;             // NICs of a host
    double cross = 1;             // share of a rail's rate that is left from one to another
    double own_rails = 1;         // NICs of a rank
    double stripe_bytes = 65536;  // a put is cut over the own NICs in parts of at least this
};
// Time grows with the number of ranks: made once per communicator or call.
Scene scene_of(const Table& table, const plan::Cluster* cluster, int32_t ranks);

struct Draft {
    Coll coll = Coll::all_reduce;
    plan::Algo algo = plan::Algo::direct;
    plan::Algo inter = plan::Algo::ring;
    bool loads = false;
    bool eager = false;
    double strands = 1;
    double tile_bytes = 0;  // of a chunk
    double tiles = 1;
    double full = 1;  // share of the chunks that hold anything: small blocks leave most empty
};

double price_ns(const Scene& scene, const Draft& draft);

}  // namespace weft::tune
