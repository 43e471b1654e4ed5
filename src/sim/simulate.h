// The price of a plan: runs the plan IR on a network model, event by event, and says when each rank
// is done, what each NIC carried and why it took so long. Semantics are ir.h's: grants, puts that
// wait for them, waits, loads, releases, `after`, tiles, slots. docs/SIMULATOR.md has the model.
// Thread rule: reentrant. Failure rule: a plan that cannot finish (deadlock, steps without their
// counterparts) is an error that names the step; nothing is hung.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/plan/planner.h"
#include "src/sim/network.h"

namespace weft::sim {

// The call: geometry and mode, what a Choice fixes.
struct Job {
    plan::Shape shape;
    uint64_t count = 0;  // elements per block
    uint32_t elem_bytes = 1;
    uint64_t tile_bytes = 0;  // 0: whole chunks, one tile
    bool eager = false;
    bool in_place = false;
};
Job job_of(const plan::Choice& choice, uint64_t count, uint32_t elem_bytes);

// One rank's part, made when it is needed and dropped when it was read.
using PartOf = std::function<Result<plan::RankPlan>(int32_t rank)>;

// Folding simulates the ranks of one host where all hosts are images of each other: the parts of
// host h are those of host 0 with every peer h hosts further, and so are the links.
enum class Fold : uint8_t { automatic, never, required };

struct Options {
    uint64_t seed = 1;
    double jitter_ns = 0;  // every message may be late by up to this; then nothing is folded
    uint32_t slots = 0;    // eager slots per (sender, receiver, lane); 0: the shape's minimum
    Fold fold = Fold::automatic;
    // Hosts whose parts are compared before folding: 1, the last, and more spread between; 0: all.
    uint32_t fold_hosts_checked = 3;
    bool record = false;  // keep every step's times, for trace_json and critical_path
    uint64_t events_max = 4'000'000'000;
};

// What one NIC sent, or received.
struct Traffic {
    uint64_t payload_bytes = 0;   // of puts with a source
    uint64_t data_messages = 0;   // pieces of such puts
    uint64_t other_messages = 0;  // grants, exposes, signals
    double busy_ns = 0;
};

// What one rank's steps sent: a message is one step's, however many pieces its NICs make of it.
struct RankTraffic {
    uint64_t payload_bytes = 0;
    uint64_t data_messages = 0;     // puts with a source
    uint64_t control_messages = 0;  // grants, exposes, signals
};

struct NicReport {
    Traffic sent, received;
};

// One executed step. Times in ns from the start of the op.
struct Span {
    int32_t rank = 0;
    uint32_t lane = 0, step = 0, tile = 0;
    int32_t peer = -1;
    plan::StepKind kind = plan::StepKind::copy;
    uint64_t bytes = 0;
    double reached = 0;  // the lane came to it
    double began = 0;    // what it waited for had happened
    double ended = 0;
    double landed = 0;    // grant, put, expose: the peer knows of it
    uint32_t before = 0;  // span + 1 of the lane's step before, 0: none
    uint32_t cause = 0;   // span + 1 of the step that ended the wait, 0: it did not wait
};

struct Report {
    double time_ns = 0;            // the last rank is done
    std::vector<double> rank_ns;   // lanes at their end and all own puts delivered
    std::vector<NicReport> nics;   // host * rails + rail
    std::vector<NicReport> intra;  // by rank; loads count where they are read and where they land
    std::vector<RankTraffic> inter_sent, intra_sent;  // by rank
    uint64_t events = 0;
    uint32_t ranks_simulated = 0;
    std::string folding;  // one clause: what was folded, or why nothing was
    std::vector<Span> spans;
};

Result<Report> simulate(const Network& network, const Job& job, const PartOf& part_of,
                        const Options& options = {});
Result<Report> simulate(const Network& network, const Job& job, const plan::Plan& plan,
                        const Options& options = {});

// Chrome's and Perfetto's trace format: a process per rank, a thread per lane.
std::string trace_json(const Report& report);
// Where the time of the last rank went, followed back from its end. Needs recorded spans.
std::string critical_path(const Network& network, const Report& report);
std::string report_text(const Network& network, const Report& report);

}  // namespace weft::sim
