// The memory a run touches: where an operand is, what of it peers are shown, and what stands in for
// it.
#include <algorithm>

#include "src/exec/run.h"
#include "transports/memory.h"

namespace weft {

using plan::Operand;
using plan::Space;

// Asked for once a run, and only where an answer matters.
void Run::known_look_up() {
    const bool asked = std::ranges::any_of(
        context_.config->wires, [](const Wire* wire) { return wire->caps().stage_below > 0; });
    input_known_ = !asked || known_find(input_.base(), input_.bytes()).has_value();
    output_known_ = !asked || known_find(output_.base(), output_.bytes()).has_value();
}

std::byte* Run::address(uint32_t lane, const Operand& operand, uint32_t tile) const {
    const uint64_t tile_at = static_cast<uint64_t>(tile) * program_->choice.tile_bytes;
    if (operand.space == Space::scratch) {
        const uint64_t slot = program_->lanes[lane].scratch_base + operand.chunk;
        const ScratchSlot& state = scratch_[slot];
        if (state.bound != nullptr) {
            return const_cast<std::byte*>(state.bound);
        }
        return scratch_range_->base() + slot * program_->choice.tile_bytes;
    }
    const uint32_t chunks = program_->choice.shape.chunks;
    std::byte* base = operand.space == Space::input ? input_.base() : output_.base();
    return base + operand.chunk / chunks * program_->block_bytes +
           program_->extents[operand.chunk % chunks].begin + tile_at;
}

Result<ExposedRange*> Run::range_of(const Operand& operand) {
    switch (operand.space) {
        case Space::input:
            return &input_;
        case Space::output:
            return &output_;
        case Space::scratch:
            return scratch_range_;
        case Space::none:
            break;
    }
    return make_error(Code::internal, Scope::operation, "a plan names no memory where it must");
}

// Library memory to move small user memory through that would have to be registered for this one
// call; null where it is better exposed itself.
Result<ExposedRange*> Run::tile_for(const Operand& operand, const Wire& wire) {
    const bool input = operand.space == Space::input;
    const ExposedRange& range = input ? input_ : output_;
    if ((!input && operand.space != Space::output) || (input ? input_known_ : output_known_) ||
        range.bytes() >= wire.caps().stage_below) {
        return static_cast<ExposedRange*>(nullptr);
    }
    return context_.pool->tile_staged(program_->choice.tile_bytes);
}

// Of a Recv into memory of a GPU, when all has landed: till then a GPU may see what was there.
Result<Run::Did> Run::flush_output() {
    const auto peer = static_cast<uint32_t>(call_.root);
    const Region region = TRY(output_.region(context_.links->wire(peer)));
    return TRY(context_.links->flush(peer, region, output_.bytes())) ? Did::done : Did::blocked;
}

// The bytes a step reads: user memory, scratch, a peer's exposed memory, or the scaled copy of an
// input.
const std::byte* Run::source(uint32_t lane, const Operand& operand, uint32_t tile) {
    if (operand.peer < 0) {
        return address(lane, operand, tile);
    }
    for (const Loan& loan : loans_) {
        if (loan.lane == lane && loan.operand == operand) {
            return loan.at;
        }
    }
    return nullptr;
}

}  // namespace weft
