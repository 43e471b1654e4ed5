// The whole protocol over the simulated network: hundreds of seeds, each with its own sizes, delays
// and splits; with and without deaths at every moment. Nothing may hang, nobody may be accused
// wrongly, and every connection must be gone at the end.
#include <algorithm>

#include "src/base/log.h"
#include "src/bootstrap/hub.h"
#include "tests/catch.h"
#include "tests/unit/bootstrap/sim_net.h"

using namespace weft;
using sim::World;

namespace {

enum class Fault { none, kill, vanish, two_kills, cut, stranger };

const char* name_of(Fault fault) {
    switch (fault) {
        case Fault::none:
            return "none";
        case Fault::kill:
            return "kill";
        case Fault::vanish:
            return "vanish";
        case Fault::two_kills:
            return "two kills";
        case Fault::cut:
            return "cut";
        case Fault::stranger:
            return "stranger";
    }
    return "?";
}

using Group = std::unique_ptr<ControlGroup>;

struct Case;

// What one rank does: join, gathers, a derived group with gathers, leave. Ends at the first error.
struct Script {
    Case* owner = nullptr;
    int32_t rank = 0;
    int process = 0;
    Group group, child;
    int steps = 0;
    bool over = false;
    bool joined = false;
    std::string error;
    std::vector<Notice> notices;

    void start();
    void gather(ControlGroup& in, int left, std::function<void()> next);
    void derive();
    void end(const std::string& why);
};

struct Case {
    Case(uint64_t seed, Fault kind);
    void run();
    void fault_apply();
    void check();

    uint64_t seed;
    Fault fault;
    World world;
    Settings settings;
    int process_count, rank_count;
    std::vector<std::unique_ptr<ControlHub>> hubs;
    std::vector<std::unique_ptr<Script>> scripts;
    std::vector<int32_t> members;  // of the derived group
    std::set<int> dead;
    bool all_joined = false;  // when the first fault struck
    Nanos struck = 0;
    UniqueIdBytes id{};
};

World::Options options_of(uint64_t seed) {
    World::Options options;
    options.seed = seed;
    options.piece_most = seed % 5 == 0 ? 1 : 4096;
    options.delay_most = seed % 3 == 0 ? 300 * nanos_per_ms : 5 * nanos_per_ms;
    return options;
}

Case::Case(uint64_t number, Fault kind) : seed(number), fault(kind), world(options_of(number)) {
    settings.init_timeout_s = 60;
    process_count = static_cast<int>(1 + world.pick(9));
    rank_count = process_count + static_cast<int>(world.pick(4));
    for (int i = 0; i < process_count; ++i) {
        hubs.push_back(control_hub_on(world.net_make(i), settings));
    }
    const auto made = hubs[world.pick(hubs.size())]->unique_id_make();
    REQUIRE(made.ok());
    id = made.value();
    for (int32_t rank = 0; rank < rank_count; ++rank) {
        auto script = std::make_unique<Script>();
        script->owner = this;
        script->rank = rank;
        script->process = rank < process_count ? rank : static_cast<int>(world.pick(hubs.size()));
        scripts.push_back(std::move(script));
        if (world.pick(3) != 0) {
            members.push_back(rank);
        }
    }
    std::shuffle(members.begin(), members.end(), std::mt19937_64(seed));
}

void Script::end(const std::string& why) {
    if (std::exchange(over, true)) {
        return;
    }
    error = why;
    child.reset();
    group.reset();
}

void Script::start() {
    JoinRequest request;
    request.id = owner->id;
    request.rank = rank;
    request.rank_count = owner->rank_count;
    request.info = "info " + std::to_string(rank);
    request.timeout = 60 * nanos_per_s;
    const auto started =
        owner->hubs[static_cast<size_t>(process)]->join(request, [this](Result<Group> result) {
            if (!result.ok()) {
                end(result.error().what);
                return;
            }
            joined = true;
            group = std::move(result).value();
            group->on_notice([this](const Notice& notice) { notices.push_back(notice); });
            gather(*group, 3, [this] { derive(); });
        });
    REQUIRE(started.ok());
}

void Script::gather(ControlGroup& in, int left, std::function<void()> next) {
    if (left == 0) {
        next();
        return;
    }
    const std::string word = "step " + std::to_string(left) + " of ";
    in.all_gather(word + std::to_string(in.rank()), [this, &in, left, word, next](auto result) {
        if (!result.ok()) {
            end(result.error().what);
            return;
        }
        ++steps;
        for (size_t i = 0; i < result.value().size(); ++i) {
            CHECK(result.value()[i] == word + std::to_string(i));
        }
        gather(in, left - 1, next);
    });
}

void Script::derive() {
    const auto& members = owner->members;
    if (std::find(members.begin(), members.end(), rank) == members.end()) {
        end("");
        return;
    }
    group->derive(members, 3, "child", [this](Result<Group> result) {
        if (!result.ok()) {
            end(result.error().what);
            return;
        }
        child = std::move(result).value();
        child->on_notice([this](const Notice& notice) {
            // Ranks of the child, named as in the parent.
            Notice own = notice;
            own.rank = owner->members[static_cast<size_t>(notice.rank)];
            notices.push_back(own);
        });
        gather(*child, 2, [this] { end(""); });
    });
}

void Case::fault_apply() {
    const int victim = static_cast<int>(world.pick(static_cast<uint64_t>(process_count)));
    if (struck == 0) {
        struck = world.now();
        all_joined = std::all_of(scripts.begin(), scripts.end(),
                                 [](const auto& one) { return one->joined; });
    }
    switch (fault) {
        case Fault::none:
            break;
        case Fault::kill:
        case Fault::two_kills:
            world.kill(victim);
            dead.insert(victim);
            break;
        case Fault::vanish:
            world.vanish(victim);
            dead.insert(victim);
            break;
        case Fault::cut:
            world.cut(world.pick(1000));
            break;
        case Fault::stranger:
            world.stranger(victim, std::string(world.pick(100), '\x5a'));
            break;
    }
}

void Case::run() {
    std::vector<std::pair<Nanos, std::function<void()>>> plan;
    for (auto& script : scripts) {
        plan.emplace_back(static_cast<Nanos>(world.pick(2 * nanos_per_s)),
                          [one = script.get()] { one->start(); });
    }
    const int faults = fault == Fault::none ? 0 : fault == Fault::two_kills ? 2 : 1;
    for (int i = 0; i < faults; ++i) {
        const uint64_t span = seed % 3 == 0 ? 12 : 3;
        plan.emplace_back(static_cast<Nanos>(world.pick(span * nanos_per_s)),
                          [this] { fault_apply(); });
    }
    std::sort(plan.begin(), plan.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    Nanos before = 0;
    for (const auto& [when, action] : plan) {
        world.run_for(when - before);
        before = when;
        action();
    }
    const auto all_over = [&] {
        return std::all_of(scripts.begin(), scripts.end(), [&](const auto& one) {
            return one->over || dead.count(one->process) != 0;
        });
    };
    const bool ended = world.run_until(all_over, 200 * nanos_per_s);
    if (!ended) {
        for (const auto& one : scripts) {
            if (!one->over && dead.count(one->process) == 0) {
                UNSCOPED_INFO("rank " << one->rank << " hangs: joined " << one->joined << ", step "
                                      << one->steps);
            }
        }
    }
    CHECK(ended);
    if (all_joined && fault == Fault::kill) {
        CHECK(world.now() - struck < 10 * nanos_per_s);
    }
    world.run_for(90 * nanos_per_s);
    check();
}

void Case::check() {
    for (const auto& one : scripts) {
        if (dead.count(one->process) != 0) {
            continue;
        }
        INFO("rank " << one->rank << " of process " << one->process << ": " << one->error);
        if (fault == Fault::none || fault == Fault::stranger) {
            CHECK(one->error.empty());
            CHECK(one->notices.empty());
        }
        if (fault == Fault::kill && all_joined && !one->error.empty()) {
            const bool named = one->error.find(" died") != std::string::npos ||
                               one->error.find(" left") != std::string::npos ||
                               one->error.find(" gone") != std::string::npos;
            CHECK(named);
        }
        for (const Notice& notice : one->notices) {
            INFO(notice.text);
            if (fault != Fault::cut) {
                CHECK(dead.count(scripts[static_cast<size_t>(notice.rank)]->process) == 1);
            }
            CHECK(notice.kind == Notice::Kind::died);
        }
    }
    for (int i = 0; i < process_count; ++i) {
        if (world.is_alive(i)) {
            INFO("process " << i);
            CHECK(hubs[static_cast<size_t>(i)]->counters().connections == 0);
        }
    }
    for (auto& script : scripts) {
        script->over = true;  // what closing the hubs ends is no error
    }
    hubs.clear();
}

void sweep(Fault fault, uint64_t first, uint64_t count) {
    for (uint64_t seed = first; seed < first + count; ++seed) {
        INFO("fault " << name_of(fault) << ", seed " << seed);
        Case one(seed, fault);
        one.run();
    }
}

}  // namespace

TEST_CASE("simulated jobs without faults succeed", "[bootstrap][sim]") {
    sweep(Fault::none, 1, 150);
}

TEST_CASE("simulated jobs survive strangers", "[bootstrap][sim]") {
    sweep(Fault::stranger, 1000, 60);
}

TEST_CASE("simulated deaths are noticed and nothing hangs", "[bootstrap][sim]") {
    sweep(Fault::kill, 2000, 200);
    sweep(Fault::two_kills, 3000, 100);
}

TEST_CASE("simulated hosts that vanish are noticed and nothing hangs", "[bootstrap][sim]") {
    sweep(Fault::vanish, 4000, 100);
}

TEST_CASE("simulated broken connections hang nobody", "[bootstrap][sim]") {
    sweep(Fault::cut, 5000, 100);
}

TEST_CASE("a seed gives the same run bit for bit", "[bootstrap][sim]") {
    const auto trace = [](uint64_t seed) {
        Case one(seed, Fault::kill);
        one.run();
        std::string text = std::to_string(one.world.now());
        for (const auto& script : one.scripts) {
            text += "/" + std::to_string(script->steps) + script->error;
        }
        return text;
    };
    CHECK(trace(77) == trace(77));
    CHECK(trace(77) != trace(78));
}
