// Ranks of several hosts whose NICs reach device memory: on the libfabric of tests, whose NICs move
// bytes between the ranks of this process. The run says WEFT_DEVICE_HOSTS=2; [off]: that NICs are
// to leave devices alone.
#include <dlfcn.h>

#include "tests/device/calls.h"
#include "tests/unit/transports/fake_libfabric/fake_libfabric.h"

using namespace weft;
using namespace weft::test;

namespace {

class Nics {
  public:
    Nics() : library_(dlopen(std::getenv("WEFT_LIBFABRIC"), RTLD_NOW | RTLD_NOLOAD)) {
        REQUIRE(library_ != nullptr);
        world_ = reinterpret_cast<FakeLibfabricGet>(dlsym(library_, fake_libfabric_get))();
        lock_ = &reinterpret_cast<FakeLibfabricLock>(dlsym(library_, fake_libfabric_lock))();
    }
    ~Nics() { dlclose(library_); }
    Nics(const Nics&) = delete;
    Nics& operator=(const Nics&) = delete;

    // By which a receiver makes its device see what has arrived.
    size_t reads() const {
        const std::lock_guard guard(*lock_);
        return world_->reads.size();
    }
    // Registrations of device memory that are open.
    int64_t open() const {
        const std::lock_guard guard(*lock_);
        return std::ranges::count_if(world_->open_by_key,
                                     [](const auto& one) { return of_device(one.second); });
    }
    // Bytes written into device memory since write number `from`, and elsewhere.
    struct Bytes {
        uint64_t device = 0, host = 0;
    };
    Bytes written(size_t from) const {
        const std::lock_guard guard(*lock_);
        Bytes bytes;
        for (size_t i = from; i < world_->written.size(); i++) {
            const FakeLibfabric::Written& one = world_->written[i];
            const auto found = world_->open_by_key.find(one.key);
            const bool device = found != world_->open_by_key.end() && of_device(found->second);
            (device ? bytes.device : bytes.host) += one.bytes;
        }
        return bytes;
    }
    size_t writes() const {
        const std::lock_guard guard(*lock_);
        return world_->written.size();
    }

  private:
    static bool of_device(const FakeLibfabric::Registration& one) { return one.iface != 0; }
    void* library_;
    FakeLibfabric* world_ = nullptr;
    std::mutex* lock_ = nullptr;
};

// What one collective had NICs do, its results checked.
struct Done {
    size_t reads = 0;
    Nics::Bytes bytes;
};

Done done(Job& job, const Nics& nics, Coll coll, uint64_t count) {
    Buffers buffers(job, coll, count);
    buffers.fill(count);
    const size_t reads = nics.reads(), writes = nics.writes();
    buffers.gang(job.streams);
    job.synchronize();
    CHECK(buffers.wrong(count) == 0);
    return {nics.reads() - reads, nics.written(writes)};
}

constexpr uint64_t block = 64 << 10;  // elements: 256 KiB

}  // namespace

TEST_CASE("what is large goes from device to device, and is read back before it is used",
          "[nics]") {
    Job job(4);
    const Nics nics;
    CHECK(nics.open() == 4);  // the memory of each rank, once
    // Two hosts of two: every rank hears from its like on the other host, once a part.
    const Done gathered = done(job, nics, Coll::all_gather, block);
    CHECK(gathered.reads == 4);
    CHECK(gathered.bytes.device == 4 * block * 4);
    CHECK(gathered.bytes.host < 4096);  // grants, and what they go with
    const Done reduced = done(job, nics, Coll::all_reduce, 40 * block);  // 10 MiB: three parts
    CHECK(reduced.reads == 12);
    CHECK(reduced.bytes.device == 2 * 40 * block * 4);
    const Done dealt = done(job, nics, Coll::all_to_all, block);
    CHECK(dealt.reads == 8);
    CHECK(dealt.bytes.device == 8 * block * 4);
    CHECK(nics.open() == 4);
}

TEST_CASE("what is small goes by memory of the hosts", "[nics]") {
    Job job(2);
    const Nics nics;
    const Done small = done(job, nics, Coll::all_gather, block / 4 - 1);
    CHECK(small.reads == 0);
    CHECK(small.bytes.device == 0);
    CHECK(small.bytes.host >= 2 * (block - 4));
    const Done large = done(job, nics, Coll::all_gather, block / 4);
    CHECK(large.reads == 2);
    CHECK(large.bytes.device == 2 * block);
}

TEST_CASE("messages between hosts, large and small, in one group", "[nics]") {
    Job job(4);
    const Nics nics;
    constexpr size_t large = 3 << 20, small = 100;
    std::vector<int32_t*> out, in;
    for (int rank = 0; rank < 4; rank++) {
        out.push_back(job.take<int32_t>(large));
        in.push_back(job.take<int32_t>(large + small));
        for (size_t i = 0; i < large; i++) {
            out.back()[i] = static_cast<int32_t>(i) * 3 + rank;
        }
    }
    const size_t reads = nics.reads(), writes = nics.writes();
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        const int peer = (rank + 2) % 4, other = (rank + 1) % 4, before = (rank + 3) % 4;
        ncclComm_t const comm = job.comms[own];
        cudaStream_t const stream = cuda_stream(job.streams[own]);
        return ncclGroupStart() == ncclSuccess &&
               ncclSend(out[own], large, ncclInt32, peer, comm, stream) == ncclSuccess &&
               ncclRecv(in[own], large, ncclInt32, peer, comm, stream) == ncclSuccess &&
               ncclSend(out[own], small, ncclInt32, other, comm, stream) == ncclSuccess &&
               ncclRecv(in[own] + large, small, ncclInt32, before, comm, stream) == ncclSuccess &&
               ncclGroupEnd() == ncclSuccess;
    });
    job.synchronize();
    for (int rank = 0; rank < 4; rank++) {
        const auto own = static_cast<size_t>(rank);
        uint64_t wrong = 0;
        for (size_t i = 0; i < large; i++) {
            wrong += in[own][i] != static_cast<int32_t>(i) * 3 + (rank + 2) % 4 ? 1 : 0;
        }
        for (size_t i = 0; i < small; i++) {
            wrong += in[own][large + i] != static_cast<int32_t>(i) * 3 + (rank + 3) % 4 ? 1 : 0;
        }
        CHECK(wrong == 0);
    }
    CHECK(nics.written(writes).device == 4 * large * 4);
    CHECK(nics.reads() > reads);
}

TEST_CASE("the memory that NICs reach goes with its communicator", "[nics]") {
    {
        Job job(2);
        CHECK(Nics().open() == 2);
    }
    CHECK(comes_true([] { return Nics().open() == 0; }));
}

TEST_CASE("WEFT_GPUDIRECT=0 keeps NICs from devices", "[off]") {
    Job job(4);
    const Nics nics;
    CHECK(nics.open() == 0);
    const Done gathered = done(job, nics, Coll::all_gather, block);
    CHECK(gathered.reads == 0);
    CHECK(gathered.bytes.device == 0);
    CHECK(gathered.bytes.host >= 4 * block * 4);
}
