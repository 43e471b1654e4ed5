// What streams ask for at a desk is run, place by place in turn, by hand instead of by the thread
// of a side: a stream of the stand-in driver, a shard of one rank.
#include "src/comm/relay_desk.h"

#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/catch.h"
#include "tests/unit/exec/world.h"

using namespace weft;
using namespace weft::gpu;

namespace {

constexpr uint32_t places = 3;
constexpr size_t numbers = 40;

// A copy, for the one rank there is.
struct Copy {
    std::vector<uint32_t> from = std::vector<uint32_t>(numbers), to = from;
    Copy() { std::iota(from.begin(), from.end(), 5); }
    Call call() {
        Call all;
        all.send = from.data();
        all.recv = to.data();
        all.count = numbers;
        all.type = DataType::uint32;
        return all;
    }
    bool done() const { return from == to; }
};

class DeskStand {
    const Driver driver_;
    std::shared_ptr<Seat> seat_;  // shared: as sides do
    std::unique_ptr<ContextGuard> guard_;
    test::World world_{{.ranks = 1, .limits = {}, .hosts = {}, .fault = {}}};

  public:
    DeskStand() : driver_(driver_load(FAKE_CUDA).value()), seat_(Seat::create(driver_, 0).value()) {
        guard_ =
            std::make_unique<ContextGuard>(ContextGuard::push(driver_, seat_->context()).value());
        void* words = nullptr;
        REQUIRE(driver_.cuMemHostAlloc(&words, sizeof(RelayDesk::Words), 0) == status::success);
        this->words = new (words) RelayDesk::Words();
        REQUIRE(driver_.cuStreamCreateWithPriority(&stream, stream_flag::non_blocking, 0) ==
                status::success);
        desk = std::make_unique<RelayDesk>(seat_, places, [this] { woken++; });
        desk->words_are(this->words, reinterpret_cast<Address>(words));
        desk->serve(
            world_.shard(0), [this] { return stopped(); },
            [](const Error& error) { FAIL(error.what); });
    }
    ~DeskStand() {
        synchronize();
        driver_.cuStreamDestroy(stream);
        driver_.cuMemFreeHost(words);
    }
    DeskStand(const DeskStand&) = delete;
    DeskStand& operator=(const DeskStand&) = delete;

    uint32_t ask(Copy& copy, uint64_t graph = 0) {
        return desk->ask({copy.call()}, graph, stream).value();
    }
    void synchronize() { REQUIRE(driver_.cuStreamSynchronize(stream) == status::success); }
    // Until it is done; then the word is cleared, as by a kernel.
    bool serves(uint32_t place) {
        synchronize();
        DeviceWord& done = words->done[place];
        for (int i = 0; i < 1000 && word_load(done) == 0; i++) {
            desk->round();
        }
        const bool was_done = word_load(done) == 1;
        word_store(done, 0);
        return was_done;
    }

    std::function<bool()> stopped = [] { return false; };
    RelayDesk::Words* words = nullptr;
    Stream stream = nullptr;
    std::unique_ptr<RelayDesk> desk;
    std::atomic<int> woken = 0;
};

}  // namespace

TEST_CASE("a launch says when it is over, before or after its last ask was taken") {
    DeskStand stand;
    const bool taken = GENERATE(false, true);
    for (int launch = 0; launch < 3; launch++) {
        Copy first, second;
        CHECK(!stand.desk->expects());
        CHECK(stand.ask(first) == 0);
        CHECK(stand.ask(second) == 1);
        CHECK(stand.woken > 0);
        CHECK(stand.desk->expects());
        if (taken) {
            CHECK(stand.serves(0));
            CHECK(stand.serves(1));
            stand.desk->launch_over();
        } else {
            stand.desk->launch_over();
            CHECK(stand.serves(0));
            CHECK(stand.serves(1));
        }
        CHECK(first.done());
        CHECK(second.done());
    }
    CHECK(!stand.desk->expects());
}

TEST_CASE("places go round in a launch of many asks") {
    DeskStand stand;
    for (uint32_t i = 0; i < 2 * places; i++) {
        Copy copy;
        CHECK(stand.ask(copy) == i % places);
        CHECK(stand.serves(i % places));
        CHECK(copy.done());
    }
}

TEST_CASE("what a graph asks for is run again until the graph ends, and its launches ring") {
    DeskStand stand;
    Copy first, second;
    CHECK(stand.ask(first, 9) == 0);
    CHECK(stand.ask(second, 9) == 1);
    stand.desk->launch_over();
    stand.synchronize();
    CHECK(stand.woken == 1);  // once a launch
    const uint64_t asked[] = {stand.words->asked[0].value, stand.words->asked[1].value};
    CHECK(stand.desk->expects());
    CHECK(stand.serves(0));
    CHECK(stand.desk->expects());
    CHECK(stand.serves(1));
    CHECK(!stand.desk->expects());
    second.to.clear();
    second.to.resize(numbers);
    word_store(stand.words->asked[0], asked[0]);
    word_store(stand.words->asked[1], asked[1]);
    CHECK(stand.serves(0));
    CHECK(stand.serves(1));
    CHECK(second.done());
    stand.desk->graph_over(9);
    word_store(stand.words->asked[0], asked[0]);
    CHECK(!stand.serves(0));
}

TEST_CASE("stopped by a kernel just before it asks, nothing is run") {
    DeskStand stand;
    Copy copy;
    CHECK(stand.ask(copy) == 0);
    stand.desk->launch_over();
    stand.synchronize();
    int looks = 0;
    stand.stopped = [&looks] { return looks++ > 0; };  // between two looks
    for (int i = 0; i < 100; i++) {
        stand.desk->round();
    }
    CHECK(copy.to == std::vector<uint32_t>(numbers));
    CHECK(word_load(stand.words->done[0]) == 1);  // streams go on
}
