// Host streams (weft.h).
#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

namespace {

class Stream {
  public:
    Stream() { must(weftStreamCreate(&stream_), "weftStreamCreate"); }
    ~Stream() { weftStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    operator cudaStream_t() const { return stream_; }

  private:
    cudaStream_t stream_ = nullptr;
};

}  // namespace

TEST_CASE("an unknown stream is refused") {
    OneThread world(1);
    float x = 1;
    int anything = 0;
    const auto stray = reinterpret_cast<cudaStream_t>(&anything);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], stray) == ncclInvalidArgument);
    CHECK(last_error_has("host stream"));
    CHECK(weftStreamSynchronize(stray) == ncclInvalidArgument);
    CHECK(weftStreamQuery(stray) == ncclInvalidArgument);
    CHECK(weftStreamDestroy(stray) == ncclInvalidArgument);
    CHECK(weftStreamCreate(nullptr) == ncclInvalidArgument);
    // CUDA's own constants are synchronous here.
    const auto legacy = reinterpret_cast<cudaStream_t>(1);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], legacy) == ncclSuccess);
}

TEST_CASE("calls on a stream return at once and keep their order") {
    OneThread world(2);
    Stream streams[2];
    float values[2] = {1, 2};
    // One thread, no group: only asynchronous calls can do this.
    for (int round = 0; round < 5; round++) {
        for (int r = 0; r < 2; r++) {
            REQUIRE(ncclAllReduce(&values[r], &values[r], 1, ncclFloat, ncclSum, world[r],
                                  streams[r]) == ncclSuccess);
        }
    }
    for (cudaStream_t stream :
         {static_cast<cudaStream_t>(streams[0]), static_cast<cudaStream_t>(streams[1])}) {
        CHECK(weftStreamSynchronize(stream) == ncclSuccess);
        CHECK(weftStreamQuery(stream) == ncclSuccess);
    }
    CHECK(values[0] == 48);
    CHECK(values[1] == 48);
}

TEST_CASE("a query does not wait") {
    ranks_run(2, [](int rank, ncclComm_t comm) {
        Stream stream;
        float x = 1, y = 0;
        if (rank == 0) {
            must(ncclAllReduce(&x, &y, 1, ncclFloat, ncclSum, comm, stream), "call");
            must(weftStreamQuery(stream), "query before the peer called", ncclInProgress);
        } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(300));
            must(ncclAllReduce(&x, &y, 1, ncclFloat, ncclSum, comm, stream), "call");
        }
        while (weftStreamQuery(stream) == ncclInProgress) {
            std::this_thread::yield();
        }
        must(weftStreamQuery(stream), "query");
        must(y == 2, "wrong sum");
    });
}

TEST_CASE("one stream orders two communicators") {
    OneThread first(2), second(2);
    Stream streams[2];
    float a[2] = {1, 2}, b[2] = {};
    for (int r = 0; r < 2; r++) {
        // The second call reads what the first one writes.
        REQUIRE(ncclAllReduce(&a[r], &a[r], 1, ncclFloat, ncclSum, first[r], streams[r]) ==
                ncclSuccess);
        REQUIRE(ncclAllReduce(&a[r], &b[r], 1, ncclFloat, ncclSum, second[r], streams[r]) ==
                ncclSuccess);
    }
    CHECK(weftStreamSynchronize(streams[1]) == ncclSuccess);
    CHECK(weftStreamSynchronize(streams[0]) == ncclSuccess);
    CHECK(b[0] == 6);
    CHECK(b[1] == 6);
}

TEST_CASE("nobody has to wait for work to go on") {
    OneThread first(2), second(2);
    Stream streams[2];
    float a[2] = {1, 2}, b[2] = {};
    for (int r = 0; r < 2; r++) {
        REQUIRE(ncclAllReduce(&a[r], &a[r], 1, ncclFloat, ncclSum, first[r], streams[r]) ==
                ncclSuccess);
        REQUIRE(ncclAllReduce(&a[r], &b[r], 1, ncclFloat, ncclSum, second[r], streams[r]) ==
                ncclSuccess);
    }
    // Counters are read without driving anything.
    const auto done = [&](int r) {
        weftStats_t stats = WEFT_STATS_INITIALIZER;
        must(weftCommStats(second[r], &stats), "weftCommStats");
        return stats.ops == 1;
    };
    for (int i = 0; i < 500 && !(done(0) && done(1)); i++) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK(done(0));
    CHECK(done(1));
    CHECK(weftStreamSynchronize(streams[0]) == ncclSuccess);
    CHECK(weftStreamSynchronize(streams[1]) == ncclSuccess);
    CHECK(b[0] == 6);
    CHECK(b[1] == 6);
}

TEST_CASE("a stream reports the failure of its operations once") {
    ranks_run(2,
              [](int rank, ncclComm_t comm) {
                  Stream stream;
                  if (rank == 1) {
                      must(ncclCommAbort(comm), "abort");
                      return;
                  }
                  float x = 1;
                  const ncclResult_t result =
                      ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, stream);
                  must(result == ncclSuccess || result == ncclRemoteError, "call");
                  if (result == ncclSuccess) {
                      must(weftStreamSynchronize(stream), "synchronize", ncclRemoteError);
                      must(weftStreamSynchronize(stream), "synchronize again");
                  }
                  must(ncclCommAbort(comm), "abort");
              },
              {.destroy = false, .together = true});
}
