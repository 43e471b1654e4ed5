// Memory that is registered once for all wires that share: by a plugin that is told of memory apart
// from the connections that use it.
#include <thread>

#include "src/netplugin/memory.h"
#include "tests/conformance/fabric/world.h"
#include "tests/unit/netplugin/pair.h"
#include "transports/fabric/hub.h"

namespace weft::test {
namespace {

// Two wires of one hub that share what they register.
struct Sharing {
    explicit Sharing(size_t rails = 2) : reactor(reactor_make()) {
        hub = hub_open(*reactor, options_of(provider(), rails));
        for (uint32_t rank = 0; rank < 2; rank++) {
            WireConfig config{7, rank, 2};
            config.shares_memory = true;
            wires.push_back(std::move(hub->attach(config)).value());
        }
    }
    std::unique_ptr<KeptMemory> keep(std::string& memory, size_t from, size_t bytes) {
        return std::move(hub->keep({weft::MemoryKind::host, memory.data() + from, bytes}, {}))
            .value();
    }
    void use(size_t wire, std::string& memory, size_t from, size_t bytes) {
        wires[wire]->release(wires[wire]->expose(memory.data() + from, bytes).value());
    }
    uint64_t registered() const { return wires[1]->counters().registrations; }
    uint64_t open_now() const { return registered() - wires[1]->counters().deregistrations; }
    uint64_t rails() const { return wires[1]->caps().rails; }
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<WireHub> hub;
    std::vector<std::unique_ptr<Wire>> wires;
};

TEST_CASE("fabric memory: what is kept is registered once for all wires that share") {
    Sharing world;
    std::string memory(300'000, 'm');
    auto kept = world.keep(memory, 0, memory.size());
    CHECK(world.registered() == world.rails());
    for (size_t i = 0; i < 10; i++) {
        world.use(i % 2, memory, i * 1000, 50'000);
    }
    CHECK(world.registered() == world.rails());
    CHECK(world.wires[0]->counters().registration_hits == 10);
    // The end of one wire takes nothing from the other, even with a region open.
    static_cast<void>(world.wires[0]->expose(memory.data(), 1000).value());
    world.wires[0].reset();
    CHECK(world.open_now() == world.rails());
    world.use(1, memory, 0, 1000);
    CHECK(world.registered() == world.rails());
    kept.reset();
    CHECK(world.open_now() == 0);
    world.use(1, memory, 0, 1000);
    CHECK(world.registered() == 2 * world.rails());
}

TEST_CASE("fabric memory: what is kept may overlap, be the same, and go in any order") {
    Sharing world;
    std::string memory(1 << 20, 'm');
    const bool backwards = GENERATE(true, false);
    std::vector<std::unique_ptr<KeptMemory>> kept;
    kept.push_back(world.keep(memory, 0, 1 << 20));
    kept.push_back(world.keep(memory, 0, 1 << 20));
    kept.push_back(world.keep(memory, 0, 1 << 19));
    kept.push_back(world.keep(memory, 1000, 5000));
    kept.push_back(world.keep(memory, 1 << 19, 1 << 19));
    const uint64_t before = world.registered();
    while (kept.size() > 1) {
        world.use(0, memory, 2000, 3000);
        world.use(1, memory, 600'000, 3000);
        // One of the whole stays to the end.
        kept.erase(backwards ? kept.end() - 1 : kept.begin() + 1);
    }
    world.use(0, memory, 2000, 3000);
    world.use(1, memory, 600'000, 3000);
    CHECK(world.registered() == before);
    CHECK(world.open_now() == world.rails());
    kept.clear();
    CHECK(world.open_now() == 0);
}

TEST_CASE("fabric memory: kept, used and given back by threads at the same time") {
    Sharing world;
    std::string memory(1 << 20, 'm');
    const auto whole = world.keep(memory, 0, memory.size());
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; t++) {
        threads.emplace_back([&, t] {
            for (size_t i = 0; i < 200; i++) {
                if (t < 2) {
                    world.use(t, memory, i * 1000, 5000);
                } else {
                    const auto part = world.keep(memory, i % 7 * 10'000, 100'000);
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(world.open_now() == world.rails());
}

TEST_CASE("fabric memory: what is no memory cannot be kept") {
    Sharing world(1);
    char byte = 0;
    for (const auto& [base, bytes] : {std::pair<void*, size_t>{nullptr, 100}, {&byte, 0}}) {
        const auto kept = world.hub->keep({weft::MemoryKind::host, base, bytes}, {});
        REQUIRE_FALSE(kept.ok());
        CHECK_THAT(kept.error().what, Catch::Contains("that is no memory"));
    }
}

TEST_CASE("fabric memory: rails are told before they are opened") {
    Sharing world;
    const auto rails = world.hub->rails_info();
    REQUIRE(rails.size() == world.rails());
    for (const RailInfo& rail : rails) {
        CHECK_FALSE(rail.name.empty());
    }
    if (provider() == "tcp;ofi_rxm") {  // the first is the loopback's own address
        CHECK(rails[0].interface == "lo");
    }
}

std::unique_ptr<Connected> pair_over(std::shared_ptr<netplugin::Shared> shared) {
    Device device;
    device.name = "the device";
    return connected_over(std::move(shared), device);
}

TEST_CASE("fabric memory: a connection registers nothing of what is kept, whatever it moves") {
    auto reactor = reactor_make();
    auto hub = hub_open(*reactor, options_of(provider(), 2));
    const auto shared = std::make_shared<netplugin::Shared>(std::move(reactor), std::move(hub));
    const auto pair = pair_over(shared);
    constexpr size_t bytes = 3'000'000;
    std::string from = filled(bytes, 1), into(bytes, 'x');
    std::vector<std::unique_ptr<KeptMemory>> kept;
    for (std::string* memory : {&from, &into}) {
        kept.push_back(
            std::move(shared->hub->keep({weft::MemoryKind::host, memory->data(), bytes}, {}))
                .value());
    }
    const WireCounters& counters = pair->send->wire_counters();
    const uint64_t before = counters.registrations;
    for (const size_t part : {bytes, bytes - 1, size_t{100'000}, size_t{8193}, size_t{10}}) {
        std::ranges::fill(into, 'x');
        const Buffer source{reinterpret_cast<std::byte*>(from.data()), part, true};
        Request* receive = pair->irecv(into, 3);
        Request* send = Connected::value_of(pair->send->isend(source, 3));
        CHECK(pair->end_of(receive) == std::vector<int>{static_cast<int>(part)});
        pair->end_of(send);
        CHECK((into.substr(0, part) == from.substr(0, part)));
        CHECK((into.substr(part) == std::string(bytes - part, 'x')));
    }
    CHECK(pair->send->wire_counters().registrations == before);
    CHECK(pair->send->wire_counters().registration_hits > 0);
}

// A receive that the sender has begun to put to.
struct UnderWay {
    UnderWay() {
        auto reactor = reactor_make();
        auto hub = hub_open(*reactor, options_of(provider(), 2));
        pair = pair_over(std::make_shared<netplugin::Shared>(std::move(reactor), std::move(hub)));
        memory = Connected::value_of(netplugin::Memory::make(
            *pair->recv, {into.data(), into.size(), netplugin::pointer_host}));
        pair->irecv(into, 3);
        send = pair->isend(from, 3);
        REQUIRE(pair->until([&] { return pair->send->wire_counters().puts > 4; }));
    }
    // From here on the memory is its owner's.
    bool stays() {
        std::ranges::fill(into, 'y');
        drive();
        return into == std::string(into.size(), 'y');
    }
    void drive() {
        for (int i = 0; i < 3000; i++) {
            for (netplugin::Connection* side : std::initializer_list<netplugin::Connection*>{
                     pair->send.get(), pair->recv.get()}) {
                static_cast<void>(side == nullptr || side->drive().ok());
            }
        }
    }
    std::string from = filled(16 << 20, 1), into = std::string(16 << 20, 'x');
    std::unique_ptr<Connected> pair;
    std::unique_ptr<netplugin::Memory> memory;
    Request* send = nullptr;
};

TEST_CASE("fabric memory: nothing lands after it was given back with a receive under way") {
    UnderWay world;
    world.memory->end(*world.pair->recv);
    world.memory.reset();
    CHECK(world.stays());
    CHECK_THAT(world.pair->recv->drive().error().what,
               Catch::Contains("were deregistered with a receive of them under way"));
    CHECK_THAT(world.pair->send->drive().error().what,
               Catch::Contains("the receiving side ended with receives under way"));
}

TEST_CASE("fabric memory: nothing lands after the connection was closed, registered as it is") {
    UnderWay world;
    world.pair->recv.reset();
    CHECK(world.stays());
    CHECK_THAT(world.pair->send->drive().error().what, Catch::Contains("with receives under way"));
    CHECK(world.pair->send->wire_counters().deregistrations <
          world.pair->send->wire_counters().registrations);
}

TEST_CASE("fabric memory: both sides close with a receive under way, and no rail is given up") {
    UnderWay world;
    const auto other = pair_over(world.pair->shared);
    world.pair->send.reset();
    world.drive();  // it hears of that
    world.pair->recv.reset();
    for (const auto& rail : static_cast<fabric::FabricHub&>(*other->shared->hub).rails()) {
        CHECK(rail->incarnation() == 0);
    }
    std::string from = filled(300'000, 2), into(300'000, 'x');
    Request* receive = other->irecv(into, 1);
    other->isend(from, 1);
    other->end_of(receive);
    CHECK((into == from));
}

}  // namespace
}  // namespace weft::test
