// What each step waits for, what it costs, and what it leaves behind.
#include <algorithm>

#include "src/sim/run.h"

namespace weft::sim {

using plan::StepKind;

bool Run::inter(uint32_t rank, int32_t peer) const {
    return network_.host_of(static_cast<int32_t>(rank)) != network_.host_of(peer);
}

uint32_t Run::piece_count(uint32_t rank, int32_t peer, uint64_t bytes) const {
    if (!inter(rank, peer)) {
        return 1;
    }
    const auto local = network_.local_of(static_cast<int32_t>(rank));
    const int32_t rails = std::min(network_.own_rails(local).count,
                                   network_.own_rails(network_.local_of(peer)).count);
    return pieces_of(network_, bytes, rails);
}

// Messages by value hold a slot of their link; grants and exposes pass through one.
bool Run::slot_free(uint32_t chain, const SimStep& step) {
    const Stream& stream = streams_[step.stream];
    if (stream.sent - stream.freed < slots_) {
        return true;
    }
    block(chain, Blocked::slot, step_chain_[step.partner]);
    return false;
}

Picoseconds Run::put_begin(uint32_t chain, const SimStep& step) {
    Chain& at = chains_[chain];
    const bool by_value = job_.eager || !step.data;
    if (by_value && !slot_free(chain, step)) {
        return never;
    }
    if (!by_value && !fact_has(at.step, at.tile)) {
        return block(chain, Blocked::grant, step_chain_[step.partner]);
    }
    streams_[step.stream].sent += by_value ? 1 : 0;
    const uint32_t rank = parts_.chains[chain].rank;
    if (step.data && !by_value) {
        under_way_[step.operand]++;
        ranks_[rank].puts_open++;
    }
    const uint64_t payload = payload_of(step, at.tile);
    const uint32_t pieces = by_value ? 1 : piece_count(rank, step.peer, payload);
    const Overhead& cost = overhead(inter(rank, step.peer));
    return thread_use(rank, pieces * ps(cost.post_ns) +
                                ps(static_cast<double>(payload) * cost.post_ns_per_byte) +
                                ps(network_.compute.step_ns));
}

Picoseconds Run::wait_begin(uint32_t chain, const SimStep& step) {
    const Chain& at = chains_[chain];
    if (!fact_has(at.step, at.tile)) {
        return block(chain, step.expose ? Blocked::expose : Blocked::put,
                     parts_.stream_senders[step.stream]);
    }
    const uint32_t rank = parts_.chains[chain].rank;
    const Picoseconds seen = thread_use(rank, ps(network_.compute.step_ns));
    const double rate = network_.compute.copy_bytes_per_ns;
    if (!job_.eager || !step.data || step.scratch || rate <= 0) {
        return seen;
    }
    return std::max(seen,
                    compute_use(chain, ps(static_cast<double>(payload_of(step, at.tile)) / rate)));
}

// The slot of a message by value goes back when its bytes have been taken out of it.
void Run::wait_end(uint32_t chain, const SimStep& step) {
    if (step.expose || (step.data && !job_.eager)) {
        return;
    }
    if (step.data && step.scratch) {
        bound_[step.operand] = step.stream + 1;
    } else {
        credit_send(step.stream, chains_[chain].last_span);
    }
}

Picoseconds Run::compute_begin(uint32_t chain, const SimStep& step) {
    Chain& at = chains_[chain];
    const Compute& compute = network_.compute;
    const uint32_t rank = parts_.chains[chain].rank;
    const auto bytes = static_cast<double>(parts_.bytes(step.chunk, at.tile));
    const Picoseconds begun = thread_use(rank, ps(compute.step_ns));
    if (job_.in_place && step.copies_input) {
        return begun;
    }
    double cost = 0;
    if (step.kind == StepKind::reduce && compute.reduce_bytes_per_ns > 0) {
        cost = bytes * std::max(0, step.sources - 1) / compute.reduce_bytes_per_ns;
    } else if (step.kind == StepKind::copy && step.load_begin == step.load_end &&
               compute.copy_bytes_per_ns > 0) {
        cost = bytes / compute.copy_bytes_per_ns;
    }
    const Picoseconds end = std::max(begun, compute_use(chain, ps(cost)));
    for (uint32_t i = step.load_begin; i < step.load_end; i++) {
        at.loads_left++;
        load_send(chain, parts_.loads[i], parts_.bytes(step.chunk, at.tile));
    }
    return end;
}

Picoseconds Run::release_begin(uint32_t chain, const SimStep& step) {
    if (!step.skip_release && under_way_[step.operand] > 0) {
        return block(chain, Blocked::delivery, chain);
    }
    return thread_use(parts_.chains[chain].rank, ps(network_.compute.step_ns));
}

Picoseconds Run::step_begin(uint32_t chain, const SimStep& step) {
    const uint32_t rank = parts_.chains[chain].rank;
    switch (step.kind) {
        case StepKind::grant:
            if (job_.eager) {
                return thread_use(rank, ps(network_.compute.step_ns));
            }
            [[fallthrough]];
        case StepKind::expose:
            if (!slot_free(chain, step)) {
                return never;
            }
            return thread_use(
                rank, ps(overhead(inter(rank, step.peer)).post_ns) + ps(network_.compute.step_ns));
        case StepKind::put:
            return put_begin(chain, step);
        case StepKind::wait:
            return wait_begin(chain, step);
        case StepKind::copy:
        case StepKind::reduce:
            return compute_begin(chain, step);
        case StepKind::release:
            return release_begin(chain, step);
    }
    return never;
}

void Run::step_end(uint32_t chain, const SimStep& step) {
    switch (step.kind) {
        case StepKind::grant:
            if (!job_.eager) {
                message_send(chain, step);
            }
            break;
        case StepKind::expose:
        case StepKind::put:
            message_send(chain, step);
            break;
        case StepKind::wait:
            wait_end(chain, step);
            break;
        case StepKind::release:
            if (step.scratch && bound_[step.operand] != 0) {
                credit_send(bound_[step.operand] - 1, chains_[chain].last_span);
                bound_[step.operand] = 0;
            }
            break;
        case StepKind::copy:
        case StepKind::reduce:
            break;
    }
}

}  // namespace weft::sim
