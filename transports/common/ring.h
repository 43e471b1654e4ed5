// A one-way ring between one producer and one consumer, in private or shared memory: 64-byte cells
// with 48 bytes of payload in the flag's own cache line, and a byte area for what is larger.
//
// 1. A cell's sequence number says which lap it belongs to: the consumer polls one word, and an
//    8-byte message costs one cache-line transfer.
// 2. The producer learns about free cells from one counter that the consumer keeps on a line of its
//    own; it reads it only when its own copy says the ring is full, once a lap.
// 3. The byte area is used in cell order, so the same counter frees it. A message that does not fit
//    before the end starts at 0; so does one that meets an empty ring, which keeps the pages in use
//    few and warm.
//
// Thread rule: the producer's half is bound to one thread, the consumer's to another. Lifetime: the
// memory is borrowed. Failure rule: what comes from the other side is checked; nonsense is
// `broken`.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "src/base/result.h"

namespace weft {

inline constexpr size_t ring_line_bytes = 64;
inline constexpr uint32_t ring_cell_bytes = 48;  // payload in the cell itself
inline constexpr uint32_t ring_note_bytes = 40;  // what may ride beside payload in the byte area

struct alignas(ring_line_bytes) RingCell {
    std::atomic<uint32_t> seq;  // low bits of (message number + 1); 0 in fresh memory
    uint32_t imm;
    uint32_t length;
    uint16_t kind;
    uint16_t in_area;  // payload is in the byte area: at the first word, then 4 spare, then a note
    std::byte payload[ring_cell_bytes];
};
static_assert(sizeof(RingCell) == ring_line_bytes);

// Written by one side each, on lines of their own.
struct RingControl {
    alignas(ring_line_bytes) std::atomic<uint64_t> consumed;  // messages, by the consumer
    alignas(ring_line_bytes) std::atomic<uint32_t> starving;  // producer waits for room
};
static_assert(sizeof(RingControl) == 2 * ring_line_bytes);

// Powers of two.
struct RingShape {
    uint32_t cells = 0;
    uint32_t area_bytes = 0;
    size_t bytes() const {
        return sizeof(RingControl) + cells * sizeof(RingCell) + size_t{area_bytes};
    }
};

// With many ranks each pair has little of its own: 256 ranks that all talk to all stay below 20 MiB
// a rank.
constexpr RingShape ring_shape(uint32_t rank_count) {
    if (rank_count <= 8) {
        return {512, 1u << 20};
    }
    return rank_count <= 64 ? RingShape{256, 1u << 18} : RingShape{64, 1u << 16};
}

// Where the parts of one ring lie; the memory is zeroed and aligned to a line.
struct RingView {
    RingControl* control = nullptr;
    RingCell* cells = nullptr;
    std::byte* area = nullptr;
    RingShape shape;

    RingView() = default;
    RingView(void* memory, RingShape of)
        : control(static_cast<RingControl*>(memory)),
          cells(reinterpret_cast<RingCell*>(control + 1)),
          area(reinterpret_cast<std::byte*>(cells + of.cells)),
          shape(of) {}
};

class RingProducer {
  public:
    RingProducer() = default;
    explicit RingProducer(RingView view) : view_(view), area_end_(view.shape.cells) {}

    // Appends a message: in the cell when it fits there and no note is given, else in the byte
    // area. False: no room now, and the consumer has been told that somebody waits for room.
    bool push(uint16_t kind, uint32_t imm, std::span<const std::byte> data,
              std::span<const std::byte> note = {}) {
        const bool in_area = data.size() > ring_cell_bytes || !note.empty();
        uint32_t at = 0;
        if (!cell_free() || (in_area && !area_take(data.size(), &at))) [[unlikely]] {
            return false;
        }
        RingCell& cell = view_.cells[produced_ & (view_.shape.cells - 1)];
        cell.imm = imm;
        cell.length = static_cast<uint32_t>(data.size());
        cell.kind = kind;
        cell.in_area = in_area;
        if (in_area) {
            std::memcpy(view_.area + at, data.data(), data.size());
            std::memcpy(cell.payload, &at, sizeof at);
            if (!note.empty()) {
                std::memcpy(cell.payload + ring_cell_bytes - ring_note_bytes, note.data(),
                            note.size());
            }
        } else if (!data.empty()) {
            std::memcpy(cell.payload, data.data(), data.size());
        }
        area_end_[produced_ & (view_.shape.cells - 1)] = area_head_;
        // Release: the cell's other words and the byte area before the sequence that announces
        // them.
        cell.seq.store(static_cast<uint32_t>(++produced_), std::memory_order_release);
        return true;
    }

    // Room for one message without bytes in the area; a push of such will then succeed.
    bool ready() { return cell_free(); }
    // Everything pushed was popped and freed.
    bool drained() {
        refresh();
        return consumed_ == produced_;
    }
    bool broken() const { return broken_; }

  private:
    bool cell_free() {
        return produced_ - consumed_ < view_.shape.cells ||
               room_seen([this] { return produced_ - consumed_ < view_.shape.cells; });
    }

    bool area_take(size_t bytes, uint32_t* at) {
        const uint64_t need = (bytes + ring_line_bytes - 1) & ~uint64_t{ring_line_bytes - 1};
        // Larger messages pay for a look at the counter anyway, and an empty ring restarts at 0.
        if (bytes > restart_bytes) {
            refresh();
        }
        if (!area_fits(need) && !room_seen([this, need] { return area_fits(need); })) {
            return false;
        }
        area_head_ += area_skip(need);
        *at = static_cast<uint32_t>(area_head_ & (view_.shape.area_bytes - 1));
        area_head_ += need;
        return true;
    }

    uint64_t area_skip(uint64_t need) const {
        const uint64_t left = view_.shape.area_bytes - (area_head_ & (view_.shape.area_bytes - 1));
        return left < need ? left : 0;
    }

    bool area_fits(uint64_t need) const {
        return area_head_ + area_skip(need) + need - area_tail_ <= view_.shape.area_bytes;
    }

    // Looks at the consumer's counter; when that is not enough, says so and looks once more (the
    // consumer frees, then looks at `starving`: one of the two sees the other).
    template <class Enough>
    bool room_seen(Enough enough) {
        refresh();
        if (enough()) {
            return true;
        }
        view_.control->starving.store(1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        refresh();
        return enough();
    }

    void refresh() {
        // Acquire: the consumer's reads of what it freed come before our writes into it.
        const uint64_t consumed = view_.control->consumed.load(std::memory_order_acquire);
        if (consumed == consumed_) {
            return;
        }
        if (consumed > produced_ || consumed < consumed_) {
            broken_ = true;
            return;
        }
        consumed_ = consumed;
        area_tail_ = area_end_[(consumed - 1) & (view_.shape.cells - 1)];
        if (consumed == produced_) {
            const uint64_t mask = view_.shape.area_bytes - 1;
            area_head_ = (area_head_ + mask) & ~mask;
            area_tail_ = area_head_;
        }
    }

    static constexpr size_t restart_bytes = 1024;

    RingView view_;
    uint64_t produced_ = 0;
    uint64_t consumed_ = 0;           // the consumer's counter as last seen
    uint64_t area_head_ = 0;          // bytes ever taken, skipped ends included
    uint64_t area_tail_ = 0;          // bytes ever freed
    std::vector<uint64_t> area_end_;  // by cell: area_head_ after its message
    bool broken_ = false;
};

struct RingMessage {
    uint32_t imm = 0;
    uint32_t length = 0;
    uint16_t kind = 0;
    const std::byte* data = nullptr;  // valid until popped
    const std::byte* note = nullptr;  // ring_note_bytes of it
};

class RingConsumer {
  public:
    enum class Peek : uint8_t { none, message, broken };

    RingConsumer() = default;
    explicit RingConsumer(RingView view) : view_(view) {}

    // What a poll loop may look at directly: the next cell, and the sequence it will have.
    const RingCell* next_cell() const { return &view_.cells[consumed_ & (view_.shape.cells - 1)]; }
    uint32_t next_seq() const { return static_cast<uint32_t>(consumed_ + 1); }
    bool empty() const { return next_cell()->seq.load(std::memory_order_acquire) != next_seq(); }

    Peek peek(RingMessage* message) const {
        if (empty()) {
            return Peek::none;
        }
        const RingCell& cell = *next_cell();
        const uint32_t length = cell.length;
        message->imm = cell.imm;
        message->kind = cell.kind;
        message->length = length;
        if (cell.in_area == 0) {
            message->data = message->note = cell.payload;
            return length <= ring_cell_bytes ? Peek::message : Peek::broken;
        }
        uint32_t at = 0;
        std::memcpy(&at, cell.payload, sizeof at);
        message->data = view_.area + at;
        message->note = cell.payload + ring_cell_bytes - ring_note_bytes;
        const bool inside = at <= view_.shape.area_bytes && length <= view_.shape.area_bytes - at;
        return inside ? Peek::message : Peek::broken;
    }

    void pop() {
        // A large message may have been all that was in the producer's way.
        check_ = check_ || next_cell()->in_area != 0;
        consumed_++;
        owed_ = true;
    }
    uint64_t popped() const { return consumed_; }

    // How many messages are there now, counted by looking at each.
    uint32_t available() const {
        uint32_t count = 0;
        while (count < view_.shape.cells) {
            const auto at = consumed_ + count;
            const RingCell& cell = view_.cells[at & (view_.shape.cells - 1)];
            if (cell.seq.load(std::memory_order_acquire) != static_cast<uint32_t>(at + 1)) {
                break;
            }
            count++;
        }
        return count;
    }

    // Frees what was popped. True when the producer waits for room and must be rung: asked only
    // when it may have been out of room, so that a ping-pong of small messages pays no fence.
    bool publish() {
        if (!owed_) {
            return false;
        }
        owed_ = false;
        // Release: our reads of the payload before the producer's next writes over it.
        view_.control->consumed.store(consumed_, std::memory_order_release);
        const uint64_t half = view_.shape.cells / 2;
        if (!check_ && consumed_ / half == checked_ / half) {
            return false;
        }
        check_ = false;
        checked_ = consumed_;
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return view_.control->starving.load(std::memory_order_relaxed) != 0 &&
               view_.control->starving.exchange(0, std::memory_order_relaxed) != 0;
    }

  private:
    RingView view_;
    uint64_t consumed_ = 0;
    uint64_t checked_ = 0;  // consumed_ when `starving` was last looked at
    bool owed_ = false;
    bool check_ = false;
};

}  // namespace weft
