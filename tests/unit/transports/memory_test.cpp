#include "transports/memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "tests/catch.h"

using namespace weft;

TEST_CASE("a range is found by any address inside, and by its id") {
    const size_t before = shared_bytes_in_use();
    auto* memory = static_cast<char*>(shared_alloc(10'000).value());
    CHECK(shared_bytes_in_use() == before + 12'288);
    CHECK(memory[9'999] == 0);
    const auto range = shared_find(memory + 9'999);
    REQUIRE(range.has_value());
    CHECK(range->base == memory);
    CHECK(range->bytes == 12'288);
    CHECK(shared_get(range->id)->base == memory);
    CHECK_FALSE(shared_find(memory + 12'288).has_value());
    CHECK_FALSE(shared_find(memory - 1).has_value());
    CHECK(shared_free(memory).ok());
    CHECK_FALSE(shared_find(memory).has_value());
    CHECK_FALSE(shared_get(range->id).has_value());
    CHECK_FALSE(shared_dup(range->id));
    CHECK(shared_bytes_in_use() == before);
}

TEST_CASE("ids are never used again, and wrong addresses are refused") {
    void* first = shared_alloc(1).value();
    const uint64_t id = shared_find(first)->id;
    CHECK(shared_free(first).ok());
    void* second = shared_alloc(1).value();
    CHECK(shared_find(second)->id != id);
    const auto wrong = shared_free(static_cast<char*>(second) + 1);
    REQUIRE_FALSE(wrong.ok());
    CHECK(wrong.error().code == Code::invalid_argument);
    CHECK(shared_free(second).ok());
    CHECK_FALSE(shared_free(second).ok());
    CHECK_FALSE(shared_alloc(0).ok());
    CHECK_FALSE(shared_alloc(SIZE_MAX).ok());
}

TEST_CASE("freed pages go back although a peer still maps them, and its writes reach nobody") {
    constexpr size_t bytes = 1 << 20;
    auto* memory = static_cast<char*>(shared_alloc(bytes).value());
    std::memset(memory, 7, bytes);
    const Fd peer = shared_dup(shared_find(memory)->id);
    auto* theirs = static_cast<char*>(
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, peer.get(), 0));
    REQUIRE(theirs[5] == 7);
    CHECK(shared_free(memory).ok());
    struct stat info {};
    REQUIRE(::fstat(peer.get(), &info) == 0);
    CHECK(info.st_blocks == 0);
    theirs[0] = 9;
    auto* again = static_cast<char*>(shared_alloc(bytes).value());
    CHECK(again[0] == 0);
    CHECK(shared_free(again).ok());
    ::munmap(theirs, bytes);
}

TEST_CASE("a peer cannot shrink a range under its owner") {
    void* memory = shared_alloc(8192).value();
    const Fd peer = shared_dup(shared_find(memory)->id);
    CHECK(::ftruncate(peer.get(), 0) != 0);
    CHECK(shared_free(memory).ok());
}
