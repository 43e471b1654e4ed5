// A program's device memory for other processes: what each kind of allocation becomes, what is
// refused, and that what was freed and made again is never taken for what was there.
#include "src/gpu/user_memory.h"

#include <algorithm>
#include <functional>
#include <string>

#include "src/base/log_sink.h"
#include "src/base/machine.h"
#include "tests/unit/gpu/places.h"

using namespace weft;
using namespace weft::gpu;

namespace {

// Chunks mapped side by side in a larger range of addresses, as PyTorch's expandable segments are.
class Segment {
  public:
    Segment(const Places& places, int handle_types) : places_(places), types_(handle_types) {
        REQUIRE(places->cuMemAddressReserve(&begin_, total, 0, 0, 0) == status::success);
    }
    ~Segment() {
        while (!chunks_.empty()) {
            unmap(chunks_.begin()->first);
        }
        CHECK(places_->cuMemAddressFree(begin_, total) == status::success);
    }
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;

    void map(Address at, uint64_t bytes) {
        const MemoryProperties wanted = wanted_of(types_);
        MemoryHandle handle = 0;
        REQUIRE(places_->cuMemCreate(&handle, bytes, &wanted, 0) == status::success);
        REQUIRE(places_->cuMemMap(at, bytes, 0, handle, 0) == status::success);
        const MemoryAccess access{wanted.location, access_flag::read_write};
        REQUIRE(places_->cuMemSetAccess(at, bytes, &access, 1) == status::success);
        REQUIRE(places_->cuMemRelease(handle) == status::success);
        chunks_[at] = bytes;
    }
    void unmap(Address at) {
        CHECK(places_->cuMemUnmap(at, chunks_.at(at)) == status::success);
        chunks_.erase(at);
    }
    Address at(uint64_t units) const { return begin_ + units * unit; }

    static constexpr uint64_t total = 16 * unit;

  private:
    const Places& places_;
    const int types_;
    Address begin_ = 0;
    std::map<Address, uint64_t> chunks_;
};

// As another process is told of it.
UserNote foreign(const UserExport& made) {
    UserNote note = UserNote::decode(made.note.encode()).value();
    note.process = "another";
    return note;
}

UserImport import(UserImports& imports, const UserExport& made) {
    return imports.get(foreign(made), made.descriptors().value()).value();
}

uint64_t refused(const UserExports& exports, UserRefusal why) {
    return exports.counts().refused[static_cast<size_t>(why)];
}

bool one_line(const Error& error, const std::string& part) {
    UNSCOPED_INFO(error.what);
    return error.code == Code::unsupported && error.what.find('\n') == std::string::npos &&
           error.what.find(part) != std::string::npos &&
           error.what.find("staging") != std::string::npos;
}

}  // namespace

TEST_CASE("plain memory goes by its handle and an offset") {
    Places places;
    UserExports exports(places.at());
    const Address memory = places.take(100'000);
    for (const uint64_t offset : {0, 512, 99'000}) {
        const auto made = exports.get(memory + offset, 1000).value();
        CHECK(made->note.process == process_identity());
        CHECK(made->note.address == memory + offset);
        CHECK(made->note.bytes == 1000);
        CHECK(made->note.offset == offset);
        REQUIRE(made->note.parts.size() == 1);
        CHECK(made->note.parts[0].note.kind == ExportKind::legacy);
        CHECK(made->note.parts[0].note.bytes == 100'000);
        CHECK(made->note.parts[0].buffer == places.buffer_id(memory));
        CHECK(made->descriptors().value().empty());
    }
    CHECK(exports.counts().made == 3);
}

TEST_CASE("a range that leaves its allocation is refused") {
    Places places;
    UserExports exports(places.at());
    const Address memory = places.take(100'000);
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{99'001}, ~uint64_t{0}}) {
        const auto made = exports.get(memory + 1000, bytes);
        REQUIRE_FALSE(made.ok());
        CHECK(one_line(made.error(), "is not one range of memory"));
    }
    CHECK(refused(exports, UserRefusal::parts) == 3);
}

TEST_CASE("chunks of an expandable segment are seen side by side") {
    Places places;
    const Held before(places);
    {
        Segment segment(places, handle_type::posix_descriptor);
        segment.map(segment.at(2), unit);
        segment.map(segment.at(3), 2 * unit);
        segment.map(segment.at(5), unit);
        UserExports exports(places.at());
        UserImports imports(places.at());
        // From the middle of the first chunk to the beginning of the last.
        const auto made = exports.get(segment.at(2) + 4096, 3 * unit).value();
        CHECK(made->note.offset == 4096);
        REQUIRE(made->note.parts.size() == 3);
        CHECK(made->note.parts[1].note.bytes == 2 * unit);
        CHECK(made->descriptors().value().size() == 3);
        const UserImport seen = import(imports, *made);
        CHECK(seen.address != made->note.address);
        CHECK(seen.bytes == 3 * unit);
        for (const uint64_t at : {uint64_t{0}, unit, 2 * unit, 3 * unit - 4 * count}) {
            places.put(segment.at(2) + 4096 + at, 70, count);
            CHECK(places.matching(seen.address + at, 70, count) == count);
        }
        // Known now: no descriptors, the same place.
        CHECK_FALSE(imports.needs_descriptors(foreign(*made)));
        CHECK(imports.get(foreign(*made), {}).value().address == seen.address);
        CHECK(exports.get(segment.at(2) + 4096, 3 * unit).value() == made);
        CHECK(exports.counts().found == 1);
    }
    CHECK(Held(places) == before);
}

TEST_CASE("ranges that share a chunk share what was made of it") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    segment.map(segment.at(0), unit);
    segment.map(segment.at(1), unit);
    segment.map(segment.at(2), unit);
    UserExports exports(places.at());
    UserImports imports(places.at());
    const auto left = exports.get(segment.at(0), 2 * unit).value();
    const auto right = exports.get(segment.at(1), 2 * unit).value();
    CHECK(left->chunks[1] == right->chunks[0]);
    CHECK(left->note.parts[1].buffer == right->note.parts[0].buffer);
    CHECK(left->note.parts[0].buffer != left->note.parts[1].buffer);
    const UserImport one = import(imports, *left);
    const UserImport two = import(imports, *right);
    CHECK(imports.kept() == 2);
    CHECK_FALSE(imports.needs_descriptors(foreign(*left)));
    places.put(one.address + unit, 9, count);
    CHECK(places.matching(two.address, 9, count) == count);
}

TEST_CASE("a segment with a hole is refused") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    segment.map(segment.at(0), unit);
    segment.map(segment.at(2), unit);
    UserExports exports(places.at());
    const auto made = exports.get(segment.at(0), 3 * unit);
    REQUIRE_FALSE(made.ok());
    CHECK(one_line(made.error(), "nothing is mapped there"));
    CHECK(exports.kept() == 0);
}

TEST_CASE("mapped memory without descriptors is refused, and not held") {
    Places places;
    const Held before(places);
    {
        Segment segment(places, 0);
        segment.map(segment.at(0), unit);
        UserExports exports(places.at());
        for (uint64_t times = 1; times < 3; times++) {
            const auto made = exports.get(segment.at(0), 1000);
            REQUIRE_FALSE(made.ok());
            CHECK(one_line(made.error(), "not asked for POSIX file descriptors"));
            CHECK(refused(exports, UserRefusal::no_handle) == times);
        }
        segment.unmap(segment.at(0));
        CHECK(Held(places).physicals == before.physicals);
    }
    CHECK(Held(places) == before);
}

TEST_CASE("memory of a pool, of hosts, of nobody and of another device is refused by name") {
    Places places(2);
    UserExports exports(places.at()), second(places.at(1));
    Address pooled = 0;
    REQUIRE(places.fake->pool_take(&pooled, 4096, nullptr) == status::success);
    CHECK(one_line(exports.get(pooled, 16).error(), "memory pool (cudaMallocAsync)"));
    CHECK(refused(exports, UserRefusal::pool) == 1);
    REQUIRE(places.fake->pool_free(pooled, nullptr) == status::success);
    void* host = nullptr;
    REQUIRE(places->cuMemHostAlloc(&host, 4096, 0) == status::success);
    CHECK(one_line(exports.get(reinterpret_cast<Address>(host), 16).error(),
                   "no memory of a device"));
    REQUIRE(places->cuMemFreeHost(host) == status::success);
    int own = 0;
    CHECK(
        one_line(exports.get(reinterpret_cast<Address>(&own), 4).error(), "no memory of a device"));
    CHECK(refused(exports, UserRefusal::not_device) == 2);
    CHECK(one_line(second.get(places.take(16), 16).error(), "another device (0, not 1)"));
    CHECK(refused(second, UserRefusal::other_device) == 1);
    CHECK(exports.kept() == 0);
}

TEST_CASE("plain memory that was freed and made again at its address is noticed") {
    Places places;
    places.fake->addresses_again = 1;
    UserExports exports(places.at());
    const Address memory = places.take(100'000);
    const auto old = exports.get(memory, 1000).value();
    CHECK(exports.get(memory, 1000).value() == old);
    places.give_back(memory);
    REQUIRE(places.take(100'000) == memory);
    const auto made = exports.get(memory, 1000).value();
    CHECK(made->note.parts[0].buffer != old->note.parts[0].buffer);
    CHECK(made->note.parts_key() != old->note.parts_key());
    const UserExports::Counts counts = exports.counts();
    CHECK(counts.made == 2);
    CHECK(counts.found == 1);
    CHECK(counts.changed == 1);
}

TEST_CASE("a chunk that was unmapped and mapped again at its address is noticed") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    segment.map(segment.at(0), unit);
    segment.map(segment.at(1), unit);
    UserExports exports(places.at());
    UserImports imports(places.at());
    const auto old = exports.get(segment.at(0), 2 * unit).value();
    import(imports, *old);
    const auto number = places.buffer_id(segment.at(1));
    segment.unmap(segment.at(1));
    CHECK_FALSE(exports.get(segment.at(0), 2 * unit).ok());
    segment.map(segment.at(1), unit);
    REQUIRE(places.buffer_id(segment.at(1)) == number);  // the driver's number tells nothing
    const auto made = exports.get(segment.at(0), 2 * unit).value();
    CHECK(exports.counts().changed == 1);
    CHECK(made->note.parts[0].buffer == old->note.parts[0].buffer);
    CHECK(made->note.parts[1].buffer != old->note.parts[1].buffer);
    CHECK(imports.needs_descriptors(foreign(*made)));
    const UserImport seen = import(imports, *made);
    CHECK(imports.kept() == 1);  // what is gone there is not kept here
    places.put(segment.at(1), 400, count);
    CHECK(places.matching(seen.address + unit, 400, count) == count);
}

TEST_CASE("what was exported is kept up to a bound, and until it is forgotten") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    for (uint64_t chunk = 0; chunk < 4; chunk++) {
        segment.map(segment.at(chunk), unit);
    }
    const Held before(places);
    UserExports exports(places.at(), 2);
    for (uint64_t chunk = 0; chunk < 3; chunk++) {
        REQUIRE(exports.get(segment.at(chunk), unit).ok());
    }
    CHECK(exports.kept() == 2);
    CHECK(Held::count() == before.descriptors + 2);
    REQUIRE(exports.get(segment.at(1), unit).ok());
    CHECK(exports.counts().found == 1);  // the one used longest ago has gone
    exports.forget(segment.at(1) + 100, 1);
    CHECK(exports.kept() == 1);
    exports.forget(segment.at(0), 4 * unit);
    CHECK(Held(places) == before);
}

TEST_CASE("what was imported is kept up to a bound, those in use before all") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    for (uint64_t chunk = 0; chunk < 4; chunk++) {
        segment.map(segment.at(chunk), unit);
    }
    UserExports exports(places.at());
    std::vector<std::shared_ptr<const UserExport>> made;
    for (uint64_t chunk = 0; chunk < 4; chunk++) {
        made.push_back(exports.get(segment.at(chunk), unit).value());
    }
    const Held before(places);
    {
        UserImports imports(places.at(), 2);
        UserImport first = import(imports, *made[0]);
        import(imports, *made[1]);
        const UserImport third = import(imports, *made[2]);
        CHECK(imports.kept() == 2);
        CHECK_FALSE(imports.needs_descriptors(foreign(*made[0])));
        CHECK(imports.needs_descriptors(foreign(*made[1])));
        const auto over = imports.get(foreign(*made[3]), made[3]->descriptors().value());
        REQUIRE_FALSE(over.ok());
        CHECK(one_line(over.error(), "2 such ranges are in use"));
        // It is closed when nobody uses it.
        imports.forget(foreign(*made[0]));
        CHECK(imports.kept() == 2);
        CHECK(places.fake->live_reservations == before.reservations + 2);
        first = {};
        imports.forget(foreign(*made[0]));
        CHECK(imports.kept() == 1);
        CHECK(places.fake->live_reservations == before.reservations + 1);
        CHECK(imports.get(foreign(*made[3]), made[3]->descriptors().value()).ok());
    }
    CHECK(Held(places) == before);
}

TEST_CASE("in the process that made it, the pointer is used") {
    Places places;
    UserExports exports(places.at());
    UserImports imports(places.at());
    const auto made = exports.get(places.take(1000) + 8, 100).value();
    CHECK_FALSE(imports.needs_descriptors(made->note));
    const UserImport seen = imports.get(made->note, {}).value();
    CHECK(seen.address == made->note.address);
    CHECK(seen.memory == nullptr);
    CHECK(imports.kept() == 0);
}

TEST_CASE("another device of the process reaches mapped memory only if the program allows it") {
    Places places(2);
    Segment segment(places, handle_type::posix_descriptor);
    segment.map(segment.at(0), unit);
    UserExports exports(places.at());
    UserImports imports(places.at(1));
    const auto made = exports.get(segment.at(0), unit).value();
    const auto refused = imports.get(made->note, {});
    REQUIRE_FALSE(refused.ok());
    CHECK(one_line(refused.error(), "without access for CUDA device 1"));
    const MemoryAccess access{{location_type::device, 1}, access_flag::read_write};
    REQUIRE(places->cuMemSetAccess(segment.at(0), unit, &access, 1) == status::success);
    CHECK(imports.get(made->note, {}).value().address == segment.at(0));
}

TEST_CASE("too few descriptors are refused") {
    Places places;
    Segment segment(places, handle_type::posix_descriptor);
    segment.map(segment.at(0), unit);
    UserExports exports(places.at());
    UserImports imports(places.at());
    const auto made = exports.get(segment.at(0), unit).value();
    CHECK_FALSE(imports.get(foreign(*made), {}).ok());
}

TEST_CASE("a description is refused when it is cut, too long or of no sense") {
    UserNote good;
    good.process = "one";
    good.address = 4096;
    good.bytes = 3 * unit;
    good.offset = unit;
    for (const uint64_t buffer : {7, 8}) {
        good.parts.push_back({{ExportKind::descriptor, 2 * unit, "01ab", {}}, buffer});
    }
    const std::string whole = good.encode();
    CHECK(UserNote::decode(whole).value().encode() == whole);
    for (size_t bytes = 0; bytes < whole.size(); bytes++) {
        CHECK_FALSE(UserNote::decode(whole.substr(0, bytes)).ok());
    }
    CHECK_FALSE(UserNote::decode(whole + "x").ok());
    const auto spoiled = [&](const std::function<void(UserNote&)>& spoil) {
        UserNote note = good;
        spoil(note);
        return !UserNote::decode(note.encode()).ok();
    };
    CHECK_FALSE(spoiled([](UserNote&) {}));
    CHECK(spoiled([](UserNote& note) { note.parts.clear(); }));
    CHECK(spoiled([](UserNote& note) { note.parts[1].note.kind = ExportKind::legacy; }));
    CHECK(spoiled([](UserNote& note) { note.parts.resize(257, note.parts[0]); }));
    CHECK(spoiled([](UserNote& note) { note.bytes = 0; }));
    CHECK(spoiled([](UserNote& note) { note.bytes = 3 * unit + 1; }));
    CHECK(spoiled([](UserNote& note) { note.offset = ~uint64_t{0}; }));
    CHECK(spoiled([](UserNote& note) { note.process = std::string(129, 'a'); }));
}

// --- two processes

TEST_CASE("another process follows plain memory that is freed and made again") {
    Places places;
    places.fake->addresses_again = 1;
    UserExports exports(places.at());
    const Address memory = places.take(100'000);
    OtherProcess other("the other process follows");
    const auto tell = [&](uint32_t first) {
        places.put(memory + 512, first, count);
        const auto made = exports.get(memory + 512, count * 4).value();
        letter_send(other.socket(), made->note.encode());
        return made;
    };
    const auto old = tell(10);
    CHECK(letter_receive(other.socket()).text == "3000 of 10");
    // The other process is between two uses of it, or so it must be in CUDA.
    places.give_back(memory);
    REQUIRE(places.take(100'000) == memory);
    const auto made = tell(20);
    REQUIRE(std::ranges::equal(made->note.parts[0].note.handle.bytes,
                               old->note.parts[0].note.handle.bytes));
    CHECK(letter_receive(other.socket()).text == "refused");
    CHECK(letter_receive(other.socket()).text == "3000 of 20");
    CHECK(other.end() == 0);
}

TEST_CASE("the other process follows", "[.other]") {
    Places places;
    const Fd socket = OtherProcess::own_socket();
    const Held before(places);
    {
        UserImports imports(places.at());
        const auto matching = [&](const UserImport& seen, uint32_t first) {
            return std::to_string(places.matching(seen.address, first, count)) + " of " +
                   std::to_string(first);
        };
        UserNote note = UserNote::decode(letter_receive(socket.get()).text).value();
        UserImport held = imports.get(note, {}).value();
        letter_send(socket.get(), matching(held, 10));
        note = UserNote::decode(letter_receive(socket.get()).text).value();
        const auto refused = imports.get(note, {});
        REQUIRE_FALSE(refused.ok());
        CHECK(refused.error().what.find("deregister memory before it is freed") !=
              std::string::npos);
        letter_send(socket.get(), "refused");
        held = {};
        letter_send(socket.get(), matching(imports.get(note, {}).value(), 20));
        CHECK(imports.kept() == 1);
    }
    CHECK(Held(places) == before);
}

TEST_CASE("what is refused is said once") {
    setenv("NCCL_DEBUG", "INFO", 1);
    OtherProcess other("refuses often");
    unsetenv("NCCL_DEBUG");
    CHECK(letter_receive(other.socket()).text == "1 line, 3 refused");
    CHECK(other.end() == 0);
}

namespace {
int lines_said = 0;
}

TEST_CASE("refuses often", "[.other]") {
    Places places;
    const Fd socket = OtherProcess::own_socket();
    UserExports exports(places.at());
    Address pooled = 0;
    REQUIRE(places.fake->pool_take(&pooled, 4096, nullptr) == status::success);
    log_sink_set([](LogLevel, Subsys, const char*, int, std::string_view text) {
        lines_said += text.find("memory pool") != std::string_view::npos ? 1 : 0;
    });
    for (int times = 0; times < 3; times++) {
        CHECK_FALSE(exports.get(pooled, 16).ok());
    }
    log_sink_set(nullptr);
    letter_send(socket.get(), std::to_string(lines_said) + " line, " +
                                  std::to_string(refused(exports, UserRefusal::pool)) + " refused");
    REQUIRE(places.fake->pool_free(pooled, nullptr) == status::success);
}
