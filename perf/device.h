// A CUDA device as weft-perf uses it: a context that is current, one stream, memory. The driver is
// loaded when the first is made. Thread rule: used by the thread that made it. Failure rule: one
// line, and the process ends.
#pragma once

#include <cstddef>

#include <weft/nccl.h>

#include "src/gpu/context.h"

namespace weft::perf {

class Device {
  public:
    // The device of this rank: of those there are, the one at its place among its host's ranks.
    explicit Device(int local_rank);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    cudaStream_t stream() const { return reinterpret_cast<cudaStream_t>(stream_); }
    void* take(size_t bytes) const;
    void give_back(void* memory) const;
    void copy(void* to, const void* from, size_t bytes) const;  // waits
    void synchronize() const;

  private:
    void check(gpu::Status status, const char* call) const;
    const gpu::Driver& driver_;
    gpu::PrimaryContext context_;
    gpu::ContextGuard guard_;
    gpu::Stream stream_ = nullptr;
};

}  // namespace weft::perf
