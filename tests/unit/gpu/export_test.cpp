// Device memory that other processes reach: made, described, imported, taken away again, and what
// the stand-in does to whoever uses it wrongly.
#include "src/gpu/export.h"

#include <sys/mman.h>

#include <algorithm>
#include <functional>

#include "tests/unit/gpu/places.h"

using namespace weft;
using namespace weft::gpu;

namespace {

bool says(const std::string& text, const std::vector<std::string>& parts) {
    UNSCOPED_INFO(text);
    return text.find('\n') == std::string::npos &&
           std::ranges::all_of(parts, [&](const std::string& part) {
               return text.find(part) != std::string::npos;
           });
}

ExportNote note_of(ExportKind kind) {
    ExportNote note;
    note.kind = kind;
    note.bytes = 5 * unit;
    note.device = "01ab01ab";
    std::memset(note.handle.bytes, 7, sizeof(note.handle.bytes));
    return note;
}

std::vector<ExportedPart> part_of(const ExportedMemory& memory) {
    std::vector<ExportedPart> parts(1);
    parts[0].note = memory.note().value();
    if (memory.kind() == ExportKind::descriptor) {
        parts[0].descriptor = memory.descriptor().value();
    }
    return parts;
}

}  // namespace

TEST_CASE("a note arrives as it was") {
    for (const ExportKind kind : {ExportKind::descriptor, ExportKind::legacy}) {
        const ExportNote sent = note_of(kind);
        const Result<ExportNote> got = ExportNote::decode(sent.encode());
        REQUIRE(got.ok());
        CHECK(got.value().kind == kind);
        CHECK(got.value().bytes == sent.bytes);
        CHECK(got.value().device == sent.device);
        CHECK((std::memcmp(got.value().handle.bytes, sent.handle.bytes,
                           sizeof(sent.handle.bytes)) == 0) == (kind == ExportKind::legacy));
    }
}

TEST_CASE("a note that is cut, too long or of no sense is refused") {
    for (const ExportKind kind : {ExportKind::descriptor, ExportKind::legacy}) {
        const std::string whole = note_of(kind).encode();
        for (size_t bytes = 0; bytes < whole.size(); bytes++) {
            CHECK_FALSE(ExportNote::decode(whole.substr(0, bytes)).ok());
        }
        CHECK_FALSE(ExportNote::decode(whole + "x").ok());
    }
    const auto refused = [](const std::function<void(ExportNote&)>& spoil) {
        ExportNote note = note_of(ExportKind::descriptor);
        spoil(note);
        return !ExportNote::decode(note.encode()).ok();
    };
    CHECK_FALSE(refused([](ExportNote&) {}));
    CHECK(refused([](ExportNote& note) { note.kind = static_cast<ExportKind>(0); }));
    CHECK(refused([](ExportNote& note) { note.kind = static_cast<ExportKind>(3); }));
    CHECK(refused([](ExportNote& note) { note.bytes = 0; }));
    CHECK(refused([](ExportNote& note) { note.bytes = ~uint64_t{0}; }));
    CHECK(refused([](ExportNote& note) { note.device = ""; }));
    CHECK(refused([](ExportNote& note) { note.device = "ab\ncd"; }));
    CHECK(refused([](ExportNote& note) { note.device = std::string(49, 'a'); }));
}

TEST_CASE("memory is made apart from its addresses, and all of it goes") {
    Places places;
    const Held before(places);
    {
        const auto memory = ExportedMemory::create(places.at(), unit + 1).value();
        CHECK(memory->kind() == ExportKind::descriptor);
        CHECK(memory->bytes() == 2 * unit);
        CHECK(memory->note().value().bytes == 2 * unit);
        CHECK(memory->note().value().device == device_uuid(*places.at().driver, 0));
        const Fd descriptor = memory->descriptor().value();
        CHECK((fcntl(descriptor.get(), F_GETFD) & FD_CLOEXEC) != 0);
        places.fill(memory->address(), 3, 2 * unit);
        CHECK(places.fake->live_physicals == before.physicals + 1);
    }
    CHECK(Held(places) == before);
}

TEST_CASE("every device of the process that reaches the memory may access it") {
    Places places(3);
    const bool alone = GENERATE(false, true);
    places.fake->no_peers = alone ? 1 : 0;
    const int before = places.fake->accesses_set;
    const auto memory = ExportedMemory::create(places.at(1), unit).value();
    CHECK(places.fake->accesses_set == before + (alone ? 1 : 3));
    // Of a peer's memory it is the device that asked for it.
    const auto seen = ImportedMemory::open(places.at(1), part_of(*memory)).value();
    CHECK(places.fake->accesses_set == before + (alone ? 1 : 3) + 1);
}

TEST_CASE("where driver or device lack what it takes, memory is plain") {
    Places places;
    const Held before(places);
    SECTION("the device") {
        places.fake->no_virtual_memory = 1;
    }
    SECTION("the driver") {
        places.fake->lacking = "cuMemSetAccess";
        places.load_again();
    }
    {
        const auto memory = ExportedMemory::create(places.at(), 1000).value();
        CHECK(memory->kind() == ExportKind::legacy);
        CHECK(memory->bytes() == 1000);
        places.fill(memory->address(), 3, 1000);
        // In the process that made it, the pointer is what to use.
        const auto opened = ImportedMemory::open(places.at(), part_of(*memory));
        REQUIRE_FALSE(opened.ok());
        CHECK(says(opened.error().what,
                   {"CUDA device 0 cannot reach", "another process", "host memory"}));
    }
    CHECK(Held(places) == before);
}

TEST_CASE("a driver without handles says so") {
    Places places;
    places.fake->no_virtual_memory = 1;
    places.fake->lacking = "cuIpcGetMemHandle";
    places.load_again();
    const auto memory = ExportedMemory::create(places.at(), 1000).value();
    CHECK(says(memory->note().error().what, {FAKE_CUDA, "no other process", "host memory"}));
}

TEST_CASE("an import lies elsewhere, shows the same and outlives the export") {
    Places places(2);
    const Held before(places);
    for (const int device : {0, 1}) {
        auto memory = ExportedMemory::create(places.at(device), unit).value();
        auto seen = ImportedMemory::open(places.at(0), part_of(*memory)).value();
        CHECK(seen->address() != memory->address());
        CHECK(seen->bytes() == unit);
        places.put(memory->address(), 17, count);
        CHECK(places.matching(seen->address(), 17, count) == count);
        memory.reset();
        CHECK(places.matching(seen->address(), 17, count) == count);
        seen.reset();
        CHECK(Held(places) == before);
    }
}

TEST_CASE("parts of a peer lie side by side") {
    Places places;
    const auto first = ExportedMemory::create(places.at(), unit).value();
    const auto second = ExportedMemory::create(places.at(), 2 * unit).value();
    std::vector<ExportedPart> parts = part_of(*second);
    parts.push_back(std::move(part_of(*first)[0]));
    const auto seen = ImportedMemory::open(places.at(), std::move(parts)).value();
    CHECK(seen->bytes() == 3 * unit);
    places.put(first->address(), 5, count);
    CHECK(places.matching(seen->address() + 2 * unit, 5, count) == count);
    places.put(seen->address() + unit, 900, count);
    CHECK(places.matching(second->address() + unit, 900, count) == count);
}

TEST_CASE("a device that reaches no other is told by name, and nothing is left") {
    Places places(2);
    places.fake->no_peers = 1;
    const auto memory = ExportedMemory::create(places.at(0), unit).value();
    const std::string uuid = device_uuid(*places.at().driver, 0);
    const Held before(places);
    CHECK(device_reaches(places.at(0), uuid).ok());
    CHECK(device_reaches(places.at(1), "ffff").ok());  // nobody knows before it is tried
    CHECK(
        says(device_reaches(places.at(1), uuid).error().what,
             {"CUDA device 1 cannot reach", uuid, "no peer access", "(device 0)", "host memory"}));
    CHECK_FALSE(ImportedMemory::open(places.at(1), part_of(*memory)).ok());
    // As if the owner's device were not one of this process.
    std::vector<ExportedPart> hidden = part_of(*memory);
    hidden[0].note.device = "ffff";
    const auto opened = ImportedMemory::open(places.at(1), std::move(hidden));
    REQUIRE_FALSE(opened.ok());
    CHECK(says(opened.error().what, {"CUDA device 1 cannot reach", "ffff", "letting CUDA device 1",
                                     "CUDA_ERROR_INVALID_DEVICE"}));
    hidden.clear();
    CHECK(Held(places) == before);
}

TEST_CASE("what is not the memory that a peer said is refused, and nothing is left") {
    Places places;
    const auto memory = ExportedMemory::create(places.at(), unit).value();
    const Held before(places);
    std::vector<ExportedPart> parts = part_of(*memory);
    SECTION("more than there is") {
        parts[0].note.bytes = 2 * unit;
    }
    SECTION("another descriptor") {
        parts[0].descriptor = Fd(memfd_create("other", MFD_CLOEXEC));
    }
    SECTION("no descriptor") {
        parts[0].descriptor.reset();
    }
    SECTION("a handle of nothing") {
        parts[0].note.kind = ExportKind::legacy;
        parts[0].descriptor.reset();
    }
    SECTION("two kinds") {
        parts.push_back({parts[0].note, Fd()});
        parts[1].note.kind = ExportKind::legacy;
    }
    SECTION("two devices") {
        parts.push_back({parts[0].note, memory->descriptor().value()});
        parts[1].note.device = "ffff";
    }
    const auto opened = ImportedMemory::open(places.at(), std::move(parts));
    CHECK_FALSE(opened.ok());
    CHECK(Held(places) == before);
}

TEST_CASE("no memory left, none leaked") {
    Places places;
    const Held before(places);
    for (const uint64_t bytes : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 60}) {
        CHECK_FALSE(ExportedMemory::create(places.at(), bytes).ok());
    }
    CHECK(Held(places) == before);
}

// --- two processes

namespace {

// The other side: takes what it is told of, reads it, writes to it, lets go.
constexpr const char* reader = "the other process reads and writes";

void two_processes(bool virtual_memory) {
    Places places;
    places.fake->no_virtual_memory = virtual_memory ? 0 : 1;
    auto memory = ExportedMemory::create(places.at(), unit).value();
    CHECK(memory->kind() == (virtual_memory ? ExportKind::descriptor : ExportKind::legacy));
    OtherProcess other(reader);
    places.put(memory->address(), 100, count);
    std::vector<ExportedPart> parts = part_of(*memory);
    letter_send(other.socket(), parts[0].note.encode(), parts[0].descriptor.get());
    CHECK(letter_receive(other.socket()).text == "read 3000, elsewhere");
    CHECK(places.matching(memory->address() + unit / 2, 200, count) == count);
    if (virtual_memory) {
        memory.reset();  // the peer has it still
    }
    letter_send(other.socket(), "go");
    CHECK(letter_receive(other.socket()).text == "read 3000 again");
    CHECK(other.end() == 0);
}

}  // namespace

TEST_CASE("another process reads and writes memory by descriptor") {
    two_processes(true);
}

TEST_CASE("another process reads and writes memory by handle") {
    two_processes(false);
}

TEST_CASE("the other process reads and writes", "[.other]") {
    Places places;
    const Fd socket = OtherProcess::own_socket();
    const Held before(places);
    test::Letter letter = letter_receive(socket.get());
    std::vector<ExportedPart> parts(1);
    parts[0] = {ExportNote::decode(letter.text).value(), std::move(letter.descriptor)};
    auto memory = ImportedMemory::open(places.at(), std::move(parts)).value();
    const size_t found = places.matching(memory->address(), 100, count);
    places.put(memory->address() + unit / 2, 200, count);
    letter_send(socket.get(), "read " + std::to_string(found) + ", elsewhere");
    CHECK(letter_receive(socket.get()).text == "go");
    const size_t again = places.matching(memory->address(), 100, count);
    letter_send(socket.get(), "read " + std::to_string(again) + " again");
    memory.reset();
    CHECK(Held(places) == before);
}

// --- the stand-in, hostile as it must be

namespace {

bool ends_by_abort(const char* test) {
    OtherProcess other(test, true);
    const int how = other.end();
    return WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT;
}

// Memory of the program's own making, without access.
struct Bare {
    explicit Bare(const Places& places) {
        const MemoryProperties wanted = wanted_of(handle_type::posix_descriptor);
        REQUIRE(places->cuMemCreate(&handle, unit, &wanted, 0) == status::success);
        REQUIRE(places->cuMemAddressReserve(&address, unit, 0, 0, 0) == status::success);
        REQUIRE(places->cuMemMap(address, unit, 0, handle, 0) == status::success);
    }
    MemoryHandle handle = 0;
    Address address = 0;
};

}  // namespace

TEST_CASE("the stand-in gives no handle for memory that has none") {
    Places places;
    IpcHandle handle{};
    const auto memory = ExportedMemory::create(places.at(), unit).value();
    CHECK(places->cuIpcGetMemHandle(&handle, memory->address()) == status::invalid_value);
    Address pooled = 0;
    REQUIRE(places.fake->pool_take(&pooled, 4096, nullptr) == status::success);
    CHECK(places->cuIpcGetMemHandle(&handle, pooled) == status::invalid_value);
    REQUIRE(places.fake->pool_free(pooled, nullptr) == status::success);
    CHECK(places->cuIpcGetMemHandle(&handle, places.take(64)) == status::success);
}

TEST_CASE("a kernel that touches memory before access is set ends the process") {
    CHECK(ends_by_abort("touches memory before access"));
}

TEST_CASE("touches memory before access", "[.other]") {
    ends_here_by_abort();
    Places places;
    const Bare bare(places);
    places.copy(places.take(64), bare.address, 64);
}

TEST_CASE("a kernel that touches memory that was unmapped ends the process") {
    CHECK(ends_by_abort("touches memory that was unmapped"));
}

TEST_CASE("touches memory that was unmapped", "[.other]") {
    ends_here_by_abort();
    Places places;
    Address gone = 0;
    {
        const auto memory = ExportedMemory::create(places.at(), unit).value();
        gone = memory->address();
        places.copy(places.take(64), gone, 64);
    }
    places.copy(places.take(64), gone, 64);
}
