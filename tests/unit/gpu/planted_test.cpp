// The stand-in's hostile modes, each with a program that is wrong and that it must catch, and with
// the right program beside it. Programs that stick are seen to stick, by what the stand-in counts,
// then stopped; those that end their process run in a second one. What no mode can make certain is
// not tested here: tests/device runs the library itself in all of them.
#include <cstdlib>
#include <cstring>

#include "tests/fake_cuda/planted_kernels.h"
#include "tests/unit/gpu/hostile.h"
#include "tests/unit/gpu/machine.h"

using namespace weft;
using namespace weft::gpu;

namespace {

using device::Ended;

// A program on a thread of its own, which has the context current.
class Program {
  public:
    Program(Machine& machine, const std::function<void()>& body)
        : thread_([&machine, body, this] {
              const auto guard = ContextGuard::push(machine.driver, machine.context->get());
              body();
              done_ = true;
          }) {}
    ~Program() { join(); }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    // Held up where `count` says so, which the program cannot get past.
    bool sticks(const std::atomic<int>& count) const {
        return comes_true([&] { return done_ || count > 0; }) && !done_;
    }

  private:
    std::atomic<bool> done_{false};
    std::thread thread_;
};

// Ends what waits, and says how the two ranks ended.
struct Ends {
    Ended first, second;
    bool well() const { return first == Ended::well && second == Ended::well; }
};
Ends ends_of(const Machine& machine, const Swap& swap) {
    for (const Stream each : machine.streams) {
        WORKS(machine.driver.cuStreamSynchronize(each));
    }
    WORKS(machine.driver.cuStreamSynchronize(nullptr));
    return {swap.end(0).how, swap.end(1).how};
}
Ends stop(const Machine& machine, const Swap& swap) {
    swap.stop();
    return ends_of(machine, swap);
}

// The memory of a wrong kernel, all zeros.
PlantedLaunch planted(Machine& machine, uint64_t bytes = 512) {
    const Address at = machine.allocate(bytes);
    WORKS(machine.driver.cuMemsetD8Async(at, 0, bytes, machine.stream));
    const Address words = machine.allocate(512);
    WORKS(machine.driver.cuMemsetD8Async(words, 0, 512, machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
    PlantedLaunch made{};
    made.words = reinterpret_cast<uint64_t*>(words);
    made.stop = reinterpret_cast<uint64_t*>(words + 256);
    made.data = reinterpret_cast<char*>(at);
    made.from = reinterpret_cast<char*>(at) + 64;
    made.bytes = 16;
    return made;
}

void stop(const PlantedLaunch& launch) {
    device::store_release(const_cast<uint64_t*>(launch.stop), 1);
}

}  // namespace

TEST_CASE("planted: memory is allocated between two launches that wait for each other") {
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Swap swap(machine);
        const Stream second = machine.make_stream();
        Program program(machine, [&] {
            Address memory = 0;
            machine.launch(swap.alone(0), 1, machine.streams[0]);
            if (wrong) {
                machine.driver.cuMemAlloc(&memory, 64);
            }
            machine.launch(swap.alone(1), 1, second);
            machine.driver.cuMemFree(memory);
        });
        if (wrong) {
            CHECK(program.sticks(hostile->calls_held));
            CHECK(swap.arrived(0) == 0);
            swap.stop();
        }
        program.join();
        CHECK(ends_of(machine, swap).well() == !wrong);
    }
}

TEST_CASE("planted: the second of two kernels that wait for each other is loaded by its launch") {
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Swap swap(machine);
        const Function other = machine.function("lanes_float32_prod");
        const Stream stream = machine.make_stream();
        fake->lazy = 1;
        WORKS(machine.driver.cuFuncLoad(machine.kernel));
        if (!wrong) {
            WORKS(machine.driver.cuFuncLoad(other));
        }
        Program program(machine, [&] {
            machine.launch(swap.alone(0), 1, machine.stream);
            machine.launch_any(other, swap.alone(1), 1, stream);
        });
        if (wrong) {
            CHECK(program.sticks(hostile->calls_held));
            swap.stop();
        }
        program.join();
        CHECK(ends_of(machine, swap).well() == !wrong);
    }
}

TEST_CASE("planted: two streams for two kernels that wait for each other, but fewer queues") {
    for (const unsigned queues : {1u, 2u, 8u}) {
        for (const bool wrong : {true, false}) {
            FakeSwitches fake;
            const Hostile hostile;
            Machine machine;
            const Swap swap(machine);
            // Streams take the queues in turn; with one queue there is no right program.
            std::vector<Stream> streams;
            for (unsigned i = 0; i <= queues; ++i) {
                streams.push_back(machine.make_stream());
            }
            fake->queues = wrong || queues > 1 ? queues : 0;
            WORKS(machine.launch(swap.alone(0), 1, streams[0]));
            WORKS(machine.launch(swap.alone(1), 1, wrong ? streams[queues] : streams[1]));
            if (wrong) {
                CHECK(comes_true([&] { return hostile->streams_held > 0; }));
                CHECK(swap.arrived(0) == 0);
                swap.stop();
            }
            CHECK(ends_of(machine, swap).well() == !wrong);
            fake->queues = 0;
        }
    }
}

TEST_CASE("planted: a launch of more blocks that wait for each other than the device holds") {
    for (const unsigned resident : {1u, 2u}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Swap swap(machine);
        fake->resident_blocks = resident;
        WORKS(machine.launch(swap.launch, 2, machine.stream));
        if (resident == 1) {
            CHECK(comes_true([&] { return hostile->blocks_held > 0; }));
            CHECK((swap.arrived(0) == 0 || swap.arrived(1) == 0));
            swap.stop();
        }
        CHECK(ends_of(machine, swap).well() == (resident == 2));
    }
}

TEST_CASE("planted: a kernel that counts on its blocks beginning in order") {
    constexpr unsigned blocks = 8;
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        PlantedLaunch launch = planted(machine);
        launch.waits = wrong;
        fake->resident_blocks = 1;
        WORKS(
            machine.launch_any(machine.function("planted_chain"), launch, blocks, machine.stream));
        if (wrong) {
            // One has the only place, waits for the one before it, and that one for a place.
            const auto stuck = [&] {
                bool found = false;
                for (unsigned i = 1; i < blocks; ++i) {
                    found = found || (device::load_acquire(launch.words + i) == planted_begun &&
                                      device::load_acquire(launch.words + i - 1) == 0);
                }
                return found && hostile->blocks_held > 0;
            };
            CHECK(comes_true(stuck));
            stop(launch);
        }
        WORKS(machine.driver.cuStreamSynchronize(machine.stream));
        unsigned done = 0;
        for (unsigned i = 0; i < blocks; ++i) {
            done += launch.words[i] == planted_done ? 1 : 0;
        }
        CHECK((done == blocks) == !wrong);
    }
}

TEST_CASE("planted: a kernel of a blocking stream that waits for one of the null stream") {
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Swap swap(machine);
        const Stream stream = machine.make_stream(wrong ? 0 : stream_flag::non_blocking);
        WORKS(machine.launch(swap.alone(0), 1, stream));
        WORKS(machine.launch(swap.alone(1), 1, nullptr));
        if (wrong) {
            CHECK(comes_true([&] { return hostile->legacy_held > 0; }));
            CHECK(swap.arrived(0) == 0);
            swap.stop();
        }
        CHECK(ends_of(machine, swap).well() == !wrong);
    }
}

TEST_CASE("planted: the null stream is counted on to come after a stream that does not block") {
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Address at = machine.allocate(64);
        const Stream stream = machine.make_stream(wrong ? stream_flag::non_blocking : 0);
        std::atomic<bool> open{false};
        std::vector<uint8_t> seen(64);
        WORKS(machine.driver.cuLaunchHostFunc(
            stream,
            [](void* gate) {
                comes_true([&] { return static_cast<std::atomic<bool>*>(gate)->load(); });
            },
            &open));
        WORKS(machine.driver.cuMemsetD8Async(at, 7, 64, stream));
        WORKS(
            machine.driver.cuMemcpyAsync(reinterpret_cast<Address>(seen.data()), at, 64, nullptr));
        if (wrong) {
            CHECK(comes_true(
                [&] { return machine.driver.cuStreamQuery(nullptr) == status::success; }));
        } else {
            CHECK(comes_true([&] { return hostile->legacy_held > 0; }));
            CHECK(machine.driver.cuStreamQuery(nullptr) == status::not_ready);
        }
        open = true;
        WORKS(machine.driver.cuStreamSynchronize(nullptr));
        CHECK((seen == std::vector<uint8_t>(64, 7)) == !wrong);
        WORKS(machine.driver.cuStreamSynchronize(stream));
    }
}

TEST_CASE("planted: a vector that is counted on to move at once") {
    const char* const sanitizer = std::getenv("WEFT_TEST_SANITIZER");
    if (sanitizer != nullptr && std::strcmp(sanitizer, "thread") == 0) {
        WARN("not under the thread sanitizer: who looks at a vector while it moves races");
        return;
    }
    for (const bool bulk : {false, true}) {
        for (const auto flags : {PlantedFlags::both, PlantedFlags::high, PlantedFlags::low}) {
            FakeSwitches fake;
            const Hostile hostile;
            Machine machine;
            PlantedLaunch launch = planted(machine);
            launch.flags = flags;
            launch.bulk = bulk;
            launch.rounds = 24;
            hostile->torn = 1;
            const Function kernel = machine.function("planted_vector");
            WORKS(machine.launch_any(kernel, launch, 2, machine.stream));
            WORKS(machine.driver.cuStreamSynchronize(machine.stream));
            CHECK(launch.words[0] == launch.rounds);
            CHECK((launch.words[1] == 0) == (flags == PlantedFlags::both));
        }
    }
}

TEST_CASE("planted: memory of ranks that nobody has set to zero") {
    FakeSwitches fake;
    Machine machine;
    const Swap swap(machine, {false, true});
    const uint64_t fresh[] = {swap.arrived(0), swap.arrived(1)};
    WORKS(machine.launch(swap.launch, 2, machine.stream));
    // Both have told the other and neither takes it for what it waits for.
    CHECK(comes_true([&] { return swap.arrived(0) != fresh[0] && swap.arrived(1) != fresh[1]; }));
    const Ends ends = stop(machine, swap);
    CHECK(ends.first == Ended::aborted);
    CHECK(ends.second == Ended::aborted);
    CHECK(swap.end(0).theirs.packed < swap.end(0).own.packed);
}

namespace {

// The second rank comes late in every replay: when the first is through, or has looked at its words
// so often that it must be waiting.
struct Late {
    const Hostile& hostile;
    std::atomic<bool> through{false};
    static void hold(void* own) {
        const auto& late = *static_cast<Late*>(own);
        const uint64_t waits = late.hostile->accesses + 1500;
        comes_true([&] { return late.through || late.hostile->accesses >= waits; });
    }
    static void let(void* own) { static_cast<Late*>(own)->through = true; }
};

// What the first rank has when it is through, in replay after replay of one graph.
class Replays {
  public:
    Replays(FakeSwitches& fake, const Hostile& hostile, Machine& machine, const Swap& swap)
        : fake_(fake), machine_(machine), swap_(swap), seen_(count), late_{hostile} {
        const Driver& cuda = machine.driver;
        const Stream first = machine.make_stream();
        const Stream second = machine.make_stream();
        WORKS(cuda.cuEventCreate(&fork_, event_flag::no_timing));
        WORKS(cuda.cuEventCreate(&join_, event_flag::no_timing));
        WORKS(fake->capture_begin(first, capture_mode::global));
        WORKS(cuda.cuEventRecord(fork_, first));
        WORKS(cuda.cuStreamWaitEvent(second, fork_, 0));
        WORKS(cuda.cuLaunchHostFunc(second, Late::hold, &late_));
        WORKS(machine.launch(swap.alone(1), 1, second));
        WORKS(machine.launch(swap.alone(0), 1, first));
        WORKS(cuda.cuMemcpyAsync(reinterpret_cast<Address>(seen_.data()), swap.outputs[0], bytes,
                                 first));
        WORKS(cuda.cuLaunchHostFunc(first, Late::let, &late_));
        WORKS(cuda.cuEventRecord(join_, second));
        WORKS(cuda.cuStreamWaitEvent(first, join_, 0));
        graph_ = fake->capture_end(first);
        REQUIRE(graph_ != nullptr);
        stream_ = first;
    }
    ~Replays() {
        fake_->graph_destroy(graph_);
        machine_.driver.cuEventDestroy(fork_);
        machine_.driver.cuEventDestroy(join_);
    }
    Replays(const Replays&) = delete;
    Replays& operator=(const Replays&) = delete;

    bool right(float value) {
        auto* const input = reinterpret_cast<float*>(swap_.inputs[1]);
        std::fill_n(input, count, value);
        late_.through = false;
        WORKS(fake_->graph_launch(graph_, stream_));
        WORKS(machine_.driver.cuStreamSynchronize(stream_));
        return seen_ == std::vector<float>(count, value);
    }

  private:
    FakeSwitches& fake_;
    Machine& machine_;
    const Swap& swap_;
    std::vector<float> seen_;
    Late late_;
    Event fork_ = nullptr, join_ = nullptr;
    Graph graph_ = nullptr;
    Stream stream_ = nullptr;
};

}  // namespace

TEST_CASE("planted: operations that are not counted on the device, in 16 replays of one graph") {
    for (const bool wrong : {true, false}) {
        FakeSwitches fake;
        const Hostile hostile;
        Machine machine;
        const Swap swap(machine, {true, !wrong});
        hostile->torn = 1;  // counts accesses
        Replays replays(fake, hostile, machine, swap);
        CHECK(replays.right(100));
        int right = 1;
        for (int replay = 1; replay < 16; ++replay) {
            right += replays.right(100.0f + static_cast<float>(replay)) ? 1 : 0;
        }
        CHECK(right == (wrong ? 1 : 16));
    }
}

// Programs that end their process.

namespace {

bool ends_with(const char* test, const char* line) {
    const Gone gone = run_again(test);
    INFO(gone.said);
    return gone.died() && gone.said.starts_with("fake_cuda: a kernel") &&
           gone.said.find(line) != std::string::npos && gone.said.ends_with("\n");
}

// Copies 16 bytes from one place to another and waits for it.
void copy_run(Machine& machine, PlantedLaunch launch, Address to, Address from) {
    ends_here_by_abort();
    launch.data = reinterpret_cast<char*>(to);
    launch.from = reinterpret_cast<char*>(from);
    WORKS(machine.launch_any(machine.function("planted_copy"), launch, 1, machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
}

}  // namespace

TEST_CASE("planted: kernels that touch what they may not end the process with a line") {
    CHECK(ends_with("planted misaligned", "moves 16 bytes at once at 0x"));
    for (const char* const test : {"planted behind the end", "planted freed", "planted heap"}) {
        INFO(test);
        CHECK(ends_with(test, "which is no memory of a device"));
    }
    CHECK(ends_with("planted other context", "which is memory of another context"));
    CHECK(ends_with("planted other thread of a block", "which is memory of another context"));
    CHECK_FALSE(run_again("planted none").died());
}

TEST_CASE("planted misaligned", "[.planted]") {
    ends_here_by_abort();
    FakeSwitches fake;
    Machine machine;
    const PlantedLaunch launch = planted(machine);
    WORKS(machine.launch_any(machine.function("planted_misaligned"), launch, 1, machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
}

TEST_CASE("planted behind the end", "[.planted]") {
    FakeSwitches fake;
    Machine machine;
    // Pages are larger, so the host would not mind.
    const Address at = machine.allocate(80);
    copy_run(machine, planted(machine), at, at + 72);
}

TEST_CASE("planted freed", "[.planted]") {
    FakeSwitches fake;
    Machine machine;
    Address gone = 0;
    WORKS(machine.driver.cuMemAlloc(&gone, 64));
    const PlantedLaunch launch = planted(machine);
    WORKS(machine.driver.cuMemFree(gone));
    copy_run(machine, launch, machine.allocate(64), gone);
}

TEST_CASE("planted heap", "[.planted]") {
    FakeSwitches fake;
    Machine machine;
    const std::vector<char> heap(64);
    copy_run(machine, planted(machine), machine.allocate(64),
             reinterpret_cast<Address>(heap.data()));
}

namespace {

// From memory of the second device to the first one's; `enabled`: which may reach it.
void other_context(FakeSwitches& fake, unsigned threads, bool enabled) {
    fake->devices = 2;
    fake->block_threads = threads;
    Machine machine;
    const PrimaryContext second = PrimaryContext::retain(machine.driver, 1).value();
    Address theirs = 0;
    {
        const ContextGuard guard = ContextGuard::push(machine.driver, second.get()).value();
        WORKS(machine.driver.cuMemAlloc(&theirs, 64));
    }
    if (enabled) {
        WORKS(machine.driver.cuCtxEnablePeerAccess(second.get(), 0));
    }
    copy_run(machine, planted(machine), machine.allocate(64), theirs);
    WORKS(machine.driver.cuMemFree(theirs));
}

}  // namespace

TEST_CASE("planted other context", "[.planted]") {
    FakeSwitches fake;
    other_context(fake, 1, false);
}

TEST_CASE("planted other thread of a block", "[.planted]") {
    FakeSwitches fake;
    other_context(fake, 2, false);
}

TEST_CASE("planted none", "[.planted]") {
    FakeSwitches fake;
    other_context(fake, 2, true);
}
