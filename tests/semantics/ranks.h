// Threads as ranks of one communicator. Catch2's assertions belong to the main thread, so a rank
// throws instead, which must() does; the first exception is thrown again when all have ended.
#pragma once

#include <barrier>
#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "include/weft/nccl.h"
#include "include/weft/weft.h"

namespace weft::test {

inline void must(bool condition, const std::string& what) {
    if (!condition) {
        throw std::runtime_error(what);
    }
}

inline void must(ncclResult_t result, const std::string& what,
                 ncclResult_t expected = ncclSuccess) {
    must(result == expected, what + ": " + ncclGetErrorString(result) + ", expected " +
                                 ncclGetErrorString(expected) + " (" + ncclGetLastError(nullptr) +
                                 ")");
}

// Runs body(i) on a thread each; the first exception comes out.
inline void threads_run(int count, const std::function<void(int)>& body) {
    std::exception_ptr first;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int i = 0; i < count; i++) {
        threads.emplace_back([&, i] {
            try {
                body(i);
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (!first) {
                    first = std::current_exception();
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    if (first) {
        std::rethrow_exception(first);
    }
}

inline ncclUniqueId id_new() {
    ncclUniqueId id;
    must(ncclGetUniqueId(&id), "ncclGetUniqueId");
    return id;
}

struct RanksOptions {
    bool destroy = true;    // false: the body ends the communicator
    bool together = false;  // bodies start when every rank's init is done
    const ncclConfig_t* config = nullptr;
};

// A communicator of `count` threads; body(rank, comm). A rank that throws aborts, so that the
// others do not wait for it.
inline void ranks_run(int count, const std::function<void(int, ncclComm_t)>& body,
                      const RanksOptions& options = {}) {
    const ncclUniqueId id = id_new();
    std::barrier<> all_made(count);
    threads_run(count, [&](int rank) {
        ncclComm_t comm = nullptr;
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        if (options.config != nullptr) {
            config = *options.config;
        }
        must(ncclCommInitRankConfig(&comm, count, id, rank, &config), "ncclCommInitRankConfig");
        if (options.together) {
            all_made.arrive_and_wait();
        }
        try {
            body(rank, comm);
        } catch (...) {
            ncclCommAbort(comm);
            throw;
        }
        if (options.destroy) {
            must(ncclCommDestroy(comm), "ncclCommDestroy");
        }
    });
}

// All ranks of a communicator in the hands of one thread.
class OneThread {
  public:
    explicit OneThread(int count) : comms_(static_cast<size_t>(count)) {
        must(ncclCommInitAll(comms_.data(), count, nullptr), "ncclCommInitAll");
    }
    ~OneThread() {
        for (ncclComm_t comm : comms_) {
            ncclCommDestroy(comm);
        }
    }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;
    int size() const { return static_cast<int>(comms_.size()); }
    ncclComm_t operator[](int rank) const { return comms_[static_cast<size_t>(rank)]; }

  private:
    std::vector<ncclComm_t> comms_;
};

// Drives a nonblocking communicator to its next state.
inline ncclResult_t settle(ncclComm_t comm, std::chrono::seconds limit = std::chrono::seconds(30)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t asked = ncclCommGetAsyncError(comm, &state);
        if (asked != ncclSuccess) {
            return asked;
        }
        if (state != ncclInProgress) {
            return state;
        }
        must(std::chrono::steady_clock::now() < end, "still in progress after the limit");
        std::this_thread::yield();
    }
}

// An all-reduce of one float whose sum proves that every rank took part.
inline void sum_check(ncclComm_t comm, cudaStream_t stream = nullptr) {
    int count = 0, rank = 0;
    must(ncclCommCount(comm, &count), "ncclCommCount");
    must(ncclCommUserRank(comm, &rank), "ncclCommUserRank");
    const float mine = static_cast<float>(rank + 1);
    float sum = 0;
    must(ncclAllReduce(&mine, &sum, 1, ncclFloat32, ncclSum, comm, stream), "ncclAllReduce");
    must(sum == static_cast<float>(count * (count + 1) / 2), "sum is " + std::to_string(sum));
}

inline bool last_error_has(const std::string& text) {
    return std::string(ncclGetLastError(nullptr)).find(text) != std::string::npos;
}

}  // namespace weft::test
