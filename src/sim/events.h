// The queue of things to come: a 4-ary heap of 16-byte events, earliest first, equal times in the
// order they were pushed, so that a run is the same every time. No allocation once it has grown.
// Thread rule: a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::sim {

using Picoseconds = int64_t;

// What happens; the rest of the event's word says to whom.
enum class EventKind : uint8_t {
    chain,      // a lane goes on
    sent,       // a port has sent a quantum of its first flow
    head,       // the first byte of a quantum is at the receiving port
    arrived,    // the last byte of a flow is there
    noticed,    // the receiving rank knows of it
    delivered,  // the sender's NIC knows that a put arrived
    known,      // the sending rank knows it, too
    credit,     // the sender of a stream has a slot back
};

struct Event {
    Picoseconds at = 0;
    uint32_t order = 0;
    uint32_t what = 0;  // kind in the lowest 3 bits

    EventKind kind() const { return static_cast<EventKind>(what & 7u); }
    uint32_t who() const { return what >> 3; }
};
static_assert(sizeof(Event) == 16);

class EventQueue {
  public:
    bool empty() const { return heap_.empty(); }
    Picoseconds next_at() const { return heap_.front().at; }
    uint64_t pushed() const { return pushed_; }

    void push(Picoseconds at, EventKind kind, uint32_t who) {
        const Event event{at, static_cast<uint32_t>(pushed_++),
                          who << 3 | static_cast<uint32_t>(kind)};
        size_t hole = heap_.size();
        heap_.push_back(event);
        while (hole > 0) {
            const size_t parent = (hole - 1) / fan;
            if (!before(event, heap_[parent])) {
                break;
            }
            heap_[hole] = heap_[parent];
            hole = parent;
        }
        heap_[hole] = event;
    }

    Event pop() {
        const Event first = heap_.front();
        const Event last = heap_.back();
        heap_.pop_back();
        if (!heap_.empty()) {
            sink(last);
        }
        return first;
    }

  private:
    static constexpr size_t fan = 4;

    // Orders wrap: two events of one time are never 2^31 pushes apart.
    static bool before(const Event& a, const Event& b) {
        return a.at < b.at || (a.at == b.at && static_cast<int32_t>(a.order - b.order) < 0);
    }

    void sink(const Event& event) {
        size_t hole = 0;
        const size_t count = heap_.size();
        for (size_t child = 1; child < count; child = hole * fan + 1) {
            const size_t end = child + fan < count ? child + fan : count;
            size_t least = child;
            for (size_t i = child + 1; i < end; i++) {
                if (before(heap_[i], heap_[least])) {
                    least = i;
                }
            }
            if (!before(heap_[least], event)) {
                break;
            }
            heap_[hole] = heap_[least];
            hole = least;
        }
        heap_[hole] = event;
    }

    std::vector<Event> heap_;
    uint64_t pushed_ = 0;
};

}  // namespace weft::sim
