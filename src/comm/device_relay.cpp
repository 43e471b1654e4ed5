#include "src/comm/device_relay.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/comm/parts_queue.h"
#include "transports/memory.h"

namespace weft {

namespace dev = gpu::device;

namespace {

constexpr uint64_t head_bytes = 4096;
constexpr uint64_t memory_bytes = head_bytes + DeviceRelay::slots * DeviceRelay::slot_bytes;
constexpr uint32_t blocks_max = 8;
// Looks between which nothing happened, before the thread yields, with a core for every rank.
constexpr int spins = 2000;

}  // namespace

Result<std::shared_ptr<DeviceRelay>> DeviceRelay::create(std::shared_ptr<gpu::Seat> seat,
                                                         int32_t rank, int32_t rank_count) {
    std::shared_ptr<DeviceRelay> made(new DeviceRelay(std::move(seat), rank, rank_count));
    TRY(made->allocate());
    return made;
}

Result<void> DeviceRelay::allocate() {
    TRY(prepare());
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    // Memory that peers on this host reach: the engine moves it without a copy.
    memory_ = static_cast<char*>(TRY(shared_alloc(memory_bytes)));
    TRY(gpu::driver_check(
        cuda,
        cuda.cuMemHostRegister(memory_, memory_bytes,
                               gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
        format("pinning %llu bytes of host memory for %s (check ulimit -l)",
               static_cast<unsigned long long>(memory_bytes), seat_->facts().name.c_str())));
    words_ = reinterpret_cast<Words*>(memory_);
    static_assert(sizeof(Words) <= head_bytes);
    TRY(gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&device_memory_, memory_, 0),
                          "the device's address of pinned host memory"));
    head_is(&words_->head, device_address(&words_->head));
    return {};
}

DeviceRelay::~DeviceRelay() {
    end();
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok() && words_ != nullptr) {  // else the program has reset its device
        cuda.cuMemHostUnregister(memory_);
    }
    if (memory_ != nullptr) {
        (void)shared_free(memory_);
    }
}

char* DeviceRelay::slot_at(uint32_t slot) const {
    return memory_ + head_bytes + slot * slot_bytes;
}

gpu::Address DeviceRelay::device_address(const void* at) const {
    return device_memory_ + static_cast<uint64_t>(static_cast<const char*>(at) - memory_);
}

// ---- launches

Result<void> DeviceRelay::launch(dev::MoveLaunch& moves, gpu::Stream stream) {
    uint64_t segments = 1;
    for (const dev::Move& move : std::span(moves.moves, moves.move_count)) {
        segments +=
            move.rows * ((move.width + dev::move_segment_bytes - 1) / dev::move_segment_bytes);
    }
    moves.stop = reinterpret_cast<const uint64_t*>(device_address(&words_->head.stop.value));
    moves.block_count = static_cast<uint32_t>(std::min<uint64_t>(segments, blocks_max));
    void* arguments[] = {&moves};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->move_kernel(), moves.block_count, 1, 1, dev::block_threads_max,
                            1, 1, 0, stream, arguments, nullptr),
        format("launching move_rows with %u blocks on stream %p", moves.block_count,
               static_cast<void*>(stream)));
}

// Out, the last launch clears the word that said the part is done.
Result<void> DeviceRelay::rows_move(const std::vector<SlotRows>& rows, uint32_t slot, bool in,
                                    gpu::Stream stream) {
    const gpu::Address base = device_address(slot_at(slot));
    size_t at = 0;
    do {
        dev::MoveLaunch moves{};
        while (at < rows.size() && moves.move_count < dev::moves_max) {
            const SlotRows& row = rows[at++];
            moves.moves[moves.move_count++] =
                in ? dev::Move{base + row.slot, row.user,       row.width,
                               row.rows,        row.slot_pitch, row.user_pitch}
                   : dev::Move{row.user, base + row.slot, row.width,
                               row.rows, row.user_pitch,  row.slot_pitch};
        }
        if (!in && at == rows.size()) {
            moves.clear = reinterpret_cast<uint64_t*>(device_address(&words_->done[slot].value));
        }
        if (moves.move_count > 0 || moves.clear != nullptr) {
            TRY(launch(moves, stream));
        }
    } while (at < rows.size());
    return {};
}

std::unique_ptr<DeviceStreamed::Parts> DeviceRelay::parts(const std::vector<Call>& calls,
                                                          uint64_t graph) {
    const RelayShape shape{rank_, rank_count_, slot_bytes, slots};
    return std::make_unique<PartsQueue<DeviceRelay, RelayCut>>(*this, RelayCut(shape, calls),
                                                               graph);
}

Result<void> DeviceRelay::part_in(const RelayPart& part, bool is_last, uint64_t graph,
                                  gpu::Stream stream) {
    TRY(rows_move(part.in, part.slot, true, stream));
    uint32_t number = 0;
    {
        const std::lock_guard lock(state_mutex_);
        do {
            number = ++number_;
        } while (number == 0 || asked_.contains(number));
        asked_[number] = {relay_place(part.calls, slot_at(part.slot)), part.slot, is_last, graph};
    }
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuStreamWriteValue32(stream, device_address(&words_->asked[part.slot].value), number,
                                  0),
        "cuStreamWriteValue32");
}

Result<void> DeviceRelay::part_out(const RelayPart& part, uint32_t, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    TRY(gpu::driver_check(
        cuda,
        cuda.cuStreamWaitValue32(stream, device_address(&words_->done[part.slot].value), 1,
                                 gpu::wait_value_flag::equal),
        "cuStreamWaitValue32"));
    return rows_move(part.out, part.slot, false, stream);
}

Result<void> DeviceRelay::graph_start(gpu::Stream stream) {
    const auto ring_call = [](void* relay) { static_cast<DeviceRelay*>(relay)->ring(); };
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(cuda, cuda.cuLaunchHostFunc(stream, ring_call, this),
                             "cuLaunchHostFunc");
}

void DeviceRelay::graph_end(uint64_t graph) {
    {
        const std::lock_guard lock(state_mutex_);
        std::erase_if(asked_, [graph](const auto& one) { return one.second.graph == graph; });
    }
    DeviceStreamed::graph_end(graph);
}

void DeviceRelay::ring() {
    const std::lock_guard lock(state_mutex_);
    begun_++;
    wake();
}

// ---- the thread

void DeviceRelay::serve(Shard& shard, std::function<void(const Error&)> failed) {
    shard_ = &shard;
    failed_ = std::move(failed);
    thread_start(shard.config().cores_enough ? spins : 0);
}

std::string DeviceRelay::way() const {
    return format(
        "its ranks are of several processes or devices: calls on device memory go through "
        "%llu bytes of pinned host memory",
        static_cast<unsigned long long>(slots * slot_bytes));
}

void DeviceRelay::leave() {
    stop();
    const std::lock_guard lock(shard_mutex_);
    shard_ = nullptr;
}

// What the stream asks for next, if it does.
std::optional<DeviceRelay::Asked> DeviceRelay::asked_take() {
    DeviceWord& word = words_->asked[next_slot_];
    const auto number = static_cast<uint32_t>(word_load(word));
    if (number == 0) {
        return {};
    }
    word_store(word, 0);
    const std::lock_guard lock(state_mutex_);
    const auto found = asked_.find(number);
    if (found == asked_.end()) {
        return {};  // a graph that has ended
    }
    Asked asked = found->second;
    if (asked.graph == 0) {
        asked_.erase(found);
    }
    return asked;
}

bool DeviceRelay::ask() {
    std::optional<Asked> asked = asked_take();
    if (!asked) {
        return false;
    }
    next_slot_ = asked->last ? 0 : (next_slot_ + 1) % slots;
    Result<TicketPtr> ticket = shard_->submit(std::move(asked->calls));
    if (!ticket.ok()) {
        failure_ = ticket.error();
        return false;
    }
    serving_.push_back({asked->slot, asked->last, std::move(ticket).value()});
    return true;
}

bool DeviceRelay::settle() {
    bool moved = false;
    while (!serving_.empty() && serving_.front().ticket->state() != Ticket::State::pending) {
        const Served& first = serving_.front();
        if (first.ticket->state() == Ticket::State::failed) {
            failure_ = first.ticket->error();
            return false;
        }
        word_store(words_->done[first.slot], 1);
        if (first.last) {
            const std::lock_guard lock(state_mutex_);
            served_++;
        }
        serving_.pop_front();
        moved = true;
    }
    return moved;
}

// Whoever waits goes on, and copies nothing.
void DeviceRelay::streams_let_go() {
    for (DeviceWord& done : words_->done) {
        word_store(done, 1);
    }
}

bool DeviceRelay::round() {
    bool moved = false;
    {
        const std::lock_guard lock(shard_mutex_);
        if (stopped() || shard_ == nullptr) {
            serving_.clear();
            streams_let_go();
            return false;
        }
        moved = ask();
        if (!serving_.empty()) {
            moved = shard_->poke() || moved;
        }
        moved = settle() || moved;
    }
    if (failure_) {
        failed_(*failure_);
        stop();
    }
    return moved;
}

}  // namespace weft
