// Every collective by name, its buffers and the values that must come out.
#pragma once

#include <algorithm>

#include "tests/collective_values.h"
#include "tests/device/device.h"

namespace weft::test {

inline constexpr auto untouched = static_cast<int32_t>(0xeeeeeeee);  // as fill() leaves outputs

inline bool all_are(const int32_t* at, uint64_t count, int32_t value) {
    return std::all_of(at, at + count, [=](int32_t one) { return one == value; });
}

inline ncclResult_t call(Coll coll, const void* send, void* recv, size_t count, int ranks, int root,
                         int rank, ncclComm_t comm, gpu::Stream on) {
    return reference::call({coll, ranks, root, count}, ncclInt32, ncclSum, rank, send, recv, comm,
                           cuda_stream(on));
}

// The buffers of one collective on every rank of a job.
class Buffers {
  public:
    Buffers(Job& job, Coll coll, uint64_t count, int root = 0)
        : job_(job),
          coll_(coll),
          count_(count),
          root_(root),
          blocks_(reference::blocks_of(coll, job.n)) {
        for (int rank = 0; rank < job.n; rank++) {
            inputs_.push_back(job.take<int32_t>(count * blocks_.input));
            outputs_.push_back(job.take<int32_t>(count * blocks_.output));
        }
    }
    void fill(uint64_t salt) {
        for (int rank = 0; rank < job_.n; rank++) {
            for (uint64_t i = 0; i < count_ * blocks_.input; i++) {
                inputs_[static_cast<size_t>(rank)][i] = input_at(rank, i, salt);
            }
            std::memset(outputs_[static_cast<size_t>(rank)], 0xee, count_ * blocks_.output * 4);
        }
    }
    ncclResult_t enqueue(int rank, gpu::Stream stream) const {
        const auto own = static_cast<size_t>(rank);
        return call(coll_, inputs_[own], outputs_[own], count_, job_.n, root_, rank,
                    job_.comms[own], stream);
    }
    // Of one operation for each rank, in one group, on the streams given.
    void gang(const std::vector<gpu::Stream>& streams) const {
        NCCL(ncclGroupStart());
        for (int rank = 0; rank < job_.n; rank++) {
            NCCL(enqueue(rank, streams[static_cast<size_t>(rank) % streams.size()]));
        }
        NCCL(ncclGroupEnd());
    }
    uint64_t wrong(uint64_t salt) const {
        uint64_t count = 0;
        for (int rank = 0; rank < job_.n; rank++) {
            for (uint64_t i = 0; i < count_ * blocks_.output; i++) {
                int32_t want = 0;
                const bool known = value_at({coll_, job_.n, root_, count_}, rank, i, salt, want);
                count += known && outputs_[static_cast<size_t>(rank)][i] != want ? 1 : 0;
            }
        }
        return count;
    }
    int32_t* input(int rank) const { return inputs_[static_cast<size_t>(rank)]; }
    int32_t* output(int rank) const { return outputs_[static_cast<size_t>(rank)]; }

  private:
    Job& job_;
    Coll coll_;
    uint64_t count_;
    int root_;
    reference::Blocks blocks_;
    std::vector<int32_t*> inputs_, outputs_;
};

}  // namespace weft::test
