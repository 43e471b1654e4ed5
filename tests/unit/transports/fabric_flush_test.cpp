// Reads that make a GPU see what has arrived: which wires can, and when one hears that they are
// over.
#include <rdma/fi_errno.h>

#include "src/base/reactor.h"
#include "tests/unit/transports/fake_gpu.h"
#include "transports/hubs.h"
#include "transports/memory.h"

namespace weft::test {
namespace {

struct FlushSink final : WireSink {
    void on_arrival(Imm, const std::byte*, uint32_t) override {}
    void on_delivered(uint64_t) override {}
    void on_failure(uint32_t, Error error) override { failures.push_back(std::move(error.what)); }
    std::vector<std::string> failures;
};

struct GpuHub : FakeFabric {
    explicit GpuHub(uint64_t caps = FI_HMEM, bool asked = true, bool cuda_calls = false) {
        world.infos = {gpu_nic(0, caps), gpu_nic(1, caps)};
        world.moves = true;
        world.cuda_calls = cuda_calls;
        FabricOptions options;
        options.library = FAKE_LIBFABRIC_PATH;
        options.device_memory = asked;
        auto made = fabric_hub_make(*reactor, options);
        REQUIRE(made.ok());
        hub = std::move(made).value();
    }
    std::unique_ptr<Wire> attach(uint32_t rank) const {
        auto wire = hub->attach({7, rank, 2, nullptr, {}});
        REQUIRE(wire.ok());
        return std::move(wire).value();
    }
    std::unique_ptr<Reactor> reactor = reactor_make();
    std::unique_ptr<WireHub> hub;
};

// A wire with memory of a GPU, and another that polls what both ride.
struct Flushing : GpuHub {
    Flushing() : memory(world, 4096), name(known_add(memory.base, 4096, MemoryKind::cuda)) {
        for (uint32_t rank = 0; rank < 2; rank++) {
            wires[rank] = attach(rank);
        }
        for (uint32_t rank = 0; rank < 2; rank++) {
            REQUIRE(wires[rank]->connect(1 - rank, wires[1 - rank]->address(), "").ok());
        }
        while (wires[0]->state(1) != PeerState::up || wires[1]->state(0) != PeerState::up) {
            progress(0);
            progress(1);
        }
        region = wires[0]->expose(memory.base, 4096).value();
    }
    ~Flushing() { known_remove(name); }
    void progress(size_t rank) { wires[rank]->progress(sinks[rank], clock_now(), 64); }
    void flush() {
        const auto posted = wires[0]->flush(1, region, 8);
        REQUIRE((posted.ok() && posted.value() == Post::accepted));
    }
    bool busy() const { return wires[0]->busy(region); }
    MappedBytes memory;
    uint64_t name;
    std::unique_ptr<Wire> wires[2];
    FlushSink sinks[2];
    Region region;
};

TEST_CASE("a wire says whether all its rails reach memory of GPUs") {
    const auto said = [](const GpuHub& gpus) {
        const auto wire = fault_wrap(gpus.attach(0), fault_parse("dup=0.1").value());
        return wire->caps().device_memory;
    };
    CHECK(said(GpuHub()));
    CHECK_FALSE(said(GpuHub(FI_HMEM, false)));
    CHECK_FALSE(said(GpuHub(0)));
    CHECK_FALSE(said(GpuHub(FI_HMEM | FI_WRITE | FI_REMOTE_WRITE)));
    CHECK_FALSE(said(GpuHub(FI_HMEM, true, true)));
}

TEST_CASE("whoever hears the end of a flush, its own wire says so behind what failed") {
    Flushing gpus;
    const int fails = GENERATE(0, FI_EIO);
    fake_tell(gpus.world.read_fails, fails);
    gpus.flush();
    for (int i = 0; i < 100; i++) {
        gpus.progress(1);
    }
    CHECK(gpus.busy());
    gpus.progress(0);
    CHECK_FALSE(gpus.busy());
    CHECK(gpus.sinks[0].failures.size() == (fails != 0 ? 1 : 0));
}

TEST_CASE("a flush that ends after its region is not the end of the next one's") {
    Flushing gpus;
    fake_tell(gpus.world.reads_held, true);
    gpus.flush();
    gpus.wires[0]->release(gpus.region);  // waits for it as long as it may
    gpus.region = gpus.wires[0]->expose(gpus.memory.base, 4096).value();
    gpus.flush();
    REQUIRE(gpus.world.reads_waiting.size() == 4);
    read_release(gpus.world);
    read_release(gpus.world);
    gpus.progress(0);
    CHECK(gpus.busy());
    read_release(gpus.world);
    gpus.progress(0);
    CHECK(gpus.busy());
    read_release(gpus.world);
    gpus.progress(0);
    CHECK_FALSE(gpus.busy());
}

}  // namespace
}  // namespace weft::test
