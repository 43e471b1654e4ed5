#include "tools/plan/search.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/sim/nccl.h"
#include "tools/common/args.h"
#include "tools/plan/price.h"

namespace weft::planner {

namespace {

using plan::Algo;

constexpr uint32_t eager_slots = 8;               // that a link of the executor has
constexpr uint64_t eager_bytes = 8192;            // the default of WEFT_EAGER_BYTES
constexpr uint64_t nccl_events_max = 25'000'000;  // the rows that ours are compared with
constexpr uint64_t steps_max = 16'000'000;
constexpr uint64_t tile_least = 16 << 10;

uint64_t busiest_nic(const sim::Report& report) {
    uint64_t most = 0;
    for (const sim::NicReport& nic : report.nics) {
        most = std::max({most, nic.sent.payload_bytes, nic.received.payload_bytes});
    }
    return most;
}

std::string cut_text(const plan::Choice& choice) {
    return format("%u strand%s, tiles of %s, %s", choice.lanes, choice.lanes == 1 ? "" : "s",
                  tools::size_text(choice.tile_bytes).c_str(),
                  choice.shape.loads ? "exposed"
                  : choice.eager     ? "eager"
                                     : "granted");
}

size_t steps_of(const plan::RankPlan& part) {
    size_t steps = 0;
    for (const plan::Lane& lane : part.lanes) {
        steps += lane.steps.size();
    }
    return steps;
}

// Cuts worth a try: few strands, tiles from the whole chunk down to an eighth of it.
std::vector<plan::Choice> cuts(const Call& call, const plan::Choice& choice) {
    std::vector<plan::Choice> list;
    for (const uint32_t strands : {1u, 2u, 4u}) {
        plan::Choice cut = choice_cut(call, choice, strands, 0);
        if (strands * plan::lanes_per_strand(cut.shape) > plan::lanes_max && strands > 1) {
            continue;
        }
        const uint64_t chunk = cut.tile_bytes;
        for (const uint64_t parts : {1u, 2u, 4u, 8u}) {
            if (parts > 1 && chunk / parts < tile_least) {
                break;
            }
            plan::Choice tiled = choice_cut(call, cut, strands, (chunk + parts - 1) / parts);
            const bool fits = tiled.tile_bytes <= eager_bytes && !choice.shape.loads;
            tiled.eager = fits && tiled.shape.slots_min <= eager_slots;
            list.push_back(tiled);
            if (tiled.eager) {
                tiled.eager = false;
                list.push_back(tiled);
            }
        }
    }
    return list;
}

}  // namespace

std::vector<std::string> algorithms_of(const Call& call) {
    std::vector<std::string> names;
    const auto add = [&](Algo algo, const char* name) {
        if (plan::has_plan(call.coll, algo)) {
            names.emplace_back(name);
        }
    };
    const bool levels = call.host_count() > 1 && call.hosts;
    const bool blocks =
        call.coll == Coll::all_to_all || call.coll == Coll::gather || call.coll == Coll::scatter;
    if (levels) {
        names.emplace_back(blocks ? "hier" : "hier:mesh");
        // Blocks of several ranks go by halving where a tree is asked for.
        const bool trees =
            call.coll != Coll::all_gather && call.coll != Coll::reduce_scatter && !blocks;
        for (const char* name : {"hier:halving", "hier:ring"}) {
            if (!blocks) {
                names.emplace_back(name);
            }
        }
        if (trees) {
            names.emplace_back("hier:tree");
        }
    }
    for (const Algo algo : {Algo::direct, Algo::mesh, Algo::ring, Algo::halving, Algo::tree,
                            Algo::chain, Algo::binomial}) {
        add(algo, plan::to_string(algo));
    }
    return names;
}

Row Search::by_formula(const plan::Choice& choice, const std::string& why) const {
    Row row;
    row.algorithm = algorithm_name(choice);
    row.choice = choice;
    row.cut = cut_text(choice);
    const auto ns = closed_form_ns(network_, call_, choice);
    if (ns.ok()) {
        row.time_ns = ns.value();
        row.how = "closed form: " + why;
    } else {
        row.how = "not priced: " + why + "; " + ns.error().what;
    }
    return row;
}

Row Search::simulated(const plan::Choice& choice, bool& too_much) const {
    Row row;
    row.algorithm = algorithm_name(choice);
    row.choice = choice;
    row.cut = cut_text(choice);
    const Subject subject{call_, choice};
    sim::Options how;
    how.slots = eager_slots;
    how.events_max = effort_.events / 2;
    how.fold = sim::Fold::required;
    auto report = sim::simulate(network_, subject.job(false), subject.part_of(), how);
    const bool unfolded =
        !report.ok() && report.error().what.find("folding was required") != std::string::npos;
    if (unfolded) {
        const auto part = plan::generate(choice.shape, choice.lanes, 0);
        const uint64_t steps = part.ok() ? steps_of(part.value()) : 0;
        too_much = steps * static_cast<uint64_t>(call_.rank_count()) > steps_max;
        if (too_much) {
            row.how = "ranks differ, and are too many to simulate all";
            return row;
        }
        how.fold = sim::Fold::never;
        report = sim::simulate(network_, subject.job(false), subject.part_of(), how);
    }
    if (!report.ok()) {
        too_much = report.error().what.find("more than") != std::string::npos;
        row.how = too_much ? "more events than its share of --budget" : report.error().what;
        spent_ += too_much ? how.events_max : 0;
        return row;
    }
    row.simulated = true;
    row.time_ns = report.value().time_ns;
    row.bytes_per_nic = busiest_nic(report.value());
    row.how = unfolded ? "simulated, every rank" : "simulated, folded";
    spent_ += report.value().events;
    return row;
}

Row Search::priced(const plan::Choice& choice) const {
    bool too_much = false;
    Row row = simulated(choice, too_much);
    return row.simulated ? row : by_formula(choice, row.how);
}

Row Search::first(const std::string& algorithm) const {
    plan::Limits limits;
    limits.algo = algorithm;
    const auto choice = choice_of(call_, limits);
    if (!choice.ok()) {
        Row row;
        row.algorithm = algorithm;
        row.how = "not priced: " + choice.error().what;
        return row;
    }
    return priced(choice.value());
}

Row Search::best(Row row) const {
    if (!row.simulated) {
        return row;
    }
    spent_ = 0;
    for (const plan::Choice& cut : cuts(call_, row.choice)) {
        if (spent_ >= effort_.events) {
            break;
        }
        bool too_much = false;
        Row other = simulated(cut, too_much);
        if (other.simulated && other.time_ns < row.time_ns) {
            row = std::move(other);
        }
        if (too_much) {
            break;
        }
    }
    return row;
}

std::vector<Row> Search::nccl() const {
    std::vector<Row> rows;
    for (const plan::NcclAlgo algo : sim::nccl_algos(network_, call_.coll)) {
        Row row;
        row.algorithm = std::string("nccl-") + plan::to_string(algo);
        const auto time =
            sim::nccl_simulate(network_, {call_.coll, call_.bytes()}, algo, {}, nccl_events_max);
        if (time.ok()) {
            row.simulated = true;
            row.time_ns = time.value().time_ns;
            row.bytes_per_nic = time.value().bytes_per_nic;
            row.how = time.value().folding.starts_with("folded") ? "simulated, folded"
                                                                 : "simulated, every rank";
            row.cut = "as NCCL cuts it";
        } else if (algo == plan::NcclAlgo::tree) {
            row.time_ns = sim::nccl_tree_least_ns(network_, {call_.coll, call_.bytes()});
            row.how = "closed form, the least it can take: too many events to simulate";
        } else {
            row.how = "not priced: " + time.error().what;
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

}  // namespace weft::planner
