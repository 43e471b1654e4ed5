// Messages larger than a part, of ranks that group and order their calls otherwise than their
// peers: as long as every send and receive would meet its other side if each ran by itself, all
// end. The run says by which way, as in streamed_test.cpp.
#include <map>
#include <numeric>
#include <utility>

#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

struct Message {
    bool is_send;
    int peer;
};
using Group = std::vector<Message>;
using Program = std::vector<Group>;  // of one rank

Message to(int peer) {
    return {true, peer};
}
Message from(int peer) {
    return {false, peer};
}

// The buffers of every rank's messages, and what must be in them.
class Exchange {
  public:
    Exchange(Job& job, std::vector<Program> programs, size_t count)
        : job_(job), programs_(std::move(programs)), count_(count) {
        programs_.resize(static_cast<size_t>(job.n));
        buffers_.resize(programs_.size());
        for (int rank = 0; rank < job.n; rank++) {
            each(rank, [&](const Message&, int, int) {
                buffers_[static_cast<size_t>(rank)].push_back(job.take<int32_t>(count));
            });
        }
    }
    void fill(int salt) {
        for (int rank = 0; rank < job_.n; rank++) {
            each(rank, [&](const Message& message, int number, int at) {
                int32_t* const data = buffer(rank, at);
                if (message.is_send) {
                    std::iota(data, data + count_, first(rank, message.peer, number, salt));
                } else {
                    std::fill_n(data, count_, untouched);
                }
            });
        }
    }
    // Of one rank, all groups.
    bool enqueue(int rank, gpu::Stream stream) const {
        bool well = true;
        int at = 0;
        for (const Group& group : programs_[static_cast<size_t>(rank)]) {
            well = well && ncclGroupStart() == ncclSuccess;
            for (const Message& message : group) {
                well = well && call(rank, message, at++, stream) == ncclSuccess;
            }
            well = well && ncclGroupEnd() == ncclSuccess;
        }
        return well;
    }
    // Each rank in a thread, on its stream.
    void run() {
        job_.threads(
            [&](int rank) { return enqueue(rank, job_.streams[static_cast<size_t>(rank)]); });
        for (const gpu::Stream stream : job_.streams) {
            CUDA(job_.cuda->cuStreamSynchronize(stream));
        }
    }
    size_t wrong(int salt) const {
        size_t count = 0;
        for (int rank = 0; rank < job_.n; rank++) {
            each(rank, [&](const Message& message, int number, int at) {
                const int32_t begin = message.is_send ? first(rank, message.peer, number, salt)
                                                      : first(message.peer, rank, number, salt);
                const int32_t* const data = buffer(rank, at);
                for (size_t i = 0; i < count_; i++) {
                    count += data[i] != begin + static_cast<int32_t>(i) ? 1 : 0;
                }
            });
        }
        return count;
    }

  private:
    static int32_t first(int from, int to, int number, int salt) {
        return 1'000'000 * (from + 1) + 100'000 * to + 10'000 * number + salt;
    }
    int32_t* buffer(int rank, int at) const {
        return buffers_[static_cast<size_t>(rank)][static_cast<size_t>(at)];
    }
    // With the how-manieth it is between these two ranks, and of the rank's.
    template <class F>
    void each(int rank, F&& f) const {
        std::map<std::pair<bool, int>, int> numbers;
        int at = 0;
        for (const Group& group : programs_[static_cast<size_t>(rank)]) {
            for (const Message& message : group) {
                f(message, numbers[{message.is_send, message.peer}]++, at++);
            }
        }
    }
    ncclResult_t call(int rank, const Message& message, int at, gpu::Stream stream) const {
        ncclComm_t const comm = job_.comms[static_cast<size_t>(rank)];
        int32_t* const data = buffer(rank, at);
        return message.is_send
                   ? ncclSend(data, count_, ncclInt32, message.peer, comm, cuda_stream(stream))
                   : ncclRecv(data, count_, ncclInt32, message.peer, comm, cuda_stream(stream));
    }

    Job& job_;
    std::vector<Program> programs_;
    const size_t count_;
    std::vector<std::vector<int32_t*>> buffers_;
};

// More parts than any way has under way at once, with four ranks.
constexpr size_t large = (6 << 20) / 4 + 3;

struct Mix {
    const char* what;
    std::vector<Program> programs;
};

std::vector<Mix> mixes() {
    return {
        {"what is one group for a rank is two for its peer",
         {{{to(1)}, {from(1)}}, {{to(0), from(0)}}}},
        {"and the other way round", {{{from(1)}, {to(1)}}, {{to(0), from(0)}}}},
        {"two receivers, the first of which waits for the second",
         {{{to(1), to(2)}}, {{from(2)}, {from(0)}}, {{from(0)}, {to(1)}}}},
        {"two senders, the first of which waits for the second",
         {{{from(1), from(2)}}, {{from(2)}, {to(0)}}, {{to(0)}, {to(1)}}}},
        {"a rank between two that each do one thing after the other",
         {{{to(1)}, {from(1)}}, {{to(0), to(2), from(0), from(2)}}, {{from(1)}, {to(1)}}}},
        {"several messages to one peer, taken before the other's",
         {{{to(1), to(2), to(2)}}, {{from(2)}, {from(0)}}, {{from(0)}, {from(0)}, {to(1)}}}},
        {"to oneself, too",
         {{{to(0), to(1), from(0), from(1)}}, {{from(0)}, {to(1), from(1), to(0)}}}},
    };
}

}  // namespace

TEST_CASE("messages of many parts whose peers call in another order", "[streamed]") {
    for (const Mix& mix : mixes()) {
        INFO(mix.what);
        Job job(4);
        Exchange exchange(job, mix.programs, large);
        for (int salt = 0; salt < 2; salt++) {
            exchange.fill(salt);
            exchange.run();
            CHECK(exchange.wrong(salt) == 0);
        }
    }
}

TEST_CASE("the same in graphs, each rank's launched three times", "[streamed]") {
    for (const Mix& mix : mixes()) {
        INFO(mix.what);
        Job job(4);
        Exchange exchange(job, mix.programs, large / 4);
        std::vector<gpu::Graph> graphs(4);
        job.threads([&](int rank) {
            const gpu::Stream stream = job.streams[static_cast<size_t>(rank)];
            const bool well =
                job.cuda.fake->capture_begin(stream, gpu::capture_mode::thread_local_) ==
                    gpu::status::success &&
                exchange.enqueue(rank, stream);
            graphs[static_cast<size_t>(rank)] = job.cuda.fake->capture_end(stream);
            return well && graphs[static_cast<size_t>(rank)] != nullptr;
        });
        for (int salt = 0; salt < 3; salt++) {
            exchange.fill(salt);
            for (size_t rank = 0; rank < 4; rank++) {
                CUDA(job.cuda.fake->graph_launch(graphs[rank], job.streams[rank]));
            }
            job.synchronize();
            CHECK(exchange.wrong(salt) == 0);
            exchange.fill(salt + 10);
            exchange.run();  // between replays
            CHECK(exchange.wrong(salt + 10) == 0);
        }
        for (gpu::Graph const graph : graphs) {
            job.cuda.fake->graph_destroy(graph);
        }
    }
}

TEST_CASE("all ranks in one group on one stream, each with all others", "[streamed]") {
    Job job(4);
    std::vector<Program> programs(4);
    for (int rank = 0; rank < 4; rank++) {
        programs[static_cast<size_t>(rank)].resize(1);
        for (int peer = 0; peer < 4; peer++) {
            programs[static_cast<size_t>(rank)].front().push_back(to(peer));
            programs[static_cast<size_t>(rank)].front().push_back(from(peer));
        }
    }
    Exchange exchange(job, programs, large);
    for (const unsigned queues : {0U, 1U}) {
        job.cuda.fake->queues = queues;
        exchange.fill(0);
        NCCL(ncclGroupStart());
        for (int rank = 0; rank < 4; rank++) {
            REQUIRE(exchange.enqueue(rank, job.streams.front()));
        }
        NCCL(ncclGroupEnd());
        job.synchronize();
        CHECK(exchange.wrong(0) == 0);
    }
}

TEST_CASE("a collective and messages of some ranks in one group", "[streamed]") {
    Job job(4);
    const Program of_two[] = {{{to(1), from(1)}}, {{to(0), from(0)}}};
    Exchange exchange(job, {of_two[0], of_two[1], {{to(3)}}, {{from(2)}}}, large);
    Buffers buffers(job, Coll::all_reduce, 100'000);
    for (const bool one_thread : {false, true}) {
        exchange.fill(0);
        buffers.fill(0);
        const auto both = [&](int rank, gpu::Stream stream) {
            return ncclGroupStart() == ncclSuccess && exchange.enqueue(rank, stream) &&
                   buffers.enqueue(rank, stream) == ncclSuccess && ncclGroupEnd() == ncclSuccess;
        };
        if (one_thread) {
            NCCL(ncclGroupStart());
            for (int rank = 0; rank < 4; rank++) {
                REQUIRE(both(rank, job.streams.front()));
            }
            NCCL(ncclGroupEnd());
        } else {
            job.threads(
                [&](int rank) { return both(rank, job.streams[static_cast<size_t>(rank)]); });
        }
        job.synchronize();
        CHECK(exchange.wrong(0) == 0);
        CHECK(buffers.wrong(0) == 0);
    }
}

TEST_CASE("a stream takes no more while the parts of another must be enqueued", "[streamed]") {
    Job job(4);
    const Group many_to_1(1000, to(1)), many_to_2(1000, to(2)), many(1000, from(0));
    Group both = many_to_1;
    both.insert(both.end(), many_to_2.begin(), many_to_2.end());
    Exchange exchange(job, {{both}, {{from(2)}, many}, {many, {to(1)}}}, 5);
    job.cuda.fake->stream_room = 1000;
    exchange.fill(0);
    exchange.run();
    CHECK(exchange.wrong(0) == 0);
}

TEST_CASE("a call outside of a capture while one of the communicator is under way", "[streamed]") {
    Job job(2);
    Exchange exchange(job, {{{to(1), from(1)}}, {{to(0), from(0)}}}, large / 4);
    std::vector<gpu::Stream> captured = {job.stream(), job.stream()};
    std::vector<gpu::Graph> graphs(2);
    exchange.fill(1);
    for (size_t rank = 0; rank < 2; rank++) {
        CUDA(job.cuda.fake->capture_begin(captured[rank], gpu::capture_mode::relaxed));
    }
    job.threads(
        [&](int rank) { return exchange.enqueue(rank, captured[static_cast<size_t>(rank)]); });
    exchange.run();
    CHECK(exchange.wrong(1) == 0);
    for (size_t rank = 0; rank < 2; rank++) {
        graphs[rank] = job.cuda.fake->capture_end(captured[rank]);
        REQUIRE(graphs[rank] != nullptr);
    }
    exchange.fill(2);
    for (size_t rank = 0; rank < 2; rank++) {
        CUDA(job.cuda.fake->graph_launch(graphs[rank], captured[rank]));
    }
    job.synchronize();
    CHECK(exchange.wrong(2) == 0);
    for (gpu::Graph const graph : graphs) {
        job.cuda.fake->graph_destroy(graph);
    }
}

TEST_CASE("an abort while a call waits for its lanes: it returns", "[streamed]") {
    Job job(2);
    Group many(3000, to(1));
    many.insert(many.end(), 3000, from(1));
    Exchange exchange(job, {{many}}, 5);
    const int before = job.cuda.fake->launches;
    std::thread caller([&] {
        const auto own = job.cuda.use();
        exchange.enqueue(0, job.streams[0]);  // which may fail
    });
    CHECK(comes_true([&] { return job.cuda.fake->launches > before + 1; }));
    job.abort(0);
    caller.join();
    CHECK(job.runs_out(0));
    job.abort(1);
}

TEST_CASE("an abort while lanes wait: the stream runs out, nothing more is stored", "[streamed]") {
    Job job(2);
    int32_t* const memory = job.take<int32_t>(large);
    std::fill_n(memory, large, untouched);
    NCCL(ncclGroupStart());
    NCCL(ncclSend(memory, large, ncclInt32, 1, job.comms[0], cuda_stream(job.streams[0])));
    NCCL(ncclRecv(memory, large, ncclInt32, 1, job.comms[0], cuda_stream(job.streams[0])));
    NCCL(ncclGroupEnd());
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    job.abort(0);
    CHECK(job.runs_out(0));
    CHECK(all_are(memory, large, untouched));
    job.abort(1);
}
