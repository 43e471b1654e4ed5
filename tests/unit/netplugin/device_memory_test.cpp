// Memory of GPUs, on a libfabric of the tests' own: addresses that end the process when the CPU
// touches them, and that only this libfabric knows how to reach.
#include "src/netplugin/abi.h"
#include "src/netplugin/memory.h"
#include "tests/unit/netplugin/pair.h"
#include "tests/unit/transports/fake_gpu.h"
#include "transports/fabric/newer.h"

namespace weft::test {
namespace {

using netplugin::Devices;
using netplugin::Memory;
using netplugin::pointer_cuda;
using netplugin::pointer_dmabuf;
using netplugin::pointer_host;

// Two rails that reach memory of GPUs, and the devices NCCL sees.
struct Machine : FakeFabric {
    explicit Machine(uint64_t caps = FI_HMEM, uint32_t version = FI_VERSION(2, 4),
                     bool cuda_calls = false)
        : FakeFabric(version) {
        world.cuda_calls = cuda_calls;
        world.infos = {gpu_nic(0, caps), gpu_nic(1, caps)};
        world.moves = true;
        FabricOptions options;
        options.library = FAKE_LIBFABRIC_PATH;
        options.device_memory = true;
        options.limits.no_sleepers = true;
        auto reactor = reactor_make();
        auto hub = fabric_hub_make(*reactor, options);
        REQUIRE(hub.ok());
        shared = std::make_shared<Shared>(std::move(reactor), std::move(hub).value());
        const int both[] = {0, 1};
        merged = shared->devices.merge(both, 4).value();
    }
    const Device& device() const { return *shared->devices.get(merged).value(); }
    std::shared_ptr<Shared> shared;
    int merged = 0;
};

// Some bytes of a kind, registered through a connection.
struct Bytes : MappedBytes {
    Bytes(Machine& machine, netplugin::Connection& through, int kind, size_t bytes)
        : MappedBytes(machine.world, bytes, kind == pointer_host),
          memory(Connected::value_of(Memory::make(through, {base, bytes, kind, 9, 0}))) {}
    Buffer part(size_t from, size_t bytes) const {
        return Connected::value_of(Memory::buffer(memory.get(), base + from, bytes));
    }
    std::unique_ptr<Memory> memory;
};

constexpr size_t room_bytes = 1 << 20;

// A connection and memory of both kinds at either end.
struct Moving : Machine {
    Moving() : pair(connected_over(shared, device())) {
        for (const int kind : {pointer_host, pointer_cuda}) {
            from.push_back(std::make_unique<Bytes>(*this, *pair->send, kind, room_bytes));
            into.push_back(std::make_unique<Bytes>(*this, *pair->recv, kind, room_bytes));
        }
    }
    ~Moving() {
        from.clear();
        into.clear();
    }
    Moving(const Moving&) = delete;
    Moving& operator=(const Moving&) = delete;
    Request* isend(const Buffer& buffer, int tag) const {
        return Connected::value_of(pair->send->isend(buffer, tag));
    }
    Request* irecv(std::span<const Buffer> buffers, const int* tags) const {
        return Connected::value_of(pair->recv->irecv(buffers, tags));
    }
    std::unique_ptr<Connected> pair;
    std::vector<std::unique_ptr<Bytes>> from, into;  // host, GPU
};

TEST_CASE("net plugin: memory of GPUs moves from and to either kind, in any order of posting") {
    Moving world;
    const size_t source = GENERATE(0, 1), target = GENERATE(0, 1);
    const bool receive_first = GENERATE(true, false);
    const size_t more = GENERATE(0, 1, 100'000);
    CAPTURE(source, target, receive_first, more);
    for (const size_t bytes : {0, 1, 100, 8192, 8193, 300'000}) {
        const std::string text = filled(bytes, bytes);
        world.from[source]->write(0, text);
        world.into[target]->write(0, std::string(bytes + more, 'x'));
        const Buffer sent = world.from[source]->part(0, bytes);
        const Buffer room = world.into[target]->part(0, bytes + more);
        const int tag = 3;
        Request* receive = receive_first ? world.irecv({&room, 1}, &tag) : nullptr;
        Request* send = world.isend(sent, tag);
        if (!receive_first) {
            world.pair->until([] { return false; }, 100);
            receive = world.irecv({&room, 1}, &tag);
        }
        CHECK(world.pair->end_of(receive) == std::vector<int>{static_cast<int>(bytes)});
        CHECK(world.pair->end_of(send) == std::vector<int>{static_cast<int>(bytes)});
        CHECK(world.into[target]->read(0, bytes) == text);
        CHECK(world.into[target]->read(bytes, more) == std::string(more, 'x'));
    }
    CHECK(world.world.refusals.empty());
}

TEST_CASE("net plugin: groups mix kinds, and messages that nobody receives hold up nothing") {
    Moving world;
    const bool receive_first = GENERATE(true, false);
    constexpr size_t group = 8, rounds = 12, span = 20'000;
    std::vector<Request*> sent, received;
    const auto send_all = [&](size_t round) {
        for (size_t i = 0; i < group; i++) {
            const size_t bytes = (i * 37 + round * 911) % (i % 2 == 0 ? 8192 : span);
            world.from[i % 2]->write(i * span, filled(span, i));
            sent.push_back(
                world.isend(world.from[i % 2]->part(i * span, bytes), static_cast<int>(i)));
        }
    };
    for (size_t round = 0; round < rounds; round++) {
        Buffer rooms[group];
        int tags[group];
        for (size_t i = 0; i < group; i++) {
            tags[i] = static_cast<int>(group - 1 - i);
            rooms[i] = world.into[i / 2 % 2]->part(i * span, span);
        }
        if (!receive_first) {
            send_all(round);
            world.pair->until([] { return false; }, 50);
        }
        received.push_back(world.irecv(rooms, tags));
        if (receive_first) {
            send_all(round);
        }
        const std::vector<int> sizes = world.pair->end_of(received.back(), group);
        for (size_t i = 0; i < group; i++) {
            const auto bytes = static_cast<size_t>(sizes[i]);
            const auto tag = static_cast<size_t>(tags[i]);
            CHECK(bytes == (tag * 37 + round * 911) % (tag % 2 == 0 ? 8192 : span));
            CHECK(world.into[i / 2 % 2]->read(i * span, bytes) ==
                  filled(span, tag).substr(0, bytes));
        }
        for (Request* request : std::exchange(sent, {})) {
            world.pair->end_of(request);
        }
    }
}

TEST_CASE("net plugin: a small send of a GPU's memory is granted without waiting for patience") {
    Moving world;
    const Buffer room = world.into[0]->part(0, 100);
    const int tag = 1;
    Request* receive = world.irecv({&room, 1}, &tag);
    Request* send = world.isend(world.from[1]->part(0, 100), tag);
    int rounds = 0;
    bool done = false;
    for (; rounds < static_cast<int>(netplugin::patience_rounds) && !done; rounds++) {
        done = Connected::value_of(world.pair->recv->test(*receive, nullptr));
        static_cast<void>(world.pair->send->drive());
    }
    CHECK(rounds < static_cast<int>(netplugin::patience_rounds) / 2);
    world.pair->end_of(send);
}

TEST_CASE(
    "net plugin: a small receive into a GPU's memory is granted when posted, others are not") {
    Moving world;
    const auto granted = [&](size_t target, size_t bytes) {
        const uint64_t before = world.pair->recv->link_counters().grants;
        const Buffer room = world.into[target]->part(0, bytes);
        const int tag = 1;
        world.irecv({&room, 1}, &tag);
        world.pair->until([] { return false; }, 20);
        return world.pair->recv->link_counters().grants - before;
    };
    CHECK(granted(0, 100) == 0);
    CHECK(granted(1, 100) == 1);
    CHECK(granted(1, 100'000) == 1);
}

TEST_CASE("net plugin: a flush reads what was received over every rail, and is waited for") {
    Moving world;
    FakeLibfabric& fake = world.world;
    const Buffer received[] = {world.into[1]->part(0, 5000), world.into[0]->part(0, 5000),
                               world.into[1]->part(8192, 3)};
    fake_tell(fake.reads_held, true);
    Request* flush = Connected::value_of(world.pair->recv->iflush(received));
    REQUIRE(flush != nullptr);
    const auto tested = [&] {
        return Connected::value_of(world.pair->recv->test(*flush, nullptr));
    };
    for (int i = 0; i < 200; i++) {
        REQUIRE_FALSE(tested());
    }
    while (read_release(fake)) {
        for (int i = 0; i < 50; i++) {
            REQUIRE_FALSE(tested());
        }
    }
    REQUIRE(world.pair->until(tested));
    CHECK_FALSE(flush->taken);
    std::vector<std::pair<const void*, size_t>> read;
    std::vector<const void*> queues;
    for (const auto& each : fake.reads) {
        read.emplace_back(each.from, each.bytes);
        queues.push_back(each.queue);
    }
    const void *first = world.into[1]->base, *second = world.into[1]->base + 8192;
    CHECK(read == std::vector<std::pair<const void*, size_t>>{
                      {first, 8}, {first, 8}, {second, 3}, {second, 3}});
    CHECK((queues[0] != queues[1] && queues[2] != queues[3]));
    CHECK(fake.refusals.empty());
}

TEST_CASE("net plugin: where no memory of a GPU was received there is nothing to flush") {
    Moving world;
    const Buffer received[] = {world.into[0]->part(0, 5000), world.into[1]->part(0, 0)};
    CHECK(Connected::value_of(world.pair->recv->iflush(received)) == nullptr);
    CHECK(world.world.reads.empty());
}

TEST_CASE("net plugin: a flush that fails ends the connection and is never done") {
    Moving world;
    fake_tell(world.world.read_fails, FI_EIO);
    const Buffer received = world.into[1]->part(0, 100);
    Request* flush = Connected::value_of(world.pair->recv->iflush({&received, 1}));
    std::string what;
    for (int i = 0; i < 100'000 && what.empty(); i++) {
        const auto tested = world.pair->recv->test(*flush, nullptr);
        what = tested.ok() ? "" : tested.error().what;
        REQUIRE_FALSE((tested.ok() && tested.value()));
    }
    CHECK_THAT(what, Catch::Contains("the connection from") &&
                         Catch::Contains("reaching memory of our own for rank 0 failed"));
}

TEST_CASE("net plugin: connections with memory of GPUs close with all under way") {
    Moving world;
    const int tag = 0;
    fake_tell(world.world.reads_held, true);
    for (size_t i = 0; i < 8; i++) {
        const Buffer room = world.into[1]->part(i * 10'000, 9000);
        world.irecv({&room, 1}, &tag);
        world.isend(world.from[i % 2]->part(0, 100 + i * 1100), tag);
        static_cast<void>(world.pair->recv->iflush({&room, 1}));
    }
    world.pair->recv.reset();
    world.pair->send.reset();
}

int kinds_of(uint64_t caps, uint32_t version = FI_VERSION(2, 4), bool asked = true) {
    FakeFabric fake(version);
    fake.world.infos = {gpu_nic(0, caps)};
    FabricOptions options;
    options.library = FAKE_LIBFABRIC_PATH;
    options.device_memory = asked;
    const auto reactor = reactor_make();
    const auto hub = fabric_hub_make(*reactor, options);
    REQUIRE(hub.ok());
    const Devices devices(hub.value()->rails_info());
    return pointer_kinds_of(*devices.get(0).value());
}

TEST_CASE("net plugin: NCCL is told of GPU memory where NICs reach it and read it back") {
    CHECK(kinds_of(0) == pointer_host);
    CHECK(kinds_of(FI_HMEM) == (pointer_host | pointer_cuda | pointer_dmabuf));
    CHECK(kinds_of(FI_HMEM, FI_VERSION(1, 18)) == (pointer_host | pointer_cuda));
    CHECK(kinds_of(FI_HMEM | FI_WRITE | FI_REMOTE_WRITE) == pointer_host);
    CHECK(kinds_of(FI_HMEM | FI_READ | FI_WRITE | FI_REMOTE_WRITE) == pointer_host);
    CHECK(kinds_of(FI_HMEM | FI_READ | FI_REMOTE_READ | FI_WRITE | FI_REMOTE_WRITE) ==
          (pointer_host | pointer_cuda | pointer_dmabuf));
    CHECK(kinds_of(FI_HMEM, FI_VERSION(2, 4), false) == pointer_host);
}

TEST_CASE("net plugin: a merged device takes what all its NICs take") {
    std::vector<RailInfo> rails(3);
    rails[0].device_memory = rails[1].device_memory = rails[0].dmabuf = true;
    Devices devices(rails);
    const auto merged = [&](std::vector<int> of) {
        return pointer_kinds_of(*devices.get(devices.merge(of, 4).value()).value());
    };
    CHECK(merged({0, 1}) == (pointer_host | pointer_cuda));
    CHECK(merged({0, 2}) == pointer_host);
}

TEST_CASE("net plugin: each kind of memory is registered as what it is, once on each rail") {
    Machine machine;
    const auto pair = connected_over(machine.shared, machine.device());
    auto& told = machine.world.registrations;
    const size_t before = told.size();
    const auto* end = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
    auto* address = const_cast<std::byte*>(end);  // touched by nobody
    const auto kept = [&](int kind, int fd, uint64_t offset) {
        return Connected::value_of(Memory::make(*pair->recv, {address, 4096, kind, fd, offset}));
    };
    const auto cuda = kept(pointer_cuda, -1, 0);
    const auto again = kept(pointer_cuda, -1, 0);
    REQUIRE(told.size() == before + 2);
    for (size_t i = before; i < told.size(); i++) {
        CHECK((told[i].iface == FI_HMEM_CUDA && told[i].device == 0 && told[i].flags == 0));
        CHECK((told[i].base == address && told[i].bytes == 4096));
        CHECK(told[i].access == (FI_WRITE | FI_REMOTE_WRITE | FI_REMOTE_READ));
    }
    // The same addresses by a dma-buf are another registration.
    const auto dmabuf = kept(pointer_dmabuf, 7, 8192);
    REQUIRE(told.size() == before + 4);
    CHECK((told.back().flags == fabric::newer::mr_dmabuf && told.back().iface == FI_HMEM_CUDA));
    CHECK((told.back().dmabuf_fd == 7 && told.back().dmabuf_offset == 8192));
    const auto host = kept(pointer_host, -1, 0);
    CHECK((told.back().iface == FI_HMEM_SYSTEM && told.back().flags == 0));
    CHECK(told.back().access == (FI_WRITE | FI_REMOTE_WRITE));
}

TEST_CASE("net plugin: memory of GPUs that cannot be registered is refused with what to do") {
    const auto refused = [](Machine& machine, int kind, int code) {
        const auto pair = connected_over(machine.shared, machine.device());
        machine.world.register_error = code;
        auto* address = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
        const auto made = Memory::make(*pair->send, {address, 4096, kind, 7, 0});
        machine.world.register_error = 0;
        return made.ok() ? std::string() : made.error().what;
    };
    Machine machine;
    CHECK_THAT(refused(machine, pointer_cuda, FI_EOPNOTSUPP),
               Catch::Contains("rdmap0s0-rdm") && Catch::Contains("4096 bytes") &&
                   Catch::Contains("CUDA memory") && Catch::Contains("nvidia-peermem") &&
                   Catch::Contains("WEFT_GPUDIRECT=0"));
    CHECK_THAT(refused(machine, pointer_dmabuf, FI_EINVAL),
               Catch::Contains("a dma-buf") && Catch::Contains("WEFT_GPUDIRECT=0"));
    CHECK_THAT(refused(machine, pointer_cuda | pointer_dmabuf, 0), Catch::Contains("of kind 6"));
    Machine copying(FI_HMEM, FI_VERSION(2, 4), true);
    CHECK_THAT(refused(copying, pointer_cuda, 0), Catch::Contains("CUDA calls") &&
                                                      Catch::Contains("nvidia-peermem") &&
                                                      Catch::Contains("WEFT_GPUDIRECT=0"));
    Machine old(FI_HMEM, FI_VERSION(1, 18));
    CHECK_THAT(refused(old, pointer_dmabuf, 0), Catch::Contains("libfabric 1.20"));
    Machine without(0);
    CHECK_THAT(refused(without, pointer_cuda, 0),
               Catch::Contains("of kind 2") && Catch::Contains("ptrSupport"));
}

}  // namespace
}  // namespace weft::test
