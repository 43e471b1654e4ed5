// Every collective by name, its buffers and the values that must come out.
#pragma once

#include <algorithm>

#include "include/weft/weft.h"
#include "tests/collective_values.h"
#include "tests/device/device.h"

namespace weft::test {

inline constexpr auto untouched = static_cast<int32_t>(0xeeeeeeee);  // as fill() leaves outputs

inline bool all_are(const int32_t* at, uint64_t count, int32_t value) {
    return std::all_of(at, at + count, [=](int32_t one) { return one == value; });
}

// By CPUs, or onto boards.
inline uint64_t copied(ncclComm_t comm) {
    weftStats_t stats = WEFT_STATS_INITIALIZER;
    NCCL(weftCommStats(comm, &stats));
    return stats.copiedBytes;
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

// 16 replays of each rank's graph of an all_reduce in place, in a row, the last rank lagging
// behind: every replay multiplies what the one before has left by the number of ranks.
inline void replay_lagging(Job& job, const std::vector<int32_t*>& memory, uint64_t count) {
    const size_t last = memory.size() - 1;
    std::vector<gpu::Graph> graphs(memory.size());
    for (int32_t* const each : memory) {
        std::fill_n(each, count, 1);
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        const gpu::Stream stream = job.streams[own];
        bool well = job.cuda.fake->capture_begin(stream, gpu::capture_mode::thread_local_) ==
                    gpu::status::success;
        well = well && ncclAllReduce(memory[own], memory[own], count, ncclInt32, ncclSum,
                                     job.comms[own], cuda_stream(stream)) == ncclSuccess;
        graphs[own] = job.cuda.fake->capture_end(stream);
        return well && graphs[own] != nullptr;
    });
    int32_t want = 1;
    for (int replay = 0; replay < 16; replay++) {
        want *= job.n;
        for (size_t rank = 0; rank < last; rank++) {
            CUDA(job.cuda.fake->graph_launch(graphs[rank], job.streams[rank]));
        }
    }
    for (int replay = 0; replay < 16; replay++) {
        CUDA(job.cuda.fake->graph_launch(graphs[last], job.streams[last]));
        CUDA(job.cuda->cuStreamSynchronize(job.streams[last]));
    }
    job.synchronize();
    for (size_t rank = 0; rank < memory.size(); rank++) {
        CHECK(all_are(memory[rank], count, want));
        job.cuda.fake->graph_destroy(graphs[rank]);
    }
}

}  // namespace weft::test
