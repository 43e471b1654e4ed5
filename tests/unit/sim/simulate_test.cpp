// What single plans cost, added up by hand.
#include "src/sim/simulate.h"

#include "tests/unit/sim/networks.h"

namespace weft::sim {

namespace {

const char* one_put =
    "rank 0\nlane scratch=0\nput <- in1 to 1 chunk 0\n"
    "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n";

}  // namespace

TEST_CASE("a put costs its grant, overheads, latency, bytes and its delivery") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    const Network network = network_with_overheads(2, 1);
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    // Grant: post 50, 1 byte 0.1, latency 1000, completion 30. Put: post 50, latency 1000,
    // 100000 bytes 10000, completion 30. Delivery: latency 1000, completion 30.
    const double granted = 50 + 0.1 + 1000 + 30;
    const double arrived = granted + 50 + 1000 + 10000;
    CHECK(report.rank_ns[1] == Approx(arrived + 30));
    CHECK(report.rank_ns[0] == Approx(arrived + 1000 + 30));
    CHECK(report.time_ns == Approx(report.rank_ns[0]));
}

TEST_CASE("an eager put needs no grant, carries its header, and is nobody's to wait for") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    Network network = network_with_overheads(2, 1);
    network.header_bytes = 100;
    const Report report = run_ok(network, job_make(plan, 900, 0, true), plan);
    const double arrived = 50 + 1000 + (900 + 100) * 0.1 + 30;
    CHECK(report.rank_ns[1] == Approx(arrived + 900 / 200.0));  // from the slot to the output
    CHECK(report.rank_ns[0] == Approx(50));
}

TEST_CASE("inside a host the level's own terms count") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    const Report report = run_ok(network_with_overheads(1, 2), job_make(plan, 900, 0, true), plan);
    CHECK(report.rank_ns[1] == Approx(20 + 200 + 901 / 100.0 + 10 + 4.5));
}

TEST_CASE("the gap bounds the rate of messages, not their latency") {
    plan::Plan plan = plan_of(2, 1, one_put);
    plan.ranks[0].lanes[0].steps.clear();
    plan.ranks[1].lanes[0].steps.clear();
    plan::Step signal, wait;
    signal.kind = plan::StepKind::put;
    signal.peer = 1;
    wait.kind = plan::StepKind::wait;
    wait.peer = 0;
    for (int i = 0; i < 8; i++) {
        plan.ranks[0].lanes[0].steps.push_back(signal);
        plan.ranks[1].lanes[0].steps.push_back(wait);
    }
    Network network = network_make(2, 1);
    network.rails[0].gap_ns = 500;
    Options options;
    options.slots = 8;
    const Report report = run_ok(network, job_make(plan, 16), plan, options);
    CHECK(report.time_ns == Approx(7 * 500 + 1000 + 0.1));
}

TEST_CASE("slots: no more messages are out than the link has room for") {
    plan::Plan plan = plan_of(2, 1, one_put);
    const auto put = plan.ranks[0].lanes[0].steps[0];
    const auto grant = plan.ranks[1].lanes[0].steps[0];
    const auto wait = plan.ranks[1].lanes[0].steps[1];
    for (int i = 0; i < 3; i++) {
        plan.ranks[0].lanes[0].steps.push_back(put);
        plan.ranks[1].lanes[0].steps.push_back(grant);
        plan.ranks[1].lanes[0].steps.push_back(wait);
    }
    const Network network = network_make(2, 1);
    const Job job = job_make(plan, 9, 0, true);
    Options options;
    options.slots = 1;  // 4 messages, 3 round trips between them
    CHECK(run_ok(network, job, plan, options).time_ns == Approx(4 * 1001 + 3 * 1000));
    options.slots = 2;
    CHECK(run_ok(network, job, plan, options).time_ns == Approx(2 * 1002 + 1000 - 1).margin(1.1));
    options.slots = 4;
    CHECK(run_ok(network, job, plan, options).time_ns == Approx(1000 + 4));
}

TEST_CASE("flows of one sender share its port, by turns or in the order posted") {
    const plan::Plan plan = plan::plan_make(Coll::scatter, plan::Kind::direct, 3, 1);
    Network network = network_make(3, 1);
    network.quantum_bytes = 1000;
    network.turns = Turns::fair;
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    const double granted = 1000.1;
    // Both end within a quantum of twice the time of one.
    CHECK(report.rank_ns[1] == Approx(granted + 1000 + 2 * 10000).margin(101));
    CHECK(report.rank_ns[2] == Approx(granted + 1000 + 2 * 10000).margin(101));
    CHECK(report.nics[0].sent.busy_ns == Approx(20000));
    network.turns = Turns::posted;
    const Report posted = run_ok(network, job_make(plan, 100000), plan);
    CHECK(posted.rank_ns[1] == Approx(granted + 1000 + 10000));
    CHECK(posted.rank_ns[2] == Approx(granted + 1000 + 2 * 10000));
}

TEST_CASE("incast: flows of many senders share the receiver's port") {
    const plan::Plan plan = plan::plan_make(Coll::gather, plan::Kind::direct, 5, 1);
    Network network = network_make(5, 1);
    network.quantum_bytes = 1000;
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    // Four grants leave the root's port one after the other; the bytes then fill its other side.
    CHECK(report.rank_ns[0] == Approx(1000.1 + 1000 + 4 * 10000).margin(1));
    CHECK(report.nics[0].received.busy_ns == Approx(40000));
    CHECK(report.nics[0].received.payload_bytes == 400000);
}

TEST_CASE("a small message slips in between the packets of a large one") {
    // Rank 0 puts to rank 1, then grants to it: the grant does not wait for the put's bytes.
    const std::string steps =
        "rank 0\nlane scratch=0\nput <- in1 to 1 chunk 0\ngrant out1 to 1 chunk 0\n"
        "wait out1 from 1 chunk 0\n"
        "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nput <- in0 to 0 chunk 0\n"
        "wait out0 from 0 chunk 0\n";
    const plan::Plan plan = plan_of(2, 1, steps);
    const Report report = run_ok(network_make(2, 1), job_make(plan, 100000), plan);
    CHECK(report.rank_ns[0] == Approx(1000.1 + 1000.1 + 1000 + 10000));
    // Its time is not lost to the put, which ends that much later.
    CHECK(report.rank_ns[1] == Approx(1000.1 + 1000.1 + 1000 + 10000 + 1000));
    CHECK(report.nics[0].sent.busy_ns == Approx(10000.1));
}

TEST_CASE("loads cost two latencies and fill the reader's port") {
    const plan::Plan plan = plan::plan_make(Coll::broadcast, plan::Kind::loads, 2, 1);
    const Network network = network_make(1, 2);
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    const double exposed = 200 + 0.01;
    const double loaded = exposed + 2 * 200 + 1000;
    CHECK(report.rank_ns[1] == Approx(loaded));
    CHECK(report.rank_ns[0] == Approx(loaded + 200 + 0.01));  // the signal that ends the expose
    CHECK(report.intra[1].received.payload_bytes == 100000);
    CHECK(report.intra[0].sent.payload_bytes == 100000);
}

TEST_CASE("a rank that reduces pays per byte and source beyond the first") {
    const plan::Plan plan = plan::plan_make(Coll::reduce, plan::Kind::direct, 3, 1);
    Network network = network_make(1, 3);
    network.compute.reduce_bytes_per_ns = 50;
    const Job job = job_make(plan, 1000, 0, true);
    Network free = network;
    free.compute.reduce_bytes_per_ns = 0;
    CHECK(run_ok(network, job, plan).time_ns ==
          Approx(run_ok(free, job, plan).time_ns + 2 * 1000 / 50.0));
}

TEST_CASE("pieces: a large put is cut over the rank's rails, a small one takes them in turn") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    Network network = network_make(2, 1);
    network.rails.assign(4, Port{10, 1000, 0});
    network.stripe_bytes_min = 1000;
    network.inter_overhead = Overhead{50, 0};
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    // Four posts before the first byte; the ports then work side by side.
    CHECK(report.rank_ns[1] == Approx(50 + 1000.1 + 4 * 50 + 1000 + 2500));
    for (int rail = 0; rail < 4; rail++) {
        CHECK(report.nics[static_cast<size_t>(rail)].sent.payload_bytes == 25000);
        CHECK(report.nics[static_cast<size_t>(4 + rail)].received.data_messages == 1);
    }
    const Report small = run_ok(network, job_make(plan, 3200, 800), plan);
    for (int rail = 0; rail < 4; rail++) {
        CHECK(small.nics[static_cast<size_t>(rail)].sent.payload_bytes == 800);
    }
}

TEST_CASE("a rail at half its rate gets half as much and ends with the others") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    Network network = network_make(2, 1);
    network.rails.assign(2, Port{10, 1000, 0});
    network.stripe_bytes_min = 1000;
    network.faults = {RailFault{0, 1, 0.5}};
    const Report report = run_ok(network, job_make(plan, 150000), plan);
    CHECK(report.nics[0].sent.payload_bytes == 100000);
    CHECK(report.nics[1].sent.payload_bytes == 50000);
    CHECK(report.rank_ns[1] == Approx(1000.1 + 1000 + 10000));
}

TEST_CASE("across rails a share of the rate is left") {
    // Rank 0 of host 0 to rank 1 of host 1.
    const std::string steps =
        "rank 0\nlane scratch=0\nput <- in3 to 3 chunk 0\nrank 1\nlane scratch=0\n"
        "rank 2\nlane scratch=0\nrank 3\nlane scratch=0\ngrant out0 to 0 chunk 0\n"
        "wait out0 from 0 chunk 0\n";
    const plan::Plan plan = plan_of(4, 1, steps);
    Network network = network_make(2, 2);
    network.cross_rail_rate = 0.5;
    const Report report = run_ok(network, job_make(plan, 100000), plan);
    CHECK(report.rank_ns[3] == Approx(1000.2 + 1000 + 20000));
}

TEST_CASE("after: a lane waits for its rank's other lane, tile by tile") {
    // Lane 0 receives a tile, lane 1 passes it on: two hops, pipelined.
    const std::string steps =
        "rank 0\nlane scratch=0\nput <- in0 to 1 chunk 0\nlane scratch=0\n"
        "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
        "lane scratch=0\nput <- out0 to 2 chunk 0 after 0.1\n"
        "rank 2\nlane scratch=0\nlane scratch=0\ngrant out0 to 1 chunk 0\n"
        "wait out0 from 1 chunk 0\n";
    const plan::Plan plan = plan_of(3, 1, steps);
    const Network network = network_make(3, 1);
    const Report whole = run_ok(network, job_make(plan, 100000), plan);
    CHECK(whole.rank_ns[2] == Approx(1000.1 + 2 * (1000 + 10000)));
    // Ten tiles: grants are sent ahead by neither side, so each tile pays its round trip.
    const Report tiled = run_ok(network, job_make(plan, 100000, 10000), plan);
    CHECK(tiled.rank_ns[2] == Approx(10 * (1000.1 + 1000 + 1000) + 1000 + 1000));
}

TEST_CASE("empty tiles are skipped on both sides") {
    const plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::ring, 4, 4);
    Job job = job_make(plan, 40);  // four chunks of 0, 16, 0 and 24 bytes
    const Report report = run_ok(network_make(4, 1), job, plan);
    CHECK(report.nics[0].sent.payload_bytes == 3 * 40);
    CHECK(report.nics[0].sent.data_messages == 3 * 2);
    job.count = 0;
    CHECK(run_ok(network_make(4, 1), job, plan).time_ns == Approx(0));
}

TEST_CASE("every generated plan moves its bytes, each byte once") {
    for (const Coll coll : plan::collectives) {
        for (const plan::Kind kind : plan::kinds) {
            if (!plan::has_plan(coll, kind) || kind == plan::Kind::loads) {
                continue;
            }
            for (const bool eager : {false, true}) {
                const plan::Plan plan = plan::plan_make(coll, kind, 5, 2, 1);
                const uint64_t block = 5 * 64 * 2;
                INFO(plan::plan_name(plan) << (eager ? " eager" : " granted"));
                const Report report =
                    run_ok(network_with_overheads(5, 1), job_make(plan, block, 64, eager), plan);
                uint64_t sent = 0, received = 0;
                for (const NicReport& nic : report.nics) {
                    sent += nic.sent.payload_bytes;
                    received += nic.received.payload_bytes;
                }
                const bool rooted = plan::has_root(coll);
                const bool twice = coll == Coll::all_reduce && kind != plan::Kind::direct;
                const uint64_t blocks = twice ? 2 : rooted ? 1 : 5;
                CHECK(sent == blocks * 4 * block);
                CHECK(received == sent);
            }
        }
    }
}

TEST_CASE("every NIC carries what the plan says, no more and no less") {
    for (const Coll coll : {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather}) {
        for (const plan::Kind kind : {plan::Kind::direct, plan::Kind::ring}) {
            const plan::Plan plan = plan::plan_make(coll, kind, 6, 2);
            const Network network = network_with_overheads(3, 2);
            const Job job = job_make(plan, 6000, 160);
            std::vector<uint64_t> bytes(6, 0), messages(6, 0), inside(6, 0);
            for (const plan::RankPlan& part : plan.ranks) {
                const auto rank = static_cast<size_t>(part.rank);
                for (const plan::Lane& lane : part.lanes) {
                    for (const plan::Step& step : lane.steps) {
                        if (step.kind != plan::StepKind::put) {
                            continue;
                        }
                        const uint64_t chunk =
                            plan::chunk_extent(job.count, 1, plan.shape.chunks, step.chunk).bytes();
                        const bool out = network.host_of(step.peer) != network.host_of(part.rank);
                        (out ? bytes : inside)[rank] += chunk;
                        messages[rank] += out ? (chunk + 159) / 160 : 0;
                    }
                }
            }
            INFO(plan::plan_name(plan));
            const Report report = run_ok(network, job, plan, unfolded());
            for (size_t rank = 0; rank < 6; rank++) {  // one rail per rank
                CHECK(report.nics[rank].sent.payload_bytes == bytes[rank]);
                CHECK(report.nics[rank].sent.data_messages == messages[rank]);
                CHECK(report.intra[rank].sent.payload_bytes == inside[rank]);
            }
        }
    }
}

TEST_CASE("a release waits until the put is known to be delivered, where the memory is written") {
    const std::string steps =
        "rank 0\nlane scratch=0\nput <- in1 to 1 chunk 0\nrelease in1 chunk 0\n"
        "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n";
    const plan::Plan plan = plan_of(2, 1, steps);
    const Network network = network_with_overheads(2, 1);
    Job job = job_make(plan, 1000);
    Options options;
    options.record = true;
    const double posted = 50 + 0.1 + 1000 + 30 + 50;
    CHECK(run_ok(network, job, plan, options).spans.back().kind != plan::StepKind::release);
    job.in_place = true;
    const Report report = run_ok(network, job, plan, options);
    CHECK(report.spans.back().kind == plan::StepKind::release);
    CHECK(report.spans.back().began == Approx(posted + 1000 + 100 + 1000 + 30));
}

TEST_CASE("in place, the own block is not copied") {
    const plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::direct, 2, 1);
    Network network = network_make(2, 1);
    network.compute.copy_bytes_per_ns = 0.01;
    Job job = job_make(plan, 1000);
    CHECK(run_ok(network, job, plan).time_ns == Approx(1000.1 + 100000).margin(1001));
    job.in_place = true;
    CHECK(run_ok(network, job, plan).time_ns == Approx(1000.1 + 1000 + 100 + 1000));
}

TEST_CASE("lanes of a rank share its thread or its memory, or neither") {
    // Two lanes that only reduce.
    const std::string steps =
        "rank 0\nlane scratch=0\nreduce out0 <- in0 in1 chunk 0\n"
        "lane scratch=0\nreduce out1 <- in0 in1 chunk 0\n";
    const plan::Plan plan = plan_of(1, 1, steps);
    Network network;
    network.compute.reduce_bytes_per_ns = 10;
    network.compute.step_ns = 7;
    const Job job = job_make(plan, 1000);
    const auto time = [&](Workers workers) {
        network.compute.workers = workers;
        return run_ok(network, job, plan).time_ns;
    };
    CHECK(time(Workers::thread) == Approx(2 * (7 + 100)));
    CHECK(time(Workers::memory) == Approx(200));
    CHECK(time(Workers::lane) == Approx(100));
}

TEST_CASE("a poster that copies is busy for as long") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    Network network = network_make(1, 2);
    const Job job = job_make(plan, 1000, 0, true);
    const double before = run_ok(network, job, plan).time_ns;
    network.intra_overhead.post_ns_per_byte = 0.25;
    CHECK(run_ok(network, job, plan).time_ns == Approx(before + 250));
}

TEST_CASE("loads run for every collective that has them") {
    for (const Coll coll : plan::collectives) {
        if (plan::has_plan(coll, plan::Kind::loads)) {
            const plan::Plan plan = plan::plan_make(coll, plan::Kind::loads, 4, 2, 1);
            INFO(plan::plan_name(plan));
            const Report report =
                run_ok(network_with_overheads(1, 4), job_make(plan, 4096, 256), plan);
            CHECK(report.time_ns > 0);
        }
    }
}

TEST_CASE("the same seed gives the same trace, another seed another") {
    const plan::Plan plan = plan::plan_make(Coll::all_reduce, plan::Kind::ring, 4, 2);
    Options options;
    options.record = true;
    options.jitter_ns = 300;
    const auto trace = [&](uint64_t seed) {
        options.seed = seed;
        return trace_json(
            run_ok(network_with_overheads(2, 2), job_make(plan, 65536, 1024), plan, options));
    };
    const std::string first = trace(7);
    CHECK(first == trace(7));
    CHECK(first != trace(8));
}

TEST_CASE("a plan that cannot finish is told, with the circle") {
    const std::string steps =
        "rank 0\nlane scratch=0\ngrant out1 to 1 chunk 0\nwait out1 from 1 chunk 0\n"
        "put <- in1 to 1 chunk 0\n"
        "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
        "put <- in0 to 0 chunk 0\n";
    const plan::Plan plan = plan_of(2, 1, steps);
    const std::string what = run_refused(network_make(2, 1), job_make(plan, 100), plan, unfolded());
    CHECK(what.find("deadlock: rank 0 lane 0 step 1 (wait from rank 1) (tile 0, granted) waits "
                    "for the put of rank 1 lane 0 step 1") != std::string::npos);
    CHECK(run_refused(network_make(2, 1), job_make(plan, 100), plan)
              .find("deadlock, the same on every host: rank 0") != std::string::npos);
}

TEST_CASE("steps without counterparts are named") {
    plan::Plan plan = plan_of(2, 1, one_put);
    plan.ranks[1].lanes[0].steps.pop_back();
    CHECK(run_refused(network_make(2, 1), job_make(plan, 100), plan)
              .find("rank 0 lane 0 step 0 (put to rank 1) has no counterpart: its peer waits for "
                    "fewer puts") != std::string::npos);
    plan = plan_of(2, 1, one_put);
    plan.ranks[1].lanes[0].steps.erase(plan.ranks[1].lanes[0].steps.begin());
    CHECK(run_refused(network_make(2, 1), job_make(plan, 100), plan)
              .find("its peer grants less often") != std::string::npos);
}

TEST_CASE("bad descriptions are refused with their reason") {
    const plan::Plan plan = plan_of(2, 1, one_put);
    const Job job = job_make(plan, 100);
    CHECK(run_refused(network_make(3, 1), job, plan).find("2 ranks") != std::string::npos);
    Network network = network_make(2, 1);
    network.rails.clear();
    CHECK(run_refused(network, job, plan).find("no rails") != std::string::npos);
    network = network_make(2, 1);
    network.rails[0].bytes_per_ns = 0;
    CHECK(run_refused(network, job, plan).find("positive rate") != std::string::npos);
    network = network_make(2, 1);
    network.faults = {RailFault{2, 0, 1}};
    CHECK(run_refused(network, job, plan).find("no such rail") != std::string::npos);
    Options options;
    options.events_max = 3;
    CHECK(run_refused(network_make(2, 1), job, plan, options).find("more than 3 events") !=
          std::string::npos);
}

}  // namespace weft::sim
