// The whole way between two processes of a host, on the stand-in driver: what one makes, another is
// told of, asks for by ticket, maps, reads and writes by kernels; and givers that die or stop.
#include <sys/mman.h>

#include <cstring>

#include "src/comm/handover.h"
#include "src/gpu/user_memory.h"
#include "tests/unit/gpu/places.h"
#include "transports/memory.h"

using namespace weft;
using namespace weft::gpu;

namespace {

Nanos soon() {
    return clock_now() + 60 * nanos_per_s;
}

struct Desk {
    std::unique_ptr<Reactor> reactor = reactor_make();
    std::shared_ptr<Handover> handover = Handover::create(*reactor).value();
    std::vector<std::unique_ptr<Handover::Offer>> offers;

    std::string offer(Fd descriptor) {
        offers.push_back(handover->offer(std::move(descriptor)));
        return offers.back()->ticket().encode();
    }
    ~Desk() {
        offers.clear();
        handover.reset();
        reactor.reset();
    }
};

Fd ask(ByteReader& reader) {
    return handover_ask(HandoverTicket::read(reader).value(), soon()).value();
}

}  // namespace

TEST_CASE("memory of the library and its words reach another process") {
    Places places;
    const bool plain = GENERATE(false, true);
    places.fake->no_virtual_memory = plain ? 1 : 0;
    Desk desk;
    const auto memory = ExportedMemory::create(places.at(), unit).value();
    auto* const words = static_cast<uint32_t*>(shared_alloc(4096).value());
    std::string told =
        desk.offer(shared_dup(shared_find(words)->id)) + memory->note().value().encode();
    if (!plain) {
        told += desk.offer(memory->descriptor().value());
    }
    OtherProcess other("maps memory and words");
    places.put(memory->address(), 31, count);
    letter_send(other.socket(), told);
    CHECK(letter_receive(other.socket()).text == "3000");
    CHECK(words[5] == 77);
    CHECK(places.matching(memory->address() + unit / 2, 62, count) == count);
    CHECK(other.end() == 0);
    CHECK(shared_free(words).ok());
}

TEST_CASE("maps memory and words", "[.other]") {
    Places places;
    const Fd socket = OtherProcess::own_socket();
    const std::string told = letter_receive(socket.get()).text;
    const Held before(places);
    {
        ByteReader reader(told);
        const Fd file = ask(reader);
        void* const words = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        REQUIRE(words != MAP_FAILED);
        std::vector<ExportedPart> parts(1);
        parts[0].note = ExportNote::read(reader).value();
        if (parts[0].note.kind == ExportKind::descriptor) {
            parts[0].descriptor = ask(reader);
        }
        CHECK(reader.end().ok());
        const auto memory = ImportedMemory::open(places.at(), std::move(parts)).value();
        const size_t found = places.matching(memory->address(), 31, count);
        places.put(memory->address() + unit / 2, 62, count);
        static_cast<uint32_t*>(words)[5] = 77;
        munmap(words, 4096);
        letter_send(socket.get(), std::to_string(found));
    }
    CHECK(Held(places) == before);
}

TEST_CASE("registered memory reaches another process") {
    Places places;
    Desk desk;
    UserExports exports(places.at());
    const bool plain = GENERATE(false, true);
    // What ncclMemAlloc gives is mapped memory like any other.
    const auto owned = ExportedMemory::create(places.at(), unit).value();
    const Address memory = (plain ? places.take(unit) : owned->address()) + 4096;
    const auto made = exports.get(memory, count * 4).value();
    std::string told = made->note.encode();
    std::vector<Fd> descriptors = made->descriptors().value();
    for (Fd& descriptor : descriptors) {
        told += desk.offer(std::move(descriptor));
    }
    OtherProcess other("maps registered memory");
    places.put(memory, 31, count);
    letter_send(other.socket(), told);
    CHECK(letter_receive(other.socket()).text == "3000");
    CHECK(places.matching(memory, 62, count) == count);
    CHECK(other.end() == 0);
}

TEST_CASE("maps registered memory", "[.other]") {
    Places places;
    const Fd socket = OtherProcess::own_socket();
    const std::string told = letter_receive(socket.get()).text;
    const Held before(places);
    {
        ByteReader reader(told);
        UserImports imports(places.at());
        const UserNote note = UserNote::read(reader).value();
        CHECK(imports.needs_descriptors(note) == (note.descriptor_count() == 1));
        std::vector<Fd> descriptors;
        while (reader.left() != 0) {
            descriptors.push_back(ask(reader));
        }
        UserImport seen = imports.get(note, std::move(descriptors)).value();
        const size_t found = places.matching(seen.address, 31, count);
        places.put(seen.address, 62, count);
        letter_send(socket.get(), std::to_string(found));
        seen = {};
        imports.forget(note);
        CHECK(imports.kept() == 0);
    }
    CHECK(Held(places) == before);
}

TEST_CASE("a giver that was killed or stopped costs one line and no more than the deadline") {
    OtherProcess other("gives and waits");
    const HandoverTicket ticket =
        HandoverTicket::decode(letter_receive(other.socket()).text).value();
    CHECK(handover_ask(ticket, soon()).ok());
    REQUIRE(kill(other.id(), SIGSTOP) == 0);
    int how = 0;
    REQUIRE(waitpid(other.id(), &how, WUNTRACED) == other.id());
    const auto stopped = handover_ask(ticket, clock_now() + 10 * nanos_per_ms);
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().code == Code::timeout);
    CHECK(stopped.error().what.find("it does not answer (is it stopped?)") != std::string::npos);
    REQUIRE(kill(other.id(), SIGKILL) == 0);
    other.end();
    const auto killed = handover_ask(ticket, soon());
    REQUIRE_FALSE(killed.ok());
    CHECK(killed.error().what.find("it ended") != std::string::npos);
}

TEST_CASE("gives and waits", "[.other]") {
    const Fd socket = OtherProcess::own_socket();
    Desk desk;
    letter_send(socket.get(), desk.offer(Fd(memfd_create("given", MFD_CLOEXEC))));
    letter_receive(socket.get());  // until it is killed
}
