// Which NICs serve which local rank. A function of the machine graph alone, so all equal hosts
// decide the same. Pure. Thread rule: reentrant. Never fails; a machine without NICs has no rails.
//
// 1. Rails are the EFA devices; where there is none, what an NCCL file lists; else the plain
//    interfaces. Rail i is the i-th by PCI address, those without an address after, by name.
// 2. A rank's nearest rails have the deepest place in common with it.
// 3. Ranks with the same deepest place share its rails that no deeper rank took, or all of its
//    rails if none is left, in blocks by order: with n rails and g ranks rank i gets
//    [floor(in/g), floor((i+1)n/g)), or rail floor(in/g) if that is empty.
// 4. A rail that nobody has goes to the nearest rank, of several to the one with the fewest rails,
//    of several to the first.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/graph.h"

namespace weft::topology {

struct RailMap {
    std::vector<int32_t> nics;                  // by rail: index into Machine::nics
    std::vector<std::vector<int32_t>> by_rank;  // by local rank: its rails, ascending
    bool operator==(const RailMap&) const = default;
};

// Where local ranks sit, as places: rank i with GPU i by PCI address, more ranks than GPUs
// (`count`) in blocks over them; without GPUs in blocks over the NUMA nodes by number. `count` 0:
// as many ranks as GPUs, or one for each NUMA node.
std::vector<int32_t> rank_places(const Machine& machine, int32_t count);
std::vector<int32_t> rank_gpus(const Machine& machine, int32_t count);  // GPU indices, or none
std::vector<int32_t> gpu_places(const Machine& machine);
std::vector<int32_t> cpu_places(const Machine& machine, int32_t count);

RailMap rails_map(const Machine& machine, const std::vector<int32_t>& rank_places);

// The kind of NIC that rails are made of here.
NicKind rail_kind(const Machine& machine);

// One line each for what a reader would not expect: NICs that are no rails, no rails at all.
std::vector<std::string> rails_notes(const Machine& machine, const RailMap& map);

}  // namespace weft::topology
