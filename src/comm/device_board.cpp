#include "src/comm/device_board.h"

#include "src/base/log.h"
#include "src/comm/parts_queue.h"
#include "src/exec/device_plan.h"

namespace weft {

namespace dev = gpu::device;

DeviceBoard::DeviceBoard(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count,
                         bool exported)
    : DeviceStreamed(std::move(seat), rank, rank_count),
      boards_(seat_, rank, rank_count, rank_count),
      windows_(seat_, rank, exported) {
}

Result<std::shared_ptr<DeviceBoard>> DeviceBoard::create(std::shared_ptr<gpu::Seat> seat,
                                                         int32_t rank, int32_t rank_count,
                                                         bool exported) {
    std::shared_ptr<DeviceBoard> made(new DeviceBoard(std::move(seat), rank, rank_count, exported));
    TRY(made->prepare());
    TRY(made->boards_.allocate(exported));
    made->head_is(made->boards_.head(), made->boards_.head_device());
    return made;
}

DeviceBoard::~DeviceBoard() {
    end();
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
    return boards_.poll();
}

std::optional<uint64_t> DeviceBoard::standing(uint32_t) {
    return boards_.standing() * 31 + launches_ended();
}

std::string DeviceBoard::waits_for(uint32_t) {
    const std::string late = boards_.late_names();
    return late.empty() ? "a message, or what stands before it on its own stream" : late;
}

// ---- kernels

dev::BoardLaunch DeviceBoard::launch_of(const BoardPart& part) const {
    dev::BoardLaunch launch = boards_.launch_of(fingerprint_of(*part.call));
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
    return boards_.slot(static_cast<uint32_t>(rank), part.slot);
}

Result<void> DeviceBoard::scale(const BoardPart& part, gpu::Stream stream) {
    const gpu::Address slot = boards_.slot(rank(), part.slot);
    for (const SlotRows& rows : part.in) {
        TRY(boards_.scale(
            *part.call,
            {slot + rows.slot, rows.user, rows.width, rows.rows, rows.slot_pitch, rows.user_pitch},
            stream));
    }
    return {};
}

Result<void> DeviceBoard::reduce(const BoardPart& part, gpu::Stream stream) {
    const BoardReduce& what = part.reduce;
    const uint64_t to = what.to != 0 ? what.to : boards_.slot(rank(), part.slot) + what.at;
    std::vector<gpu::Address> from;
    for (int32_t rank = 0; rank < rank_count_; rank++) {
        from.push_back(TRY(lies_at(part, part.direct.send, rank)) + what.at);
    }
    return boards_.sum(*part.call, to, from, what.bytes, true, stream);
}

// ---- parts

std::unique_ptr<DeviceStreamed::Parts> DeviceBoard::parts(const std::vector<Call>& calls,
                                                          const Lane& lane) {
    const BoardShape shape{rank_, rank_count_, BoardLayout::slots, BoardLayout::slot_bytes,
                           boards_.layout().half_bytes()};
    const auto find = [this](uint64_t address, uint64_t bytes) {
        return windows_.find(address, bytes);
    };
    return std::make_unique<PartsQueue<DeviceBoard, BoardCut>>(*this, BoardCut(shape, calls, find),
                                                               lane);
}

Result<void> DeviceBoard::collective_in(const BoardPart& part, gpu::Stream stream) {
    TRY(boards_.peers_await(&BoardLayout::left, part.slot, stream));
    dev::BoardLaunch launch_in = launch_of(part);
    boards_.clears(launch_in, boards_.layout().left(part.slot, 0), boards_.layout().ranks());
    for (const BoardOwnCopy& copy : part.own) {
        launch_in.moves.moves[launch_in.moves.move_count++] = {copy.to, copy.from,  copy.bytes,
                                                               1,       copy.bytes, copy.bytes};
    }
    if (device_request(*part.call).call.scale_inputs) {
        TRY(scale(part, stream));
    } else {
        for (const SlotRows& rows : part.in) {
            move_add(launch_in, rows, boards_.slot(rank(), part.slot), true);
        }
    }
    TRY(boards_.launch(launch_in, BoardLayout::card(part.slot, false), stream));
    return boards_.peers_tell(&BoardLayout::arrived, part.slot, stream);
}

// This rank's share, and that it is there.
Result<void> DeviceBoard::shares_reduce(const BoardPart& part, gpu::Stream stream) {
    TRY(boards_.peers_await(&BoardLayout::arrived, part.slot, stream));
    dev::BoardLaunch read = launch_of(part);
    boards_.checks(read, BoardLayout::card(part.slot, false), 0, boards_.layout().ranks());
    boards_.clears(read, boards_.layout().arrived(part.slot, 0), boards_.layout().ranks());
    TRY(boards_.launch(read, BoardSet::no_card, stream));
    if (part.reduce.bytes > 0) {
        TRY(reduce(part, stream));
    }
    TRY(boards_.launch(launch_of(part), BoardLayout::card(part.slot, true), stream));
    return boards_.peers_tell(&BoardLayout::reduced, part.slot, stream);
}

// After shares, what is waited for, read and cleared is theirs.
Result<void> DeviceBoard::collective_out(const BoardPart& part, gpu::Stream stream) {
    const BoardSet::SlotWord word = part.by_shares ? &BoardLayout::reduced : &BoardLayout::arrived;
    TRY(boards_.peers_await(word, part.slot, stream));
    dev::BoardLaunch read = launch_of(part);
    boards_.checks(read, BoardLayout::card(part.slot, part.by_shares), 0, boards_.layout().ranks());
    boards_.clears(read, (boards_.layout().*word)(part.slot, 0), boards_.layout().ranks());
    for (const BoardCopy& copy : part.out) {
        const WindowPlace& place = part.direct.recv ? part.direct.recv : part.direct.send;
        move_add(read, copy.rows, TRY(lies_at(part, place, copy.from)), false);
    }
    TRY(boards_.launch(read, BoardSet::no_card, stream));
    if (!part.by_shares && part.reduce.bytes > 0) {
        TRY(reduce(part, stream));
    }
    return boards_.peers_tell(&BoardLayout::left, part.slot, stream);
}

Result<void> DeviceBoard::part_in(const BoardPart& part, const Lane& lane) {
    uint64_t copied = 0;
    for (const SlotRows& rows : part.in) {
        copied += rows.rows * rows.width;
    }
    for (const BoardMessage& message : part.sends) {
        copied += message.rows.width;
    }
    copied_bytes_ += lane.graph == 0 ? copied : 0;
    if (part.call) {
        return collective_in(part, lane.stream);
    }
    for (const BoardMessage& message : part.sends) {
        TRY(boards_.message_in(message, lane.stream));
    }
    return {};
}

Result<void> DeviceBoard::part_out(const BoardPart& part, uint32_t step, const Lane& lane) {
    if (part.call && part.direct && step + 1 == part.outs()) {
        return boards_.peers_await(&BoardLayout::left, part.slot, lane.stream);
    }
    if (part.call) {
        return part.by_shares && step == 0 ? shares_reduce(part, lane.stream)
                                           : collective_out(part, lane.stream);
    }
    for (const BoardMessage& message : part.receives) {
        TRY(boards_.message_out(message, lane.stream));
    }
    return {};
}

}  // namespace weft
