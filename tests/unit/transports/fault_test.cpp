#include <string>

#include "src/base/log.h"
#include "tests/catch.h"
#include "transports/hubs.h"

using namespace weft;

namespace {

// Writes down what a wire reports.
class Recorder final : public WireSink {
  public:
    void on_arrival(Imm imm, const std::byte*, uint32_t bytes) override {
        log += format("a%u:%u ", imm.piece, bytes);
    }
    void on_delivered(uint64_t cookie) override { log += format("d%d ", static_cast<int>(cookie)); }
    void on_failure(uint32_t peer, Error) override { log += format("f%u ", peer); }
    std::string log;
};

struct Two {
    explicit Two(const std::string& fault) {
        for (uint32_t rank = 0; rank < 2; rank++) {
            WireConfig config{1, rank, 2, &bells[rank]};
            wires[rank] = fault_wrap(hub->attach(config).value(), fault_parse(fault).value());
        }
        for (uint32_t rank = 0; rank < 2; rank++) {
            REQUIRE(wires[rank]->connect(1 - rank, wires[1 - rank]->address(), "").ok());
        }
        step();
    }
    void step() {
        now += 1000;
        wires[0]->progress(seen[0], now, 64);
        wires[1]->progress(seen[1], now, 64);
    }

    std::unique_ptr<WireHub> hub = loopback_hub_make();
    Doorbell bells[2] = {Doorbell::create().value(), Doorbell::create().value()};
    std::unique_ptr<Wire> wires[2];
    Recorder seen[2];
    Nanos now = 0;
};

std::string story(const std::string& fault, uint32_t puts = 200) {
    Two two(fault);
    const uint64_t word = 1;
    for (uint32_t i = 0; i < puts; i++) {
        Put put;
        put.peer = 1;
        put.from = &word;
        put.bytes = sizeof word;
        put.imm = Imm{0, i & 0xff, 0};
        put.cookie = i;
        two.seen[0].log += two.wires[0]->put(put) == Post::again ? "x " : "";
        two.step();
    }
    for (int i = 0; i < 200; i++) {
        two.step();
    }
    return two.seen[0].log + "| " + two.seen[1].log;
}

constexpr const char* everything =
    "delay=0.1,delay_us=50,reorder=0.1,dup=0.1,again=0.1,stale=0.1,seed=";

}  // namespace

TEST_CASE("a fault specification reads back; bad ones say what is known") {
    const FaultSpec spec =
        fault_parse("seed=7,delay=0.25,reorder=0.5,dup=1,again=0.1,stale=0,delay_us=30,fail=9")
            .value();
    CHECK(spec.seed == 7);
    CHECK(spec.delay == 0.25);
    CHECK(spec.duplicate == 1);
    CHECK(spec.delay_us_max == 30);
    CHECK(spec.fail_after_puts == 9);
    CHECK(fault_parse("").ok());
    for (const char* bad : {"x", "x=1", "delay", "delay=", "delay=2", "delay=-1", "again=1",
                            "seed=x", "fail=-2", "delay=0.1;dup=0.1", "delay=0.1x"}) {
        const auto parsed = fault_parse(bad);
        INFO(bad);
        REQUIRE_FALSE(parsed.ok());
        CHECK(parsed.error().what.find("known: seed=N") != std::string::npos);
    }
}

TEST_CASE("the same seed and calls give the same faults, another seed others") {
    const std::string one = story(std::string(everything) + "1");
    CHECK(story(std::string(everything) + "1") == one);
    CHECK(story(std::string(everything) + "2") != one);
}

TEST_CASE("no faults, no difference") {
    const std::string plain = story("");
    CHECK(plain.find('x') == std::string::npos);
    CHECK(plain.find("| a0:8 a1:8 a2:8 ") != std::string::npos);
}

TEST_CASE("each fault shows") {
    CHECK(story("again=0.3").find('x') != std::string::npos);
    CHECK(story("reorder=0.3").find("| a0:8 a1:8 a2:8 a3:8 a4:8 a5:8 a6:8 a7:8 a8:8") ==
          std::string::npos);
    CHECK(story("dup=1", 1) == "d0 | a0:8 a0:8 ");
    CHECK(story("stale=1", 1) == "d0 | a0:8 a0:8 ");
    CHECK(story("delay=1,delay_us=20", 1) == "d0 | a0:8 ");
}

TEST_CASE("failure comes after so many puts, once for each peer") {
    const std::string told = story("fail=3", 6);
    CHECK(told.find("f1 ") != std::string::npos);
    CHECK(told.find("f1 ") == told.rfind("f1 "));
    CHECK(told.find("a3:8") == std::string::npos);
}
