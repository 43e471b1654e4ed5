// The ranks of a device communicator as unit tests have them: memory on the heap, one block a
// thread, no driver. Thread rule: made and read by one thread; run() joins what it starts.
// Lifetime: what programs point to stays until the object goes.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "src/gpu/device/oneshot.h"
#include "src/gpu/layout.h"
#include "tests/fake_cuda/block.h"

namespace weft::gpu {

// Bytes on a boundary as a driver gives them, and not zero at first.
class TestMemory {
  public:
    explicit TestMemory(uint64_t bytes, int fill = 0xcb)
        : bytes_(bytes + alignment), data_(new char[bytes_]) {
        std::memset(data_.get(), fill, bytes_);
    }
    char* data() {
        const uint64_t at = reinterpret_cast<uint64_t>(data_.get());
        return data_.get() + (alignment - at % alignment) % alignment;
    }

  private:
    static constexpr uint64_t alignment = 512;
    uint64_t bytes_;
    std::unique_ptr<char[]> data_;
};

class TestRanks {
  public:
    explicit TestRanks(const Layout& layout) : layout_(layout) {
        for (uint32_t rank = 0; rank < layout.rank_count(); ++rank) {
            ranks_.push_back(std::make_unique<Rank>(layout));
            memories_.push_back(reinterpret_cast<uint64_t>(ranks_.back()->memory.data()));
        }
    }

    char* memory(uint32_t rank) { return ranks_[rank]->memory.data(); }
    uint64_t& epoch(uint32_t rank, uint32_t word) {
        return reinterpret_cast<uint64_t*>(memory(rank))[word];
    }
    uint64_t& abort_word(uint32_t rank) { return ranks_[rank]->abort_word; }
    const device::LaneEnd& end(uint32_t rank, uint32_t lane) const {
        return ranks_[rank]->ends[lane];
    }

    device::RankPart part(uint32_t rank, const void* input, void* output) {
        device::RankPart part{};
        part.memories = memories_.data();
        part.abort_word = &ranks_[rank]->abort_word;
        part.ends = ranks_[rank]->ends.data();
        part.input = input;
        part.output = output;
        part.rank = static_cast<uint16_t>(rank);
        part.rank_count = static_cast<uint16_t>(layout_.rank_count());
        return part;
    }

    // Each call of `block` is a block of `threads` threads, all at once.
    static void run(uint32_t blocks, uint32_t threads,
                    const std::function<void(device::Threads, void*, uint32_t)>& block) {
        std::vector<std::thread> running;
        for (uint32_t index = 0; index < blocks; ++index) {
            running.emplace_back([&, index] {
                HostBlock own(threads);
                own.run([&](device::Threads thread, void* sync) { block(thread, sync, index); });
            });
        }
        for (std::thread& thread : running) {
            thread.join();
        }
    }

  private:
    struct Rank {
        explicit Rank(const Layout& layout) : memory(layout.bytes()), ends(2 * device::ranks_max) {
            std::memset(memory.data(), 0, layout.scratch());
        }
        TestMemory memory;
        std::vector<device::LaneEnd> ends;
        uint64_t abort_word = 0;
    };
    Layout layout_;
    std::vector<std::unique_ptr<Rank>> ranks_;
    std::vector<uint64_t> memories_;
};

}  // namespace weft::gpu
