// A rail that reads its own memory over its own endpoint.
#include <rdma/fi_domain.h>

#include "tests/conformance/fabric/world.h"
#include "transports/fabric/rail.h"

namespace weft::test {
namespace {

struct Finished final : fabric::RailEvents {
    void on_write(uint32_t) override {}
    void on_message(fabric::Rail&, fabric::BufferPtr, size_t) override {}
    void on_finished(fabric::Rail&, const fabric::TxOwner& owner, const Error* error) override {
        cookies.push_back(owner.cookie);
        failures.push_back(error != nullptr ? error->what : "");
    }
    std::vector<uint64_t> cookies;
    std::vector<std::string> failures;
};

struct OneRail {
    OneRail() : library(fabric::library_load("").value()) {
        auto choices = fabric::rails_choose(library, options_of(provider()));
        REQUIRE(choices.ok());
        auto opened = fabric::Rail::open(library, choices.value().front(), 0, {});
        REQUIRE(opened.ok());
        rail = std::move(opened).value();
    }
    // Polls until `count` have finished.
    bool wait(size_t count) {
        const Nanos limit = clock_now() + 20 * nanos_per_s;
        while (events.cookies.size() < count && clock_now() < limit) {
            const std::lock_guard guard(rail->lock());
            rail->poll(events);
        }
        return events.cookies.size() == count;
    }
    fabric::Library library;
    std::unique_ptr<fabric::Rail> rail;
    Finished events;
};

fabric::OwnRead read_of(fid_mr* memory, const uint64_t* words) {
    const auto* at = reinterpret_cast<const std::byte*>(words);
    return {memory, at, at};
}

TEST_CASE("fabric: a flush reads a word of this process and ends once") {
    OneRail one;
    fabric::Rail& rail = *one.rail;
    alignas(64) uint64_t words[8] = {42};
    std::unique_lock guard(rail.lock());
    auto word = rail.memory_register({fabric::MemoryKind::host, words, sizeof words},
                                     FI_READ | FI_REMOTE_READ);
    REQUIRE(word.ok());
    for (uint64_t cookie = 1; cookie <= 3; cookie++) {
        fabric::TxOwner owner;
        owner.cookie = cookie;
        Result<Post> posted = Post::again;
        const Nanos limit = clock_now() + 20 * nanos_per_s;
        while (posted.ok() && posted.value() == Post::again && clock_now() < limit) {
            posted = rail.flush(read_of(word.value().get(), words), owner);
            rail.poll(one.events);  // the first one connects the rail to itself
        }
        REQUIRE(posted.ok());
        REQUIRE(posted.value() == Post::accepted);
    }
    guard.unlock();
    REQUIRE(one.wait(3));
    CHECK(one.events.failures == std::vector<std::string>{"", "", ""});
    CHECK_FALSE(rail.unfinished());
}

TEST_CASE("fabric: a flush of memory that may not be read is an error") {
    // shm reads what it can reach; efa lets everything be read where the NIC can (efa_mr.c).
    if (provider() == "shm" || provider().starts_with("efa")) {
        return;
    }
    OneRail one;
    fabric::Rail& rail = *one.rail;
    alignas(64) uint64_t words[8] = {42};
    std::unique_lock guard(rail.lock());
    auto word =
        rail.memory_register({fabric::MemoryKind::host, words, sizeof words}, FI_REMOTE_WRITE);
    REQUIRE(word.ok());
    Result<Post> posted = Post::again;
    const Nanos limit = clock_now() + 20 * nanos_per_s;
    while (posted.ok() && posted.value() == Post::again && clock_now() < limit) {
        posted = rail.flush(read_of(word.value().get(), words), {});
        rail.poll(one.events);
    }
    guard.unlock();
    REQUIRE(posted.ok());
    REQUIRE(one.wait(1));
    CHECK_THAT(one.events.failures[0], Catch::Contains("failed"));
}

}  // namespace
}  // namespace weft::test
