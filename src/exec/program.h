// A plan's part of one rank, made ready to run: streams indexed, peers numbered densely, extents
// cut. Cached by request. Thread rule: immutable once built. Failure rule: a plan the executor
// cannot run (too many lanes) is an internal error.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "src/base/result.h"
#include "src/plan/planner.h"

namespace weft {

// Lanes map one to one onto link channels. Two strands of a hierarchy have up to eight.
inline constexpr uint32_t lane_count_max = plan::lanes_max;

// Position of a step in one matched stream: index(tile) = tile * stride + at.
struct StreamIndex {
    uint32_t at = 0;
    uint32_t stride = 0;
    uint32_t index(uint32_t tile) const { return tile * stride + at; }
};

struct ProgramStep {
    plan::StepKind kind = plan::StepKind::copy;
    bool finish = false;
    uint16_t peer_slot = 0;  // into Program::peers
    int32_t peer = -1;
    uint32_t chunk = 0;
    plan::Operand dst;
    uint32_t src_begin = 0, src_count = 0;      // into Program::operands
    uint32_t after_begin = 0, after_count = 0;  // into Program::afters
    uint32_t number = 0;  // in the plan, for messages: steps that do nothing here are left out
    StreamIndex message;  // put, wait: the i-th put; expose and its wait: the i-th expose
    StreamIndex grant;    // grant, put with a source, wait on own memory: the i-th grant
};

struct ProgramLane {
    std::vector<ProgramStep> steps;
    uint32_t scratch_slots = 0;
    uint32_t scratch_base = 0;  // number of its first slot among all lanes
};

struct Program {
    plan::Choice choice;
    uint64_t block_bytes = 0;
    std::vector<ProgramLane> lanes;
    std::vector<int32_t> peers;
    std::vector<plan::Operand> operands;
    std::vector<plan::After> afters;
    std::vector<plan::Extent> extents;  // by chunk
    uint32_t scratch_slots = 0;

    // Bytes of the tile of a chunk; 0 means every step on it is skipped.
    uint64_t tile_bytes(uint32_t chunk, uint32_t tile) const {
        const uint64_t at = static_cast<uint64_t>(tile) * choice.tile_bytes;
        const uint64_t whole = extents[chunk].bytes();
        return at >= whole ? 0 : (whole - at < choice.tile_bytes ? whole - at : choice.tile_bytes);
    }
};

Result<Program> program_build(const plan::Choice& choice, const plan::RankPlan& part,
                              uint64_t count, uint32_t elem_bytes);

// The least recently used programs of one shard. Thread-bound.
class ProgramCache {
  public:
    explicit ProgramCache(plan::Planner planner) : planner_(std::move(planner)) {}
    Result<const Program*> get(const plan::Request& request);

  private:
    struct Key {
        uint64_t count;
        uint32_t elem_bytes;
        int32_t root;
        Coll coll;
        bool peer_load;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        size_t operator()(const Key& key) const;
    };
    struct Entry {
        Key key;
        std::unique_ptr<Program> program;
    };
    static constexpr size_t entry_count_max = 256;

    plan::Planner planner_;
    std::list<Entry> entries_;  // most recent first
    std::unordered_map<Key, std::list<Entry>::iterator, Hash> index_;
};

}  // namespace weft
