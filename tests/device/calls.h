// Every collective by name, its buffers and the values that must come out.
#pragma once

#include "src/base/types.h"
#include "tests/device/device.h"

namespace weft::test {

inline int32_t input_at(int rank, uint64_t i, uint64_t salt) {
    return static_cast<int32_t>(rank * 7 + 7 +
                                static_cast<int32_t>((i * 31 + salt * 173 + 3) % 1009));
}

struct Blocks {
    uint64_t input, output;
};

inline Blocks blocks_of(Coll coll, int n) {
    const auto many = static_cast<uint64_t>(n);
    switch (coll) {
        case Coll::all_gather:
        case Coll::gather:
            return {1, many};
        case Coll::reduce_scatter:
        case Coll::scatter:
            return {many, 1};
        case Coll::all_to_all:
            return {many, many};
        case Coll::all_reduce:
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::send_recv:
            break;
    }
    return {1, 1};
}

// False: unspecified, not a root.
inline bool value_at(Coll coll, int n, int root, int rank, uint64_t count, uint64_t i,
                     uint64_t salt, int32_t& value) {
    const auto own = static_cast<uint64_t>(rank) * count;
    const auto sum = [&](uint64_t at) {
        int32_t total = 0;
        for (int from = 0; from < n; from++) {
            total += input_at(from, at, salt);
        }
        return total;
    };
    switch (coll) {
        case Coll::all_reduce:
        case Coll::reduce:
            value = sum(i);
            return coll == Coll::all_reduce || rank == root;
        case Coll::reduce_scatter:
            value = sum(own + i);
            return true;
        case Coll::broadcast:
            value = input_at(root, i, salt);
            return true;
        case Coll::all_gather:
        case Coll::gather:
            value = input_at(static_cast<int>(i / count), i % count, salt);
            return coll == Coll::all_gather || rank == root;
        case Coll::scatter:
            value = input_at(root, own + i, salt);
            return true;
        case Coll::all_to_all:
            value = input_at(static_cast<int>(i / count), own + i % count, salt);
            return true;
        case Coll::send_recv:
            break;
    }
    return false;
}

inline ncclResult_t call(Coll coll, const void* send, void* recv, size_t count, int root,
                         ncclComm_t comm, gpu::Stream on) {
    cudaStream_t const stream = cuda_stream(on);
    switch (coll) {
        case Coll::all_reduce:
            return ncclAllReduce(send, recv, count, ncclInt32, ncclSum, comm, stream);
        case Coll::reduce_scatter:
            return ncclReduceScatter(send, recv, count, ncclInt32, ncclSum, comm, stream);
        case Coll::all_gather:
            return ncclAllGather(send, recv, count, ncclInt32, comm, stream);
        case Coll::broadcast:
            return ncclBroadcast(send, recv, count, ncclInt32, root, comm, stream);
        case Coll::reduce:
            return ncclReduce(send, recv, count, ncclInt32, ncclSum, root, comm, stream);
        case Coll::all_to_all:
            return ncclAlltoAll(send, recv, count, ncclInt32, comm, stream);
        case Coll::gather:
            return ncclGather(send, recv, count, ncclInt32, root, comm, stream);
        case Coll::scatter:
            return ncclScatter(send, recv, count, ncclInt32, root, comm, stream);
        case Coll::send_recv:
            break;
    }
    return ncclInternalError;
}

inline constexpr Coll all_colls[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                                     Coll::broadcast,  Coll::reduce,         Coll::all_to_all,
                                     Coll::gather,     Coll::scatter};

// The buffers of one collective on every rank of a job.
class Buffers {
  public:
    Buffers(Job& job, Coll coll, uint64_t count, int root = 0)
        : job_(job), coll_(coll), count_(count), root_(root), blocks_(blocks_of(coll, job.n)) {
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
        return call(coll_, inputs_[own], outputs_[own], count_, root_, job_.comms[own], stream);
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
                const bool known = value_at(coll_, job_.n, root_, rank, count_, i, salt, want);
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
    Blocks blocks_;
    std::vector<int32_t*> inputs_, outputs_;
};

}  // namespace weft::test
