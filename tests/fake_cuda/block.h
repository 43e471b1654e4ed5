// A block of the device code as host threads: one thread, or several and a barrier. Thread rule: as
// many threads as it was made for call run() 's body, each with its own index. Lifetime: until all
// have returned.
#pragma once

#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "src/gpu/device/mem.h"
#include "src/gpu/driver_types.h"

namespace weft::gpu {

class HostBlock : public device::Block {
  public:
    explicit HostBlock(uint32_t threads)
        : Block{ask}, threads_(threads), barrier_(threads, Gathered{this}) {}
    HostBlock(const HostBlock&) = delete;
    HostBlock& operator=(const HostBlock&) = delete;

    // Of the thread that runs a block, and so of all the block's threads: whose kernel it is.
    static inline thread_local Context owner = nullptr;

    // Calls body(Threads, this) on every thread of the block, the first being the caller's.
    template <class Body>
    void run(const Body& body) {
        std::vector<std::thread> others;
        for (uint32_t index = 1; index < threads_; ++index) {
            others.emplace_back([this, &body, index, of = owner] {
                owner = of;
                body(device::Threads{index, threads_}, this);
            });
        }
        body(device::Threads{0, threads_}, this);
        for (std::thread& other : others) {
            other.join();
        }
    }

  private:
    // Runs on the last thread that comes, before any goes on.
    struct Gathered {
        HostBlock* block;
        void operator()() noexcept {
            block->answer_ = block->said_.exchange(false, std::memory_order_relaxed);
        }
    };
    static bool ask(Block* block, bool value) {
        auto* const own = static_cast<HostBlock*>(block);
        if (own->threads_ == 1) {
            return value;
        }
        if (value) {
            own->said_.store(true, std::memory_order_relaxed);
        }
        own->barrier_.arrive_and_wait();
        return own->answer_;
    }
    const uint32_t threads_;
    std::atomic<bool> said_{false};
    bool answer_ = false;
    std::barrier<Gathered> barrier_;
};

}  // namespace weft::gpu
