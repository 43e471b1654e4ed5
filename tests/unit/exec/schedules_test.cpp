// Collectives under seeded schedules of a hostile wire: every seed is another world of ranks,
// hosts, algorithms, sizes and faults, and the same seed is the same schedule. Faults are rolled
// and counted in calls, not in time, so a failing seed fails again:
//
//   WEFT_TEST_SEED=N unit_exec "schedules: one seed"
#include <cstdlib>

#include "src/base/log.h"
#include "tests/catch.h"
#include "tests/unit/exec/collective_check.h"

using namespace weft;
using weft::test::all_colls;
using weft::test::World;
using weft::test::WorldOptions;
using weft::test::wrong_elements;

namespace {

// Rolls of one seed. Plain arithmetic, the same everywhere.
class Rolls {
  public:
    explicit Rolls(uint64_t seed) : state_(seed) {}
    uint64_t below(uint64_t limit) {
        state_ = state_ * 6364136223846793005 + 1442695040888963407;
        return (state_ >> 33) % limit;
    }
    template <class T, size_t n>
    T one_of(const T (&choices)[n]) {
        return choices[below(n)];
    }

  private:
    uint64_t state_;
};

// Ranks dealt to hosts in turn, so that neighbours by number are on different ones.
std::vector<std::vector<int32_t>> hosts_dealt(int ranks, int hosts) {
    std::vector<std::vector<int32_t>> dealt(static_cast<size_t>(hosts));
    for (int32_t rank = 0; rank < ranks; rank++) {
        dealt[static_cast<size_t>(rank % hosts)].push_back(rank);
    }
    return dealt;
}

WorldOptions world_of(Rolls& rolls, uint64_t seed) {
    constexpr const char* flat[] = {"", "ring", "direct", "halving,tree", "mesh,binomial", "chain"};
    constexpr const char* levels[] = {"hier:ring", "hier:mesh", "hier:halving", "hier:tree"};
    WorldOptions options;
    options.ranks = 2 + static_cast<int>(rolls.below(5));
    options.fault = format("seed=%llu,reorder=0.%llu,dup=0.%llu,again=0.%llu,stale=0.%llu",
                           static_cast<unsigned long long>(seed + 1),
                           static_cast<unsigned long long>(rolls.below(6)),
                           static_cast<unsigned long long>(rolls.below(4)),
                           static_cast<unsigned long long>(rolls.below(4)),
                           static_cast<unsigned long long>(rolls.below(3)));
    if (rolls.below(4) == 0) {  // the only fault of real time
        options.fault += ",delay=0.2,delay_us=50";
    }
    const int hosts = 1 + static_cast<int>(rolls.below(3));
    options.limits.algo = rolls.one_of(flat);
    if (hosts > 1) {
        options.hosts = hosts_dealt(options.ranks, std::min(hosts, options.ranks));
        options.limits.algo = rolls.below(2) == 0 ? rolls.one_of(levels) : rolls.one_of(flat);
    }
    constexpr uint64_t tiles[] = {0, 4096, 16384};
    options.limits.tile_bytes = rolls.one_of(tiles);
    return options;
}

// Several operations on the same links, with nothing in between: what one leaves under way meets
// the next.
uint64_t schedule_wrong(uint64_t seed, WireCounters* counters = nullptr) {
    Rolls rolls(seed * 0x9e3779b97f4a7c15 + 1);
    const WorldOptions options = world_of(rolls, seed);
    CAPTURE(seed, options.ranks, options.fault, options.limits.algo, options.limits.tile_bytes);
    World world(options);
    constexpr uint64_t counts[] = {1, 17, 1001, 5003, 20'011};
    uint64_t wrong = 0;
    for (uint64_t salt = 0; salt < 4; salt++) {
        const Coll coll = rolls.one_of(all_colls);
        const uint64_t count = rolls.one_of(counts);
        const int root = static_cast<int>(rolls.below(static_cast<uint64_t>(options.ranks)));
        const bool in_place = coll < Coll::all_to_all && rolls.below(2) == 0;
        CAPTURE(to_string(coll), count, root, in_place, salt);
        const uint64_t here = wrong_elements(world, coll, count, root, in_place, false, salt);
        if (here != 0) {
            CHECK(here == 0);
        }
        wrong += here;
    }
    for (int rank = 0; counters != nullptr && rank < world.size(); rank++) {
        counters->puts += world.wire(rank).counters().puts;
        counters->put_bytes += world.wire(rank).counters().put_bytes;
        counters->again += world.wire(rank).counters().again;
    }
    return wrong;
}

void sweep(uint64_t from, uint64_t count) {
    WireCounters counters;
    for (uint64_t seed = from; seed < from + count; seed++) {
        REQUIRE(schedule_wrong(seed, &counters) == 0);
    }
    CHECK(counters.again > count);  // the wires were hostile
    WARN(count << " schedules, " << counters.puts << " puts, " << counters.put_bytes << " bytes, "
               << counters.again << " refusals");
}

}  // namespace

TEST_CASE("schedules: the same seed is the same schedule", "[exec]") {
    for (uint64_t seed = 0; seed < 20; seed++) {
        Rolls rolls(seed * 0x9e3779b97f4a7c15 + 1);
        if (world_of(rolls, seed).fault.find("delay") != std::string::npos) {
            continue;
        }
        WireCounters first, second;
        CHECK(schedule_wrong(seed, &first) == 0);
        CHECK(schedule_wrong(seed, &second) == 0);
        CAPTURE(seed);
        CHECK(first.puts == second.puts);
        CHECK(first.again == second.again);
    }
}

TEST_CASE("schedules: 400 seeds", "[exec]") {
    sweep(0, 400);
}

TEST_CASE("schedules: 10,000 seeds", "[.long]") {
    sweep(0, 10'000);
}

TEST_CASE("schedules: one seed", "[.seed]") {
    const char* seed = std::getenv("WEFT_TEST_SEED");
    REQUIRE(seed != nullptr);
    CHECK(schedule_wrong(std::strtoull(seed, nullptr, 10)) == 0);
}
