#include "src/comm/device_streamed.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>

#include "src/base/log.h"
#include "src/base/thread.h"

namespace weft {

namespace {

// Looks between which nothing happened, before the thread naps.
constexpr int yields = 50, idle_max = 1 << 20;
// Marks that a lane may be behind.
constexpr uint32_t marks_max = 8;

void nap(long ns) {
    const timespec pause{0, ns};
    nanosleep(&pause, nullptr);
}

}  // namespace

uint64_t word_load(const DeviceWord& word) {
    return std::atomic_ref(const_cast<uint64_t&>(word.value)).load(std::memory_order_acquire);
}

void word_store(DeviceWord& word, uint64_t value) {
    std::atomic_ref(word.value).store(value, std::memory_order_release);
}

DeviceStreamed::DeviceStreamed(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count)
    : seat_(std::move(seat)), rank_(rank), rank_count_(rank_count) {
}

Result<void> DeviceStreamed::prepare() {
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
    for (gpu::Event* event : {&last_event_, &join_event_}) {
        TRY(gpu::driver_check(cuda, cuda.cuEventCreate(event, gpu::event_flag::no_timing),
                              "making an event"));
    }
    while (lane_streams_.size() + 1 < lanes_max) {
        gpu::Stream stream = nullptr;
        TRY(gpu::driver_check(
            cuda, cuda.cuStreamCreateWithPriority(&stream, gpu::stream_flag::non_blocking, 0),
            "making a stream for messages"));
        lane_streams_.push_back(stream);
    }
    return {};
}

void DeviceStreamed::head_is(Head* head, gpu::Address device) {
    head_ = head;
    head_device_ = device;
}

void DeviceStreamed::thread_start(int spins) {
    spins_ = spins;
    thread_ = weft::thread_start("weft-streams", [this] { run(); });
}

void DeviceStreamed::end() {
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
}

DeviceStreamed::~DeviceStreamed() {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (!guard.ok()) {
        return;  // the program has reset its device, and with it all of this
    }
    for (const gpu::Event event : {last_event_, join_event_}) {
        if (event != nullptr) {
            cuda.cuEventDestroy(event);
        }
    }
    for (const gpu::Stream stream : lane_streams_) {
        cuda.cuStreamDestroy(stream);
    }
}

// ---- launches

void DeviceStreamed::launch_begin() {
    const std::lock_guard lock(state_mutex_);
    flights_++;
    wake();
}

Result<void> DeviceStreamed::launch_end(gpu::Stream stream) {
    uint32_t flight = 0;
    {
        const std::lock_guard lock(state_mutex_);
        flight = flights_;
    }
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Status told =
        cuda.cuStreamWriteValue32(stream, head_device_ + offsetof(Head, ended), flight, 0);
    if (told != gpu::status::success) {
        const std::lock_guard lock(state_mutex_);
        broken_ = true;
    }
    return gpu::driver_check(cuda, told, "cuStreamWriteValue32");
}

Result<std::vector<gpu::Stream>> DeviceStreamed::lane_streams(uint64_t graph) {
    const gpu::Driver& cuda = seat_->driver();
    std::vector<gpu::Stream> found;
    for (const gpu::Stream stream : lane_streams_) {
        if (const Capture held = TRY(stream_capture(cuda, stream));
            held.id == 0 || held.id == graph) {
            found.push_back(stream);
        }
    }
    return found;
}

Result<void> DeviceStreamed::lane_mark(const Lane& lane) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address word =
        head_device_ + offsetof(Head, passed) + lane.number * sizeof(DeviceWord);
    return gpu::driver_check(
        cuda, cuda.cuStreamWriteValue32(lane.stream, word, ++marked_[lane.number], 0),
        "cuStreamWriteValue32");
}

bool DeviceStreamed::lane_full(const Lane& lane) const {
    const auto passed = static_cast<uint32_t>(word_load(head_->passed[lane.number]));
    return marked_[lane.number] - passed >= marks_max;
}

void DeviceStreamed::graph_begin(uint64_t graph) {
    const std::lock_guard lock(state_mutex_);
    graphs_[graph]++;
    wake();
}

void DeviceStreamed::graph_end(uint64_t graph) {
    const std::lock_guard lock(state_mutex_);
    const auto found = graphs_.find(graph);
    if (found != graphs_.end() && --found->second == 0) {
        graphs_.erase(found);
    }
}

void DeviceStreamed::claims_join(std::shared_ptr<StreamClaims> claims, std::string name) {
    claims_ = std::move(claims);
    claims_->join(rank(), seat_->context(), std::move(name));
}

bool DeviceStreamed::in_graphs(uint32_t) {
    const std::lock_guard lock(state_mutex_);
    return !graphs_.empty();
}

bool DeviceStreamed::idle() const {
    const std::lock_guard lock(state_mutex_);
    return head_ == nullptr || broken_ ||
           static_cast<uint32_t>(word_load(head_->ended)) == flights_;
}

void DeviceStreamed::stop(uint32_t) {
    word_store(head_->stop, 1);
    const std::lock_guard lock(state_mutex_);
    wake();
}

void DeviceStreamed::wake() {
    woken_ = true;
    rung_.notify_all();
}

bool DeviceStreamed::stopped() const {
    return word_load(head_->stop) != 0;
}

// ---- the thread

bool DeviceStreamed::round() {
    if (stopped()) {
        streams_let_go();
    }
    return false;
}

// Under state_mutex_: something may be asked for; stopped, a stream may wait. A kernel that began
// before the stop may clear a word after it, so once is not enough.
bool DeviceStreamed::waiting() const {
    if (!stopped()) {
        return expects();
    }
    const bool in_flight = !broken_ && static_cast<uint32_t>(word_load(head_->ended)) != flights_;
    return in_flight || !graphs_.empty();
}

void DeviceStreamed::rest(int idle_rounds) {
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

void DeviceStreamed::run() {
    int idle_rounds = 0;
    while (true) {
        {
            const std::lock_guard lock(state_mutex_);
            if (ending_) {
                return;
            }
        }
        idle_rounds = round() ? 0 : std::min(idle_rounds + 1, idle_max);
        if (idle_rounds > 0) {
            rest(idle_rounds - 1);
        }
    }
}

}  // namespace weft
