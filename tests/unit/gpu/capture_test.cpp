// What spoils a capture on the stand-in driver: programs that do what CUDA forbids while a stream
// is captured, in each of the three modes, and beside them what is allowed.
#include "tests/unit/gpu/machine.h"

using namespace weft;
using namespace weft::gpu;

namespace {

// A capture of one stream, and whether a graph came of it.
class Capture {
  public:
    Capture(FakeSwitches& fake, Stream stream, int mode) : fake_(fake), stream_(stream) {
        WORKS(fake->capture_begin(stream, mode));
    }
    ~Capture() {
        if (stream_ != nullptr) {
            whole();
        }
    }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    bool whole() {
        const Graph graph = fake_->capture_end(stream_);
        stream_ = nullptr;
        fake_->graph_destroy(graph);
        return graph != nullptr;
    }

  private:
    FakeSwitches& fake_;
    Stream stream_;
};

// A call that may wait for the device, by the thread that captures or by another, whose own mode is
// another if it says so.
struct Call {
    int mode;
    bool other_thread;
    int thread_mode;
    bool allowed;
};
constexpr int global = capture_mode::global;
constexpr int local = capture_mode::thread_local_;
constexpr int relaxed = capture_mode::relaxed;
const Call calls[] = {
    {global, false, global, false}, {global, true, global, false},  {local, false, global, false},
    {local, true, global, true},    {relaxed, false, global, true}, {relaxed, true, global, true},
    {global, false, relaxed, true}, {local, false, relaxed, true},  {global, false, local, false},
    {global, true, local, true},    {local, true, local, true},     {local, false, local, false},
};

Status allocate(const Machine& machine, int thread_mode) {
    Address memory = 0;
    int mode = thread_mode;
    WORKS(machine.driver.cuThreadExchangeStreamCaptureMode(&mode));
    const Status result = machine.driver.cuMemAlloc(&memory, 64);
    machine.driver.cuMemFree(memory);
    WORKS(machine.driver.cuThreadExchangeStreamCaptureMode(&mode));
    return result;
}

}  // namespace

TEST_CASE("planted: memory is allocated while a stream is captured") {
    for (const Call& call : calls) {
        INFO("capture " << call.mode << " thread " << call.thread_mode << call.other_thread);
        FakeSwitches fake;
        Machine machine;
        Capture capture(fake, machine.stream, call.mode);
        Status result = status::success;
        if (call.other_thread) {
            std::thread([&] {
                const auto guard = ContextGuard::push(machine.driver, machine.context->get());
                result = allocate(machine, call.thread_mode);
            }).join();
        } else {
            result = allocate(machine, call.thread_mode);
        }
        CHECK(result == (call.allowed ? status::success : status::stream_capture_unsupported));
        CHECK(capture.whole() == call.allowed);
    }
}

TEST_CASE("planted: a program asks after a stream or an event that is captured") {
    for (const int mode : {global, local, relaxed}) {
        FakeSwitches fake;
        Machine machine;
        Event event = nullptr;
        WORKS(machine.driver.cuEventCreate(&event, event_flag::no_timing));
        for (const bool wrong : {true, false}) {
            Capture capture(fake, machine.stream, mode);
            const Stream asked = wrong ? machine.stream : machine.make_stream();
            const Status query = machine.driver.cuStreamQuery(asked);
            CHECK((query == status::stream_capture_unsupported) == wrong);
            const Status waits = machine.driver.cuStreamSynchronize(asked);
            CHECK((waits == status::stream_capture_unsupported) == wrong);
            CHECK(capture.whole() == !wrong);
        }
        {
            Capture capture(fake, machine.stream, mode);
            WORKS(machine.driver.cuEventRecord(event, machine.stream));
            CHECK(machine.driver.cuEventQuery(event) == 907);
            CHECK(machine.driver.cuEventSynchronize(event) == 907);
            CHECK_FALSE(capture.whole());
        }
        // Nor does an event of a capture that has ended order anything.
        CHECK(machine.driver.cuStreamWaitEvent(machine.make_stream(), event, 0) == 907);
        WORKS(machine.driver.cuEventRecord(event, machine.stream));
        WORKS(machine.driver.cuEventSynchronize(event));
        WORKS(machine.driver.cuEventDestroy(event));
    }
}

TEST_CASE("planted: a stream is forked into a capture and not joined, or joined from outside") {
    FakeSwitches fake;
    Machine machine;
    Event fork = nullptr, join = nullptr;
    WORKS(machine.driver.cuEventCreate(&fork, event_flag::no_timing));
    WORKS(machine.driver.cuEventCreate(&join, event_flag::no_timing));
    for (const bool wrong : {true, false}) {
        const Stream second = machine.make_stream();
        Capture capture(fake, machine.stream, relaxed);
        WORKS(machine.driver.cuEventRecord(fork, machine.stream));
        WORKS(machine.driver.cuStreamWaitEvent(second, fork, 0));
        WORKS(machine.driver.cuEventRecord(join, second));
        if (!wrong) {
            WORKS(machine.driver.cuStreamWaitEvent(machine.stream, join, 0));
        }
        CHECK(capture.whole() == !wrong);
    }
    const Stream outside = machine.make_stream();
    WORKS(machine.driver.cuEventRecord(fork, outside));
    Capture capture(fake, machine.stream, relaxed);
    CHECK(machine.driver.cuStreamWaitEvent(machine.stream, fork, 0) ==
          status::stream_capture_isolation);
    CHECK_FALSE(capture.whole());
    WORKS(machine.driver.cuEventDestroy(fork));
    WORKS(machine.driver.cuEventDestroy(join));
}

TEST_CASE("planted: the null stream is used while a stream that it waits for is captured") {
    for (const int mode : {global, local, relaxed}) {
        for (const bool wrong : {true, false}) {
            FakeSwitches fake;
            Machine machine;
            const Swap swap(machine);
            const Stream stream = machine.make_stream(wrong ? 0 : stream_flag::non_blocking);
            Capture capture(fake, stream, mode);
            // With its peer, so that it ends where it is allowed.
            CHECK(machine.launch(swap.launch, 2, nullptr) == (wrong ? 906 : status::success));
            CHECK(capture.whole() == !wrong);
            WORKS(machine.driver.cuStreamSynchronize(nullptr));
        }
    }
}
