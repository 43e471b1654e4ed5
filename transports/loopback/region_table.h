// The memory a loopback wire exposes, as its peers' threads see it. One word per region holds its
// generation, whether it is open, and how many copies into it are under way: a copy enters by one
// atomic addition, and closing waits for those inside without a lock that others would meet.
//
// Thread rule: open and close by the owner; enter and leave from any thread. Lifetime: shared by
// the wire and its peers.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/base/result.h"

namespace weft {

class RegionTable {
  public:
    struct Slot {
        std::atomic<uint64_t> state{0};  // generation << 32 | open << 31 | copies inside
        std::byte* base = nullptr;
        size_t bytes = 0;
    };

    ~RegionTable() {
        for (auto& chunk : chunks_) {
            delete[] chunk.load(std::memory_order_relaxed);
        }
    }

    // Index of the new region, or -1 when the table is full.
    int64_t open(void* base, size_t bytes) {
        if (free_.empty() && !grow()) {
            return -1;
        }
        const uint32_t index = free_.back();
        free_.pop_back();
        Slot& slot = *find(index);
        slot.base = static_cast<std::byte*>(base);
        slot.bytes = bytes;
        // Addition keeps the count of late visitors who are about to find the old generation gone.
        // Release: base and bytes before the generation that makes them readable.
        slot.state.fetch_add(one_generation | open_bit, std::memory_order_release);
        return index;
    }

    // After return no copy is inside and none can enter.
    void close(uint32_t index) {
        Slot& slot = *find(index);
        uint64_t state = slot.state.fetch_and(~open_bit, std::memory_order_acq_rel);
        while ((state & inside_mask) != 0) {
            sched_yield();
            state = slot.state.load(std::memory_order_acquire);
        }
        free_.push_back(index);
    }

    // What a peer names the region by; 0 is never one.
    uint64_t key(uint32_t index) const {
        return uint64_t{index} << 32 | generation(find(index)->state.load());
    }

    // Null when the region is closed, was reused, or does not hold the bytes; else leave() it.
    Slot* enter(uint64_t key, uint64_t offset, uint64_t bytes) const {
        Slot* slot = find(static_cast<uint32_t>(key >> 32));
        if (slot == nullptr) {
            return nullptr;
        }
        const uint64_t state = slot->state.fetch_add(1, std::memory_order_acquire);
        if ((state & open_bit) == 0 || generation(state) != (key & UINT32_MAX) ||
            offset > slot->bytes || bytes > slot->bytes - offset) {
            leave(slot);
            return nullptr;
        }
        return slot;
    }

    static void leave(Slot* slot) {
        // Release: the bytes copied before the owner sees nobody inside.
        slot->state.fetch_sub(1, std::memory_order_release);
    }

    bool is_open(uint32_t index) const {
        const Slot* slot = find(index);
        return slot != nullptr && (slot->state.load(std::memory_order_relaxed) & open_bit) != 0;
    }
    const Slot& slot(uint32_t index) const { return *find(index); }
    uint32_t capacity() const { return used_chunks_ * chunk_slots; }

  private:
    static constexpr uint64_t one_generation = uint64_t{1} << 32;
    static constexpr uint64_t open_bit = uint64_t{1} << 31;
    static constexpr uint64_t inside_mask = open_bit - 1;
    static constexpr uint32_t chunk_slots = 256;
    static constexpr uint32_t chunk_count = 256;

    static uint32_t generation(uint64_t state) { return static_cast<uint32_t>(state >> 32); }

    Slot* find(uint32_t index) const {
        if (index / chunk_slots >= chunk_count) {
            return nullptr;
        }
        Slot* chunk = chunks_[index / chunk_slots].load(std::memory_order_acquire);
        return chunk == nullptr ? nullptr : chunk + index % chunk_slots;
    }

    bool grow() {
        if (used_chunks_ == chunk_count) {
            return false;
        }
        chunks_[used_chunks_].store(new Slot[chunk_slots], std::memory_order_release);
        for (uint32_t i = chunk_slots; i > 0; i--) {
            free_.push_back(used_chunks_ * chunk_slots + i - 1);
        }
        used_chunks_++;
        return true;
    }

    // Chunks, because a slot's address must not change under a peer.
    std::array<std::atomic<Slot*>, chunk_count> chunks_{};
    uint32_t used_chunks_ = 0;
    std::vector<uint32_t> free_;
};

}  // namespace weft
