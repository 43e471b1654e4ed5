#include "src/comm/device_board.h"

#include <algorithm>
#include <cstring>

#include "src/base/log.h"
#include "src/comm/device_rank.h"
#include "src/comm/parts_queue.h"
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

dev::Fingerprint fingerprint_of(const Call& call) {
    const Args args = args_pack(call.coll, call.count, call.type, call.op, call.root);
    return {args.packed, args.root};
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

void move_add(dev::BoardLaunch& launch, const SlotRows& rows, gpu::Address slot, bool in) {
    if (rows.width == 0) {
        return;
    }
    const uint64_t at = slot + rows.slot;
    launch.moves.moves[launch.moves.move_count++] =
        in ? dev::Move{at, rows.user, rows.width, rows.rows, rows.slot_pitch, rows.user_pitch}
           : dev::Move{rows.user, at, rows.width, rows.rows, rows.user_pitch, rows.slot_pitch};
}

void step_add(dev::CarriedProgram& program, dev::Do what, uint64_t bytes,
              std::initializer_list<uint64_t> addresses) {
    program.steps[program.step_count++] = {
        what, static_cast<uint32_t>(addresses.size()), program.operand_count, 0, 0, 0, bytes};
    for (const uint64_t at : addresses) {
        program.operands[program.operand_count++] = {at, 0, 1};
    }
}

}  // namespace

DeviceBoard::DeviceBoard(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count,
                         bool exported)
    : DeviceStreamed(std::move(seat), rank, rank_count),
      layout_(static_cast<uint32_t>(rank_count)),
      windows_(seat_, rank, exported) {
}

Result<std::shared_ptr<DeviceBoard>> DeviceBoard::create(std::shared_ptr<gpu::Seat> seat,
                                                         int32_t rank, int32_t rank_count,
                                                         bool exported) {
    std::shared_ptr<DeviceBoard> made(new DeviceBoard(std::move(seat), rank, rank_count, exported));
    TRY(made->allocate(exported));
    return made;
}

Result<void> DeviceBoard::allocate(bool exported) {
    static_assert(sizeof(Own) <= BoardMemory::head_bytes);
    TRY(prepare());
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    memory_ = TRY(BoardMemory::create(seat_, layout_, exported));
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&own_device_, memory_->head(), 0),
                          "the device's address of pinned host memory"));
    head_is(&own().head, own_at(offsetof(Own, head)));
    return {};
}

DeviceBoard::~DeviceBoard() {
    end();
}

Result<BoardPeer> DeviceBoard::reach(const std::shared_ptr<BoardMemory>& theirs) {
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

Result<BoardPeer> DeviceBoard::reach(const std::string& note, Nanos deadline) {
    std::shared_ptr<BoardImport> found = TRY(BoardImport::open(seat_, layout_, note, deadline));
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    gpu::Address words = 0;
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&words, found->words(), 0),
                          "the device's address of pinned host memory"));
    const gpu::Address board = found->board();
    return BoardPeer{std::move(found), board, words};
}

void DeviceBoard::connect(std::vector<BoardPeer> peers, std::vector<std::string> names) {
    peers_ = std::move(peers);
    names_ = std::move(names);
    for (size_t rank = 0; rank < peers_.size(); rank++) {
        own().boards[rank] = peers_[rank].board;
    }
}

void DeviceBoard::serve(Shard&, std::function<void(const Error&)>) {
    thread_start(0);
}

std::string DeviceBoard::way() const {
    return format(
        "they reach each other's device memory: calls on it go through boards of %llu "
        "bytes",
        static_cast<unsigned long long>(BoardLayout::bytes()));
}

std::optional<Error> DeviceBoard::poll(uint32_t) {
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
bool DeviceBoard::is_late(uint32_t peer) const {
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

std::optional<uint64_t> DeviceBoard::standing(uint32_t) {
    uint64_t state = launches_ended();
    for (uint32_t word = 0; word < layout_.word_count(); word++) {
        state = state * 31 + word_load(memory_->words()[word]);
    }
    return state;
}

std::string DeviceBoard::waits_for(uint32_t) {
    std::string late;
    for (uint32_t peer = 0; peer < layout_.ranks(); peer++) {
        if (peer != rank() && is_late(peer)) {
            late += (late.empty() ? "" : ", ") + names_[peer];
        }
    }
    return late.empty() ? "a message, or what stands before it on its own stream" : late;
}

// ---- words

void DeviceBoard::streams_let_go() {
    for (uint32_t word = 0; word < layout_.word_count(); word++) {
        word_store(memory_->words()[word], 1);
    }
}

gpu::Address DeviceBoard::word_at(const BoardPeer& peer, uint32_t word) const {
    return peer.words + word * sizeof(DeviceWord);
}

Result<void> DeviceBoard::word_await(uint32_t word, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address at = word_at(peers_[static_cast<size_t>(rank_)], word);
    return gpu::driver_check(cuda,
                             cuda.cuStreamWaitValue32(stream, at, 1, gpu::wait_value_flag::equal),
                             "cuStreamWaitValue32");
}

Result<void> DeviceBoard::word_tell(int32_t peer, uint32_t word, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address at = word_at(peers_[static_cast<size_t>(peer)], word);
    return gpu::driver_check(cuda, cuda.cuStreamWriteValue32(stream, at, 1, 0),
                             "cuStreamWriteValue32");
}

Result<void> DeviceBoard::peers_await(SlotWord word, uint32_t slot, gpu::Stream stream) {
    for (int32_t peer = 0; peer < rank_count_; peer++) {
        if (peer != rank_) {
            TRY(word_await((layout_.*word)(slot, static_cast<uint32_t>(peer)), stream));
        }
    }
    return {};
}

Result<void> DeviceBoard::peers_tell(SlotWord word, uint32_t slot, gpu::Stream stream) {
    for (int32_t peer = 0; peer < rank_count_; peer++) {
        if (peer != rank_) {
            TRY(word_tell(peer, (layout_.*word)(slot, static_cast<uint32_t>(rank_)), stream));
        }
    }
    return {};
}

// ---- kernels

dev::BoardLaunch DeviceBoard::launch_of(const dev::Fingerprint& args) const {
    const gpu::Address stop = own_at(offsetof(Own, head));
    dev::BoardLaunch launch{};
    launch.moves.stop = reinterpret_cast<const uint64_t*>(stop);
    launch.stop = reinterpret_cast<uint64_t*>(stop);
    launch.args = args;
    return launch;
}

dev::BoardLaunch DeviceBoard::launch_of(const BoardPart& part) const {
    dev::BoardLaunch launch = launch_of(fingerprint_of(*part.call));
    launch.places[0] = part.direct.send.packed();
    launch.places[1] = part.direct.recv.packed();
    return launch;
}

// What a part reads of a rank: the slot, or a buffer in a window.
Result<uint64_t> DeviceBoard::lies_at(const BoardPart& part, const WindowPlace& place,
                                      int32_t rank) const {
    if (part.direct) {
        return windows_.reach(place, rank);
    }
    return peers_[static_cast<size_t>(rank)].board + BoardLayout::slot(part.slot);
}

void DeviceBoard::clears(dev::BoardLaunch& launch, uint32_t word, uint32_t count) const {
    launch.clear = reinterpret_cast<uint64_t*>(word_at(peers_[static_cast<size_t>(rank_)], word));
    launch.clear_count = count;
}

void DeviceBoard::checks(dev::BoardLaunch& launch, uint64_t card, uint32_t first,
                         uint32_t count) const {
    launch.check = {reinterpret_cast<const uint64_t*>(own_at(offsetof(Own, boards))), card,
                    reinterpret_cast<dev::LaneEnd*>(own_at(offsetof(Own, end))), first, count};
}

Result<void> DeviceBoard::launch_one(dev::BoardLaunch& launch, uint32_t blocks,
                                     gpu::Stream stream) {
    launch.moves.block_count = blocks;
    void* arguments[] = {&launch};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->board_kernel(), blocks, 1, 1, dev::block_threads_max, 1, 1, 0,
                            stream, arguments, nullptr),
        format("launching board_rows with %u blocks on stream %p", blocks,
               static_cast<void*>(stream)));
}

constexpr uint64_t no_card = ~0ull;

// A card speaks of all blocks' rows: of several, it has a launch of its own behind them.
Result<void> DeviceBoard::launch(dev::BoardLaunch launch, uint64_t card, gpu::Stream stream) {
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

Result<void> DeviceBoard::carried_launch(const Call& call, dev::Launch& launch,
                                         gpu::Stream stream) {
    dev::CarriedProgram& program = launch.carried;
    program.part.abort_word = reinterpret_cast<const uint64_t*>(own_at(offsetof(Own, head)));
    device_factor(call, static_cast<uint32_t>(rank_count_), program.part);
    program.tile_bytes = tile_bytes;
    program.tiles = static_cast<uint32_t>(tiles_of(program.steps[0].bytes));
    launch.rank_count = 0;
    launch.lane_count = blocks_of(program.tiles);
    const RedOp op = gpu::kernel_op(call.op);
    void* arguments[] = {&launch};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->kernel(gpu::Family::lanes, call.type, op), launch.lane_count, 1,
                            1, dev::block_threads_max, 1, 1, 0, stream, arguments, nullptr),
        format("launching %s with %u blocks on stream %p",
               gpu::kernel_name(gpu::Family::lanes, call.type, op).c_str(), launch.lane_count,
               static_cast<void*>(stream)));
}

// Rows that are multiplied by this rank's factor on their way into the slot.
Result<void> DeviceBoard::scale(const BoardPart& part, gpu::Stream stream) {
    const gpu::Address slot = memory_->board() + BoardLayout::slot(part.slot);
    for (const SlotRows& rows : part.in) {
        dev::Launch launch{};
        for (uint64_t row = 0; row < rows.rows; row++) {
            step_add(launch.carried, dev::Do::scale, rows.width,
                     {slot + rows.slot + row * rows.slot_pitch, rows.user + row * rows.user_pitch});
        }
        TRY(carried_launch(*part.call, launch, stream));
    }
    return {};
}

Result<void> DeviceBoard::reduce(const BoardPart& part, gpu::Stream stream) {
    const BoardReduce& what = part.reduce;
    const uint64_t to =
        what.to != 0 ? what.to : memory_->board() + BoardLayout::slot(part.slot) + what.at;
    dev::Launch launch{};
    dev::CarriedProgram& program = launch.carried;
    step_add(program, dev::Do::reduce, what.bytes, {to});
    for (int32_t rank = 0; rank < rank_count_; rank++) {
        const uint64_t theirs = TRY(lies_at(part, part.direct.send, rank));
        program.operands[program.operand_count++] = {theirs + what.at, 0, 1};
    }
    program.steps[0].operand_count = program.operand_count;
    if (device_request(*part.call).call.divide) {
        step_add(program, dev::Do::divide, what.bytes, {to});
    }
    return carried_launch(*part.call, launch, stream);
}

// ---- parts

std::unique_ptr<DeviceStreamed::Parts> DeviceBoard::parts(const std::vector<Call>& calls,
                                                          uint64_t graph) {
    const BoardShape shape{rank_, rank_count_, BoardLayout::slots, BoardLayout::slot_bytes,
                           layout_.half_bytes()};
    const auto find = [this](uint64_t address, uint64_t bytes) {
        return windows_.find(address, bytes);
    };
    return std::make_unique<PartsQueue<DeviceBoard, BoardCut>>(*this, BoardCut(shape, calls, find),
                                                               graph);
}

Result<void> DeviceBoard::collective_in(const BoardPart& part, gpu::Stream stream) {
    TRY(peers_await(&BoardLayout::left, part.slot, stream));
    dev::BoardLaunch launch_in = launch_of(part);
    clears(launch_in, layout_.left(part.slot, 0), layout_.ranks());
    for (const BoardOwnCopy& copy : part.own) {
        launch_in.moves.moves[launch_in.moves.move_count++] = {copy.to, copy.from,  copy.bytes,
                                                               1,       copy.bytes, copy.bytes};
    }
    if (device_request(*part.call).call.scale_inputs) {
        TRY(scale(part, stream));
    } else {
        for (const SlotRows& rows : part.in) {
            move_add(launch_in, rows, memory_->board() + BoardLayout::slot(part.slot), true);
        }
    }
    TRY(launch(launch_in, BoardLayout::card(part.slot, false), stream));
    return peers_tell(&BoardLayout::arrived, part.slot, stream);
}

// This rank's share, and that it is there.
Result<void> DeviceBoard::shares_reduce(const BoardPart& part, gpu::Stream stream) {
    TRY(peers_await(&BoardLayout::arrived, part.slot, stream));
    dev::BoardLaunch read = launch_of(part);
    checks(read, BoardLayout::card(part.slot, false), 0, layout_.ranks());
    clears(read, layout_.arrived(part.slot, 0), layout_.ranks());
    TRY(launch(read, no_card, stream));
    if (part.reduce.bytes > 0) {
        TRY(reduce(part, stream));
    }
    TRY(launch(launch_of(part), BoardLayout::card(part.slot, true), stream));
    return peers_tell(&BoardLayout::reduced, part.slot, stream);
}

// After shares, what is waited for, read and cleared is theirs.
Result<void> DeviceBoard::collective_out(const BoardPart& part, gpu::Stream stream) {
    const SlotWord word = part.by_shares ? &BoardLayout::reduced : &BoardLayout::arrived;
    TRY(peers_await(word, part.slot, stream));
    dev::BoardLaunch read = launch_of(part);
    checks(read, BoardLayout::card(part.slot, part.by_shares), 0, layout_.ranks());
    clears(read, (layout_.*word)(part.slot, 0), layout_.ranks());
    for (const BoardCopy& copy : part.out) {
        const WindowPlace& place = part.direct.recv ? part.direct.recv : part.direct.send;
        move_add(read, copy.rows, TRY(lies_at(part, place, copy.from)), false);
    }
    TRY(launch(read, no_card, stream));
    if (!part.by_shares && part.reduce.bytes > 0) {
        TRY(reduce(part, stream));
    }
    return peers_tell(&BoardLayout::left, part.slot, stream);
}

Result<void> DeviceBoard::message_in(const BoardMessage& message, gpu::Stream stream) {
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

Result<void> DeviceBoard::message_out(const BoardMessage& message, gpu::Stream stream) {
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

Result<void> DeviceBoard::part_in(const BoardPart& part, bool, uint64_t graph, gpu::Stream stream) {
    uint64_t copied = 0;
    for (const SlotRows& rows : part.in) {
        copied += rows.rows * rows.width;
    }
    for (const BoardMessage& message : part.sends) {
        copied += message.rows.width;
    }
    copied_bytes_ += graph == 0 ? copied : 0;
    if (part.call) {
        return collective_in(part, stream);
    }
    for (const BoardMessage& message : part.sends) {
        TRY(message_in(message, stream));
    }
    return {};
}

Result<void> DeviceBoard::part_out(const BoardPart& part, uint32_t step, gpu::Stream stream) {
    if (part.call && part.direct && step + 1 == part.outs()) {
        return peers_await(&BoardLayout::left, part.slot, stream);
    }
    if (part.call) {
        return part.by_shares && step == 0 ? shares_reduce(part, stream)
                                           : collective_out(part, stream);
    }
    for (const BoardMessage& message : part.receives) {
        TRY(message_out(message, stream));
    }
    return {};
}

}  // namespace weft
