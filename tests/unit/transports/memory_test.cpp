#include "transports/memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

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

namespace {

// The kernel's flags of the mapping at `address`, as smaps spells them: " rd wr sh ... hg ".
std::string mapping_flags(const void* address) {
    std::ifstream maps("/proc/self/smaps");
    bool found = false;
    for (std::string line; std::getline(maps, line);) {
        unsigned long from = 0, to = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
            found = reinterpret_cast<unsigned long>(address) == from;
        } else if (found && line.starts_with("VmFlags:")) {
            return line + " ";
        }
    }
    return "";
}

size_t pages_resident(void* memory, size_t bytes) {
    std::vector<unsigned char> pages((bytes + 4095) / 4096);
    REQUIRE(::mincore(memory, bytes, pages.data()) == 0);
    size_t count = 0;
    for (const unsigned char page : pages) {
        count += page & 1;
    }
    return count;
}

}  // namespace

TEST_CASE("memory that holds huge pages lies where they fit and asks for them") {
    constexpr size_t huge = 2 << 20;
    for (const size_t bytes : {huge, 3 * huge + 4096}) {
        auto* memory = static_cast<char*>(shared_alloc(bytes).value());
        CHECK(reinterpret_cast<uintptr_t>(memory) % huge == 0);
        const std::string flags = mapping_flags(memory);
        INFO(flags);
        CHECK((flags.find(" hg ") != std::string::npos ||
               access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0));
        CHECK(pages_resident(memory, bytes) == bytes / 4096);
        CHECK(memory[bytes - 1] == 0);
        memory[bytes - 1] = 1;
        CHECK(shared_free(memory).ok());
    }
    auto* small = static_cast<char*>(shared_alloc(huge - 4096).value());
    CHECK(mapping_flags(small).find(" hg ") == std::string::npos);
    CHECK(pages_resident(small, huge - 4096) == huge / 4096 - 1);
    CHECK(shared_free(small).ok());
}

TEST_CASE("known memory: a range is found by what it holds whole") {
    std::vector<char> heap(100'000);
    CHECK_FALSE(known_find(heap.data(), 1).has_value());
    const uint64_t whole = known_add(heap.data(), 50'000);
    const uint64_t part = known_add(heap.data() + 1000, 10);
    const uint64_t late = known_add(heap.data() + 40'000, 20'000);
    CHECK(known_find(heap.data(), 50'000)->id == whole);
    CHECK(known_find(heap.data() + 1000, 10)->id == part);
    CHECK(known_find(heap.data() + 1000, 11)->id == whole);
    CHECK(known_find(heap.data() + 45'000, 6'000)->id == late);
    CHECK(known_find(heap.data() + 45'000, 6'000)->base == heap.data() + 40'000);
    CHECK_FALSE(known_find(heap.data() + 39'999, 10'002).has_value());
    CHECK_FALSE(known_find(heap.data(), 50'001).has_value());
    known_remove(late);
    CHECK_FALSE(known_exists(late));
    CHECK(known_find(heap.data() + 45'000, 1)->id == whole);
    known_remove(whole);
    known_remove(part);
    CHECK_FALSE(known_find(heap.data() + 1000, 1).has_value());

    auto* memory = static_cast<char*>(shared_alloc(8192).value());
    CHECK(known_find(memory + 5, 8187)->id == shared_find(memory)->id);
    CHECK_FALSE(known_find(memory + 5, 8188).has_value());
    CHECK(shared_free(memory).ok());
    CHECK_FALSE(known_find(memory, 1).has_value());
}

TEST_CASE("known memory: a watch hears of every end, once, and of none after its own") {
    std::vector<uint64_t> ended;
    char memory[16];
    {
        const KnownWatch watch([&](uint64_t id) {
            CHECK_FALSE(known_exists(id));
            ended.push_back(id);
        });
        void* own = shared_alloc(1).value();
        const uint64_t own_id = shared_find(own)->id;
        const uint64_t named = known_add(memory, sizeof memory);
        CHECK(known_add(memory, sizeof memory) == named);
        CHECK(known_add(memory, 8) != named);
        CHECK(shared_free(own).ok());
        known_remove(named);
        CHECK(ended == std::vector<uint64_t>{own_id});
        known_remove(named);
        known_remove(named);
        CHECK(ended == std::vector<uint64_t>{own_id, named});
        CHECK_FALSE(shared_free(memory).ok());
    }
    CHECK(shared_free(shared_alloc(1).value()).ok());
    CHECK(ended.size() == 2);
}
