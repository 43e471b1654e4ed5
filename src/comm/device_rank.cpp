#include "src/comm/device_rank.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "src/base/log.h"
#include "src/comm/device_stuck.h"
#include "src/exec/fingerprint.h"

namespace weft {

using gpu::device::Ended;
using gpu::device::LaneEnd;
using gpu::device::LaneProgram;

namespace {

// Programs of a few hundred kinds of calls and thousands of launches under way.
constexpr size_t pinned_bytes = 4 << 20;
constexpr uint64_t scratch_bytes = 8 << 20;
constexpr size_t pinned_head = 64 + 8 * gpu::device::ranks_max;
// Of 50 us each: a device that has not ended one launch meanwhile waits for somebody.
constexpr int busy_tries = 200'000;

size_t bytes_of(const DeviceProgram& program, uint32_t lanes) {
    size_t bytes = lanes * sizeof(LaneProgram);
    for (const DeviceLane& lane : program.lanes) {
        bytes += lane.steps.size() * sizeof(gpu::device::Step) +
                 lane.operands.size() * sizeof(gpu::device::Operand) +
                 lane.ends.size() * sizeof(gpu::device::StreamEnd);
    }
    return bytes;
}

template <class T>
const T* copy_to(char*& at, const std::vector<T>& values) {
    T* const begin = reinterpret_cast<T*>(at);
    // Not memcpy, which wants an address even of nothing.
    std::uninitialized_copy(values.begin(), values.end(), begin);
    at += values.size() * sizeof(T);
    return begin;
}

Ended ended(const LaneEnd& end) {
    return std::atomic_ref(const_cast<Ended&>(end.how)).load(std::memory_order_acquire);
}

std::string text_of(const gpu::device::Fingerprint& args) {
    return args_text({args.packed, static_cast<uint32_t>(args.root)});
}

void nap() {
    const timespec pause{0, 50'000};
    nanosleep(&pause, nullptr);
}

}  // namespace

DeviceRank::DeviceRank(std::shared_ptr<gpu::Seat> seat, uint32_t rank, uint32_t rank_count,
                       plan::Limits limits)
    : seat_(std::move(seat)),
      rank_(rank),
      layout_(rank_count, scratch_bytes),
      limits_{std::move(limits), 1} {
}

Result<std::unique_ptr<DeviceRank>> DeviceRank::create(std::shared_ptr<gpu::Seat> seat,
                                                       uint32_t rank, uint32_t rank_count,
                                                       plan::Limits limits) {
    std::unique_ptr<DeviceRank> made(
        new DeviceRank(std::move(seat), rank, rank_count, std::move(limits)));
    TRY(made->allocate());
    return made;
}

Result<void> DeviceRank::allocate() {
    const gpu::Driver& cuda = driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    const std::string where = format(" on %s", seat_->facts().name.c_str());
    TRY(gpu::driver_check(
        cuda, cuda.cuMemAlloc(&memory_, layout_.bytes()),
        format("allocating %llu bytes", static_cast<unsigned long long>(layout_.bytes())) + where));
    void* pinned = nullptr;
    TRY(gpu::driver_check(
        cuda,
        cuda.cuMemHostAlloc(&pinned, pinned_bytes,
                            gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
        format("allocating %zu bytes of pinned host memory", pinned_bytes)));
    pinned_ = static_cast<char*>(pinned);
    std::memset(pinned_, 0, pinned_head);
    abort_word_ = reinterpret_cast<uint64_t*>(pinned_);
    memories_ = reinterpret_cast<uint64_t*>(pinned_ + 64);
    arena_ = gpu::Arena(pinned_ + pinned_head, pinned_bytes - pinned_head);
    TRY(gpu::driver_check(cuda, cuda.cuEventCreate(&last_event_, gpu::event_flag::no_timing),
                          "making an event" + where));
    TRY(gpu::driver_check(cuda, cuda.cuEventCreate(&join_event_, gpu::event_flag::no_timing),
                          "making an event" + where));
    // Scratch may hold anything; words and flags begin at zero.
    gpu::Stream stream = nullptr;
    TRY(gpu::driver_check(
        cuda, cuda.cuStreamCreateWithPriority(&stream, gpu::stream_flag::non_blocking, 0),
        "making a stream" + where));
    gpu::Status cleared = cuda.cuMemsetD8Async(memory_, 0, layout_.scratch(), stream);
    if (cleared == gpu::status::success) {
        cleared = cuda.cuStreamSynchronize(stream);
    }
    cuda.cuStreamDestroy(stream);
    return gpu::driver_check(cuda, cleared, "clearing device memory" + where);
}

DeviceRank::~DeviceRank() {
    const gpu::Driver& cuda = driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (!guard.ok()) {
        return;  // the program has reset its device, and with it everything here
    }
    for (const gpu::Event event : {last_event_, join_event_}) {
        if (event != nullptr) {
            cuda.cuEventDestroy(event);
        }
    }
    const gpu::Status pinned =
        pinned_ != nullptr ? cuda.cuMemFreeHost(pinned_) : gpu::status::success;
    const gpu::Status memory = memory_ != 0 ? cuda.cuMemFree(memory_) : gpu::status::success;
    if (pinned != gpu::status::success || memory != gpu::status::success) {
        LOG(info, alloc, "freeing the memory of rank %u: status %d and %d", rank_, pinned, memory);
    }
}

void DeviceRank::connect(std::span<const uint64_t> memories, uint32_t lanes_max) {
    limits_.lanes_max = lanes_max;
    std::copy(memories.begin(), memories.end(), memories_);
}

void DeviceRank::stop() {
    std::atomic_ref(*abort_word_).store(1, std::memory_order_release);
}

// For whoever looks for the cause of a hang after it was aborted.
void DeviceRank::stuck_tell(std::span<const LaneEnd> ends) const {
    for (size_t lane = 0; lane < ends.size(); lane++) {
        const std::string text =
            stuck_text(ends[lane], rank_, static_cast<uint32_t>(lane), layout_);
        if (!text.empty()) {
            LOG(info, init, "%s", text.c_str());
        }
    }
}

// Under flights_mutex_: what has ended goes.
void DeviceRank::reap() {
    std::erase_if(flights_, [this](const Flight& flight) {
        const std::span ends(flight.ends, flight.lanes);
        const bool over =
            !ends.empty() && flight.graph == 0 && std::ranges::all_of(ends, [](const LaneEnd& end) {
                const Ended how = ended(end);
                return how == Ended::well || how == Ended::aborted;
            });
        if (over) {
            stuck_tell(ends);
            ended_++;
        }
        for (void* part : flight.parts) {
            if (over) {
                arena_.give_back(part);
            }
        }
        return over;
    });
}

std::optional<Error> DeviceRank::poll(std::span<const std::string> names) {
    const std::lock_guard lock(flights_mutex_);
    reap();
    for (const Flight& flight : flights_) {
        for (const LaneEnd& end : std::span(flight.ends, flight.lanes)) {
            if (ended(end) == Ended::mismatch) {
                return make_error(Code::invalid_usage, Scope::communicator,
                                  format("mismatched arguments: this rank called %s, %s called %s",
                                         text_of(end.own).c_str(), names[end.peer].c_str(),
                                         text_of(end.theirs).c_str()));
            }
        }
    }
    return {};
}

uint64_t DeviceRank::ended_count() {
    const std::lock_guard lock(flights_mutex_);
    reap();
    return ended_;
}

bool DeviceRank::idle() {
    const std::lock_guard lock(flights_mutex_);
    reap();
    return std::ranges::all_of(flights_, [](const Flight& flight) {
        const std::span ends(flight.ends, flight.lanes);
        return flight.graph != 0 || std::ranges::all_of(ends, [](const LaneEnd& end) {
                   return ended(end) != Ended::no;
               });
    });
}

bool DeviceRank::in_graphs() {
    const std::lock_guard lock(flights_mutex_);
    return std::ranges::any_of(flights_, [](const Flight& flight) { return flight.graph != 0; });
}

// The program used longest ago that no launch reads; false: there is none.
bool DeviceRank::program_drop() {
    const auto unused = [this](const Known& known) {
        return std::ranges::none_of(
            flights_, [&](const Flight& flight) { return flight.programs == known.lanes.lanes; });
    };
    const auto found = std::find_if(known_.rbegin(), known_.rend(), unused);
    if (found == known_.rend()) {
        return false;
    }
    arena_.give_back(const_cast<LaneProgram*>(found->lanes.lanes));
    known_.erase(std::next(found).base());
    return true;
}

void* DeviceRank::take_now(size_t bytes) {
    const std::lock_guard lock(flights_mutex_);
    reap();
    void* at = arena_.take(bytes);
    while (at == nullptr && program_drop()) {
        at = arena_.take(bytes);
    }
    return at;
}

bool DeviceRank::aborted() const {
    return std::atomic_ref(*abort_word_).load(std::memory_order_acquire) != 0;
}

// Waits for launches to end when all of it is taken: callers that enqueue without end are slowed to
// the device's pace.
Result<void*> DeviceRank::take(size_t bytes) {
    for (int tries = 0; tries < busy_tries && !aborted(); tries++) {
        if (void* const at = take_now(bytes)) {
            return at;
        }
        nap();
    }
    return make_error(aborted() ? Code::aborted : Code::system, Scope::communicator,
                      format("no room for another launch in %zu bytes of pinned memory: graphs "
                             "hold it, or launches that do not end; destroy graphs that are not "
                             "used any more",
                             pinned_bytes));
}

DeviceLanes DeviceRank::lanes_write(void* at, const DeviceProgram& program, uint32_t lanes) const {
    auto* const heads = static_cast<LaneProgram*>(at);
    char* next = reinterpret_cast<char*>(heads + lanes);
    for (uint32_t i = 0; i < lanes; i++) {
        LaneProgram head{};
        head.tiles = program.tiles;
        head.tile_bytes = program.tile_bytes;
        if (i < program.lanes.size()) {
            const DeviceLane& lane = program.lanes[i];
            head.steps = copy_to(next, lane.steps);
            head.operands = copy_to(next, lane.operands);
            head.ends = copy_to(next, lane.ends);
            head.step_count = static_cast<uint32_t>(lane.steps.size());
            head.operand_count = static_cast<uint32_t>(lane.operands.size());
            head.end_count = static_cast<uint32_t>(lane.ends.size());
        }
        heads[i] = head;
    }
    return {heads, lanes};
}

Result<DeviceLanes> DeviceRank::program(const DeviceRequest& request) {
    const auto found = std::ranges::find(known_, request, &Known::request);
    if (found != known_.end()) {
        known_.splice(known_.begin(), known_, found);
        return known_.front().lanes;
    }
    const DeviceProgram made = TRY(device_plan(request, rank_, layout_, limits_));
    const auto lanes = static_cast<uint32_t>(made.lanes.size());
    void* const at = TRY(take(bytes_of(made, lanes)));
    known_.push_front({request, lanes_write(at, made, lanes)});
    return known_.front().lanes;
}

Result<LaneEnd*> DeviceRank::flight_begin(uint32_t lanes, uint64_t graph,
                                          const DeviceLanes& programs) {
    // First in the list of launches, for the room may be found by dropping programs.
    {
        const std::lock_guard lock(flights_mutex_);
        flights_.push_back({nullptr, 0, graph, programs.lanes, {}});
    }
    Result<void*> taken = take(lanes * sizeof(LaneEnd));
    const std::lock_guard lock(flights_mutex_);
    if (!taken.ok()) {
        flights_.pop_back();
        return std::move(taken).error();
    }
    auto* const ends = static_cast<LaneEnd*>(taken.value());
    std::memset(taken.value(), 0, lanes * sizeof(LaneEnd));
    flights_.back() = {ends, lanes, graph, programs.lanes, {taken.value()}};
    return ends;
}

void DeviceRank::flight_cancel() {
    const std::lock_guard lock(flights_mutex_);
    if (!flights_.empty()) {
        for (LaneEnd& end : std::span(flights_.back().ends, flights_.back().lanes)) {
            end.how = Ended::aborted;
        }
    }
}

Result<DeviceRank::Owned> DeviceRank::flight_programs(const DeviceProgram& program, uint32_t lanes,
                                                      std::span<const uint64_t> more) {
    void* const at = TRY(take(bytes_of(program, lanes) + more.size_bytes()));
    auto* const addresses = static_cast<uint64_t*>(at);
    std::copy(more.begin(), more.end(), addresses);
    const DeviceLanes written = lanes_write(addresses + more.size(), program, lanes);
    const std::lock_guard lock(flights_mutex_);
    flights_.back().parts.push_back(at);
    return Owned{written, addresses};
}

void device_factor(const Call& call, uint32_t ranks, gpu::device::RankPart& part) {
    const DeviceRequest request = device_request(call);
    part.divisor = request.call.divide ? ranks : 0;
    if (request.call.scale_inputs) {
        const Scalar scalar =
            call.op == RedOp::avg ? scalar_from_double(call.type, 1.0 / ranks) : call.scalar;
        std::memcpy(&part.factor, scalar.bytes, size_of(call.type));
        part.factor_at = call.op == RedOp::avg ? nullptr : call.scalar_at;
    }
}

gpu::device::RankPart DeviceRank::part(const Call& call) const {
    const Args args = args_of(call);
    gpu::device::RankPart part{};
    part.memories = memories_;
    part.abort_word = abort_word_;
    part.input = call.send;
    part.output = call.recv;
    part.args = {args.packed, args.root};
    part.rank = static_cast<uint16_t>(rank_);
    part.rank_count = static_cast<uint16_t>(layout_.rank_count());
    device_factor(call, layout_.rank_count(), part);
    return part;
}

void DeviceRank::graph_end(uint64_t graph) {
    const std::lock_guard lock(flights_mutex_);
    std::erase_if(flights_, [&](const Flight& flight) {
        if (flight.graph != graph) {
            return false;
        }
        for (void* part : flight.parts) {
            arena_.give_back(part);
        }
        return true;
    });
}

}  // namespace weft
