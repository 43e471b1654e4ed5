// One host standing for all gives what all give.
#include "src/sim/simulate.h"

#include "tests/unit/sim/networks.h"

namespace weft::sim {

namespace {

Report run_folded(const Network& network, const Job& job, const plan::Plan& plan) {
    Options options;
    options.fold = Fold::required;
    Report report = run_ok(network, job, plan, options);
    CHECK(report.ranks_simulated == static_cast<uint32_t>(network.ranks_per_host));
    CHECK(report.folding.find("folded: ") == 0);
    return report;
}

void same_traffic(const Traffic& a, const Traffic& b) {
    CHECK(a.payload_bytes == b.payload_bytes);
    CHECK(a.data_messages == b.data_messages);
    CHECK(a.other_messages == b.other_messages);
    CHECK(a.busy_ns == Approx(b.busy_ns).margin(0.1));
}

}  // namespace

TEST_CASE("folding changes nothing") {
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::all_to_all}) {
        for (const plan::Kind kind : {plan::Kind::direct, plan::Kind::ring}) {
            if (!plan::has_plan(coll, kind)) {
                continue;
            }
            for (const bool eager : {false, true}) {
                const plan::Plan plan = plan::plan_make(coll, kind, 6, 2);
                // A ring of more than one rank per host crosses hosts at its last rank only, which
                // is the same on every host.
                const Network network = network_with_overheads(3, 2);
                const Job job = job_make(plan, 6 * 2 * 4096, eager ? 0 : 1024, eager);
                INFO(plan::plan_name(plan) << (eager ? " eager" : " granted"));
                const Report full = run_ok(network, job, plan, unfolded());
                const Report folded = run_folded(network, job, plan);
                CHECK(full.ranks_simulated == 6);
                CHECK(folded.time_ns == Approx(full.time_ns).epsilon(1e-6));
                REQUIRE(folded.rank_ns.size() == full.rank_ns.size());
                REQUIRE(folded.nics.size() == full.nics.size());
                for (size_t i = 0; i < full.nics.size(); i++) {
                    CHECK(folded.rank_ns[i] == Approx(full.rank_ns[i]).epsilon(1e-6));
                    same_traffic(folded.nics[i].sent, full.nics[i].sent);
                    same_traffic(folded.nics[i].received, full.nics[i].received);
                    same_traffic(folded.intra[i].sent, full.intra[i].sent);
                }
            }
        }
    }
}

TEST_CASE("what has a root, a fault or jitter is not folded, and says so") {
    const plan::Plan rooted = plan::plan_make(Coll::broadcast, plan::Kind::direct, 4, 1);
    Network network = network_make(4, 1);
    CHECK(run_ok(network, job_make(rooted, 100), rooted).folding ==
          "nothing folded: rank 1 is no image of rank 0");
    const plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::ring, 4, 1);
    const Job job = job_make(plan, 100);
    CHECK(run_ok(network, job, plan).ranks_simulated == 1);
    Options options;
    options.jitter_ns = 1;
    CHECK(run_ok(network, job, plan, options).ranks_simulated == 4);
    network.faults = {RailFault{1, 0, 0.5}};
    CHECK(run_ok(network, job, plan).folding.find("faults") != std::string::npos);
    options = Options{};
    options.fold = Fold::required;
    CHECK(run_refused(network, job, plan, options).find("folding was required, but nothing") !=
          std::string::npos);
}

TEST_CASE("unequal chunks are seen: the ranks are no images of each other") {
    // Ring all_reduce: rank r begins with slice r-1, and the slices differ in size.
    const plan::Plan plan = plan::plan_make(Coll::all_reduce, plan::Kind::ring, 4, 1);
    CHECK(run_ok(network_make(4, 1), job_make(plan, 16 * 9), plan).ranks_simulated == 4);
    CHECK(run_ok(network_make(4, 1), job_make(plan, 16 * 8), plan).ranks_simulated == 1);
}

TEST_CASE("a rank that differs is found where it is compared") {
    plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::ring, 9, 1);
    std::swap(plan.ranks[4].lanes[0].steps[0], plan.ranks[4].lanes[0].steps[1]);
    const Job job = job_make(plan, 100);
    Options options;
    options.fold_hosts_checked = 0;
    CHECK(run_ok(network_make(9, 1), job, plan, options).folding ==
          "nothing folded: rank 4 is no image of rank 0");
}

TEST_CASE("512 hosts of 8 ranks are folded to 8, built when needed") {
    Network network = network_with_overheads(512, 8);
    plan::Shape shape;
    shape.coll = Coll::all_gather;
    shape.algo = plan::Algo::ring;
    shape.rank_count = 4096;
    shape.output_blocks = 4096;
    Job job;
    job.shape = shape;
    job.count = 1 << 16;
    uint32_t built = 0;
    const PartOf part_of = [&](int32_t rank) {
        built++;
        return plan::generate(shape, 1, rank);
    };
    Options options;
    options.fold = Fold::required;
    const Result<Report> report = simulate(network, job, part_of, options);
    REQUIRE(report.ok());
    CHECK(built == 8 * (1 + 3) + 8);  // host 0 and three more compared, host 0 run
    CHECK(report.value().rank_ns.size() == 4096);
    // Seven of eight ranks send inside their host; no message is cut: one rail a rank.
    CHECK(report.value().inter_sent[7].data_messages == 4095);
    CHECK(report.value().inter_sent[4095].payload_bytes == 4095ull << 16);
    CHECK(report.value().intra_sent[7].data_messages == 0);
    CHECK(report.value().intra_sent[0].data_messages == 4095);
    CHECK(report.value().inter_sent[8].control_messages == 4095);  // grants go back
    CHECK(report.value().nics[7].sent.payload_bytes == 4095ull << 16);
    CHECK(report.value().nics[0].sent.payload_bytes ==
          0);  // only the last rank of a host sends out
}

}  // namespace weft::sim
