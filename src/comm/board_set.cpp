#include "src/comm/board_set.h"

#include <algorithm>
#include <atomic>

#include "src/base/log.h"
#include "src/comm/device_rank.h"
#include "src/exec/fingerprint.h"

namespace weft {

namespace dev = gpu::device;

namespace {

// Of one launch: what a copy or a sum needs to come near the device's rate, and others still fit.
constexpr uint32_t blocks_max = 16;
constexpr uint64_t tile_bytes = dev::move_segment_bytes;

uint64_t tiles_of(uint64_t bytes) {
    return (bytes + tile_bytes - 1) / tile_bytes;
}

uint32_t blocks_of(uint64_t tiles) {
    return static_cast<uint32_t>(std::clamp<uint64_t>(tiles, 1, blocks_max));
}

// Both sides of a message state its bytes.
dev::Fingerprint fingerprint_of(const BoardMessage& message) {
    const Args args = args_pack(Coll::send_recv, message.of, DataType::uint8, RedOp::sum, 0);
    return {args.packed, args.root};
}

std::string text_of(const dev::Fingerprint& args) {
    return args_text({args.packed, static_cast<uint32_t>(args.root)});
}

std::string text_of(const WindowPlace& place) {
    return place ? format("at %llu in window %u", static_cast<unsigned long long>(place.offset()),
                          place.number())
                 : "in no symmetric window";
}

// On operands at these addresses.
void step_add(dev::CarriedProgram& program, dev::Do what, uint64_t bytes,
              const std::vector<gpu::Address>& addresses) {
    program.steps[program.step_count++] = {
        what, static_cast<uint32_t>(addresses.size()), program.operand_count, 0, 0, 0, bytes};
    for (const gpu::Address at : addresses) {
        program.operands[program.operand_count++] = {at, 0, 1};
    }
}

}  // namespace

dev::Fingerprint fingerprint_of(const Call& call) {
    const Args args = args_of(call);
    return {args.packed, args.root};
}

void move_add(dev::BoardLaunch& launch, const SlotRows& rows, gpu::Address slot, bool in) {
    if (rows.width == 0) {
        return;
    }
    const uint64_t at = slot + rows.slot;
    launch.moves.moves[launch.moves.move_count++] =
        in ? dev::Move{at, rows.user, rows.width, rows.rows, rows.slot_pitch, rows.user_pitch}
           : dev::Move{rows.user, at, rows.width, rows.rows, rows.user_pitch, rows.slot_pitch};
}

BoardSet::BoardSet(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t ranks, int32_t total)
    : seat_(std::move(seat)),
      rank_(rank),
      ranks_(ranks),
      total_(total),
      layout_(static_cast<uint32_t>(ranks)) {
}

Result<void> BoardSet::allocate(bool exported) {
    static_assert(sizeof(Own) <= BoardMemory::head_bytes);
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    memory_ = TRY(BoardMemory::create(seat_, layout_, exported));
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&own_device_, memory_->head(), 0),
                          "the device's address of pinned host memory"));
    return {};
}

Result<BoardPeer> BoardSet::reach(const std::shared_ptr<BoardMemory>& theirs) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Seat& other = theirs->seat();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    if (other.context() != seat_->context()) {
        int can = 0;
        TRY(gpu::driver_check(cuda,
                              cuda.cuDeviceCanAccessPeer(&can, seat_->device(), other.device()),
                              "cuDeviceCanAccessPeer"));
        if (can == 0) {
            return make_error(Code::unsupported, Scope::communicator,
                              format("CUDA device %d does not reach the memory of device %d",
                                     seat_->facts().ordinal, other.facts().ordinal));
        }
        const gpu::Status enabled = cuda.cuCtxEnablePeerAccess(other.context(), 0);
        if (enabled != gpu::status::peer_access_already_enabled) {
            TRY(gpu::driver_check(cuda, enabled,
                                  format("letting CUDA device %d reach the memory of device %d",
                                         seat_->facts().ordinal, other.facts().ordinal)));
        }
    }
    BoardPeer peer{theirs, theirs->board(), 0};
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&peer.words, theirs->words(), 0),
                          "the device's address of pinned host memory"));
    return peer;
}

Result<BoardPeer> BoardSet::reach(const std::string& note, Nanos deadline) {
    std::shared_ptr<BoardImport> found = TRY(BoardImport::open(seat_, layout_, note, deadline));
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    gpu::Address words = 0;
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&words, found->words(), 0),
                          "the device's address of pinned host memory"));
    const gpu::Address board = found->board();
    return BoardPeer{std::move(found), board, words};
}

void BoardSet::connect(std::vector<BoardPeer> peers, std::vector<std::string> names) {
    peers_ = std::move(peers);
    names_ = std::move(names);
    for (size_t rank = 0; rank < peers_.size(); rank++) {
        own().boards[rank] = peers_[rank].board;
    }
}

std::optional<Error> BoardSet::poll() const {
    const dev::LaneEnd& end = own().end;
    const auto how = std::atomic_ref(const_cast<dev::Ended&>(end.how));
    if (how.load(std::memory_order_acquire) != dev::Ended::mismatch) {
        return {};
    }
    const std::string ours = text_of(end.own), theirs = text_of(end.theirs);
    if (ours == theirs) {
        return make_error(
            Code::invalid_usage, Scope::communicator,
            format("mismatched arguments: %s: its memory lies %s on this rank and %s on %s: pass "
                   "the same offset of a symmetric window on all ranks, or memory of none",
                   ours.c_str(), text_of(WindowPlace::of(end.wait)).c_str(),
                   text_of(WindowPlace::of(end.place)).c_str(), names_[end.peer].c_str()));
    }
    return make_error(Code::invalid_usage, Scope::communicator,
                      format("mismatched arguments: this rank called %s, %s called %s",
                             ours.c_str(), names_[end.peer].c_str(), theirs.c_str()));
}

// Whoever has neither laid its part open nor read ours. Of one that is ahead the word is there; all
// have arrived when these words are cleared, and then who has not left is late.
bool BoardSet::is_late(uint32_t peer) const {
    const DeviceWord* const words = memory_->words();
    const auto none = [&](uint32_t word) { return word_load(words[word]) == 0; };
    for (uint32_t slot = 0; slot < BoardLayout::slots; slot++) {
        if (none(layout_.left(slot, peer)) && none(layout_.arrived(slot, peer)) &&
            none(layout_.reduced(slot, peer))) {
            return true;
        }
    }
    for (uint32_t half = 0; half < BoardLayout::halves; half++) {
        if (none(layout_.taken(peer, half))) {
            return true;
        }
    }
    return false;
}

uint64_t BoardSet::standing() const {
    uint64_t state = 0;
    for (uint32_t word = 0; word < layout_.word_count(); word++) {
        state = state * 31 + word_load(memory_->words()[word]);
    }
    return state;
}

std::string BoardSet::late_names() const {
    std::string late;
    for (uint32_t peer = 0; peer < layout_.ranks(); peer++) {
        if (peer != static_cast<uint32_t>(rank_) && is_late(peer)) {
            late += (late.empty() ? "" : ", ") + names_[peer];
        }
    }
    return late;
}

// ---- words

void BoardSet::let_go() {
    for (uint32_t word = 0; word < layout_.word_count(); word++) {
        word_store(memory_->words()[word], 1);
    }
}

gpu::Address BoardSet::word_at(int32_t rank, uint32_t word) const {
    return peers_[static_cast<size_t>(rank)].words + word * sizeof(DeviceWord);
}

Result<void> BoardSet::word_await(uint32_t word, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address at = word_at(rank_, word);
    return gpu::driver_check(cuda,
                             cuda.cuStreamWaitValue32(stream, at, 1, gpu::wait_value_flag::equal),
                             "cuStreamWaitValue32");
}

Result<void> BoardSet::word_tell(int32_t peer, uint32_t word, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address at = word_at(peer, word);
    return gpu::driver_check(cuda, cuda.cuStreamWriteValue32(stream, at, 1, 0),
                             "cuStreamWriteValue32");
}

Result<void> BoardSet::peers_await(SlotWord word, uint32_t slot, gpu::Stream stream) {
    for (int32_t peer = 0; peer < ranks_; peer++) {
        if (peer != rank_) {
            TRY(word_await((layout_.*word)(slot, static_cast<uint32_t>(peer)), stream));
        }
    }
    return {};
}

Result<void> BoardSet::peers_tell(SlotWord word, uint32_t slot, gpu::Stream stream) {
    for (int32_t peer = 0; peer < ranks_; peer++) {
        if (peer != rank_) {
            TRY(word_tell(peer, (layout_.*word)(slot, static_cast<uint32_t>(rank_)), stream));
        }
    }
    return {};
}

// ---- kernels

dev::BoardLaunch BoardSet::launch_of(const dev::Fingerprint& args) const {
    const gpu::Address stop = own_at(offsetof(Own, head));
    dev::BoardLaunch launch{};
    launch.moves.stop = reinterpret_cast<const uint64_t*>(stop);
    launch.stop = reinterpret_cast<uint64_t*>(stop);
    launch.args = args;
    return launch;
}

void BoardSet::clears(dev::BoardLaunch& launch, uint32_t word, uint32_t count) const {
    launch.clear = reinterpret_cast<uint64_t*>(word_at(rank_, word));
    launch.clear_count = count;
}

void BoardSet::checks(dev::BoardLaunch& launch, uint64_t card, uint32_t first,
                      uint32_t count) const {
    launch.check = {reinterpret_cast<const uint64_t*>(own_at(offsetof(Own, boards))), card,
                    reinterpret_cast<dev::LaneEnd*>(own_at(offsetof(Own, end))), first, count};
}

Result<void> BoardSet::launch_one(dev::BoardLaunch& launch, uint32_t blocks, gpu::Stream stream) {
    launch.moves.block_count = blocks;
    launch.moves.loops = seat_->loops();
    void* arguments[] = {&launch};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->board_kernel(), blocks, 1, 1, seat_->block_threads(), 1, 1, 0,
                            stream, arguments, nullptr),
        format("launching board_rows with %u blocks on stream %p", blocks,
               static_cast<void*>(stream)));
}

// A card speaks of all blocks' rows: of several, it has a launch of its own behind them.
Result<void> BoardSet::launch(dev::BoardLaunch launch, uint64_t card, gpu::Stream stream) {
    uint64_t segments = 0;
    for (const dev::Move& move : std::span(launch.moves.moves, launch.moves.move_count)) {
        segments += move.rows * tiles_of(move.width);
    }
    const uint32_t blocks = blocks_of(segments);
    const auto place = [&] { return reinterpret_cast<dev::Card*>(memory_->board() + card); };
    if (card != no_card && blocks == 1) {
        launch.card = place();
    }
    TRY(launch_one(launch, blocks, stream));
    if (card == no_card || blocks == 1) {
        return {};
    }
    dev::BoardLaunch behind = launch_of(launch.args);
    std::ranges::copy(launch.places, behind.places);
    behind.card = place();
    return launch_one(behind, 1, stream);
}

Result<void> BoardSet::sum(const Call& call, gpu::Address to, const std::vector<gpu::Address>& from,
                           uint64_t bytes, bool whole, gpu::Stream stream) {
    std::vector<gpu::Address> operands{to};
    operands.insert(operands.end(), from.begin(), from.end());
    dev::Launch launch{};
    step_add(launch.carried, dev::Do::reduce, bytes, operands);
    if (whole && device_request(call).call.divide) {
        step_add(launch.carried, dev::Do::divide, bytes, {to});
    }
    return carried_launch(call, launch, stream);
}

Result<void> BoardSet::scale(const Call& call, const dev::Move& rows, gpu::Stream stream) {
    for (uint64_t row = 0; row < rows.rows;) {
        dev::Launch launch{};
        for (; row < rows.rows && launch.carried.step_count < dev::carried_steps_max; row++) {
            step_add(launch.carried, dev::Do::scale, rows.width,
                     {rows.to + row * rows.to_pitch, rows.from + row * rows.from_pitch});
        }
        TRY(carried_launch(call, launch, stream));
    }
    return {};
}

Result<void> BoardSet::carried_launch(const Call& call, dev::Launch& launch, gpu::Stream stream) {
    dev::CarriedProgram& program = launch.carried;
    program.part.abort_word = reinterpret_cast<const uint64_t*>(own_at(offsetof(Own, head)));
    device_factor(call, static_cast<uint32_t>(total_), program.part);
    program.tile_bytes = tile_bytes;
    program.tiles = static_cast<uint32_t>(tiles_of(program.steps[0].bytes));
    launch.rank_count = 0;
    launch.loops = seat_->loops();
    launch.lane_count = blocks_of(program.tiles);
    const RedOp op = gpu::kernel_op(call.op);
    void* arguments[] = {&launch};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->kernel(gpu::Family::lanes, call.type, op), launch.lane_count, 1,
                            1, seat_->block_threads(), 1, 1, 0, stream, arguments, nullptr),
        format("launching %s with %u blocks on stream %p",
               gpu::kernel_name(gpu::Family::lanes, call.type, op).c_str(), launch.lane_count,
               static_cast<void*>(stream)));
}

// ---- messages

Result<void> BoardSet::message_in(const BoardMessage& message, gpu::Stream stream) {
    const auto receiver = static_cast<uint32_t>(message.peer), rank = static_cast<uint32_t>(rank_);
    const uint32_t taken = layout_.taken(receiver, message.half);
    TRY(word_await(taken, stream));
    dev::BoardLaunch launch_in = launch_of(fingerprint_of(message));
    clears(launch_in, taken, 1);
    move_add(launch_in, message.rows, memory_->board() + layout_.half(receiver, message.half),
             true);
    TRY(launch(launch_in, BoardLayout::message_card(receiver, message.half), stream));
    return word_tell(message.peer, layout_.sent(rank, message.half), stream);
}

Result<void> BoardSet::message_out(const BoardMessage& message, gpu::Stream stream) {
    const auto sender = static_cast<uint32_t>(message.peer), rank = static_cast<uint32_t>(rank_);
    const uint32_t sent = layout_.sent(sender, message.half);
    TRY(word_await(sent, stream));
    dev::BoardLaunch read = launch_of(fingerprint_of(message));
    checks(read, BoardLayout::message_card(rank, message.half), sender, 1);
    clears(read, sent, 1);
    move_add(read, message.rows, peers_[sender].board + layout_.half(rank, message.half), false);
    TRY(launch(read, no_card, stream));
    return word_tell(message.peer, layout_.taken(rank, message.half), stream);
}

}  // namespace weft
