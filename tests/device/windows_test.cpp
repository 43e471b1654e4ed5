// Windows of ranks that work by boards: what lies in symmetric ones is read where it is, which is
// seen by what was not copied onto a board.
#include <algorithm>

#include "include/weft/nccl_device.h"
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

constexpr uint64_t large = (1 << 20) / 4 + 77;  // elements: what is worth reading in place

// Memory of ncclMemAlloc on every rank, and windows of it.
class WindowJob : public Job {
  public:
    explicit WindowJob(int ranks, size_t elements = 0) : Job(ranks) {
        for (int rank = 0; elements > 0 && rank < ranks; rank++) {
            alloc(rank, elements);
        }
        if (elements > 0) {
            windows = make(memory, elements * 4);
        }
    }
    ~WindowJob() {
        cuda.fake->no_waiting = 0;
        synchronize();
        for (ncclComm_t& comm : comms) {
            if (comm != nullptr) {
                ncclCommDestroy(comm);
                comm = nullptr;
            }
        }
        for (int32_t* const each : memory) {
            ncclMemFree(each);
        }
    }
    void alloc(int rank, size_t elements) {
        cuda.fake->no_waiting = 0;
        void* taken = nullptr;
        NCCL(ncclMemAlloc(&taken, elements * 4));
        cuda.fake->no_waiting = 1;
        memory.resize(static_cast<size_t>(n));
        memory[static_cast<size_t>(rank)] = static_cast<int32_t*>(taken);
    }
    // Of one buffer a rank, in one group.
    std::vector<ncclWindow_t> make(const std::vector<int32_t*>& buffers, size_t bytes,
                                   int flags = NCCL_WIN_COLL_SYMMETRIC) {
        cuda.fake->no_waiting = 0;
        std::vector<ncclWindow_t> made(comms.size(), reinterpret_cast<ncclWindow_t>(this));
        NCCL(ncclGroupStart());
        for (size_t rank = 0; rank < comms.size(); rank++) {
            NCCL(ncclCommWindowRegister(comms[rank], buffers[rank], bytes, &made[rank], flags));
        }
        NCCL(ncclGroupEnd());
        cuda.fake->no_waiting = 1;
        return made;
    }
    void drop(const std::vector<ncclWindow_t>& made) {
        cuda.fake->no_waiting = 0;
        for (size_t rank = 0; rank < comms.size(); rank++) {
            NCCL(ncclCommWindowDeregister(comms[rank], made[rank]));
        }
        cuda.fake->no_waiting = 1;
    }
    bool call(Coll coll, int rank, const int32_t* send, int32_t* recv, size_t count) {
        const auto own = static_cast<size_t>(rank);
        return test::call(coll, send, recv, count, n, 0, rank, comms[own], streams[own]) ==
               ncclSuccess;
    }

    std::vector<int32_t*> memory;
    std::vector<ncclWindow_t> windows;
};

// A collective on buffers in windows: the input, then the output, one behind the other.
struct InWindow {
    InWindow(WindowJob& of, Coll what, uint64_t elements)
        : job(of), coll(what), count(elements), blocks(reference::blocks_of(what, of.n)) {}
    int32_t* input(int rank) const { return job.memory[static_cast<size_t>(rank)] + 5; }
    int32_t* output(int rank) const { return input(rank) + count * blocks.input + 3; }
    void fill(uint64_t salt) const {
        for (int rank = 0; rank < job.n; rank++) {
            for (uint64_t i = 0; i < count * blocks.input; i++) {
                input(rank)[i] = input_at(rank, i, salt);
            }
            std::fill_n(output(rank), count * blocks.output, untouched);
        }
    }
    bool enqueue(int rank) const { return job.call(coll, rank, input(rank), output(rank), count); }
    uint64_t wrong(uint64_t salt) const {
        uint64_t found = 0;
        for (int rank = 0; rank < job.n; rank++) {
            for (uint64_t i = 0; i < count * blocks.output; i++) {
                int32_t want = 0;
                const bool known = value_at({coll, job.n, 0, count}, rank, i, salt, want);
                found += known && output(rank)[i] != want ? 1 : 0;
            }
        }
        return found;
    }
    WindowJob& job;
    Coll coll;
    uint64_t count;
    reference::Blocks blocks;
};

constexpr Coll direct[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                           Coll::all_to_all};

size_t room(int ranks) {
    return 2 * static_cast<size_t>(ranks) * large + 100;
}

}  // namespace

TEST_CASE("a window tells where every rank's part lies", "[board]") {
    WindowJob job(3, 1000);
    for (int rank = 0; rank < 3; rank++) {
        const auto own = static_cast<size_t>(rank);
        REQUIRE(job.windows[own] != nullptr);
        void* at = nullptr;
        NCCL(ncclWinGetUserPtr(job.comms[own], job.windows[own], &at));
        CHECK(at == job.memory[own]);
        NCCL(ncclGetLsaDevicePointer(job.windows[own], 8, 0, &at));
        CHECK(at == job.memory[own] + 2);
        for (int peer = 0; peer < 3; peer++) {
            NCCL(ncclGetPeerDevicePointer(job.windows[own], 400, peer, &at));
            CHECK(at == job.memory[static_cast<size_t>(peer)] + 100);  // one process
        }
    }
    void* at = nullptr;
    CHECK(ncclGetPeerDevicePointer(job.windows[0], 4000, 0, &at) == ncclInvalidArgument);
    CHECK(Warnings().say({"ncclGetPeerDevicePointer", "offset 4000", "4000 bytes"}));
    CHECK(ncclGetPeerDevicePointer(job.windows[0], 0, 3, &at) == ncclInvalidArgument);
    CHECK(Warnings().say({"rank 3", "0 to 2"}));
    CHECK(ncclGetLsaDevicePointer(job.windows[0], 0, 1, &at) == ncclInvalidArgument);
    CHECK(ncclCommWindowDeregister(job.comms[1], job.windows[0]) == ncclInvalidArgument);
    CHECK(Warnings().say({"ncclCommWindowDeregister", "was not made by this communicator"}));
    job.drop(job.windows);
    CHECK(ncclCommWindowDeregister(job.comms[0], job.windows[0]) == ncclInvalidArgument);
    CHECK(ncclWinGetUserPtr(job.comms[0], job.windows[0], &at) == ncclInvalidArgument);
    CHECK(Warnings().say({"is no window that ncclCommWindowRegister made"}));
}

TEST_CASE("on symmetric windows nothing is copied onto boards", "[board]") {
    WindowJob job(3, room(3));
    for (const Coll coll : direct) {
        INFO(to_string(coll));
        const InWindow one(job, coll, large);
        const uint64_t before = copied(job.comms[1]);
        for (uint64_t round = 0; round < 3; round++) {
            one.fill(round);
            job.threads([&](int rank) { return one.enqueue(rank); });
            job.synchronize();
            CHECK(one.wrong(round) == 0);
        }
        CHECK(copied(job.comms[1]) == before);
    }
    // The same memory when it is in none.
    job.drop(job.windows);
    const InWindow one(job, Coll::all_gather, large);
    const uint64_t before = copied(job.comms[1]);
    one.fill(7);
    job.threads([&](int rank) { return one.enqueue(rank); });
    job.synchronize();
    CHECK(one.wrong(7) == 0);
    CHECK(copied(job.comms[1]) == before + large * 4);
}

TEST_CASE("in place, and ranks of one group on one stream", "[board]") {
    WindowJob job(3, room(3));
    const uint64_t before = copied(job.comms[0]);
    for (int rank = 0; rank < 3; rank++) {
        std::fill_n(job.memory[static_cast<size_t>(rank)], 3 * large, rank + 1);
    }
    NCCL(ncclGroupStart());
    for (int rank = 0; rank < 3; rank++) {
        const auto own = static_cast<size_t>(rank);
        int32_t* const at = job.memory[own];
        cudaStream_t const stream = cuda_stream(job.streams[0]);
        NCCL(ncclAllReduce(at, at, large, ncclInt32, ncclSum, job.comms[own], stream));
        NCCL(ncclAllGather(at + own * large, at, large, ncclInt32, job.comms[own], stream));
        NCCL(ncclReduceScatter(at, at + own * large, large, ncclInt32, ncclSum, job.comms[own],
                               stream));
    }
    NCCL(ncclGroupEnd());
    job.synchronize();
    // The first block became 6, the others stayed what their own rank had; then all were summed.
    const int32_t want[] = {6 * 3, 2 * 3, 3 * 3};
    for (int rank = 0; rank < 3; rank++) {
        const int32_t* const own =
            job.memory[static_cast<size_t>(rank)] + static_cast<size_t>(rank) * large;
        CHECK(all_are(own, large, want[rank]));
    }
    CHECK(copied(job.comms[0]) == before);
}

TEST_CASE("a call ends when all have read its memory", "[board]") {
    WindowJob job(2, room(2));
    const InWindow one(job, Coll::all_gather, large);
    one.fill(4);
    Gate gate(job, job.streams[1]);
    CHECK(one.enqueue(1));
    CHECK(one.enqueue(0));
    // What others read of rank 0 is used for something else as soon as its call is over.
    CUDA(job.cuda->cuMemsetD8Async(reinterpret_cast<gpu::Address>(one.output(0)), 0x11, large * 4,
                                   job.streams[0]));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    gate.open();
    job.synchronize();
    CHECK(one.output(0)[0] == 0x11111111);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < 2 * large; i++) {
        int32_t want = 0;
        const bool known = value_at({Coll::all_gather, 2, 0, large}, 1, i, 4, want);
        wrong += !known || one.output(1)[i] != want ? 1 : 0;
    }
    CHECK(wrong == 0);
}

TEST_CASE("16 replays of graphs on windows, one rank lagging behind", "[board]") {
    WindowJob job(3, large);
    const uint64_t before = copied(job.comms[2]);
    replay_lagging(job, job.memory, large);
    CHECK(copied(job.comms[2]) == before);
}

TEST_CASE("places that differ between ranks are found before anything is stored", "[board]") {
    struct Wrong {
        size_t offset;  // of rank 1, elements; beyond the window: in none
        std::initializer_list<const char*> said;
    };
    const Wrong wrongs[] = {
        {4,
         {"mismatched arguments: all_reduce", "in window 1", "at 16 in window 1",
          "the same offset"}},
        {2 * large + 100, {"mismatched arguments: all_reduce", "in no symmetric window"}}};
    for (const Wrong& wrong : wrongs) {
        WindowJob job(2);
        for (int rank = 0; rank < 2; rank++) {
            job.alloc(rank, 5 * large);
            std::fill_n(job.memory[static_cast<size_t>(rank)], 5 * large, untouched);
        }
        job.make(job.memory, (2 * large + 100) * 4);
        job.threads([&](int rank) {
            int32_t* const at =
                job.memory[static_cast<size_t>(rank)] + (rank == 1 ? wrong.offset : 0);
            return job.call(Coll::all_reduce, rank, at, at, large);
        });
        CHECK(comes_true([&] { return async_error(job.comms[0]) != ncclSuccess; }));
        CHECK(comes_true([&] { return async_error(job.comms[1]) != ncclSuccess; }));
        CHECK(Warnings().say(wrong.said));
        job.synchronize();
        for (const int32_t* const each : job.memory) {
            CHECK(all_are(each, 5 * large, untouched));
        }
        job.abort(0);
        job.abort(1);
    }
}

TEST_CASE("memory that cannot be shared has no window on any rank, and works as any other",
          "[board]") {
    WindowJob job(2, 0);
    gpu::Address pool = 0;
    job.cuda.fake->no_waiting = 0;
    CUDA(job.cuda.fake->pool_take(&pool, 2 * large * 4, job.streams[0]));
    CUDA(job.cuda->cuStreamSynchronize(job.streams[0]));
    int32_t* const plain = job.take<int32_t>(2 * large);
    auto* const pooled = reinterpret_cast<int32_t*>(pool);
    const auto made = job.make({plain, pooled}, 2 * large * 4);
    CHECK(made == std::vector<ncclWindow_t>{nullptr, nullptr});
    std::fill_n(plain, large, 3);
    std::fill_n(pooled, large, 4);
    job.threads([&](int rank) {
        int32_t* const at = rank == 0 ? plain : pooled;
        return job.call(Coll::all_reduce, rank, at, at, large);
    });
    job.synchronize();
    CHECK(all_are(plain, large, 7));
    CHECK(all_are(pooled, large, 7));
    CHECK(copied(job.comms[0]) == large * 4);
    job.drop(made);
    CUDA(job.cuda.fake->pool_free(pool, job.streams[0]));
    job.synchronize();
}

TEST_CASE("memory whose window did not come about goes when it is freed", "[board]") {
    WindowJob job(2, 0);
    job.cuda.fake->no_waiting = 0;
    gpu::Address pool = 0;
    CUDA(job.cuda.fake->pool_take(&pool, 4096, job.streams[0]));
    CUDA(job.cuda->cuStreamSynchronize(job.streams[0]));
    const int before = job.cuda.fake->live_physicals;
    void* memory = nullptr;
    NCCL(ncclMemAlloc(&memory, 4096));
    const auto made =
        job.make({static_cast<int32_t*>(memory), reinterpret_cast<int32_t*>(pool)}, 4096);
    CHECK(made[0] == nullptr);
    job.cuda.fake->no_waiting = 0;
    NCCL(ncclMemFree(memory));
    CHECK(comes_true([&] { return job.cuda.fake->live_physicals == before; }));
    CUDA(job.cuda.fake->pool_free(pool, job.streams[0]));
    job.synchronize();
}

TEST_CASE("windows of plain memory, of a part of an allocation, and of no promise", "[board]") {
    WindowJob job(2, 0);
    int32_t* const all = job.take<int32_t>(8 * large);
    std::vector<int32_t*> parts = {all + 1000, all + 4 * large + 1000};
    const InWindow one(job, Coll::all_reduce, large);
    job.memory = parts;
    const auto run = [&] {
        const uint64_t before = copied(job.comms[0]);
        one.fill(9);
        job.threads([&](int rank) { return one.enqueue(rank); });
        job.synchronize();
        CHECK(one.wrong(9) == 0);
        return copied(job.comms[0]) - before;
    };
    const auto promised = job.make(parts, (2 * large + 100) * 4);
    CHECK(run() == 0);
    job.drop(promised);
    const auto without = job.make(parts, (2 * large + 100) * 4, NCCL_WIN_DEFAULT);
    REQUIRE(without[0] != nullptr);
    CHECK(run() == large * 4);
    job.drop(without);
    job.memory.clear();
}

TEST_CASE("memory that is freed and taken again at the same address", "[board]") {
    WindowJob job(2, 0);
    const int physicals = job.cuda.fake->live_physicals;
    for (int round = 0; round < 3; round++) {
        for (int rank = 0; rank < 2; rank++) {
            job.alloc(rank, room(2));
        }
        const auto made = job.make(job.memory, room(2) * 4);
        REQUIRE(made[0] != nullptr);
        const InWindow one(job, Coll::reduce_scatter, large);
        one.fill(static_cast<uint64_t>(round));
        const uint64_t before = copied(job.comms[0]);
        job.threads([&](int rank) { return one.enqueue(rank); });
        job.synchronize();
        CHECK(one.wrong(static_cast<uint64_t>(round)) == 0);
        CHECK(copied(job.comms[0]) == before);
        job.drop(made);
        job.cuda.fake->no_waiting = 0;
        for (int32_t*& each : job.memory) {
            NCCL(ncclMemFree(std::exchange(each, nullptr)));
        }
        job.cuda.fake->no_waiting = 1;
    }
    CHECK(comes_true([&] { return job.cuda.fake->live_physicals == physicals; }));
    job.memory.clear();
}

TEST_CASE("several windows of one communicator in one group have the same numbers", "[board]") {
    WindowJob job(3, room(3));
    job.cuda.fake->no_waiting = 0;
    ncclWindow_t more[3][4];
    NCCL(ncclGroupStart());
    for (int i = 0; i < 4; i++) {
        for (size_t rank = 0; rank < 3; rank++) {
            NCCL(ncclCommWindowRegister(job.comms[rank], job.memory[rank] + i, 4096, &more[rank][i],
                                        NCCL_WIN_COLL_SYMMETRIC));
        }
    }
    NCCL(ncclGroupEnd());
    job.cuda.fake->no_waiting = 1;
    job.drop(job.windows);
    job.windows = job.make(job.memory, room(3) * 4);
    const InWindow one(job, Coll::all_to_all, large);
    one.fill(2);
    job.threads([&](int rank) { return one.enqueue(rank); });
    job.synchronize();
    CHECK(one.wrong(2) == 0);
    CHECK(async_error(job.comms[0]) == ncclSuccess);
    for (size_t rank = 0; rank < 3; rank++) {
        for (const ncclWindow_t each : more[rank]) {
            REQUIRE(each != nullptr);
            NCCL(ncclCommWindowDeregister(job.comms[rank], each));
        }
    }
}

TEST_CASE("an abort while a peer has yet to read: both streams run out", "[board]") {
    WindowJob job(2, room(2));
    const InWindow one(job, Coll::all_gather, large);
    one.fill(0);
    CHECK(one.enqueue(0));  // the peer never comes
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    job.abort(0);
    CHECK(job.runs_out(0));
    CHECK(all_are(one.output(0) + large, large, untouched));
    job.abort(1);
}

TEST_CASE("a nonblocking communicator has its window when it is no longer in progress", "[board]") {
    Job job(0);
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    job.cuda.fake->no_waiting = 0;
    constexpr size_t bytes = 4 << 20;
    std::atomic<int> well{0};
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; rank++) {
        ranks.emplace_back([&, rank] {
            const auto guard = job.cuda.use();
            ncclComm_t comm = nullptr;
            ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
            config.blocking = 0;
            void* memory = nullptr;
            ncclWindow_t window = nullptr;
            const auto settled = [&] {
                return comes_true([&] { return async_error(comm) != ncclInProgress; }) &&
                       async_error(comm) == ncclSuccess;
            };
            ncclCommInitRankConfig(&comm, 2, id, rank, &config);
            bool good = settled() && ncclMemAlloc(&memory, bytes) == ncclSuccess;
            const ncclResult_t asked =
                ncclCommWindowRegister(comm, memory, bytes, &window, NCCL_WIN_COLL_SYMMETRIC);
            good = good && asked == ncclInProgress && settled() && window != nullptr &&
                   ncclCommWindowDeregister(comm, window) == ncclSuccess;
            ncclCommFinalize(comm);
            settled();
            good = good && ncclCommDestroy(comm) == ncclSuccess;
            well += good ? 1 : 0;
            ncclMemFree(memory);
        });
    }
    for (std::thread& rank : ranks) {
        rank.join();
    }
    CHECK(well == 2);
}

TEST_CASE("a window that not all ranks make: an error after the limit, or an abort", "[board]") {
    WindowJob job(2, 1000);
    job.cuda.fake->no_waiting = 0;
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        NCCL(ncclCommAbort(job.comms[1]));
    });
    ncclWindow_t window = nullptr;
    const ncclResult_t result =
        ncclCommWindowRegister(job.comms[0], job.memory[0], 4000, &window, 0);
    other.join();
    job.comms[1] = nullptr;
    CHECK(result == ncclRemoteError);
    CHECK(window == nullptr);
    job.abort(0);
}
