#include "src/exec/program.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft {

using plan::Operand;
using plan::Space;
using plan::Step;
using plan::StepKind;

namespace {

// Counters of one (lane, peer) while indexing.
struct StreamCounts {
    uint32_t puts = 0, data_puts = 0, waits = 0, grants = 0, grant_waits = 0, exposes = 0,
             expose_waits = 0;
};

struct Builder {
    Program program;

    std::unordered_map<int32_t, uint16_t> slots;  // by peer

    uint16_t peer_slot(int32_t peer) {
        const auto [at, is_new] =
            slots.try_emplace(peer, static_cast<uint16_t>(program.peers.size()));
        if (is_new) {
            program.peers.push_back(peer);
        }
        return at->second;
    }

    static void index_step(const Step& step, StreamCounts& count, ProgramStep& out) {
        switch (step.kind) {
            case StepKind::grant:
                out.grant.at = count.grants++;
                break;
            case StepKind::put:
                out.message.at = count.puts++;
                if (!step.src.empty()) {
                    out.grant.at = count.data_puts++;
                }
                break;
            case StepKind::wait:
                if (step.dst.peer >= 0) {
                    out.message.at = count.expose_waits++;
                } else {
                    out.message.at = count.waits++;
                    if (step.dst.space != Space::none) {
                        out.grant.at = count.grant_waits++;
                    }
                }
                break;
            case StepKind::expose:
                out.message.at = count.exposes++;
                break;
            case StepKind::copy:
            case StepKind::reduce:
            case StepKind::release:
                break;
        }
    }

    static void stride_step(const StreamCounts& count, ProgramStep& out) {
        switch (out.kind) {
            case StepKind::grant:
                out.grant.stride = count.grants;
                break;
            case StepKind::put:
                out.message.stride = count.puts;
                out.grant.stride = count.data_puts;
                break;
            case StepKind::wait:
                out.message.stride = out.dst.peer >= 0 ? count.expose_waits : count.waits;
                out.grant.stride = count.grant_waits;
                break;
            case StepKind::expose:
                out.message.stride = count.exposes;
                break;
            case StepKind::copy:
            case StepKind::reduce:
            case StepKind::release:
                break;
        }
    }

    void add_lane(const plan::Lane& lane) {
        ProgramLane out;
        out.scratch_slots = lane.scratch_slots;
        out.scratch_base = program.scratch_slots;
        program.scratch_slots += lane.scratch_slots;
        std::vector<StreamCounts> counts;
        for (const Step& step : lane.steps) {
            ProgramStep made;
            made.number = static_cast<uint32_t>(out.steps.size());
            made.kind = step.kind;
            made.finish = step.finish;
            made.peer = step.peer;
            made.chunk = step.chunk;
            made.dst = step.dst;
            made.src_begin = static_cast<uint32_t>(program.operands.size());
            made.src_count = static_cast<uint32_t>(step.src.size());
            program.operands.insert(program.operands.end(), step.src.begin(), step.src.end());
            made.after_begin = static_cast<uint32_t>(program.afters.size());
            made.after_count = static_cast<uint32_t>(step.after.size());
            program.afters.insert(program.afters.end(), step.after.begin(), step.after.end());
            if (step.peer >= 0) {
                made.peer_slot = peer_slot(step.peer);
                counts.resize(std::max<size_t>(counts.size(), made.peer_slot + 1u));
                index_step(step, counts[made.peer_slot], made);
            }
            out.steps.push_back(made);
        }
        for (ProgramStep& step : out.steps) {
            if (step.peer >= 0) {
                stride_step(counts[step.peer_slot], step);
            }
        }
        program.lanes.push_back(std::move(out));
    }

    // Eager puts are given away by value: there is nothing to grant, and nothing under way from
    // user memory. Positions in `after` would have to move along, so plans that have any stay as
    // they are.
    void leave_out_idle_steps() {
        if (!program.choice.eager || !program.afters.empty()) {
            return;
        }
        for (ProgramLane& lane : program.lanes) {
            std::erase_if(lane.steps, [](const ProgramStep& step) {
                return step.kind == StepKind::grant ||
                       (step.kind == StepKind::release && step.dst.space != Space::scratch);
            });
        }
    }
};

}  // namespace

Result<Program> program_build(const plan::Choice& choice, const plan::RankPlan& part,
                              uint64_t count, uint32_t elem_bytes) {
    if (part.lanes.size() > lane_count_max) {
        return make_error(Code::internal, Scope::operation,
                          format("a plan with %zu lanes cannot run: at most %u", part.lanes.size(),
                                 lane_count_max));
    }
    Builder builder;
    builder.program.choice = choice;
    builder.program.block_bytes = count * elem_bytes;
    for (uint32_t c = 0; c < choice.shape.chunks; c++) {
        builder.program.extents.push_back(
            plan::chunk_extent(count, elem_bytes, choice.shape.chunks, c));
    }
    for (const plan::Lane& lane : part.lanes) {
        builder.add_lane(lane);
    }
    builder.leave_out_idle_steps();
    return std::move(builder.program);
}

size_t ProgramCache::Hash::operator()(const Key& key) const {
    uint64_t h = key.count * 0x9e3779b97f4a7c15ull;
    h ^= (static_cast<uint64_t>(key.elem_bytes) << 40) ^ (static_cast<uint64_t>(key.root) << 8) ^
         (static_cast<uint64_t>(key.coll) << 1) ^ static_cast<uint64_t>(key.peer_load);
    return h * 0xff51afd7ed558ccdull >> 7;
}

Result<const Program*> ProgramCache::get(const plan::Request& request) {
    const Key key{request.count, request.elem_bytes, request.root, request.coll, request.peer_load};
    if (!entries_.empty() && entries_.front().key == key) {
        return static_cast<const Program*>(entries_.front().program.get());
    }
    const auto found = index_.find(key);
    if (found != index_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return static_cast<const Program*>(entries_.front().program.get());
    }
    const plan::Planned planned = TRY(planner_(request));
    Program program =
        TRY(program_build(planned.choice, planned.part, request.count, request.elem_bytes));
    if (entries_.size() >= entry_count_max) {
        index_.erase(entries_.back().key);
        entries_.pop_back();
    }
    entries_.push_front(Entry{key, std::make_unique<Program>(std::move(program))});
    index_[key] = entries_.begin();
    return static_cast<const Program*>(entries_.front().program.get());
}

}  // namespace weft
