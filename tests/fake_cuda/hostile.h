// What the stand-in driver does to programs that count on luck: kernels reach only memory of their
// own context, at addresses that are multiples of what they move; vectors come in two halves; and
// who is held up is counted, so that a test sees that a program has stuck without measuring time.
// Thread-safe; switches are set while nothing runs. Failure rule: a kernel that does what a device
// forbids ends the process with one line.
#pragma once

#include <atomic>
#include <cstdint>

#include "src/gpu/driver_types.h"

struct FakeCudaHostile {
    std::atomic<unsigned> torn;  // a seed: vectors are torn; 0: they move as two halves in order
    std::atomic<uint64_t> accesses;  // of all kernels, while vectors are torn
    // Held up at this moment: calls that wait for the device, streams behind the head of their
    // hardware queue, blocks without a place, the null stream and blocking streams for each other.
    std::atomic<int> calls_held, streams_held, blocks_held, legacy_held;
};

// Found by dlsym, as fake_cuda_control is.
extern "C" __attribute__((visibility("default"))) FakeCudaHostile fake_cuda_hostile;

namespace weft::gpu {

// Counts as held up for as long as it is there.
class Held {
  public:
    explicit Held(std::atomic<int>& count) : count_(count) { ++count_; }
    ~Held() { --count_; }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

  private:
    std::atomic<int>& count_;
};

// Every access of every kernel: HostBlock::owner is the kernel's context.
void kernel_access(const void* at, uint64_t bytes);
// Whether the high half of a vector moves first. The second half of one that is stored comes late.
bool vector_torn(bool stores);

void peer_enable(Device from, Device to);

// Fresh memory: no word is zero, no two are alike, and each is smaller than those before it, so
// that a word that nobody has set to zero is never one that somebody waits for.
void memory_poison(void* memory, uint64_t bytes);

}  // namespace weft::gpu
