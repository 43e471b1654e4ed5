#include "src/comm/device_relay.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "src/base/log.h"
#include "transports/memory.h"

namespace weft {

namespace dev = gpu::device;

namespace {

constexpr uint64_t head_bytes = 4096;
constexpr uint64_t memory_bytes = head_bytes + DeviceRelay::slots * DeviceRelay::slot_bytes;
constexpr uint32_t blocks_max = 8;
// Looks between which nothing happened, before the thread yields (with a core for every rank), and
// before it naps.
constexpr int spins = 2000, yields = 50;

uint64_t word_load(const uint64_t& word) {
    return std::atomic_ref(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);
}

void word_store(uint64_t& word, uint64_t value) {
    std::atomic_ref(word).store(value, std::memory_order_release);
}

void nap(long ns) {
    const timespec pause{0, ns};
    nanosleep(&pause, nullptr);
}

}  // namespace

DeviceRelay::DeviceRelay(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count)
    : seat_(std::move(seat)), rank_(rank), rank_count_(rank_count) {
}

Result<std::shared_ptr<DeviceRelay>> DeviceRelay::create(std::shared_ptr<gpu::Seat> seat,
                                                         int32_t rank, int32_t rank_count) {
    std::shared_ptr<DeviceRelay> made(new DeviceRelay(std::move(seat), rank, rank_count));
    TRY(made->allocate());
    return made;
}

Result<void> DeviceRelay::allocate() {
    const gpu::Driver& cuda = seat_->driver();
    if (cuda.cuStreamWriteValue32 == nullptr || cuda.cuStreamWaitValue32 == nullptr) {
        return make_error(Code::unsupported, Scope::communicator,
                          format("the CUDA driver of %s has no stream memory operations, by which "
                                 "ranks of several processes or devices work together: use a "
                                 "driver of CUDA 11.7 or newer, or host memory with "
                                 "WEFT_DEVICE=host",
                                 seat_->facts().name.c_str()));
    }
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
    for (gpu::Event* event : {&last_event_, &join_event_}) {
        TRY(gpu::driver_check(cuda, cuda.cuEventCreate(event, gpu::event_flag::no_timing),
                              "making an event"));
    }
    return {};
}

DeviceRelay::~DeviceRelay() {
    while (!idle()) {
        nap(1'000'000);
    }
    {
        const std::lock_guard lock(state_mutex_);
        ending_ = true;
        wake();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok()) {  // else the program has reset its device, and with it all of this
        for (const gpu::Event event : {last_event_, join_event_}) {
            if (event != nullptr) {
                cuda.cuEventDestroy(event);
            }
        }
        if (words_ != nullptr) {
            cuda.cuMemHostUnregister(memory_);
        }
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
    moves.stop = reinterpret_cast<const uint64_t*>(device_address(&words_->stop.value));
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
Result<void> DeviceRelay::rows_move(const std::vector<RelayRows>& rows, uint32_t slot, bool in,
                                    gpu::Stream stream) {
    const gpu::Address base = device_address(slot_at(slot));
    size_t at = 0;
    do {
        dev::MoveLaunch moves{};
        while (at < rows.size() && moves.move_count < dev::moves_max) {
            const RelayRows& row = rows[at++];
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

Result<void> DeviceRelay::part_in(const RelayPart& part, uint32_t slot, bool is_last,
                                  uint64_t graph, gpu::Stream stream) {
    TRY(rows_move(part.in, slot, true, stream));
    uint32_t number = 0;
    {
        const std::lock_guard lock(state_mutex_);
        do {
            number = ++number_;
        } while (number == 0 || asked_.contains(number));
        asked_[number] = {relay_place(part.calls, slot_at(slot)), slot, is_last, graph};
    }
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuStreamWriteValue32(stream, device_address(&words_->asked[slot].value), number, 0),
        "cuStreamWriteValue32");
}

Result<void> DeviceRelay::part_out(const RelayPart& part, uint32_t slot, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    TRY(gpu::driver_check(
        cuda,
        cuda.cuStreamWaitValue32(stream, device_address(&words_->done[slot].value), 1,
                                 gpu::wait_value_flag::equal),
        "cuStreamWaitValue32"));
    return rows_move(part.out, slot, false, stream);
}

void DeviceRelay::launch_begin() {
    const std::lock_guard lock(state_mutex_);
    begun_++;
    flights_++;
    wake();
}

Result<void> DeviceRelay::launch_end(gpu::Stream stream) {
    uint32_t flight = 0;
    {
        const std::lock_guard lock(state_mutex_);
        flight = flights_;
    }
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Status told =
        cuda.cuStreamWriteValue32(stream, device_address(&words_->ended.value), flight, 0);
    if (told != gpu::status::success) {
        const std::lock_guard lock(state_mutex_);
        broken_ = true;
    }
    return gpu::driver_check(cuda, told, "cuStreamWriteValue32");
}

void DeviceRelay::graph_end(uint64_t graph) {
    const std::lock_guard lock(state_mutex_);
    std::erase_if(asked_, [graph](const auto& one) { return one.second.graph == graph; });
}

bool DeviceRelay::in_graphs(uint32_t) {
    const std::lock_guard lock(state_mutex_);
    return std::ranges::any_of(asked_, [](const auto& one) { return one.second.graph != 0; });
}

bool DeviceRelay::idle() const {
    const std::lock_guard lock(state_mutex_);
    return words_ == nullptr || broken_ ||
           static_cast<uint32_t>(word_load(words_->ended.value)) == flights_;
}

void DeviceRelay::ring() {
    const std::lock_guard lock(state_mutex_);
    begun_++;
    wake();
}

void DeviceRelay::stop(uint32_t) {
    word_store(words_->stop.value, 1);
    const std::lock_guard lock(state_mutex_);
    wake();
}

// Under state_mutex_.
void DeviceRelay::wake() {
    woken_ = true;
    rung_.notify_all();
}

bool DeviceRelay::stopped() const {
    return word_load(words_->stop.value) != 0;
}

// ---- the thread

void DeviceRelay::serve(Shard& shard, std::function<void(const Error&)> failed) {
    shard_ = &shard;
    failed_ = std::move(failed);
    spins_ = shard.config().cores_enough ? spins : 0;
    thread_ = std::thread([this] { run(); });
}

void DeviceRelay::leave() {
    stop();
    const std::lock_guard lock(shard_mutex_);
    shard_ = nullptr;
}

// What the stream asks for next, if it does.
std::optional<DeviceRelay::Asked> DeviceRelay::asked_take() {
    uint64_t& word = words_->asked[next_slot_].value;
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
        word_store(words_->done[first.slot].value, 1);
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
    for (Word& done : words_->done) {
        word_store(done.value, 1);
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

// Under state_mutex_: something may be asked for; stopped, a stream may wait. A kernel that began
// before the stop may clear a word after it, so once is not enough.
bool DeviceRelay::waiting() const {
    if (!stopped()) {
        return begun_ != served_;
    }
    const bool in_flight =
        !broken_ && static_cast<uint32_t>(word_load(words_->ended.value)) != flights_;
    return in_flight ||
           std::ranges::any_of(asked_, [](const auto& one) { return one.second.graph != 0; });
}

void DeviceRelay::rest(int idle_rounds) {
    if (idle_rounds <= spins_ && !stopped()) {
        return;
    }
    if (idle_rounds <= spins_ + yields && !stopped()) {
        sched_yield();
        return;
    }
    std::unique_lock lock(state_mutex_);
    if (waiting()) {
        lock.unlock();
        nap(stopped() ? 1'000'000 : 20'000);
    } else {
        rung_.wait(lock, [this] { return woken_; });
        woken_ = false;
    }
}

void DeviceRelay::run() {
    int idle_rounds = 0;
    while (true) {
        {
            const std::lock_guard lock(state_mutex_);
            if (ending_) {
                return;
            }
        }
        if (round()) {
            idle_rounds = 0;
        } else {
            rest(idle_rounds);
            idle_rounds = std::min(idle_rounds + 1, spins + yields + 1);
        }
    }
}

}  // namespace weft
