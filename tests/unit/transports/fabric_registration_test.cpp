#include "transports/fabric/registration.h"

#include <rdma/fi_errno.h>

#include "tests/unit/transports/fake_machine.h"
#include "transports/fabric/newer.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;

struct Domain : FakeFabric {
    Domain() {
        fid_fabric* opened = nullptr;
        REQUIRE(library.open_fabric(nullptr, &opened, nullptr) == 0);
        fabric.reset(opened);
        fid_domain* inner = nullptr;
        REQUIRE(fi_domain(opened, nullptr, &inner, nullptr) == 0);
        domain.reset(inner);
    }
    // What the provider was told of a registration.
    test::FakeLibfabric::Registration told(const MemoryRequest& request) {
        fid_mr* registration = nullptr;
        REQUIRE(memory_register(domain.get(), request, FI_WRITE, 77, &registration) == 0);
        const FidHandle<fid_mr> owner(registration);
        return world.registrations.back();
    }
    FidHandle<fid_fabric> fabric;
    FidHandle<fid_domain> domain;
};

TEST_CASE("registration: each kind of memory is told to the provider as it wants it") {
    Domain domain;
    char memory[64];
    const auto host = domain.told({MemoryKind::host, memory, sizeof memory});
    CHECK(host.iface == FI_HMEM_SYSTEM);
    CHECK((host.base == memory && host.bytes == sizeof memory));
    CHECK((host.access == FI_WRITE && host.key == 77 && host.flags == 0));

    const auto cuda = domain.told({MemoryKind::cuda, memory, 32, 3});
    CHECK((cuda.iface == FI_HMEM_CUDA && cuda.device == 3));
    CHECK((cuda.base == memory && cuda.bytes == 32 && cuda.flags == 0));

    const auto dmabuf = domain.told({MemoryKind::dmabuf, memory, 16, 2, 9, 4096});
    CHECK(dmabuf.flags == newer::mr_dmabuf);
    CHECK((dmabuf.iface == FI_HMEM_CUDA && dmabuf.device == 2));
    CHECK((dmabuf.dmabuf_fd == 9 && dmabuf.dmabuf_offset == 4096));
    CHECK((dmabuf.base == memory && dmabuf.bytes == 16));

    domain.world.register_error = FI_ENOMEM;
    fid_mr* none = nullptr;
    CHECK(memory_register(domain.domain.get(), {MemoryKind::host, memory, 1}, FI_WRITE, 0, &none) ==
          -FI_ENOMEM);
}

MemoryAbility ability_of(bool hmem, uint32_t library, uint32_t api) {
    fi_info info{};
    info.caps = FI_MSG | FI_RMA | (hmem ? FI_HMEM : 0);
    return memory_ability(info, library, api);
}

TEST_CASE("registration: GPU memory needs the provider's word, a dma-buf a newer library too") {
    constexpr uint32_t v17 = FI_VERSION(1, 17), v18 = FI_VERSION(1, 18), v20 = FI_VERSION(1, 20);
    CHECK_FALSE(ability_of(false, FI_VERSION(2, 4), v20).cuda);
    CHECK_FALSE(ability_of(false, FI_VERSION(2, 4), v20).dmabuf);
    CHECK(ability_of(true, v17, v17).cuda);
    CHECK_FALSE(ability_of(true, v17, v17).dmabuf);
    CHECK_FALSE(ability_of(true, v20, v18).dmabuf);
    CHECK(ability_of(true, FI_VERSION(2, 4), v20).dmabuf);
}

TEST_CASE("registration: GPU memory needs reads of this side's own, to flush what was written") {
    const auto can = [](uint64_t caps) {
        fi_info info{};
        info.caps = FI_HMEM | caps;
        return memory_ability(info, FI_VERSION(2, 4), FI_VERSION(1, 20)).cuda;
    };
    constexpr uint64_t writes = FI_WRITE | FI_REMOTE_WRITE;
    CHECK(can(FI_RMA));
    CHECK(can(FI_RMA | writes | FI_READ | FI_REMOTE_READ));
    CHECK_FALSE(can(FI_RMA | writes));
    CHECK_FALSE(can(FI_RMA | writes | FI_READ));
    CHECK_FALSE(can(FI_RMA | writes | FI_REMOTE_READ));
    CHECK_FALSE(can(FI_MSG));
}

TEST_CASE("registration: what cannot be done is refused before the provider is asked") {
    char memory[64];
    const auto refused = [&](const MemoryRequest& request, const MemoryAbility& ability) {
        const auto allowed = memory_allowed(request, ability, "rail rdmap0s6");
        return allowed.ok() ? std::string() : allowed.error().what;
    };
    const MemoryRequest host{MemoryKind::host, memory, 64}, cuda{MemoryKind::cuda, memory, 64},
        dmabuf{MemoryKind::dmabuf, memory, 64, 0, 9}, closed{MemoryKind::dmabuf, memory, 64};
    CHECK(refused(host, {}).empty());
    CHECK(refused(cuda, {true, false}).empty());
    CHECK(refused(dmabuf, {true, true}).empty());
    CHECK_THAT(refused(cuda, {}), Catch::Contains("rdmap0s6 cannot register CUDA memory") &&
                                      Catch::Contains("FI_HMEM") &&
                                      Catch::Contains("EFA installer"));
    CHECK_THAT(refused(dmabuf, {true, false}),
               Catch::Contains("a dma-buf") && Catch::Contains("1.20"));
    CHECK_THAT(refused(closed, {true, true}), Catch::Contains("descriptor -1"));
    CHECK_THAT(refused({MemoryKind::host, memory, 0}, {}), Catch::Contains("0 bytes"));
}

}  // namespace
}  // namespace weft::fabric
