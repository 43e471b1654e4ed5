// Closed forms against the simulator, which knows nothing of them.
#include "src/tune/cost.h"

#include "src/plan/verify.h"
#include "tests/unit/sim/networks.h"
#include "tests/unit/tune/plans_by_hand.h"

namespace weft::tune {

namespace {

constexpr double tolerance = 0.01;

sim::Network network_make(int32_t hosts, int32_t ranks_per_host) {
    sim::Network network;
    network.hosts = hosts;
    network.ranks_per_host = ranks_per_host;
    network.rails.assign(static_cast<size_t>(ranks_per_host), sim::Port{10, 5000, 0});
    network.intra = sim::Port{100, 1000, 0};
    network.inter_overhead = network.intra_overhead = sim::Overhead{20, 10};
    network.compute.copy_bytes_per_ns = 200;
    network.compute.reduce_bytes_per_ns = 60;
    network.stripe_bytes_min = 0;
    return network;
}

Level level_of(const sim::Network& network, bool inter) {
    const sim::Port& port = inter ? network.rails[0] : network.intra;
    const sim::Overhead& overhead = inter ? network.inter_overhead : network.intra_overhead;
    Level level;
    level.latency_ns = port.latency_ns;
    level.post_ns = overhead.post_ns;
    level.completion_ns = overhead.completion_ns;
    level.gap_ns = port.gap_ns;
    level.ns_per_byte = 1 / port.bytes_per_ns;
    level.reduce_ns_per_byte = 1 / network.compute.reduce_bytes_per_ns;
    level.copy_ns_per_byte = 1 / network.compute.copy_bytes_per_ns;
    level.header_bytes = network.header_bytes;
    level.control_bytes = network.control_bytes;
    return level;
}

double simulated(const sim::Network& network, const plan::Plan& plan, const Ask& ask) {
    sim::Job job = sim::job_make(plan, static_cast<uint64_t>(ask.block_bytes), 0, ask.eager);
    if (ask.tiles > 1) {
        job.tile_bytes = (job.count + ask.tiles - 1) / ask.tiles;
    }
    sim::Options options = sim::unfolded();
    options.slots = ask.slots;
    return sim::run_ok(network, job, plan, options).time_ns;
}

void agrees(const sim::Network& network, const plan::Plan& plan, const Ask& ask) {
    const Result<double> form = cost_ns(level_of(network, network.hosts > 1), ask);
    REQUIRE(form.ok());
    INFO(to_string(ask.coll) << " by " << to_string(ask.method) << ", " << ask.ranks << " ranks, "
                             << ask.block_bytes << " bytes, " << ask.tiles << " tiles"
                             << (ask.eager ? ", eager" : ", granted"));
    CHECK(form.value() == Approx(simulated(network, plan, ask)).epsilon(tolerance));
}

// Blocks bound by latency, and by bytes; eager ones are small.
template <class Each>
void each_case(Each each) {
    for (const int32_t ranks : {2, 3, 4, 8}) {
        each(ranks, 5120.0, false);
        each(ranks, 5120.0, true);
        each(ranks, 1.92e6, false);
    }
}

}  // namespace

TEST_CASE("direct: the closed form is the simulator's time") {
    each_case([](int32_t ranks, double bytes, bool eager) {
        for (const Coll coll : plan::collectives) {
            const plan::Plan plan = plan::plan_make(coll, plan::Kind::direct, ranks, 1);
            agrees(network_make(ranks, 1), plan, {coll, Method::direct, ranks, bytes, eager, 1, 8});
        }
    });
}

TEST_CASE("ring: the closed form is the simulator's time") {
    each_case([](int32_t ranks, double bytes, bool eager) {
        for (const Coll coll : plan::collectives) {
            if (plan::has_plan(coll, plan::Kind::ring)) {
                const plan::Plan plan = plan::plan_make(coll, plan::Kind::ring, ranks, 1);
                agrees(network_make(ranks, 1), plan,
                       {coll, Method::ring, ranks, bytes, eager, 1, 8});
            }
        }
    });
}

TEST_CASE("chains pipeline their tiles") {
    each_case([](int32_t ranks, double bytes, bool eager) {
        for (const Coll coll : {Coll::broadcast, Coll::reduce}) {
            const plan::Plan plan = plan::plan_make(coll, plan::Kind::ring, ranks, 1);
            agrees(network_make(ranks, 1), plan, {coll, Method::ring, ranks, bytes, eager, 10, 64});
        }
    });
}

TEST_CASE("loads: the closed form is the simulator's time") {
    // In rank order, small reads of all ranks meet at rank 0 first: only large ones share evenly.
    for (const int32_t ranks : {2, 4, 8}) {
        for (const Coll coll : plan::collectives) {
            if (plan::has_plan(coll, plan::Kind::loads)) {
                const plan::Plan plan = plan::plan_make(coll, plan::Kind::loads, ranks, 1);
                agrees(network_make(1, ranks), plan,
                       {coll, Method::loads, ranks, 1.92e6, false, 1, 2});
            }
        }
    }
}

TEST_CASE("halving, doubling, both, and a binomial tree") {
    each_case([](int32_t ranks, double bytes, bool eager) {
        agrees(network_make(ranks, 1), binomial(ranks),
               {Coll::broadcast, Method::binomial, ranks, bytes, eager, 1, 8});
        if (ranks == 3) {
            CHECK_FALSE(cost_ns(Level{}, {Coll::all_gather, Method::halving_doubling, 3}).ok());
            return;
        }
        for (const Coll coll : {Coll::all_gather, Coll::reduce_scatter, Coll::all_reduce}) {
            agrees(network_make(ranks, 1), halving_doubling(coll, ranks),
                   {coll, Method::halving_doubling, ranks, bytes, eager, 1, 8});
        }
    });
}

TEST_CASE("mesh all_reduce: two shots") {
    for (const int32_t ranks : {2, 3, 8}) {
        for (const double bytes : {5120.0 * ranks, 1.92e6}) {
            agrees(network_make(ranks, 1), two_shot(ranks),
                   {Coll::all_reduce, Method::mesh, ranks, bytes, false, 1, 8});
        }
    }
}

TEST_CASE("two levels, staged and pipelined") {
    for (const auto& [hosts, ranks] : {std::pair{2, 2}, {2, 4}, {4, 2}, {4, 4}, {1, 4}, {4, 1}}) {
        for (const bool staged : {true, false}) {
            for (const double bytes : {5120.0, 1.92e6}) {
                const sim::Network network = network_make(hosts, ranks);
                const Hierarchy machine{level_of(network, true), level_of(network, false), hosts,
                                        ranks};
                const Result<double> form =
                    cost_hierarchical_ns(machine, Coll::all_gather, bytes,
                                         staged ? Overlap::staged : Overlap::pipelined);
                REQUIRE(form.ok());
                INFO(hosts << " hosts of " << ranks << (staged ? " staged " : " pipelined ")
                           << bytes);
                Ask ask;
                ask.block_bytes = bytes;
                CHECK(form.value() ==
                      Approx(simulated(network, hierarchical(hosts, ranks, staged), ask))
                          .epsilon(tolerance));
            }
        }
    }
}

TEST_CASE("two levels folded are two levels in full") {
    for (const bool staged : {true, false}) {
        const sim::Network network = network_make(5, 4);
        const plan::Plan plan = hierarchical(5, 4, staged);
        const sim::Job job = sim::job_make(plan, 200000, 50000);
        sim::Options folded;
        folded.fold = sim::Fold::required;
        const sim::Report one = sim::run_ok(network, job, plan, folded);
        const sim::Report all = sim::run_ok(network, job, plan, sim::unfolded());
        CHECK(one.ranks_simulated == 4);
        CHECK(all.ranks_simulated == 20);
        CHECK(one.time_ns == Approx(all.time_ns).epsilon(1e-9));
        for (size_t nic = 0; nic < all.nics.size(); nic++) {
            CHECK(one.nics[nic].sent.payload_bytes == 4 * 200000);
            CHECK(all.nics[nic].sent.payload_bytes == 4 * 200000);
            CHECK(one.nics[nic].received.busy_ns ==
                  Approx(all.nics[nic].received.busy_ns).epsilon(1e-6));
        }
    }
}

TEST_CASE("4,096 GPUs: a two-level all_gather of 512 hosts of 8, folded") {
    const sim::Network network = network_make(512, 8);
    sim::Job job;
    job.shape = shape_make(Coll::all_gather, 4096, 1);
    job.count = 65536;
    const auto part_of = [](int32_t rank) -> Result<plan::RankPlan> {
        return hierarchical_part(512, 8, false, rank);
    };
    const Result<sim::Report> run = sim::simulate(network, job, part_of);
    REQUIRE(run.ok());
    const sim::Report& report = run.value();
    CHECK(report.folding.find("folded: 8 of 4096 ranks") == 0);
    for (const sim::NicReport& nic : report.nics) {
        REQUIRE(nic.sent.payload_bytes == 511 * job.count);
        REQUIRE(nic.received.payload_bytes == 511 * job.count);
    }
    const Hierarchy machine{level_of(network, true), level_of(network, false), 512, 8};
    // 511 grants of 20 ns keep the thread from the first put: the form has one round trip.
    CHECK(report.time_ns ==
          Approx(cost_hierarchical_ns(machine, Coll::all_gather, 65536, Overlap::pipelined).value())
              .epsilon(0.05));
}

TEST_CASE("plans written by hand are right plans") {
    for (const Coll coll : {Coll::all_gather, Coll::reduce_scatter, Coll::all_reduce}) {
        const Result<void> proved = plan::prove(halving_doubling(coll, 4));
        INFO((proved.ok() ? "" : proved.error().what));
        CHECK(proved.ok());
    }
    CHECK(plan::prove(binomial(5)).ok());
    CHECK(plan::prove(two_shot(3)).ok());
    CHECK(plan::prove(hierarchical(2, 2, true)).ok());
    CHECK(plan::prove(hierarchical(3, 2, false)).ok());
}

TEST_CASE("too few slots are a deadlock to the prover and to the simulator") {
    plan::Plan plan = halving_doubling(Coll::all_gather, 8);
    sim::Job job = sim::job_make(plan, 64, 0, true);
    CHECK(sim::run_ok(network_make(8, 1), job, plan).time_ns > 0);
    plan.shape.slots_min = job.shape.slots_min = 2;
    CHECK_FALSE(plan::prove(plan).ok());
    CHECK(
        sim::run_refused(network_make(8, 1), job, plan, sim::unfolded())
            .find("(put to rank 4) (tile 0, eager) waits for a free slot of the link of rank 4") !=
        std::string::npos);
}

TEST_CASE("pipelining the levels hides the smaller one") {
    const sim::Network network = network_make(4, 4);
    const Hierarchy machine{level_of(network, true), level_of(network, false), 4, 4};
    for (const Coll coll : {Coll::all_gather, Coll::reduce_scatter, Coll::all_reduce}) {
        const double staged = cost_hierarchical_ns(machine, coll, 1.92e6, Overlap::staged).value();
        const double pipelined =
            cost_hierarchical_ns(machine, coll, 1.92e6, Overlap::pipelined).value();
        CHECK(pipelined < 0.9 * staged);
        CHECK(pipelined > 0.5 * staged);
    }
}

TEST_CASE("many tiles bring a double tree to twice the bytes of its port") {
    const Level level = level_of(network_make(8, 1), true);
    const double bytes = 1e9;
    const Ask ask{Coll::all_reduce, Method::double_tree, 8, bytes, false, 1000, 2};
    const double form = cost_ns(level, ask).value();
    CHECK(form > 2 * bytes * level.ns_per_byte);
    CHECK(form < 2.05 * bytes * level.ns_per_byte);
}

TEST_CASE("what has no form is refused by name") {
    const Result<double> none = cost_ns(Level{}, {Coll::all_to_all, Method::ring, 4});
    REQUIRE_FALSE(none.ok());
    CHECK(none.error().what == "no closed form for alltoall by ring of 4 ranks");
    CHECK_FALSE(cost_hierarchical_ns({}, Coll::all_gather, 1, Overlap::staged).ok());
    CHECK_FALSE(cost_hierarchical_ns({{}, {}, 2, 2}, Coll::gather, 1, Overlap::staged).ok());
}

}  // namespace weft::tune
