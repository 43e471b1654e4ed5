// Large messages of a ring of ranks, of which every other one sends and receives on both sides in
// one group and the rest does one thing after the other: nothing may wait for what its peers have
// yet to come to. What a device's queues do with streams that wait, only a device shows.
#include <vector>

#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/job.h"
#include "tools/gpu_suite/check/outcome.h"
#include "tools/gpu_suite/check/values.h"

namespace weft::suite {

namespace {

int neighbour(int rank, int side, int ranks) {
    return (rank + (side == 0 ? ranks - 1 : 1)) % ranks;
}

// Of what a rank sends to its `side`; of two ranks both sides are the same peer.
uint64_t element(int rank, int side, uint64_t i, uint64_t salt) {
    return input_raw(DataType::int32, 2 * rank + side, i, salt);
}

// One rank's: what goes out to its left and right, and what comes in.
class Ring {
  public:
    Ring(const Job& job, int rank, const Options& what)
        : job_(job), rank_(rank), ranks_(what.ranks), count_(what.count), memory_(4 * what.count) {
        for (int side = 0; side < 2; side++) {
            out_[side] = job.device().take(memory_.size());
            in_[side] = job.device().take(memory_.size());
        }
    }
    void fill(uint64_t salt) {
        for (int side = 0; side < 2; side++) {
            for (uint64_t i = 0; i < count_; i++) {
                element_put(memory_.data() + 4 * i, DataType::int32, element(rank_, side, i, salt));
            }
            job_.device().put(out_[side], memory_.data(), memory_.size());
            job_.device().fill(in_[side], 0xee, memory_.size());
        }
    }
    // What comes in on the left of a rank is what goes out to the right of another.
    ncclResult_t enqueue(gpu::Stream stream) const {
        const bool together = rank_ % 2 == 0;
        ncclResult_t told = together ? ncclGroupStart() : ncclSuccess;
        for (int side = 0; told == ncclSuccess && side < 2; side++) {
            told = ncclRecv(reinterpret_cast<void*>(in_[side]), count_, ncclInt32, peer(side),
                            job_.comm(rank_), cuda_stream(stream));
            if (told == ncclSuccess) {
                told = ncclSend(reinterpret_cast<const void*>(out_[1 - side]), count_, ncclInt32,
                                peer(1 - side), job_.comm(rank_), cuda_stream(stream));
            }
        }
        return told == ncclSuccess && together ? ncclGroupEnd() : told;
    }
    void check(uint64_t salt) {
        for (int side = 0; side < 2; side++) {
            job_.device().get(memory_.data(), in_[side], memory_.size());
            for (uint64_t i = 0; i < count_; i++) {
                if (element_get(memory_.data() + 4 * i, DataType::int32) !=
                    element(peer(side), 1 - side, i, salt)) {
                    fail("element %llu of what rank %d has from rank %d is wrong",
                         static_cast<unsigned long long>(i), rank_, peer(side));
                }
            }
        }
    }

  private:
    int peer(int side) const { return neighbour(rank_, side, ranks_); }

    const Job& job_;
    const int rank_, ranks_;
    const uint64_t count_;
    gpu::Address out_[2] = {}, in_[2] = {};
    std::vector<char> memory_;
};

}  // namespace

void crossed(const Device& device, const Options& options) {
    if (options.ranks % 2 != 0) {
        finish(Verdict::skip, "the ranks must be even in number");
    }
    Options what = options;
    what.mode = options.mode == Mode::process ? Mode::process : Mode::threads;
    Job job(device, what);
    deadline_set(options.deadline_s, Job::unlock);
    std::vector<Ring> ranks;
    for (int rank = job.first(); rank < job.end(); rank++) {
        ranks.emplace_back(job, rank, what);
    }
    const auto rounds = static_cast<uint64_t>(what.rounds > 0 ? what.rounds : 2);
    for (uint64_t salt = 1; salt <= rounds; salt++) {
        for (Ring& one : ranks) {
            one.fill(salt);
        }
        job.each([&](int rank, gpu::Stream stream) {
            return ranks[static_cast<size_t>(rank - job.first())].enqueue(stream);
        });
        job.synchronize();
        for (Ring& one : ranks) {
            one.check(salt);
        }
    }
    value_set("rounds", static_cast<double>(rounds));
    job.close();
}

}  // namespace weft::suite
