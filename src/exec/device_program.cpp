#include "src/exec/device_program.h"

#include <algorithm>
#include <bit>

#include "src/base/log.h"

namespace weft {

using gpu::Base;
using gpu::base_number;
using gpu::Layout;
using gpu::Word;
using gpu::device::Do;
using plan::Operand;
using plan::Space;
using plan::StepKind;

namespace {

Error cannot(const std::string& why) {
    return make_error(Code::unsupported, Scope::operation,
                      "this plan cannot run on a device: " + why +
                          "; choose another with NCCL_ALGO or WEFT_PLAN");
}

bool is_scaled(const Operand& operand, const DeviceCall& call) {
    return call.scale_inputs && operand.space == Space::input && operand.peer < 0;
}

// Tiles for scaled inputs, after the plan's own scratch; every lane has its own.
uint32_t scaled_slots_of(const Program& part, const DeviceCall& call) {
    int64_t most = 0;
    for (const ProgramLane& lane : part.lanes) {
        for (const ProgramStep& step : lane.steps) {
            if (step.kind == StepKind::reduce) {
                const auto sources =
                    std::span(part.operands).subspan(step.src_begin, step.src_count);
                most = std::max<int64_t>(most, std::ranges::count_if(sources, [&](const auto& one) {
                                             return is_scaled(one, call);
                                         }));
            }
        }
    }
    return static_cast<uint32_t>(most);
}

class Lowering {
  public:
    Lowering(std::span<const Program> parts, uint32_t rank, const Layout& layout,
             const DeviceCall& call)
        : parts_(parts), own_(parts[rank]), rank_(rank), layout_(layout), call_(call) {
        scaled_slots_ = scaled_slots_of(own_, call);
    }

    Result<DeviceLane> lane(uint32_t lane) {
        lane_ = lane;
        out_ = DeviceLane{};
        cards_add();
        for (const ProgramStep& step : own_.lanes[lane].steps) {
            if (step.after_count > 0) {
                return cannot("its lanes wait for each other");
            }
            TRY(step_add(step));
        }
        if (out_.steps.size() > gpu::device::steps_max ||
            out_.operands.size() > gpu::device::operands_max) {
            return cannot(format("a lane has %zu steps and %zu operands, at most %u and %u",
                                 out_.steps.size(), out_.operands.size(), gpu::device::steps_max,
                                 gpu::device::operands_max));
        }
        return std::move(out_);
    }

  private:
    bool scaled(const Operand& operand) const { return is_scaled(operand, call_); }

    uint32_t rank_count() const { return static_cast<uint32_t>(own_.choice.shape.rank_count); }

    void card_step_add(Do what, uint32_t word, uint16_t base) {
        gpu::device::Step made{};
        made.what = what;
        made.operand = base_number(Base::memory, rank_);
        // One's own card has the same place in every peer's memory.
        const bool told = what == Do::tell;
        made.operand_count = layout_.card_place(lane_, told ? rank_ : 0);
        made.word = word;
        const auto step = static_cast<uint16_t>(told ? 0 : gpu::card_depth * Layout::card_units);
        made.bytes = std::bit_cast<uint64_t>(
            gpu::device::Row{base, step, 0, static_cast<uint8_t>(rank_count()),
                             static_cast<uint8_t>(gpu::card_depth), 0});
        out_.steps.push_back(made);
    }

    // Every lane exchanges cards with the same lane of all others before it does anything else.
    void cards_add() {
        if (rank_count() == 1) {
            return;
        }
        const uint32_t told = layout_.epoch_posted(Word::met, lane_, 0);
        const uint32_t heard = layout_.epoch_own(Word::met, lane_, 0);
        card_step_add(Do::tell, told, static_cast<uint16_t>(base_number(Base::input, rank_)));
        card_step_add(Do::hear, heard, static_cast<uint16_t>(base_number(Base::input, 0)));
        for (uint32_t peer = 0; peer < rank_count(); peer++) {
            if (peer != rank_) {
                out_.ends.push_back({told + peer, 1});
                out_.ends.push_back({heard + peer, 1});
            }
        }
    }

    // An operand as rank `owner` names it in its own part.
    gpu::device::Operand operand_of(const Operand& operand, uint32_t owner) const {
        const Program& part = parts_[owner];
        if (operand.space == Space::scratch) {
            const uint64_t slot = part.lanes[lane_].scratch_base + operand.chunk;
            return {layout_.scratch() + slot * part.choice.tile_bytes,
                    base_number(Base::memory, owner), 0};
        }
        const uint32_t chunks = part.choice.shape.chunks;
        const uint64_t offset =
            operand.chunk / chunks * part.block_bytes + part.extents[operand.chunk % chunks].begin;
        const Base base = operand.space == Space::input ? Base::input : Base::output;
        return {offset, base_number(base, owner), 1};
    }

    // `operand.peer` names the owner of memory that is loaded directly.
    gpu::device::Operand operand_of(const Operand& operand) const {
        return operand_of(operand, operand.peer >= 0 ? static_cast<uint32_t>(operand.peer) : rank_);
    }

    gpu::device::Operand scaled_tile(uint32_t index) const {
        const uint64_t slot = own_.scratch_slots + lane_ * scaled_slots_ + index;
        return {layout_.scratch() + slot * own_.choice.tile_bytes, base_number(Base::memory, rank_),
                0};
    }

    uint64_t bytes_of(const ProgramStep& step) const { return own_.extents[step.chunk].bytes(); }

    void add(const ProgramStep& step, Do what,
             std::initializer_list<gpu::device::Operand> operands) {
        add(step, what, std::span(operands.begin(), operands.size()));
    }

    void add(const ProgramStep& step, Do what, std::span<const gpu::device::Operand> operands) {
        gpu::device::Step made{};
        made.what = what;
        made.operand_count = static_cast<uint32_t>(operands.size());
        made.operand = static_cast<uint32_t>(out_.operands.size());
        made.bytes = bytes_of(step);
        out_.steps.push_back(made);
        out_.operands.insert(out_.operands.end(), operands.begin(), operands.end());
    }

    // Await one of our words, or post to one of a peer's.
    void add_word(const ProgramStep& step, Do what, Word word, const StreamIndex& index) {
        const auto peer = static_cast<uint32_t>(step.peer);
        const bool own = what == Do::await;
        gpu::device::Step made{};
        made.what = what;
        made.operand = base_number(Base::memory, own ? rank_ : peer);
        made.operand_count = layout_.word_place(word, lane_, own ? peer : rank_);
        made.word =
            own ? layout_.epoch_own(word, lane_, peer) : layout_.epoch_posted(word, lane_, peer);
        made.at = index.at;
        made.stride = index.stride;
        made.bytes = bytes_of(step);
        out_.steps.push_back(made);
        const auto known = std::ranges::find(out_.ends, made.word, &gpu::device::StreamEnd::word);
        if (known == out_.ends.end()) {
            out_.ends.push_back({made.word, made.stride * own_.choice.tiles});
        }
    }

    Result<void> step_add(const ProgramStep& step) {
        switch (step.kind) {
            case StepKind::grant:
                add_word(step, Do::post, Word::granted, step.grant);
                return {};
            case StepKind::put:
                return put_add(step);
            case StepKind::wait:
                add_word(step, Do::await, step.dst.peer >= 0 ? Word::exposed : Word::arrived,
                         step.message);
                return {};
            case StepKind::expose:
                add_word(step, Do::post, Word::exposed, step.message);
                return {};
            case StepKind::copy:
            case StepKind::reduce:
                return compute_add(step);
            case StepKind::release:
                return {};
        }
        return {};
    }

    // Where the peer has granted room for this put.
    const ProgramStep* grant_of(const ProgramStep& put) const {
        const Program& peer = parts_[static_cast<uint32_t>(put.peer)];
        if (lane_ >= peer.lanes.size()) {
            return nullptr;
        }
        const auto& steps = peer.lanes[lane_].steps;
        const auto found = std::ranges::find_if(steps, [&](const ProgramStep& step) {
            return step.kind == StepKind::grant && step.peer == static_cast<int32_t>(rank_) &&
                   step.grant.at == put.grant.at && step.grant.stride == put.grant.stride &&
                   step.chunk == put.chunk;
        });
        return found == steps.end() ? nullptr : &*found;
    }

    Result<void> put_add(const ProgramStep& step) {
        if (step.src_count > 0) {
            const ProgramStep* const grant = grant_of(step);
            if (grant == nullptr) {
                return make_error(Code::internal, Scope::operation,
                                  format("rank %u lane %u step %u: rank %d grants nothing for it",
                                         rank_, lane_, step.number, step.peer));
            }
            add_word(step, Do::await, Word::granted, step.grant);
            const Operand& source = own_.operands[step.src_begin];
            add(step, scaled(source) ? Do::scale : Do::copy,
                {operand_of(grant->dst, static_cast<uint32_t>(step.peer)), operand_of(source)});
        }
        add_word(step, Do::post, Word::arrived, step.message);
        return {};
    }

    Result<void> compute_add(const ProgramStep& step) {
        if (step.src_count > gpu::device::sources_max) {
            return cannot(format("it adds %u inputs in one step, at most %u", step.src_count,
                                 gpu::device::sources_max));
        }
        std::vector<gpu::device::Operand> operands = {operand_of(step.dst)};
        uint32_t scaled_used = 0;
        const bool alone = step.src_count == 1;
        for (uint32_t i = 0; i < step.src_count; i++) {
            const Operand& source = own_.operands[step.src_begin + i];
            if (call_.scale_inputs && source.space == Space::input && source.peer >= 0) {
                return cannot("it loads inputs of others, which they have not multiplied");
            }
            operands.push_back(operand_of(source));
            if (scaled(source) && !alone) {
                const gpu::device::Operand tile = scaled_tile(scaled_used++);
                add(step, Do::scale, {tile, operands.back()});
                operands.back() = tile;
            }
        }
        const bool scale = alone && scaled(own_.operands[step.src_begin]);
        add(step, scale ? Do::scale : alone ? Do::copy : Do::reduce, operands);
        if (step.finish && call_.divide) {
            add(step, Do::divide, {operand_of(step.dst)});
        }
        return {};
    }

    std::span<const Program> parts_;
    const Program& own_;
    uint32_t rank_;
    const Layout& layout_;
    DeviceCall call_;
    uint32_t lane_ = 0;
    uint32_t scaled_slots_ = 0;
    DeviceLane out_;
};

}  // namespace

uint64_t device_scratch_bytes(const Program& part, const DeviceCall& call) {
    const auto lanes = static_cast<uint32_t>(part.lanes.size());
    return (part.scratch_slots + lanes * scaled_slots_of(part, call)) * part.choice.tile_bytes;
}

Result<DeviceProgram> device_lower(std::span<const Program> parts, uint32_t rank,
                                   const Layout& layout, const DeviceCall& call) {
    const Program& own = parts[rank];
    ASSERT(!own.choice.eager && layout.rank_count() == parts.size());
    DeviceProgram program;
    program.tiles = own.choice.tiles;
    program.tile_bytes = own.choice.tile_bytes;
    program.scratch_bytes = device_scratch_bytes(own, call);
    if (program.scratch_bytes > layout.scratch_bytes()) {
        return cannot(format("it needs %llu bytes of scratch, there are %llu",
                             static_cast<unsigned long long>(program.scratch_bytes),
                             static_cast<unsigned long long>(layout.scratch_bytes())));
    }
    Lowering lowering(parts, rank, layout, call);
    for (uint32_t lane = 0; lane < own.lanes.size(); lane++) {
        program.lanes.push_back(TRY(lowering.lane(lane)));
    }
    return program;
}

}  // namespace weft
