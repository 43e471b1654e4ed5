// What messages cost on this cluster, as one table of whole numbers: the only thing a choice by
// price depends on besides the call and the shared settings. The same text on every rank, so its
// hash may be compared. From a cluster graph with known rates, named defaults where it is silent,
// or a probe. Pure values. Thread rule: reentrant. Failure rule: one line that names the word.
//
//   weft-table 1
//   inside latency=300ns post=100ns completion=150ns gap=0ns byte=150000fs ... control=96
//   between latency=8000ns ...
//   rails=4 own=1 cross=100 turns=1 from=...
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "src/base/sha256.h"
#include "src/tune/cost.h"
#include "topology/cluster.h"

namespace weft::tune {

// One level in LogGP's terms (cost.h). Femtoseconds per byte: NVLink has little more than one
// picosecond, too coarse to compare by.
struct LevelCosts {
    int64_t latency_ns = 0;
    int64_t post_ns = 0;
    int64_t completion_ns = 0;
    int64_t gap_ns = 0;
    int64_t byte_fs = 0;  // inside: of one rank; between: of one rail
    int64_t reduce_byte_fs = 0;
    int64_t copy_byte_fs = 0;
    int64_t header_bytes = 0;
    int64_t control_bytes = 0;
    bool operator==(const LevelCosts&) const = default;
    Level level() const;
};

struct Table {
    LevelCosts inside, between;
    int32_t rails = 1;      // of every host, at least
    int32_t own_rails = 1;  // of them, those that one rank may use
    int32_t cross = 100;    // percent of a rail's rate that is left from rail to rail
    int32_t turns = 1;   // ranks that share a core, at most: what threads do takes so much longer
    std::string source;  // one clause for explanations: what is known, what is a default
    bool operator==(const Table&) const = default;
};

// What is not known of a cluster. host_memory: shared memory inside, sockets between. gpu: NVLink
// and EFA.
enum class Defaults : uint8_t { host_memory, gpu };
Table table_defaults(Defaults which);

// The slowest rails, latencies and inner rates of the cluster. With NVLink anywhere the defaults
// are those of GPUs.
Table table_of(const topology::Cluster& cluster, int32_t turns);

std::string table_text(const Table& table);
Result<Table> table_parse(std::string_view text);
Digest table_hash(const Table& table);

// One measured exchange, halves of a round trip.
struct Sample {
    uint64_t bytes = 0;
    int64_t ns = 0;
};
// Latency and rate of a level from the samples of all pairs: the median of each size; the
// smallest's time, and the slope from the second smallest of three sizes or more to the largest,
// both on a grid of fourth roots of two, so that a measurement that is a little off gives the same
// table. An error if there are not two sizes.
struct Measured {
    int64_t latency_ns = 0;
    int64_t byte_fs = 0;
    bool operator==(const Measured&) const = default;
};
Result<Measured> measured_of(std::vector<Sample> samples);
int64_t quantised(int64_t value);  // the nearest point of the grid, 0 for 0 and less
void table_measured(Table& table, const Measured* inside, const Measured* between);

}  // namespace weft::tune
