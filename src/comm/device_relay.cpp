#include "src/comm/device_relay.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/comm/parts_queue.h"

namespace weft {

namespace dev = gpu::device;

namespace {

constexpr uint64_t head_bytes = 32768;
constexpr uint64_t memory_bytes = head_bytes + DeviceRelay::slots * DeviceRelay::slot_bytes;
constexpr uint32_t blocks_max = 8;

}  // namespace

DeviceRelay::DeviceRelay(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count)
    : DeviceStreamed(std::move(seat), rank, rank_count), desks_(seat_, slots, [this] {
          const std::lock_guard lock(state_mutex_);
          wake();
      }) {
}

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
    memory_ = TRY(PinnedMemory::create(seat_, memory_bytes));
    words_ = reinterpret_cast<Words*>(memory_->at());
    static_assert(sizeof(Words) <= head_bytes);
    head_is(&words_->head, memory_->device(&words_->head));
    desks_.words_are(&words_->desks, memory_->device(&words_->desks));
    return {};
}

DeviceRelay::~DeviceRelay() {
    end();
}

char* DeviceRelay::slot_at(uint32_t slot) const {
    return memory_->at() + head_bytes + slot * slot_bytes;
}

// ---- launches

Result<void> DeviceRelay::launch(dev::MoveLaunch& moves, gpu::Stream stream) {
    uint64_t segments = 1;
    for (const dev::Move& move : std::span(moves.moves, moves.move_count)) {
        segments +=
            move.rows * ((move.width + dev::move_segment_bytes - 1) / dev::move_segment_bytes);
    }
    moves.stop = reinterpret_cast<const uint64_t*>(memory_->device(&words_->head.stop.value));
    moves.loops = seat_->loops();
    moves.block_count = static_cast<uint32_t>(std::min<uint64_t>(segments, blocks_max));
    void* arguments[] = {&moves};
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda,
        cuda.cuLaunchKernel(seat_->move_kernel(), moves.block_count, 1, 1, seat_->block_threads(),
                            1, 1, 0, stream, arguments, nullptr),
        format("launching move_rows with %u blocks on stream %p", moves.block_count,
               static_cast<void*>(stream)));
}

// Out, the last launch clears the word that said the part is done.
Result<void> DeviceRelay::rows_move(const std::vector<SlotRows>& rows, uint32_t slot, bool in,
                                    const Lane& lane) {
    const gpu::Address base = memory_->device(slot_at(slot));
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
            moves.clear = reinterpret_cast<uint64_t*>(desks_.of(lane.number).done_at(slot));
        }
        if (moves.move_count > 0 || moves.clear != nullptr) {
            TRY(launch(moves, lane.stream));
        }
    } while (at < rows.size());
    return {};
}

std::unique_ptr<DeviceStreamed::Parts> DeviceRelay::parts(const std::vector<Call>& calls,
                                                          const Lane& lane) {
    return std::make_unique<PartsQueue<DeviceRelay, RelayCut>>(*this, RelayCut(shape(), calls),
                                                               lane);
}

RelayShape DeviceRelay::shape() const {
    return {rank_, rank_count_, slot_bytes, slots};
}

uint64_t DeviceRelay::message_bytes(int32_t) const {
    return relay_message_bytes(shape());
}

Result<void> DeviceRelay::part_in(const RelayPart& part, const Lane& lane) {
    TRY(rows_move(part.in, part.slot, true, lane));
    const uint32_t place =
        TRY(desks_.of(lane.number)
                .ask(relay_place(part.calls, slot_at(part.slot)), lane.graph, lane.stream));
    ASSERT(place == part.slot);
    return {};
}

Result<void> DeviceRelay::part_out(const RelayPart& part, uint32_t, const Lane& lane) {
    TRY(desks_.of(lane.number).await(part.slot, lane.stream));
    return rows_move(part.out, part.slot, false, lane);
}

void DeviceRelay::graph_end(uint64_t graph) {
    desks_.graph_over(graph);
    DeviceStreamed::graph_end(graph);
}

// ---- the thread

void DeviceRelay::serve(Shard& shard, std::function<void(const Error&)> failed) {
    desks_.serve(
        shard, [this] { return stopped(); },
        [this, failed = std::move(failed)](const Error& error) {
            failed(error);
            stop();
        });
    thread_start(RelayDesk::spins(shard));
}

std::string DeviceRelay::way() const {
    return format(
        "its ranks are of several processes or devices: calls on device memory go through "
        "%llu bytes of pinned host memory",
        static_cast<unsigned long long>(slots * slot_bytes));
}

void DeviceRelay::leave() {
    stop();
    desks_.leave();
}

}  // namespace weft
