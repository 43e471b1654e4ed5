// A process that says why it fails and ends at once: the survivors hear the reason before the
// death, and all of them the same one, although the end of a connection may overtake what was sent.
#include <algorithm>

#include "src/bootstrap/hub.h"
#include "tests/catch.h"
#include "tests/unit/bootstrap/sim_net.h"

using namespace weft;
using sim::World;

namespace {

using Group = std::unique_ptr<ControlGroup>;

World::Options options_of(uint64_t seed) {
    World::Options options;
    options.seed = seed;
    options.delay_most = 5 * nanos_per_ms;
    options.dead_ends = false;
    return options;
}

// One rank per process, joined.
struct Job {
    explicit Job(uint64_t seed, int count) : world(options_of(seed)) {
        for (int i = 0; i < count; ++i) {
            hubs.push_back(control_hub_on(world.net_make(i), Settings()));
        }
        groups.resize(hubs.size());
        notices.resize(hubs.size());
        gone_after.resize(hubs.size());
        const auto id = hubs[0]->unique_id_make();
        REQUIRE(id.ok());
        for (int rank = 0; rank < count; ++rank) {
            join(id.value(), rank, count);
        }
        REQUIRE(world.run_until(
            [&] {
                return std::all_of(groups.begin(), groups.end(),
                                   [](const Group& group) { return group != nullptr; });
            },
            20 * nanos_per_s));
        world.run_for(3 * nanos_per_s);  // until nothing of the meeting is left
    }
    ~Job() {
        groups.clear();
        hubs.clear();
    }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    void join(const UniqueIdBytes& id, int rank, int count) {
        JoinRequest request;
        request.id = id;
        request.rank = rank;
        request.rank_count = count;
        const auto at = static_cast<size_t>(rank);
        REQUIRE(hubs[at]
                    ->join(request,
                           [this, at](Result<Group> group) {
                               REQUIRE(group.ok());
                               groups[at] = std::move(group).value();
                               groups[at]->on_notice([this, at](const Notice& notice) {
                                   notices[at].push_back(notice);
                                   gone_after[at] = world.now() - struck;
                               });
                           })
                    .ok());
    }

    World world;
    std::vector<std::unique_ptr<ControlHub>> hubs;
    std::vector<Group> groups;
    std::vector<std::vector<Notice>> notices;  // by survivor
    Nanos struck = 0;
    std::vector<Nanos> gone_after;  // when the last notice came
};

bool has_kind(const std::vector<Notice>& heard, Notice::Kind kind) {
    return std::any_of(heard.begin(), heard.end(),
                       [kind](const Notice& notice) { return notice.kind == kind; });
}

size_t count_of(const std::string& text, const std::string& part) {
    size_t count = 0;
    for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) {
        ++count;
    }
    return count;
}

}  // namespace

TEST_CASE("who fails and ends at once is heard to fail first", "[bootstrap][sim]") {
    size_t told = 0;
    for (uint64_t seed = 1; seed <= 150; ++seed) {
        const int count = 6 + static_cast<int>(seed % 4);
        const int victim = static_cast<int>(seed % 3);  // a leaf has one neighbour, these have more
        CAPTURE(seed, count, victim);
        Job job(seed, count);
        job.struck = job.world.now();
        job.groups[static_cast<size_t>(victim)]->announce(Notice::Kind::failed, "a reason");
        job.world.run_for(static_cast<Nanos>(job.world.pick(4 * nanos_per_ms)));
        job.world.reset(victim);
        job.world.run_for(5 * nanos_per_s);
        bool somebody_knows = false;
        for (int rank = 0; rank < count; ++rank) {
            if (rank != victim) {
                somebody_knows = somebody_knows || has_kind(job.notices[static_cast<size_t>(rank)],
                                                            Notice::Kind::failed);
            }
        }
        told += somebody_knows ? 1 : 0;
        for (int rank = 0; rank < count; ++rank) {
            if (rank == victim) {
                continue;
            }
            CAPTURE(rank);
            const auto& heard = job.notices[static_cast<size_t>(rank)];
            REQUIRE(!heard.empty());
            CHECK(heard.front().rank == victim);
            CHECK((heard.front().kind == Notice::Kind::failed) == somebody_knows);
            CHECK(has_kind(heard, Notice::Kind::died));
            CHECK(job.gone_after[static_cast<size_t>(rank)] < nanos_per_s);
            for (const Notice& notice : heard) {
                CHECK(count_of(notice.text, "rank " + std::to_string(victim)) == 1);
            }
        }
    }
    CHECK(told > 100);  // in the others nobody was left to tell
    CHECK(told < 150);
}

TEST_CASE("a death without a word is told after a short grace", "[bootstrap][sim]") {
    for (uint64_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        Job job(seed, 7);
        job.struck = job.world.now();
        job.world.kill(1);
        job.world.run_for(5 * nanos_per_s);
        for (size_t rank = 0; rank < 7; ++rank) {
            if (rank != 1) {
                REQUIRE(job.notices[rank].size() == 1);
                CHECK(job.notices[rank][0].kind == Notice::Kind::died);
                CHECK(job.gone_after[rank] >= 200 * nanos_per_ms);
                CHECK(job.gone_after[rank] < 300 * nanos_per_ms);
            }
        }
    }
}
