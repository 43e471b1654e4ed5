// Communicators and buffers of one test, in this process: all ranks of a gang or of threads, or the
// one of a process. Thread rule: made by one thread; each rank may then be used by its own.
// Lifetime: until close(), or the process's. Failure rule: ends the test.
#pragma once

#include <functional>
#include <vector>

#include "include/weft/nccl.h"
#include "include/weft/weft.h"
#include "tools/gpu_suite/check/device.h"
#include "tools/gpu_suite/check/options.h"
#include "tools/gpu_suite/check/reference.h"

namespace weft::suite {

class Job {
  public:
    Job(const Device& device, const Options& options);
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    void close();
    // Runs it once for every rank here: in turn within one group, or each in a thread.
    void each(const std::function<ncclResult_t(int rank, gpu::Stream stream)>& body);
    void synchronize() const;
    bool is_gang() const { return mode_ == Mode::gang; }
    ncclComm_t comm(int rank) const { return comms_[static_cast<size_t>(rank - first_)]; }
    gpu::Stream stream(int rank) const { return streams_[static_cast<size_t>(rank - first_)]; }
    int first() const { return first_; }
    int end() const { return first_ + static_cast<int>(comms_.size()); }
    const Device& device() const { return device_; }
    // For the deadline: ends what waits.
    static void unlock();

  private:
    const Device& device_;
    const Mode mode_;
    int first_;
    std::vector<ncclComm_t> comms_;
    std::vector<gpu::Stream> streams_;
};

void ok(ncclResult_t result, const char* what);
// Of all ranks here together.
uint64_t counted(const Job& job, uint64_t weftStats_t::*counter);
ncclDataType_t nccl_type(DataType type);
inline cudaStream_t cuda_stream(gpu::Stream stream) {
    return reinterpret_cast<cudaStream_t>(stream);
}

// The buffers of one collective, in and out of place, with their expected content; in windows or
// not. Where windows are asked for and not made the test ends.
class Buffers {
  public:
    Buffers(Job& job, const Options& what);
    ~Buffers();
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    void fill(uint64_t salt);
    ncclResult_t call(int rank, ncclComm_t comm, gpu::Stream stream) const;
    // Ends the test at the first element that is not what it must be.
    void check(uint64_t salt) const;
    // Filled, called on every rank and checked.
    void round_check(uint64_t salt);
    // By all ranks together: no memory goes that another rank still has in a window.
    void windows_drop();

  private:
    struct One {
        gpu::Address input, output;
    };
    One& of(int rank) { return ranks_[static_cast<size_t>(rank - job_.first())]; }
    const One& of(int rank) const { return ranks_[static_cast<size_t>(rank - job_.first())]; }
    void windows_make();
    uint64_t input_bits(int rank, uint64_t i, uint64_t salt) const;
    std::optional<uint64_t> output_bits(int rank, uint64_t i, uint64_t salt) const;
    void check_rank(int rank, uint64_t salt) const;
    bool raw() const { return !reference::reduces(what_.coll); }

    Job& job_;
    const Options what_;
    const reference::Shape shape_;
    const reference::Blocks blocks_;
    const uint64_t bytes_;  // of a rank's memory, the same on all
    std::vector<One> ranks_;
    std::vector<gpu::Address> taken_;
    std::vector<ncclWindow_t> windows_;
    std::vector<ncclRedOp_t> ops_;
};

}  // namespace weft::suite
