// Operations captured into graphs and replayed: a replay goes on counting where the last one, or an
// operation outside of graphs, has ended.
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

// A graph and its end.
class Captured {
  public:
    Captured(Job& job, gpu::Stream stream, int mode, const std::function<void()>& body)
        : job_(job) {
        begun_ = job.cuda.fake->capture_begin(stream, mode) == gpu::status::success;
        body();
        graph_ = job.cuda.fake->capture_end(stream);
    }
    ~Captured() {
        CHECK(well());
        job_.cuda.fake->graph_destroy(graph_);
    }
    bool well() const { return begun_ && graph_ != nullptr; }
    Captured(const Captured&) = delete;
    Captured& operator=(const Captured&) = delete;
    void launch(gpu::Stream stream) const { CUDA(job_.cuda.fake->graph_launch(graph_, stream)); }

  private:
    Job& job_;
    bool begun_ = false;
    gpu::Graph graph_ = nullptr;
};

}  // namespace

TEST_CASE("a group captured in every mode, replayed 16 times, with operations between") {
    for (const int mode : {gpu::capture_mode::global, gpu::capture_mode::thread_local_,
                           gpu::capture_mode::relaxed}) {
        Job job(3);
        Buffers large(job, Coll::all_reduce, 5000), small(job, Coll::all_reduce, 9),
            gathered(job, Coll::all_gather, 3000), outside(job, Coll::all_reduce, 5000);
        const gpu::Stream stream = job.streams[0];
        {
            const Captured graph(job, stream, mode, [&] {
                large.gang({stream});
                small.gang({stream});
                gathered.gang({stream});
            });
            for (uint64_t round = 0; round < 16; round++) {
                for (Buffers* buffers : {&large, &small, &gathered, &outside}) {
                    buffers->fill(round);
                }
                graph.launch(stream);
                if (round % 3 == 0) {
                    outside.gang({stream});
                }
                job.synchronize();
                CHECK(large.wrong(round) == 0);
                CHECK(small.wrong(round) == 0);
                CHECK(gathered.wrong(round) == 0);
                CHECK((round % 3 != 0 || outside.wrong(round) == 0));
            }
        }
        CHECK(job.cuda.fake->waits_refused == 0);
    }
}

TEST_CASE("each rank captures its part in its own thread, and launches it there") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 3000);
    std::unique_ptr<Captured> graphs[2];
    job.threads([&](int rank) {
        const gpu::Stream stream = job.streams[static_cast<size_t>(rank)];
        bool well = false;
        graphs[rank] = std::make_unique<Captured>(
            job, stream, gpu::capture_mode::thread_local_,
            [&] { well = buffers.enqueue(rank, stream) == ncclSuccess; });
        return well && graphs[rank]->well();
    });
    for (uint64_t round = 0; round < 4; round++) {
        buffers.fill(round);
        graphs[0]->launch(job.streams[0]);
        graphs[1]->launch(job.streams[1]);
        job.synchronize();
        CHECK(buffers.wrong(round) == 0);
    }
}

TEST_CASE("sends and receives, and streams that fork and join, in a graph") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 3000);
    int32_t* const from = job.take<int32_t>(100);
    int32_t* const to = job.take<int32_t>(100);
    gpu::Event fork = nullptr;
    CUDA(job.cuda->cuEventCreate(&fork, gpu::event_flag::no_timing));
    {
        const Captured graph(job, job.streams[0], gpu::capture_mode::global, [&] {
            CUDA(job.cuda->cuEventRecord(fork, job.streams[0]));
            CUDA(job.cuda->cuStreamWaitEvent(job.streams[1], fork, 0));
            buffers.gang({job.streams[0], job.streams[1]});
            NCCL(ncclGroupStart());
            NCCL(ncclSend(from, 100, ncclInt32, 1, job.comms[0], cuda_stream(job.streams[0])));
            NCCL(ncclRecv(to, 100, ncclInt32, 0, job.comms[1], cuda_stream(job.streams[0])));
            NCCL(ncclGroupEnd());
            CUDA(job.cuda->cuEventRecord(fork, job.streams[1]));
            CUDA(job.cuda->cuStreamWaitEvent(job.streams[0], fork, 0));
        });
        for (uint64_t round = 0; round < 3; round++) {
            buffers.fill(round);
            from[99] = static_cast<int32_t>(round);
            graph.launch(job.streams[0]);
            job.synchronize();
            CHECK(buffers.wrong(round) == 0);
            CHECK(to[99] == static_cast<int32_t>(round));
        }
    }
    CUDA(job.cuda->cuEventDestroy(fork));
}

TEST_CASE("a graph keeps the memory of a communicator that is destroyed before it", "[clique]") {
    Cuda watch;
    const int before = watch.fake->live_allocations;
    {
        Job job(2);
        Buffers buffers(job, Coll::all_reduce, 3000);
        const Captured graph(job, job.streams[0], gpu::capture_mode::relaxed,
                             [&] { buffers.gang({job.streams[0]}); });
        job.cuda.fake->no_waiting = 0;
        for (ncclComm_t& comm : job.comms) {
            NCCL(ncclCommDestroy(comm));
            comm = nullptr;
        }
        buffers.fill(5);
        graph.launch(job.streams[0]);
        job.synchronize();
        CHECK(buffers.wrong(5) == 0);
    }
    CHECK(comes_true([&] { return watch.fake->live_allocations == before; }));
}

TEST_CASE("some streams of a group captured and some not: refused, and nothing is launched") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 10);
    const int before = job.cuda.fake->launches;
    CUDA(job.cuda.fake->capture_begin(job.streams[0], gpu::capture_mode::relaxed));
    NCCL(ncclGroupStart());
    NCCL(buffers.enqueue(0, job.streams[0]));
    NCCL(buffers.enqueue(1, job.streams[1]));
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    CHECK(Warnings().say({"captured", "capture all of them"}));
    CHECK(job.cuda.fake->launches == before);
    job.cuda.fake->graph_destroy(job.cuda.fake->capture_end(job.streams[0]));
    buffers.fill(1);
    buffers.gang({job.streams[0]});
    job.synchronize();
    CHECK(buffers.wrong(1) == 0);
}
