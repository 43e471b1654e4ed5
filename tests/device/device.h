// A program with ranks on the stand-in's device: contexts, memory and streams are its own, through
// the driver, and the library is used through the C API. Thread rule: one test at a time; ranks may
// be used by a thread each. Lifetime: the job's memory and streams go with it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "include/weft/nccl.h"
#include "src/gpu/context.h"
#include "tests/unit/gpu/fake.h"

namespace weft::test {

#define CUDA(call) REQUIRE((call) == gpu::status::success)
#define NCCL(call) REQUIRE((call) == ncclSuccess)

// Generous: only a hang takes this long.
inline constexpr std::chrono::seconds patience(60);

// Looks until it is so, or patience ends.
inline bool comes_true(const std::function<bool()>& it) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!it()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

inline cudaStream_t cuda_stream(gpu::Stream stream) {
    return reinterpret_cast<cudaStream_t>(stream);
}

inline ncclResult_t async_error(ncclComm_t comm) {
    ncclResult_t state = ncclSuccess;
    return ncclCommGetAsyncError(comm, &state) == ncclSuccess ? state : ncclInternalError;
}

// The driver as the program uses it.
class Cuda {
  public:
    explicit Cuda(int devices = 1) : driver_(gpu::driver_load(FAKE_CUDA).value()) {
        fake->devices = devices;
        REQUIRE(gpu::driver_init(driver_).ok());
        for (int device = 0; device < devices; device++) {
            contexts_.push_back(std::make_unique<gpu::PrimaryContext>(
                gpu::PrimaryContext::retain(driver_, device).value()));
        }
    }
    gpu::ContextGuard use(int device = 0) const {
        return gpu::ContextGuard::push(driver_, contexts_[static_cast<size_t>(device)]->get())
            .value();
    }
    const gpu::Driver* operator->() const { return &driver_; }

    FakeSwitches fake;

  private:
    gpu::Driver driver_;
    std::vector<std::unique_ptr<gpu::PrimaryContext>> contexts_;
};

class Job {
  public:
    explicit Job(int ranks, int device = 0)
        : n(ranks),
          guard_(cuda.use(device)),
          allocations_(cuda.fake->live_allocations),
          comms(static_cast<size_t>(ranks)) {
        ncclUniqueId id;
        NCCL(ncclGetUniqueId(&id));
        NCCL(ncclGroupStart());
        for (int rank = 0; rank < ranks; rank++) {
            NCCL(ncclCommInitRank(&comms[static_cast<size_t>(rank)], ranks, id, rank));
        }
        NCCL(ncclGroupEnd());
        for (int rank = 0; rank < ranks; rank++) {
            streams.push_back(stream());
        }
        cuda.fake->no_waiting = 1;
    }
    ~Job() {
        cuda.fake->no_waiting = 0;
        for (const ncclComm_t comm : comms) {
            if (comm != nullptr) {
                ncclCommDestroy(comm);
            }
        }
        for (const gpu::Stream each : made_) {
            cuda->cuStreamDestroy(each);
        }
        for (const gpu::Address each : memory_) {
            cuda->cuMemFree(each);
        }
        // Nothing of the communicators is left.
        CHECK(comes_true([&] { return cuda.fake->live_allocations == allocations_; }));
    }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    gpu::Stream stream() {
        gpu::Stream made = nullptr;
        CUDA(cuda->cuStreamCreateWithPriority(&made, gpu::stream_flag::non_blocking, 0));
        made_.push_back(made);
        return made;
    }

    // The program may allocate when it wants to.
    template <class T>
    T* take(size_t count) {
        const int before = cuda.fake->no_waiting;
        cuda.fake->no_waiting = 0;
        gpu::Address address = 0;
        CUDA(cuda->cuMemAlloc(&address, std::max<size_t>(count, 1) * sizeof(T)));
        cuda.fake->no_waiting = before;
        memory_.push_back(address);
        return reinterpret_cast<T*>(address);
    }

    // Memory is freed then, which may wait for the device.
    void abort(int rank) {
        cuda.fake->no_waiting = 0;
        NCCL(ncclCommAbort(comms[static_cast<size_t>(rank)]));
        comms[static_cast<size_t>(rank)] = nullptr;
    }

    void synchronize() {
        for (const gpu::Stream each : made_) {
            CUDA(cuda->cuStreamSynchronize(each));
        }
    }

    bool runs_out(int rank) {
        return comes_true([&] {
            return cuda->cuStreamQuery(streams[static_cast<size_t>(rank)]) == gpu::status::success;
        });
    }

    // Every rank in a thread of its own, which has the context current. False from any fails.
    void threads(const std::function<bool(int rank)>& body) {
        std::vector<std::thread> running;
        std::atomic<int> well{0};
        for (int rank = 0; rank < n; rank++) {
            running.emplace_back([&, rank] {
                const auto own = cuda.use();
                well += body(rank) ? 1 : 0;
            });
        }
        for (std::thread& thread : running) {
            thread.join();
        }
        REQUIRE(well == n);
    }

    Cuda cuda;
    const int n;

  private:
    gpu::ContextGuard guard_;
    const int allocations_;
    std::vector<gpu::Stream> made_;
    std::vector<gpu::Address> memory_;

  public:
    std::vector<ncclComm_t> comms;
    std::vector<gpu::Stream> streams;  // one a rank
};

// A stream that goes no further until it is opened.
class Gate {
  public:
    Gate(const Job& job, gpu::Stream stream) {
        CUDA(job.cuda->cuLaunchHostFunc(
            stream,
            [](void* at) {
                while (!static_cast<std::atomic<bool>*>(at)->load()) {
                    std::this_thread::yield();
                }
            },
            &open_));
    }
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;
    void open() { open_ = true; }

  private:
    std::atomic<bool> open_{false};
};

// The warnings of the library, each a line.
class Warnings {
  public:
    Warnings() = default;
    std::string last() const { return ncclGetLastError(nullptr); }
    bool say(std::initializer_list<const char*> parts) const {
        const std::string text = last();
        for (const char* part : parts) {
            if (text.find(part) == std::string::npos) {
                return false;
            }
        }
        return text.find('\n') == std::string::npos;
    }
};

}  // namespace weft::test
