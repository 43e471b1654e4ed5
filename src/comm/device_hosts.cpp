#include "src/comm/device_hosts.h"

#include <algorithm>
#include <map>

#include "src/base/log.h"
#include "src/comm/device_rank.h"
#include "src/comm/hosts_grid.h"
#include "src/exec/device_plan.h"
#include "src/exec/fingerprint.h"
#include "transports/memory.h"
#include "transports/wire.h"

namespace weft {

namespace dev = gpu::device;

namespace {

constexpr uint64_t head_bytes = 16384;
constexpr uint64_t far_bytes = 2 * BoardLayout::slot_bytes;
constexpr uint64_t all_far_bytes = BoardLayout::slots * far_bytes;
constexpr uint64_t memory_bytes = head_bytes + all_far_bytes;
// Below, a message by the host is there sooner: by value, or without a flush.
constexpr uint64_t device_from = 64 << 10;
// A part asks other hosts for something at most four times.
constexpr uint32_t places = 4 * BoardLayout::slots;
static_assert(places <= RelayDesk::places_max);
static_assert(sizeof(RelayDesks::Words) <= head_bytes);

// The stages of a launch's parts, one a step.
class HostsParts : public DeviceStreamed::Parts {
  public:
    HostsParts(DeviceHosts& side, HostsOrder order, const DeviceStreamed::Lane& lane)
        : side_(side), order_(std::move(order)), lane_(lane) {}

    Result<bool> step() override {
        const std::optional<HostsOrder::Step> next = order_.next();
        if (!next) {
            side_.parts_over(lane_);
            return false;
        }
        TRY(side_.stage(*next, places_[next->number], lane_));
        if (next->stage == &next->part->stages.back()) {
            places_.erase(next->number);
        }
        return true;
    }

  private:
    DeviceHosts& side_;
    HostsOrder order_;
    const DeviceStreamed::Lane lane_;
    std::map<uint64_t, std::optional<uint32_t>> places_;  // by part
};

}  // namespace

DeviceHosts::DeviceHosts(std::shared_ptr<gpu::Seat> seat, HostsShape shape)
    : DeviceStreamed(std::move(seat), shape.rank_at(shape.host, shape.local),
                     shape.hosts * shape.locals),
      shape_(std::move(shape)),
      boards_(seat_, shape_.local, shape_.locals, rank_count_),
      desks_(seat_, places, [this] {
          const std::lock_guard lock(state_mutex_);
          wake();
      }) {
}

Result<std::shared_ptr<DeviceHosts>> DeviceHosts::create(std::shared_ptr<gpu::Seat> seat,
                                                         HostsShape shape, bool exported) {
    std::shared_ptr<DeviceHosts> made(new DeviceHosts(std::move(seat), std::move(shape)));
    TRY(made->allocate(exported));
    return made;
}

Result<void> DeviceHosts::allocate(bool exported) {
    TRY(prepare());
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    TRY(boards_.allocate(exported));
    memory_ = TRY(PinnedMemory::create(seat_, memory_bytes));
    desks_.words_are(reinterpret_cast<RelayDesks::Words*>(memory_->at()), memory_->device());
    head_is(boards_.head(), boards_.head_device());
    return {};
}

DeviceHosts::~DeviceHosts() {
    end();
    if (known_ != 0) {
        known_remove(known_);
    }
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok() && device_far_ != 0) {  // else the program has reset its device
        cuda.cuMemFree(device_far_);
    }
}

// Registered now: later the thread that serves would have to.
Result<void> DeviceHosts::nics_reach(Wire& wire) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    TRY(gpu::driver_check(
        cuda, cuda.cuMemAlloc(&device_far_, all_far_bytes),
        format("allocating %llu bytes on %s", static_cast<unsigned long long>(all_far_bytes),
               seat_->facts().name.c_str())));
    void* const base = reinterpret_cast<void*>(device_far_);
    known_ = known_add(base, all_far_bytes, MemoryKind::cuda, seat_->facts().ordinal);
    const Region region = TRY(wire.expose(base, all_far_bytes));
    wire.release(region);
    return {};
}

char* DeviceHosts::far(uint32_t slot) const {
    return memory_->at() + head_bytes + slot * far_bytes;
}

gpu::Address DeviceHosts::device_far(uint32_t slot) const {
    return device_far_ + slot * far_bytes;
}

// ---- launches

gpu::Address DeviceHosts::address(const HostsPart& part, const HostsPlace& place) const {
    switch (place.where) {
        case HostsWhere::user:
            return place.at;
        case HostsWhere::slot:
            return boards_.slot(static_cast<uint32_t>(place.local), part.slot) + place.at;
        case HostsWhere::device_far:
            return device_far(part.slot) + place.at;
        case HostsWhere::far:
            break;
    }
    return memory_->device(far(part.slot)) + place.at;
}

std::unique_ptr<DeviceStreamed::Parts> DeviceHosts::parts(const std::vector<Call>& calls,
                                                          const Lane& lane) {
    return std::make_unique<HostsParts>(*this, HostsOrder(HostsCut(shape_, sizes(), calls)), lane);
}

HostsSizes DeviceHosts::sizes() const {
    HostsSizes sizes{BoardLayout::slots, BoardLayout::slot_bytes, boards_.layout().half_bytes()};
    sizes.line_max = line_max;
    if (by_nics_) {
        sizes.device_from = device_from;
    }
    return sizes;
}

uint64_t DeviceHosts::message_bytes(int32_t peer) const {
    return hosts_message_bytes(shape_, sizes(), peer);
}

// A round of messages compares them one by one.
dev::BoardLaunch DeviceHosts::launch_of(const HostsPart& part) const {
    return boards_.launch_of(part.call ? fingerprint_of(*part.call) : dev::Fingerprint{});
}

Result<void> DeviceHosts::exchanged_await(uint32_t place, const Lane& lane) {
    RelayDesk& desk = desks_.of(lane.number);
    TRY(desk.await(place, lane.stream));
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(cuda,
                             cuda.cuStreamWriteValue32(lane.stream, desk.done_at(place), 0, 0),
                             "cuStreamWriteValue32");
}

// What the launch behind must do with words and cards, if anything.
Result<bool> DeviceHosts::words_await(const HostsPart& part, const HostsStage& stage,
                                      dev::BoardLaunch& launch, gpu::Stream stream) {
    const BoardSet::SlotWord word = stage.left      ? &BoardLayout::left
                                    : stage.arrived ? &BoardLayout::arrived
                                    : stage.reduced ? &BoardLayout::reduced
                                                    : nullptr;
    if (word == nullptr) {
        return false;
    }
    TRY(boards_.peers_await(word, part.slot, stream));
    const BoardLayout& layout = boards_.layout();
    boards_.clears(launch, (layout.*word)(part.slot, 0), layout.ranks());
    if (!stage.left) {
        boards_.checks(launch, BoardLayout::card(part.slot, stage.reduced), 0, layout.ranks());
    }
    return true;
}

dev::Move DeviceHosts::rows(const HostsPart& part, const HostsMove& move) const {
    return {address(part, move.to), address(part, move.from), move.width, move.rows,
            move.to_pitch,          move.from_pitch};
}

Result<void> DeviceHosts::sum(const HostsPart& part, const HostsSum& what, gpu::Stream stream) {
    std::vector<gpu::Address> from;
    for (const HostsPlace& place : what.from) {
        from.push_back(address(part, place));
    }
    return boards_.sum(*part.call, address(part, what.to), from, what.bytes, what.whole, stream);
}

// With what `launch` does beside it, before the first row, and the card behind the last.
Result<void> DeviceHosts::move(const HostsPart& part, std::span<const HostsMove> moves,
                               HostsStage::Tell tell, dev::BoardLaunch launch, gpu::Stream stream) {
    const bool of_share = tell == HostsStage::Tell::reduced;
    const bool has_card = of_share || tell == HostsStage::Tell::arrived;
    if (moves.empty() && !has_card && launch.clear_count == 0) {
        return {};
    }
    const uint64_t card = has_card ? BoardLayout::card(part.slot, of_share) : BoardSet::no_card;
    for (size_t at = 0;;) {
        for (; at < moves.size() && launch.moves.move_count < dev::moves_max; at++) {
            launch.moves.moves[launch.moves.move_count++] = rows(part, moves[at]);
            copied_bytes_ +=
                moves[at].to.where == HostsWhere::user ? 0 : moves[at].width * moves[at].rows;
        }
        const bool last = at == moves.size();
        TRY(boards_.launch(launch, last ? card : BoardSet::no_card, stream));
        if (last) {
            return {};
        }
        launch = launch_of(part);
    }
}

Result<void> DeviceHosts::tell(const HostsPart& part, const HostsStage& stage, gpu::Stream stream) {
    switch (stage.tell) {
        case HostsStage::Tell::none:
            break;
        case HostsStage::Tell::arrived:
            return boards_.peers_tell(&BoardLayout::arrived, part.slot, stream);
        case HostsStage::Tell::reduced:
            return boards_.peers_tell(&BoardLayout::reduced, part.slot, stream);
        case HostsStage::Tell::left:
            return boards_.peers_tell(&BoardLayout::left, part.slot, stream);
    }
    return {};
}

std::vector<Call> DeviceHosts::calls_of(const HostsPart& part, const HostsStage& stage) const {
    std::vector<Call> calls;
    for (const HostsMessage& message : stage.ask) {
        Call call;
        call.coll = Coll::send_recv;
        call.type = DataType::uint8;
        call.root = message.peer;
        call.is_send = message.is_send;
        call.count = message.bytes;
        call.on_device = message.on_device;
        char* const at =
            message.on_device ? reinterpret_cast<char*>(device_far(part.slot)) : far(part.slot);
        call.send = call.recv = at + message.at;
        if (part.call) {
            call.stated = args_of(*part.call);
        } else {
            call.part_of = message.of;
        }
        calls.push_back(call);
    }
    return calls;
}

Result<void> DeviceHosts::stage(const HostsOrder::Step& step, std::optional<uint32_t>& place,
                                const Lane& lane) {
    const gpu::Stream stream = lane.stream;
    const HostsPart& part = *step.part;
    const HostsStage& stage = *step.stage;
    for (const BoardMessage& message : stage.sends) {
        TRY(boards_.message_in(message, stream));
    }
    for (const BoardMessage& message : stage.receives) {
        TRY(boards_.message_out(message, stream));
    }
    if (stage.exchanged && place) {
        TRY(exchanged_await(*std::exchange(place, {}), lane));
    }
    dev::BoardLaunch first = launch_of(part);
    const bool words = TRY(words_await(part, stage, first, stream));
    const bool scaled = stage.scaled && device_request(*part.call).call.scale_inputs;
    if (words && (!stage.sums.empty() || scaled)) {
        TRY(boards_.launch(first, BoardSet::no_card, stream));
        first = launch_of(part);
    }
    for (const HostsSum& what : stage.sums) {
        TRY(sum(part, what, stream));
    }
    if (scaled) {
        for (const HostsMove& one : stage.moves) {
            TRY(boards_.scale(*part.call, rows(part, one), stream));
        }
    }
    const std::span<const HostsMove> moves(stage.moves.data(), scaled ? 0 : stage.moves.size());
    TRY(move(part, moves, stage.tell, first, stream));
    TRY(tell(part, stage, stream));
    if (!stage.ask.empty()) {
        place = TRY(desks_.of(lane.number).ask(calls_of(part, stage), lane.graph, stream));
    }
    return {};
}

void DeviceHosts::graph_end(uint64_t graph) {
    desks_.graph_over(graph);
    DeviceStreamed::graph_end(graph);
}

// ---- the thread

void DeviceHosts::serve(Shard& shard, std::function<void(const Error&)> failed) {
    desks_.serve(
        shard, [this] { return stopped(); },
        [this, failed = std::move(failed)](const Error& error) {
            failed(error);
            stop();
        });
    thread_start(RelayDesk::spins(shard));
}

bool DeviceHosts::round() {
    if (stopped()) {
        boards_.let_go();
    }
    return desks_.round();
}

void DeviceHosts::streams_let_go() {
    boards_.let_go();
    desks_.let_go();
}

std::optional<uint64_t> DeviceHosts::standing(uint32_t) {
    if (desks_.serves()) {
        return {};  // the host engine says it
    }
    return boards_.standing() * 31 + launches_ended();
}

std::string DeviceHosts::waits_for(uint32_t) {
    const std::string late = boards_.late_names();
    return late.empty() ? "a message, or what stands before it on its own stream" : late;
}

std::string DeviceHosts::way() const {
    const std::vector<uint64_t> lines = hosts_grid(static_cast<uint64_t>(shape_.hosts), line_max);
    const std::string grid =
        lines.size() < 2
            ? ""
            : format(" in a grid of %llu x %llu", static_cast<unsigned long long>(lines.front()),
                     static_cast<unsigned long long>(lines.back()));
    const std::string nics =
        format(", but messages from %llu bytes on from device to device, by their NICs",
               static_cast<unsigned long long>(device_from));
    return format(
        "they are %d hosts of %d ranks%s: calls on device memory go through boards of %llu bytes "
        "within a host and between hosts through %llu bytes of pinned host memory%s",
        shape_.hosts, shape_.locals, grid.c_str(),
        static_cast<unsigned long long>(BoardLayout::bytes()),
        static_cast<unsigned long long>(memory_bytes), by_nics_ ? nics.c_str() : "");
}

void DeviceHosts::leave() {
    stop();
    desks_.leave();
}

}  // namespace weft
