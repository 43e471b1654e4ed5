// Sends and receives between memory of GPUs, on a libfabric of the tests' own: addresses that end
// the process when the CPU touches them, and that only this libfabric knows how to reach.
#include <rdma/fi_errno.h>

#include "src/base/log_sink.h"
#include "src/exec/shard.h"
#include "tests/unit/exec/world.h"
#include "tests/unit/transports/fake_gpu.h"
#include "transports/memory.h"

namespace weft::test {
namespace {

constexpr size_t rail_count = 2;
constexpr size_t small = 64 << 10, odd = (1 << 20) + 3, large = 5 << 20;

// What a communicator names of a GPU's memory.
struct GpuSlot : MappedBytes {
    GpuSlot(FakeLibfabric& world, size_t bytes)
        : MappedBytes(world, bytes), name(known_add(base, size, MemoryKind::cuda, 3)) {}
    ~GpuSlot() { known_remove(name); }
    uint64_t name;
};

// Ranks on two rails; of each, memory of a GPU to send from and to receive into.
struct GpuRanks : FakeFabric {
    explicit GpuRanks(WorldOptions options = {}, bool asked = true) {
        world.infos = {gpu_nic(0), gpu_nic(1)};
        world.moves = true;
        FabricOptions fabric;
        fabric.library = FAKE_LIBFABRIC_PATH;
        fabric.device_memory = asked;
        fabric.limits.no_sleepers = true;
        auto made = fabric_hub_make(*reactor, fabric);
        REQUIRE(made.ok());
        hub = std::move(made).value();
        ranks = std::make_unique<World>(options, hub.get());
        for (int rank = 0; rank < options.ranks; rank++) {
            from.push_back(std::make_unique<GpuSlot>(world, large));
            into.push_back(std::make_unique<GpuSlot>(world, large));
        }
    }
    static Call pair_of(bool is_send, int peer, std::byte* at, size_t bytes) {
        Call call;
        call.coll = Coll::send_recv;
        call.type = DataType::uint8;
        call.on_device = true;
        call.is_send = is_send;
        call.root = peer;
        call.count = bytes;
        call.send = call.recv = at;  // of which the call reads one
        return call;
    }
    Call sends(int rank, int peer, size_t bytes) {
        return pair_of(true, peer, from[static_cast<size_t>(rank)]->base, bytes);
    }
    Call receives(int rank, int peer, size_t bytes) {
        return pair_of(false, peer, into[static_cast<size_t>(rank)]->base, bytes);
    }
    // Every rank to the next one.
    Result<void> round(size_t bytes, uint64_t seed) {
        const int n = ranks->size();
        for (int rank = 0; rank < n; rank++) {
            from[static_cast<size_t>(rank)]->write(0, text_of(rank, bytes, seed));
        }
        return ranks->run([&](int rank) {
            return std::vector<Call>{receives(rank, (rank + n - 1) % n, bytes),
                                     sends(rank, (rank + 1) % n, bytes)};
        });
    }
    static std::string text_of(int rank, size_t bytes, uint64_t seed) {
        std::string text(bytes, '\0');
        for (size_t i = 0; i < bytes; i++) {
            text[i] = static_cast<char>(
                (i + 7) * (seed * 8 + static_cast<uint64_t>(rank) + 1) * 2654435761u >> 24);
        }
        return text;
    }
    uint64_t registrations() {
        uint64_t sum = 0;
        for (int rank = 0; rank < ranks->size(); rank++) {
            sum += ranks->wire(rank).counters().registrations;
        }
        return sum;
    }
    size_t reads() {
        const std::lock_guard guard(fake_lock());
        return world.reads.size();
    }
    // Nobody sleeps: what moves only because a driver looks again before it sleeps, does not move.
    bool driven_until(const std::function<bool()>& holds, int rounds = 200'000) {
        for (; rounds > 0 && !holds(); rounds--) {
            for (int rank = 0; rank < ranks->size(); rank++) {
                Shard::Impl& shard = ranks->shard(rank).impl();
                const std::lock_guard driving(shard.drive_mutex);
                shard.progress(clock_now());
            }
            std::this_thread::yield();
        }
        return rounds > 0;
    }

    std::unique_ptr<Reactor> reactor = reactor_make();
    std::unique_ptr<WireHub> hub;
    std::vector<std::unique_ptr<GpuSlot>> from, into;
    std::unique_ptr<World> ranks;
};

bool pending(const TicketPtr& ticket) {
    return ticket->state() == Ticket::State::pending;
}

// A message of rank 0 to rank 1 whose flush is held.
struct Held : GpuRanks {
    Held() {
        fake_tell(world.reads_held, true);
        from[0]->write(0, text_of(0, odd, 9));
        sent = ranks->shard(0).submit({sends(0, 1, odd)}).value();
        received = ranks->shard(1).submit({receives(1, 0, odd)}).value();
        REQUIRE(driven_until([&] { return reads() == rail_count; }));
    }
    TicketPtr sent, received;
};

std::string late_line;  // of the log

void late_line_note(LogLevel, Subsys, const char*, int, std::string_view text) {
    late_line = text;
}

TEST_CASE("memory of GPUs moves by its NICs alone", "[exec]") {
    WorldOptions options;
    options.ranks = GENERATE(2, 3);
    options.limits.tile_bytes = GENERATE(0, 256 << 10);
    options.fault = GENERATE("", "seed=5,delay=0.1,reorder=0.2,dup=0.2,again=0.3,stale=0.1");
    const size_t bytes = GENERATE(as<size_t>{}, 3, small, odd, large);
    CAPTURE(options.ranks, options.limits.tile_bytes, options.fault, bytes);
    GpuRanks gpus(options);
    const auto n = static_cast<size_t>(options.ranks);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        const Result<void> moved = gpus.round(bytes, seed);
        REQUIRE((moved.ok() ? "" : moved.error().what) == "");
        for (size_t rank = 0; rank < n; rank++) {
            const int before = static_cast<int>((rank + n - 1) % n);
            CHECK(gpus.into[rank]->read(0, bytes) == gpus.text_of(before, bytes, seed));
        }
        CHECK(gpus.registrations() == n * 2 * rail_count);
        CHECK(gpus.reads() == n * rail_count * seed);
    }
    for (size_t rank = 0; rank < n; rank++) {
        const auto counters = gpus.ranks->shard(static_cast<int>(rank)).counters();
        CHECK(counters.ops.eager_bytes == 0);
        CHECK(counters.ops.copied_bytes == 0);
        CHECK(counters.ops.put_bytes == 3 * bytes);
        CHECK(counters.wires[0].second.copied_bytes == 0);
        CHECK((counters.wires[0].second.rail_bytes[1] > 0 || bytes == 3));
    }
    CHECK(gpus.world.refusals.empty());
}

TEST_CASE("memory of GPUs moves between ranks that wait in threads, back to back", "[exec]") {
    GpuRanks gpus;
    const int rounds = 100;
    const auto results = gpus.ranks->run_threads(
        [&](int rank) {
            return std::vector<Call>{gpus.receives(rank, 1 - rank, odd),
                                     gpus.sends(rank, 1 - rank, odd)};
        },
        rounds);
    for (const auto& result : results) {
        CHECK((result.ok() ? "" : result.error().what) == "");
    }
    CHECK(gpus.reads() == 2 * rail_count * rounds);
}

TEST_CASE("a receive into memory of a GPU is over when every rail has read it back", "[exec]") {
    Held held;
    const auto looked_at = [&] {
        return held.driven_until([&] { return !pending(held.received); }, 200);
    };
    REQUIRE_FALSE(looked_at());
    CHECK_FALSE(pending(held.sent));
    Shard::Impl& shard = held.ranks->shard(1).impl();
    shard.config.late_report = 1;
    log_sink_set(late_line_note);
    CHECK(shard.idle_report(clock_now()));
    log_sink_set(nullptr);
    CHECK_THAT(late_line, Catch::EndsWith("waits for the NICs' flush of what arrived"));
    REQUIRE(read_release(held.world));
    REQUIRE_FALSE(looked_at());
    REQUIRE_FALSE(read_release(held.world));
    REQUIRE(held.driven_until([&] { return !pending(held.received); }));
    CHECK(held.received->state() == Ticket::State::done);
    CHECK(held.into[1]->read(0, odd) == held.text_of(0, odd, 9));
    std::vector<const void*> queues;
    for (const auto& read : held.world.reads) {
        CHECK((read.from == held.into[1]->base && read.bytes == 8));
        queues.push_back(read.queue);
    }
    CHECK(queues[0] != queues[1]);
}

TEST_CASE("a flush that finds no room is asked for again", "[exec]") {
    GpuRanks gpus;
    fake_tell(gpus.world.reads_refused, 50);
    const TicketPtr sent = gpus.ranks->shard(0).submit({gpus.sends(0, 1, small)}).value();
    const TicketPtr received = gpus.ranks->shard(1).submit({gpus.receives(1, 0, small)}).value();
    REQUIRE(gpus.driven_until([&] { return !pending(received); }));
    CHECK(received->state() == Ticket::State::done);
    CHECK(gpus.world.reads_refused == 0);
    CHECK(gpus.reads() == rail_count);
}

TEST_CASE("a flush that fails is the cause, and the receive is never done", "[exec]") {
    GpuRanks gpus;
    fake_tell(gpus.world.read_fails, FI_EIO);
    const Result<void> moved = gpus.round(small, 1);
    REQUIRE_FALSE(moved.ok());
    CHECK_THAT(moved.error().what, Catch::Contains("the link to rank") &&
                                       Catch::Contains("reaching memory of our own"));
}

TEST_CASE("memory of a GPU that a NIC refuses ends the call, and says what to do", "[exec]") {
    GpuRanks gpus;
    fake_tell(gpus.world.register_error, FI_EOPNOTSUPP);
    const Result<void> moved = gpus.round(small, 1);
    REQUIRE_FALSE(moved.ok());
    CHECK_THAT(moved.error().what,
               Catch::Contains("of device 3") && Catch::Contains("WEFT_GPUDIRECT=0"));
}

TEST_CASE("a communicator that fails while a flush is under way ends with the cause", "[exec]") {
    Held held;
    held.ranks->shard(1).fail(make_error(Code::remote, Scope::communicator, "rank 0 died"));
    REQUIRE_FALSE(pending(held.received));
    CHECK(held.received->error().what == "rank 0 died");
}

TEST_CASE("memory of a GPU at one side only is a difference, and nobody touches it", "[exec]") {
    GpuRanks gpus;
    const bool sender = GENERATE(false, true);
    // The third goes by value where the memory is the host's.
    const size_t bytes = GENERATE(as<size_t>{}, small, odd, 100);
    if (sender && bytes == 100) {
        return;  // each waits for the other, as with any two lengths of which one is so short
    }
    std::string host(bytes, 'h');
    gpus.into[1]->write(0, std::string(bytes, 'x'));
    Call send = gpus.sends(0, 1, bytes), receive = gpus.receives(1, 0, bytes);
    Call& other = sender ? receive : send;
    other.on_device = false;
    other.send = other.recv = host.data();
    CAPTURE(sender, bytes);
    const TicketPtr sent = gpus.ranks->shard(0).submit({send}).value();
    const TicketPtr received = gpus.ranks->shard(1).submit({receive}).value();
    const auto failed = [](const TicketPtr& ticket) {
        return ticket->state() == Ticket::State::failed;
    };
    // A rank that hears nothing wrong itself is told by the control plane.
    REQUIRE(gpus.driven_until([&] { return failed(sent) || failed(received); }));
    const Error& error = failed(sent) ? sent->error() : received->error();
    CHECK(error.code == Code::invalid_usage);
    CHECK_THAT(error.what, Catch::Contains("bytes of GPUs' memory by their NICs where") ||
                               Catch::Contains("bytes of GPUs' memory by their NICs (pair"));
    CHECK(received->state() != Ticket::State::done);
    CHECK(gpus.into[1]->read(0, bytes) == std::string(bytes, 'x'));
    CHECK(host == std::string(bytes, 'h'));
}

// What is said to a call, whichever way it comes.
std::string refusal_of(World& ranks, const Call& call) {
    const auto submitted = ranks.shard(0).submit({call});
    REQUIRE_FALSE(submitted.ok());
    const auto run = ranks.shard(0).run_now(call);
    REQUIRE((run && !run->ok()));
    CHECK(run->error().what == submitted.error().what);
    CHECK(submitted.error().scope == Scope::call);
    CHECK(ranks.shard(0).quiet());
    return submitted.error().what;
}

TEST_CASE("where no NIC reaches memory of GPUs a call is refused, naming peer and wire", "[exec]") {
    GpuRanks without({}, false);
    CHECK(refusal_of(*without.ranks, without.sends(0, 1, small)) ==
          "rank 0: rank 1 is reached via fabric(efa-direct), which does not reach memory of GPUs");
    World loopback(WorldOptions{});
    CHECK(refusal_of(loopback, without.receives(0, 1, small)) ==
          "rank 0: rank 1 is reached via loopback, which does not reach memory of GPUs");
}

TEST_CASE("what is no message between memory of GPUs is refused as one", "[exec]") {
    GpuRanks gpus;
    const auto says_so = Catch::Contains("cannot be moved as memory of a GPU");
    CHECK_THAT(refusal_of(*gpus.ranks, gpus.sends(0, 0, small)), says_so);
    Call call = gpus.receives(0, 1, small);
    call.recv = gpus.into[0]->base + 1 + large - small;  // not all of it
    CHECK_THAT(refusal_of(*gpus.ranks, call), says_so);
    std::string host(small, 'h');
    call.recv = host.data();
    const uint64_t name = known_add(host.data(), host.size());
    CHECK_THAT(refusal_of(*gpus.ranks, call), says_so);
    known_remove(name);
    Call all = gpus.sends(0, 1, small);
    all.coll = Coll::all_gather;
    CHECK_THAT(refusal_of(*gpus.ranks, all), says_so);
}

}  // namespace
}  // namespace weft::test
