// A rail on a libfabric that says what EFA says; bytes are moved in tests/conformance.
#include "transports/fabric/rail.h"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>

#include "src/base/log.h"
#include "tests/unit/transports/rail_world.h"
#include "transports/fabric/newer.h"

namespace weft::fabric {
namespace {

using test::failed;
using test::FakeInfo;
using test::write_of_peer;
using Events = test::Heard;
using World = test::RailWorld;

const FakeInfo plain{"efa", "efa"};
const FakeInfo using_receives{"efa", "efa-direct", "rdmap0s6-rdm", 0, FI_RX_CQ_DATA};

TEST_CASE("rail: options are set before the endpoint is enabled") {
    World direct;
    const auto direct_rail = direct.rail();
    CHECK(direct.world.enabled);
    CHECK_FALSE(direct.world.options_late);
    CHECK(direct.option<bool>(newer::opt_cuda_api_permitted) == false);
    CHECK(direct.option<bool>(newer::opt_shared_memory_permitted) == false);
    CHECK(direct.option<size_t>(newer::opt_efa_rnr_retry) == 7);
    CHECK(direct.option<bool>(newer::opt_efa_write_in_order_128) == false);
    // The fabric `efa` retries in software.
    World software(plain);
    const auto software_rail = software.rail();
    CHECK_FALSE(software.option<size_t>(newer::opt_efa_rnr_retry).has_value());
    // Options it does not know are no failure.
    World old(plain, FI_VERSION(1, 17));
    old.world.newer_options = false;
    const auto old_rail = old.rail();
    CHECK(old.world.options_set.empty());
}

TEST_CASE("rail: what the endpoint can do is asked of it") {
    World fake;
    const EndpointFeatures direct = fake.rail()->features();
    CHECK((direct.efa && direct.direct && !direct.receive_per_write));
    CHECK(direct.emulated_write == false);
    CHECK(direct.in_order_128 == false);
    fake.world.in_order = true;
    CHECK(fake.rail()->features().in_order_128 == true);
    CHECK(World(using_receives).rail()->features().receive_per_write);

    World slow(plain);
    slow.world.emulated_write = true;
    const EndpointFeatures emulated = slow.rail()->features();
    CHECK((!emulated.direct && emulated.emulated_write == true));
    World old(plain, FI_VERSION(1, 17));
    old.world.newer_options = false;
    CHECK(old.rail()->features().emulated_write == true);
}

TEST_CASE("rail: the record tells apart what must be alike, the line tells all") {
    const auto record = [](World&& fake) {
        const auto rail = fake.rail();
        return features_record(rail->features(), rail->info(), fake.library.version());
    };
    CHECK(record(World()) ==
          "provider=efa\nlibfabric=2.4\nfabric=efa-direct\nwrite=hardware\n"
          "mr_mode=VIRT_ADDR|PROV_KEY\n");
    CHECK_THAT(record(World(plain)), Catch::Contains("fabric=efa\n"));
    CHECK_THAT(record(World(plain, FI_VERSION(1, 17))),
               Catch::Contains("libfabric=1.17\n") && Catch::Contains("write=emulated\n"));
    // The NIC's older brother that uses up receives works with one that does not.
    CHECK(record(World(using_receives)) == record(World()));

    World fake;
    const auto rail = fake.rail();
    const std::string line = features_text(rail->features(), rail->info(), fake.library);
    for (const char* word :
         {"provider efa", "fabric efa-direct", "libfabric 2.4", FAKE_LIBFABRIC_PATH,
          "write hardware", "unsolicited write recv yes", "in order 128 bytes no",
          "LOCAL|VIRT_ADDR|ALLOCATED|PROV_KEY", "GPU memory no", "1073741824", "key 4 bytes",
          "RMA inject unused", "delivery complete yes"}) {
        CHECK_THAT(line, Catch::Contains(word));
    }
}

TEST_CASE("rail: writes that are not the NIC's are a concern, with what to install") {
    const auto warned = [](World&& fake) {
        return features_concern(fake.rail()->features(), fake.library);
    };
    CHECK(warned(World()).empty());
    CHECK_THAT(warned(World(plain, FI_VERSION(1, 17))),
               Catch::Contains("libfabric 1.17") && Catch::Contains("emulates every write") &&
                   Catch::Contains("EFA installer"));
    World slow(plain);
    slow.world.emulated_write = true;
    CHECK_THAT(warned(std::move(slow)),
               Catch::Contains("libfabric 2.4") && Catch::Contains("FI_EFA_USE_DEVICE_RDMA"));
}

TEST_CASE("rail: what cannot be opened says what failed and what to do") {
    World fake;
    fake.world.open_error = FI_EACCES;
    CHECK_THAT(fake.refused(), Catch::Contains("rail rdmap0s6-rdm (efa)") &&
                                   Catch::Contains("fi_domain failed: Permission denied") &&
                                   Catch::Contains("may not use the device") &&
                                   Catch::Contains("/dev/infiniband"));
    fake.world.open_error = 0;
    fake.world.enable_error = FI_ENOMEM;
    CHECK_THAT(fake.refused(), Catch::Contains("fi_enable failed") &&
                                   Catch::Contains("ulimit -l unlimited") &&
                                   Catch::Contains("no queue pair left"));
    fake.world.enable_error = 0;
    fake.world.register_error = FI_ENOMEM;
    CHECK_THAT(fake.refused(), Catch::Contains("rail rdmap0s6-rdm (efa)") &&
                                   Catch::Contains("Cannot allocate memory") &&
                                   Catch::Contains("ulimit -l"));
    fake.world.register_error = 0;
    fake.world.receive_error = FI_EAGAIN;
    CHECK_THAT(fake.refused(),
               Catch::Contains("posting the first receive buffer failed: Resource temp"));
}

TEST_CASE("rail: a registration that is refused names rail, size and remedy") {
    World fake;
    const auto rail = fake.rail();
    char memory[64];
    fake.world.register_error = FI_ENOMEM;
    const auto refused = rail->memory_register(memory, sizeof memory);
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().what, Catch::Contains("rail rdmap0s6-rdm") &&
                                         Catch::Contains("registering 64 bytes") &&
                                         Catch::Contains("ulimit -l"));
}

// A peer's write that used up the receive posted with this context; null: none.
TEST_CASE("rail: where no more message buffers can be had, receives leave some to what is sent") {
    World few(using_receives);
    few.world.registrations_max = 2;
    const auto rail = few.rail();
    const size_t posted = few.world.receives.size();
    CHECK(posted > 8);
    CHECK(posted < 64);
    const std::lock_guard guard(rail->lock());
    auto peer = rail->endpoint_acquire("somebody");
    REQUIRE(peer.ok());
    MessageHeader header;
    const auto sent = rail->send(*peer.value(), header, nullptr, {});
    REQUIRE(sent.ok());
    CHECK(sent.value() == Post::accepted);
    Events events;
    rail->poll(events);
    CHECK(few.world.receives.size() == posted);

    World none;
    none.world.registrations_max = 0;
    CHECK_THAT(none.refused(), Catch::Contains("rdmap0s6-rdm") && Catch::Contains("ulimit -l"));
}

TEST_CASE("rail: receives that writes use up are posted again before they run out") {
    World fake(using_receives);
    const auto rail = fake.rail();
    const std::vector<void*> posted = fake.world.receives;
    REQUIRE(posted.size() == 1024);
    for (size_t i = 0; i < 900; i++) {
        fake.world.completions.push_back(write_of_peer(posted[i], static_cast<uint32_t>(i)));
    }
    Events events;
    const std::lock_guard guard(rail->lock());
    while (!fake.world.completions.empty()) {
        const size_t seen = events.writes.size();
        rail->poll(events);
        REQUIRE(events.writes.size() > seen);
        // Half of them are always there for what comes next.
        CHECK(fake.world.receives.size() - events.writes.size() >= posted.size() / 2);
    }
    CHECK(events.writes.size() == 900);
    CHECK(events.writes[42] == 42);
    rail->poll(events);  // nothing to do: all of them
    CHECK(fake.world.receives.size() == posted.size() + 900);

    // One that no receive was used up for, and a message.
    fi_cq_data_entry message{};
    message.op_context = posted[950];
    message.flags = FI_RECV | FI_MSG;
    message.len = 77;
    fake.world.completions = {write_of_peer(nullptr, 7), message};
    rail->poll(events);
    rail->poll(events);
    CHECK(events.writes.back() == 7);
    CHECK(events.messages == std::vector<size_t>{77});
    CHECK(fake.world.receives.size() == posted.size() + 901);
}

TEST_CASE("rail: a write that needs no receive leaves those that are posted alone") {
    World fake;
    const auto rail = fake.rail();
    const std::vector<void*> posted = fake.world.receives;
    CHECK(posted.size() == 128);
    Events events;
    fake.world.completions = {write_of_peer(nullptr, 1), write_of_peer(posted[0], 2)};
    const std::lock_guard guard(rail->lock());
    rail->poll(events);
    CHECK(events.writes == std::vector<uint32_t>{1, 2});
    CHECK(fake.world.receives.size() == posted.size());
}

TEST_CASE("rail: a failed write is its sender's, with EFA's code in words") {
    World fake(using_receives);
    const auto rail = fake.rail();
    const std::lock_guard guard(rail->lock());
    auto to = rail->endpoint_acquire("peer");
    REQUIRE(to.ok());
    char memory[8] = "";
    RemoteWrite write;
    write.to = to.value();
    write.from = memory;
    write.bytes = sizeof memory;
    TxOwner owner;
    owner.peer = 9;
    auto sent = rail->write(write, owner);
    REQUIRE((sent.ok() && sent.value() == Post::accepted));
    fake.world.errors = {failed(fake.world.transmits.back(), FI_WRITE | FI_RMA, 15)};
    Events events;
    rail->poll(events);
    REQUIRE(events.errors.size() == 1);
    CHECK(events.peers[0] == 9);
    CHECK_THAT(events.errors[0], Catch::Contains("rail 0 (rdmap0s6-rdm, efa)") &&
                                     Catch::Contains("rank 9") &&
                                     Catch::Contains("the provider's words, 15") &&
                                     Catch::Contains("security group"));
    CHECK_FALSE(rail->unfinished());
    rail->endpoint_release(to.value());
}

TEST_CASE("rail: a peer that cannot be greeted is warned of once, with the rule to change") {
    World fake;
    const auto rail = fake.rail();
    const std::lock_guard guard(rail->lock());
    auto to = rail->endpoint_acquire("peer");
    REQUIRE(to.ok());
    Events events;
    for (int i = 0; i < 2; i++) {
        log_warn("nothing yet");
        rail->control(*to.value(), MessageHeader{}, "hello", 5);
        fake.world.errors = {failed(fake.world.transmits.back(), FI_SEND | FI_MSG, 15)};
        rail->poll(events);
        if (i == 0) {
            CHECK_THAT(log_last_error(), Catch::Contains("a control message to rank 5 failed") &&
                                             Catch::Contains("never answered") &&
                                             Catch::Contains("security group") &&
                                             Catch::Contains("sent again"));
        } else {
            CHECK_THAT(log_last_error(), Catch::Contains("nothing yet"));
        }
    }
    rail->endpoint_release(to.value());
}

TEST_CASE("rail: what fails inside of EFA's provider is heard, or libfabric would abort") {
    World fake;
    const auto rail = fake.rail();
    CHECK(fake.world.events_bound == 1);
    const std::lock_guard guard(rail->lock());
    fi_eq_err_entry entry{};
    entry.err = FI_EIO;
    entry.prov_errno = 15;
    fake.world.events = {entry, entry, entry};
    Events events;
    for (int i = 0; i < 3; i++) {
        rail->poll(events);
    }
    CHECK(fake.world.events.empty());
    CHECK_FALSE(rail->failing());  // it was a peer's

    entry.prov_errno = 4104;
    fake.world.events = {entry};
    rail->poll(events);
    CHECK(rail->failing());
    CHECK_THAT(log_last_error(), Catch::Contains("rail 0 (rdmap0s6-rdm, efa)") &&
                                     Catch::Contains("a packet of libfabric's own failed") &&
                                     Catch::Contains("4104") &&
                                     Catch::Contains("given up and opened again"));
}

TEST_CASE("rail: a failure of a receive is nobody's, and the receive is posted again") {
    World fake(using_receives);
    const auto rail = fake.rail();
    const std::vector<void*> posted = fake.world.receives;
    Events events;
    const std::lock_guard guard(rail->lock());
    fake.world.errors = {failed(posted[3], FI_REMOTE_WRITE | FI_RMA | FI_REMOTE_CQ_DATA, 7),
                         failed(posted[4], FI_RECV | FI_MSG, 11),
                         failed(nullptr, FI_REMOTE_WRITE | FI_RMA, 7)};
    for (int i = 0; i < 3; i++) {
        rail->poll(events);
    }
    CHECK((events.errors.empty() && events.writes.empty() && events.messages.empty()));
    CHECK(fake.world.receives.size() == posted.size() + 2);
    CHECK(fake.world.receives[posted.size()] == posted[3]);
}

TEST_CASE("rail: one whose completions cannot be read is opened again, and once only") {
    World fake;
    const auto rail = fake.rail();
    const std::lock_guard guard(rail->lock());
    auto to = rail->endpoint_acquire("peer");
    REQUIRE(to.ok());
    TxOwner owner;
    owner.peer = 3;
    const size_t receives = fake.world.receives.size();
    REQUIRE(rail->send(*to.value(), MessageHeader{}, nullptr, owner).ok());
    CHECK_FALSE(rail->failing());
    Events events;
    fake.world.read_error = FI_EOVERRUN;
    rail->poll(events);
    CHECK(rail->failing());
    CHECK(events.errors.empty());
    CHECK_THAT(log_last_error(), Catch::Contains("rail 0 (rdmap0s6-rdm, efa)") &&
                                     Catch::Contains("reading completions failed"));

    fake.world.read_error = 0;
    REQUIRE(rail->renew(events, "its completions cannot be read").ok());
    CHECK_FALSE(rail->failing());
    CHECK(rail->incarnation() == 1);
    CHECK(events.peers == std::vector<uint32_t>{3});
    CHECK_THAT(events.errors.at(0), Catch::Contains("rank 3 ended with the rail") &&
                                        Catch::Contains("completions cannot be read"));
    CHECK_FALSE(rail->unfinished());
    CHECK(fake.world.receives.size() == 2 * receives);
    const auto sent = rail->send(*to.value(), MessageHeader{}, nullptr, owner);
    REQUIRE(sent.ok());
    CHECK(sent.value() == Post::accepted);

    fake.world.read_error = FI_EOVERRUN;
    rail->poll(events);
    CHECK(rail->failing());
    REQUIRE(rail->renew(events, "its completions cannot be read").ok());
    CHECK(events.errors.size() == 2);
    const auto lost = rail->endpoint_acquire("another");
    REQUIRE_FALSE(lost.ok());
    CHECK_THAT(lost.error().what, Catch::Contains("rail 0 (rdmap0s6-rdm) is lost") &&
                                      Catch::Contains("failed again within 10 s"));
    CHECK(rail->poll(events) == 0);
    CHECK_FALSE(rail->failing());
    rail->endpoint_release(to.value());
}

}  // namespace
}  // namespace weft::fabric
