#include "src/exec/run.h"

#include <algorithm>
#include <cstring>

namespace weft {

using plan::Operand;
using plan::Space;
using plan::StepKind;

namespace {

// Outputs beyond this size will not stay in the cache until somebody reads them.
constexpr uint64_t stream_bytes = 4u << 20;

uint64_t cookie_of(uint32_t run, size_t entry) {
    return static_cast<uint64_t>(run) << 32 | entry;
}

}  // namespace

Result<void> Run::start(const Program* program, const Call& call, uint32_t id, uint32_t seq) {
    program_ = program;
    call_ = call;
    id_ = id;
    seq_ = seq;
    pair_ = call.coll == Coll::send_recv;
    eager_ = program->choice.eager;
    elem_bytes_ = static_cast<uint32_t>(size_of(call.type));
    const uint64_t stated = call.part_of != 0 ? call.part_of : call.count;
    args_ = call.stated ? *call.stated
            : pair_     ? args_pack(call.coll, stated * elem_bytes_, DataType::uint8, RedOp::sum, 0)
                        : args_pack(call.coll, stated, call.type, call.op, call.root);
    if (call.on_device) {
        args_.packed |= args_on_device;
    }
    const bool pre_mul = call.op == RedOp::pre_mul_sum;
    const bool reduces = call.coll == Coll::all_reduce || call.coll == Coll::reduce ||
                         call.coll == Coll::reduce_scatter;
    scale_inputs_ = reduces && (pre_mul || (call.op == RedOp::avg && is_float(call.type)));
    if (scale_inputs_ && !pre_mul) {
        scale_ = scalar_from_double(call.type, 1.0 / context_.config->rank_count);
    } else if (call.scalar_at != nullptr) {
        std::memcpy(scale_.bytes, call.scalar_at, elem_bytes_);
    } else {
        scale_ = call.scalar;
    }
    failed_ = said_ = false;
    lanes_.assign(program->lanes.size(), LaneState{});
    lanes_left_ = lanes_.size();
    streams_.resize(program->lanes.size() * program->peers.size());
    scratch_.assign(program->scratch_slots, ScratchSlot{});
    const uint64_t block = program->block_bytes;
    input_ = ExposedRange(const_cast<void*>(call.send), block * program->choice.shape.input_blocks);
    output_ = ExposedRange(call.recv, block * program->choice.shape.output_blocks);
    in_place_ = input_.base() < output_.base() + output_.bytes() &&
                output_.base() < input_.base() + input_.bytes();
    known_look_up();
    flush_ = call.on_device && !call.is_send && output_.bytes() > 0;
    scratch_range_ = nullptr;
    if (program->scratch_slots > 0) {
        scratch_range_ =
            TRY(context_.pool->scratch(program->scratch_slots * program->choice.tile_bytes));
    }
    return {};
}

bool Run::wants(const MsgHeader& header, uint32_t peer) const {
    if (header.seq != seq_) {
        return false;
    }
    if (header.channel < channel_pair_data) {
        return !pair_;
    }
    if (!pair_ || static_cast<uint32_t>(call_.root) != peer) {
        return false;
    }
    // My Recv takes the peer's data, my Send takes the peer's grants.
    return call_.is_send == (header.channel == channel_pair_grant);
}

void Run::arguments_say() {
    if (pair_ && !said_ && lanes_left_ > 0) {
        MsgHeader header = header_for(0, MsgKind::arguments, 0);
        header.channel =
            static_cast<uint8_t>(call_.is_send ? channel_pair_data : channel_pair_grant);
        said_ = context_.links->send(static_cast<uint32_t>(call_.root), header, nullptr, 0) ==
                Post::accepted;
    }
}

void Run::on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) {
    if (header.kind == MsgKind::arguments) {  // compared already
        context_.links->slot_release(slot);
        return;
    }
    const uint32_t lane = pair_ ? 0 : header.channel;
    const auto peer =
        std::find(program_->peers.begin(), program_->peers.end(), static_cast<int32_t>(slot.peer));
    if (lane >= lanes_.size() || peer == program_->peers.end()) {
        context_.counters->stale_dropped++;
        context_.links->slot_release(slot);
        return;
    }
    Stream& to = stream(lane, static_cast<uint32_t>(peer - program_->peers.begin()));
    if (header.kind == MsgKind::grant || header.kind == MsgKind::expose) {
        PeerGrant grant{header.index, header.kind, {}};
        if (GrantBody::read(&grant.body, payload, header.bytes)) {
            to.peer_grants.push_back(grant);
        }
        context_.links->slot_release(slot);
        return;
    }
    to.messages.push_back(Message{header.index, header.kind, header.bytes, payload, slot});
}

void Run::on_grant_filled(uint32_t entry) {
    grants_[entry].filled = true;
}

void Run::on_put_delivered(uint32_t entry) {
    ActivePut& put = puts_[entry];
    if (put.tile != nullptr) {
        context_.pool->give_back(put.tile);
    }
    put = ActivePut{};
    puts_open_--;
}

MsgHeader Run::header_for(uint32_t lane, MsgKind kind, uint32_t index) const {
    MsgHeader header;
    header.args = args_.packed;
    header.root = args_.root;
    header.seq = seq_;
    header.index = index;
    header.kind = kind;
    const bool grant = kind == MsgKind::grant || kind == MsgKind::expose;
    header.channel = static_cast<uint8_t>(!pair_  ? lane
                                          : grant ? channel_pair_grant
                                                  : channel_pair_data);
    return header;
}

bool Run::advance() {
    bool moved = false;
    for (bool again = true; again;) {
        again = false;
        for (uint32_t lane = 0; lane < lanes_.size() && !failed_; lane++) {
            if (!lanes_[lane].done && lane_advance(lane)) {
                again = moved = true;
            }
        }
        again = again && lanes_.size() > 1 && lanes_left_ > 0;
    }
    return moved;
}

Run::Did Run::fail(Error error) {
    failure_ = std::move(error);
    failed_ = true;
    return Did::failed;
}

bool Run::lane_advance(uint32_t lane) {
    LaneState& state = lanes_[lane];
    const ProgramLane& program = program_->lanes[lane];
    bool moved = false;
    while (true) {
        if (state.step == program.steps.size()) {
            state.step = 0;
            state.tile++;
            std::erase_if(loans_, [&](const Loan& loan) { return loan.lane == lane; });
        }
        if (state.tile >= program_->choice.tiles || program.steps.empty()) {
            if (flush_ && settle(flush_output()) != Did::done) {
                return moved;
            }
            state.done = true;
            lanes_left_--;
            return true;
        }
        const ProgramStep& step = program.steps[state.step];
        if (!skip(step, state.tile)) {
            if (step.after_count > 0 && !after_met(step, state.tile)) {
                return moved;
            }
            if (step_run(lane, step, state.tile) != Did::done) {
                return moved;
            }
        }
        state.step++;
        moved = true;
    }
}

bool Run::after_met(const ProgramStep& step, uint32_t tile) const {
    for (uint32_t i = 0; i < step.after_count; i++) {
        const plan::After& after = program_->afters[step.after_begin + i];
        if (after.tiles_back > tile) {
            continue;
        }
        const LaneState& other = lanes_[after.lane];
        const uint32_t wanted = tile - after.tiles_back;
        if (!other.done &&
            (other.tile < wanted || (other.tile == wanted && other.step <= after.step))) {
            return false;
        }
    }
    return true;
}

Run::Did Run::step_run(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    switch (step.kind) {
        case StepKind::grant:
            return eager_ ? Did::done : settle(step_grant(lane, step, tile));
        case StepKind::put:
            return step_put(lane, step, tile);
        case StepKind::wait:
            return step_wait(lane, step, tile);
        case StepKind::expose:
            return settle(step_expose(lane, step, tile));
        case StepKind::copy:
        case StepKind::reduce:
            step_compute(lane, step, tile);
            return Did::done;
        case StepKind::release:
            return step_release(lane, step);
    }
    return Did::done;
}

Result<Run::Did> Run::step_grant(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    LaneState& state = lanes_[lane];
    const auto peer = static_cast<uint32_t>(step.peer);
    if (!state.grant_ready) {
        Wire* wire = context_.links->wire(peer);
        ExposedRange* copy = TRY(tile_for(step.dst, *wire));
        ExposedRange* range = copy;
        if (copy == nullptr) {
            range = TRY(range_of(step.dst));
        }
        const Region region = TRY(range->region(wire));
        size_t entry = 0;
        while (entry < grants_.size() && grants_[entry].used) {
            entry++;
        }
        const uint64_t offset =
            copy != nullptr ? 0
                            : static_cast<uint64_t>(address(lane, step.dst, tile) - range->base());
        if (!context_.links->grant_open(peer, region, offset, bytes_of(step, tile),
                                        cookie_of(id_, entry), &state.grant_body)) {
            if (copy != nullptr) {
                context_.pool->give_back(copy);
            }
            return Did::blocked;
        }
        grants_.resize(std::max(grants_.size(), entry + 1));
        grants_[entry] =
            OwnGrant{true,
                     false,
                     static_cast<uint16_t>(lane * program_->peers.size() + step.peer_slot),
                     step.grant.index(tile),
                     state.grant_body,
                     copy};
        state.grant_ready = true;
    }
    if (context_.links->send(peer, header_for(lane, MsgKind::grant, step.grant.index(tile)),
                             &state.grant_body, state.grant_body.message_bytes()) == Post::again) {
        return Did::blocked;
    }
    state.grant_ready = false;
    return Did::done;
}

Result<Run::Did> Run::step_expose(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    const auto peer = static_cast<uint32_t>(step.peer);
    Wire* wire = context_.links->wire(peer);
    ExposedRange* range = TRY(range_of(step.dst));
    const Region region = TRY(range->region(wire));
    GrantBody body;
    body.bytes = bytes_of(step, tile);
    body.ref = wire->ref(
        region, static_cast<uint64_t>(address(lane, step.dst, tile) - range->base()), peer);
    const MsgHeader header = header_for(lane, MsgKind::expose, step.message.index(tile));
    return context_.links->send(peer, header, &body, body.message_bytes()) == Post::again
               ? Did::blocked
               : Did::done;
}

Run::Did Run::step_put(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    const auto peer = static_cast<uint32_t>(step.peer);
    if (step.src_count > 0 && !eager_) {
        return settle(put_granted(lane, step, tile));
    }
    const MsgKind kind = step.src_count > 0 ? MsgKind::data : MsgKind::signal;
    const std::byte* from = nullptr;
    uint64_t bytes = 0;
    if (kind == MsgKind::data) {
        const Operand& operand = program_->operands[step.src_begin];
        bytes = bytes_of(step, tile);
        from = address(lane, operand, tile);
        if (scaled(operand)) {
            scaled_.resize(bytes);
            scale(scaled_.data(), from, bytes / elem_bytes_, call_.type, scale_);
            from = scaled_.data();
        }
    }
    const MsgHeader header = header_for(lane, kind, step.message.index(tile));
    if (context_.links->send(peer, header, from, static_cast<uint32_t>(bytes)) == Post::again) {
        return Did::blocked;
    }
    context_.counters->eager_bytes += bytes;
    return Did::done;
}

Result<Run::Did> Run::put_granted(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    auto& heard = stream(lane, step.peer_slot).peer_grants;
    const uint32_t index = step.grant.index(tile);
    const auto grant = std::find_if(heard.begin(), heard.end(), [&](const PeerGrant& g) {
        return g.kind == MsgKind::grant && g.index == index;
    });
    if (grant == heard.end()) {
        return Did::blocked;
    }
    const uint64_t bytes = bytes_of(step, tile);
    if (grant->body.bytes != bytes) {
        return mismatch(step, bytes, grant->body.bytes);
    }
    const auto peer = static_cast<uint32_t>(step.peer);
    const Operand& operand = program_->operands[step.src_begin];
    const std::byte* from = address(lane, operand, tile);
    Wire* wire = context_.links->wire(peer);
    ExposedRange* copy = nullptr;
    if (scaled(operand)) {
        copy = TRY(context_.pool->tile(program_->choice.tile_bytes));
        scale(copy->base(), from, bytes / elem_bytes_, call_.type, scale_);
    } else {
        copy = TRY(tile_for(operand, *wire));
        if (copy != nullptr) {
            copy_bytes(copy->base(), from, bytes);
            context_.counters->copied_bytes += bytes;
        }
    }
    ExposedRange* range = copy;
    if (copy == nullptr) {
        range = TRY(range_of(operand));
    } else {
        from = copy->base();
    }
    const Region region = TRY(range->region(wire));
    size_t entry = 0;
    while (entry < puts_.size() && puts_[entry].used) {
        entry++;
    }
    puts_.resize(std::max(puts_.size(), entry + 1));
    puts_[entry] = ActivePut{true, static_cast<uint16_t>(lane), operand, copy};
    puts_open_++;
    context_.counters->puts++;
    context_.counters->put_bytes += bytes;
    const GrantBody body = grant->body;
    heard.erase(grant);
    context_.links->put_start(peer, body, from, region, cookie_of(id_, entry));
    return Did::done;
}

Run::Did Run::step_wait(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    if (step.dst.peer >= 0) {
        return settle(wait_exposed(lane, step, tile));
    }
    if (step.dst.space == Space::none || eager_) {
        return wait_message(lane, step, tile);
    }
    const auto of = static_cast<uint16_t>(lane * program_->peers.size() + step.peer_slot);
    const uint32_t index = step.grant.index(tile);
    for (OwnGrant& grant : grants_) {
        if (grant.used && grant.stream == of && grant.index == index) {
            if (!grant.filled) {
                return Did::blocked;
            }
            if (grant.tile != nullptr) {
                const uint64_t bytes = bytes_of(step, tile);
                copy_bytes(address(lane, step.dst, tile), grant.tile->base(), bytes);
                context_.counters->copied_bytes += bytes;
                context_.pool->give_back(grant.tile);
            }
            grant.used = false;
            return Did::done;
        }
    }
    return fail(make_error(Code::internal, Scope::operation,
                           format("%s: a wait without its grant", context_.config->label.c_str())));
}

Run::Did Run::wait_message(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    auto& messages = stream(lane, step.peer_slot).messages;
    const uint32_t index = step.message.index(tile);
    const auto found = std::find_if(messages.begin(), messages.end(),
                                    [&](const Message& m) { return m.index == index; });
    if (found == messages.end()) {
        return Did::blocked;
    }
    const Message message = *found;
    *found = messages.back();
    messages.pop_back();
    const bool data = step.dst.space != Space::none;
    const uint64_t bytes = data ? bytes_of(step, tile) : 0;
    if (message.bytes != bytes || (message.kind == MsgKind::data) != data) {
        return fail(mismatch(step, bytes, message.bytes));
    }
    if (step.dst.space == Space::scratch) {
        ScratchSlot& slot = scratch_[program_->lanes[lane].scratch_base + step.dst.chunk];
        slot = ScratchSlot{message.payload, message.slot, true};
        return Did::done;
    }
    if (bytes > 0) {
        std::memcpy(address(lane, step.dst, tile), message.payload, bytes);
        context_.counters->copied_bytes += bytes;
    }
    context_.links->slot_release(message.slot);
    return Did::done;
}

Result<Run::Did> Run::wait_exposed(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    auto& heard = stream(lane, step.peer_slot).peer_grants;
    const uint32_t index = step.message.index(tile);
    const auto found = std::find_if(heard.begin(), heard.end(), [&](const PeerGrant& g) {
        return g.kind == MsgKind::expose && g.index == index;
    });
    if (found == heard.end()) {
        return Did::blocked;
    }
    const uint64_t bytes = bytes_of(step, tile);
    if (found->body.bytes != bytes) {
        return mismatch(step, bytes, found->body.bytes);
    }
    const auto peer = static_cast<uint32_t>(step.peer);
    const std::byte* at = context_.links->wire(peer)->map(peer, found->body.ref, bytes);
    if (at == nullptr) {
        return make_error(Code::internal, Scope::operation,
                          format("%s: memory that rank %d exposed cannot be loaded here",
                                 context_.config->label.c_str(), step.peer));
    }
    loans_.push_back(Loan{static_cast<uint16_t>(lane), step.dst, at});
    heard.erase(found);
    return Did::done;
}

void Run::step_compute(uint32_t lane, const ProgramStep& step, uint32_t tile) {
    const uint64_t bytes = bytes_of(step, tile);
    const uint64_t elems = bytes / elem_bytes_;
    std::byte* to = address(lane, step.dst, tile);
    const bool stream_out = step.dst.space == Space::output && output_.bytes() >= stream_bytes;
    sources_.clear();
    for (uint32_t i = 0; i < step.src_count; i++) {
        const Operand& operand = program_->operands[step.src_begin + i];
        const std::byte* from = source(lane, operand, tile);
        if (scaled(operand)) {
            scaled_.resize(bytes);
            scale(scaled_.data(), from, elems, call_.type, scale_);
            from = scaled_.data();
        }
        sources_.push_back(from);
    }
    if (step.kind == StepKind::copy) {
        if (sources_[0] != to) {
            copy_bytes(to, sources_[0], bytes, stream_out);
            context_.counters->copied_bytes += bytes;
        }
    } else {
        const bool summed = call_.op == RedOp::avg || call_.op == RedOp::pre_mul_sum;
        reduce_many(to, sources_.data(), static_cast<int>(sources_.size()), elems, call_.type,
                    summed ? RedOp::sum : call_.op, stream_out);
    }
    if (step.finish && call_.op == RedOp::avg && !is_float(call_.type)) {
        divide_int(to, elems, call_.type, static_cast<uint64_t>(context_.config->rank_count));
    }
}

Run::Did Run::step_release(uint32_t lane, const ProgramStep& step) {
    if (step.dst.space == Space::input && !in_place_) {
        return Did::done;  // nobody writes there
    }
    for (const ActivePut& put : puts_) {
        if (put.used && put.from == step.dst &&
            (step.dst.space != Space::scratch || put.lane == lane)) {
            return Did::blocked;
        }
    }
    if (step.dst.space == Space::scratch) {
        ScratchSlot& slot = scratch_[program_->lanes[lane].scratch_base + step.dst.chunk];
        if (slot.holds_slot) {
            context_.links->slot_release(slot.slot);
        }
        slot = ScratchSlot{};
    }
    return Did::done;
}

Error Run::mismatch(const ProgramStep& step, uint64_t expected, uint64_t got) const {
    return make_error(
        Code::invalid_usage, Scope::communicator,
        format("%s: rank %d moves %llu bytes where this rank expects %llu in %s (operation "
               "%u): call the same collective with the same arguments on all ranks",
               context_.config->label.c_str(), step.peer, static_cast<unsigned long long>(got),
               static_cast<unsigned long long>(expected), args_text(args_).c_str(), seq_));
}

void Run::close() {
    const bool settled = !failed_ && finished() &&
                         std::ranges::none_of(grants_, [](const OwnGrant& g) { return g.used; });
    for (OwnGrant& grant : grants_) {
        if (grant.used && !grant.filled && !program_->peers.empty()) {
            const auto peer = program_->peers[grant.stream % program_->peers.size()];
            context_.links->grant_close(static_cast<uint32_t>(peer), grant.body);
        }
        if (grant.used && grant.tile != nullptr) {
            context_.pool->give_back(grant.tile);
        }
    }
    grants_.clear();
    for (ActivePut& put : puts_) {
        if (put.used && put.tile != nullptr) {
            context_.pool->give_back(put.tile);
        }
    }
    puts_.clear();
    puts_open_ = 0;
    loans_.clear();
    for (Stream& each : streams_) {
        for (const Message& message : each.messages) {
            context_.links->slot_release(message.slot);
        }
        each.messages.clear();
        each.peer_grants.clear();
    }
    if (settled) {
        input_.release();
        output_.release();
    } else {
        input_.close();
        output_.close();
    }
}

std::string Run::waiting_for() const {
    static constexpr const char* names[] = {"grant to", "grant of", "data of", "expose to",
                                            "copy",     "reduce",   "delivery"};
    std::string text;
    for (uint32_t lane = 0; lane < lanes_.size(); lane++) {
        const LaneState& state = lanes_[lane];
        if (state.done || state.step >= program_->lanes[lane].steps.size()) {
            continue;
        }
        if (state.tile >= program_->choice.tiles) {
            text = "the NICs' flush of what arrived";
            continue;
        }
        const ProgramStep& step = program_->lanes[lane].steps[state.step];
        const std::string name = step.peer >= 0 ? context_.config->peers[step.peer].name : "";
        text +=
            format("%slane %u tile %u step %u: %s %s", text.empty() ? "" : "; ", lane, state.tile,
                   step.number, names[static_cast<size_t>(step.kind)], name.c_str());
    }
    if (text.empty() && puts_open_ > 0) {
        text = format("%zu puts to be delivered", puts_open_);
    }
    return text;
}

}  // namespace weft
