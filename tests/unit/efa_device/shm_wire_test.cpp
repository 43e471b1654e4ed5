// The wire between processes, with children that live, stop and die.
#include "tools/efa_device/core/shm_wire.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/catch.h"

using namespace weft;
using namespace weft::efa;

namespace {

namespace fs = std::filesystem;

struct Folder {
    Folder() {
        std::string pattern = (fs::temp_directory_path() / "weft-efa-wire-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path = pattern;
    }
    ~Folder() { fs::remove_all(path); }
    bool has(const std::string& name) const { return fs::exists(path + "/" + name); }
    std::string path;
};

std::unique_ptr<ShmWire> open(const Folder& folder, uint32_t host, int wanted = 0) {
    auto wire = ShmWire::open({folder.path, host, wanted});
    return wire.ok() ? std::move(wire).value() : nullptr;
}

// A process beside this one, with a pipe each way; killed if it is still there at the end.
struct Child {
    explicit Child(const std::function<void(Child&)>& body) {
        int down[2];
        int up[2];
        REQUIRE((::pipe(down) == 0 && ::pipe(up) == 0));
        pid = ::fork();
        in = pid == 0 ? down[0] : up[0];
        out = pid == 0 ? up[1] : down[1];
        ::close(pid == 0 ? down[1] : down[0]);
        ::close(pid == 0 ? up[0] : up[1]);
        if (pid == 0) {
            body(*this);
            ::_exit(0);
        }
    }
    ~Child() {
        ::close(in);
        ::close(out);
        end(SIGKILL);
    }
    void say(char c) const { (void)!::write(out, &c, 1); }
    char hear() const {
        char c = 0;
        return ::read(in, &c, 1) == 1 ? c : '\0';
    }
    int end(int signal) {
        int status = 0;
        if (pid > 0) {
            ::kill(pid, signal);
            ::waitpid(pid, &status, 0);
        }
        pid = -1;
        return status;
    }
    pid_t pid = -1;
    int in = -1;
    int out = -1;
};

Pushed push(ShmWire& wire, uint32_t host, uint64_t number, const std::string& text) {
    PacketHeader header;
    header.target = gid_make(host, 0);
    header.target_qpn = qpn_make(0, 0);
    header.message = number;
    header.payload_bytes = static_cast<uint32_t>(text.size());
    const Bytes halves[] = {{text.data(), 1},
                            {text.data() + 1, static_cast<uint32_t>(text.size()) - 1}};
    return wire.push(header, halves);
}

// What arrived next is the packet with this number.
bool takes(ShmWire& wire, uint64_t number, const std::string& text) {
    Arrived arrived = wire.front();
    while (arrived.header == nullptr) {
        const uint32_t heard = wire.bell();
        arrived = wire.front();
        if (arrived.header == nullptr) {
            wire.wait(heard, nanos_per_s);
        }
    }
    const bool same = arrived.header->message == number &&
                      std::memcmp(arrived.payload, text.data(), text.size()) == 0;
    wire.pop();
    return same;
}

const std::string text_of_all = std::string(packet_payload_max - 1, 'p') + "q";

// Opens a ring as host 1, says so, and takes packets when told.
void receiver(const Folder& folder, Child& parent, uint64_t packets) {
    const auto wire = open(folder, 1);
    parent.say(wire != nullptr ? 'o' : 'x');
    bool good = parent.hear() == 't';
    for (uint64_t i = 0; i < packets; ++i) {
        good = takes(*wire, i, text_of_all) && good;
    }
    parent.say(good ? 'g' : 'b');
    parent.hear();
}

}  // namespace

TEST_CASE("packets cross to another process whole and in order, and wait where there is no room") {
    const Folder folder;
    const auto wire = open(folder, 0);
    REQUIRE(wire != nullptr);
    CHECK(push(*wire, 1, 0, text_of_all) == Pushed::absent);
    CHECK_FALSE(wire->alive(1, 0));
    Child child([&](Child& parent) { receiver(folder, parent, 300); });
    REQUIRE(child.hear() == 'o');
    uint64_t sent = 0;
    Pushed last = Pushed::absent;
    while (last == Pushed::absent) {  // it is looked for again after a while
        last = push(*wire, 1, 0, text_of_all);
    }
    while (last == Pushed::yes) {
        last = push(*wire, 1, ++sent, text_of_all);
    }
    CHECK(last == Pushed::full);
    CHECK(sent == 256);
    CHECK_FALSE(wire->drained());
    child.say('t');
    while (sent < 300) {
        sent += push(*wire, 1, sent, text_of_all) == Pushed::yes ? 1 : 0;
    }
    CHECK(child.hear() == 'g');
    CHECK(wire->drained());
    CHECK(wire->alive(1, 0));
}

TEST_CASE("a process that was killed is not alive, and what it left goes with the next start") {
    const Folder folder;
    const auto wire = open(folder, 0);
    const auto stays = [&](Child& parent) {
        const auto mine = open(folder, 1);
        fs::create_directories(mine->name() + ".sys/class");
        parent.say('o');
        parent.hear();
    };
    Child first(stays);
    REQUIRE(first.hear() == 'o');
    while (push(*wire, 1, 0, "ab") == Pushed::absent) {
    }
    CHECK(wire->alive(1, 0));
    CHECK(WTERMSIG(first.end(SIGKILL)) == SIGKILL);
    CHECK_FALSE(wire->alive(1, 0));
    CHECK(wire->drained());
    CHECK(folder.has("00000001-00.ring"));
    CHECK(folder.has("00000001-00.sys"));
    Child second([&](Child& parent) {
        const auto mine = open(folder, 2);
        parent.say('o');
        parent.hear();
    });
    REQUIRE(second.hear() == 'o');
    CHECK_FALSE(folder.has("00000001-00.ring"));
    CHECK_FALSE(folder.has("00000001-00.sys"));
    CHECK(folder.has("00000002-00.ring"));
    CHECK(folder.has("00000000-00.ring"));
}

TEST_CASE("a ring that a killed process left full is not in the way of the next one at its place") {
    const Folder folder;
    const auto wire = open(folder, 0);
    const auto stays = [&](Child& parent) {
        const auto mine = open(folder, 1);
        parent.say('o');
        parent.hear();
    };
    Child first(stays);
    REQUIRE(first.hear() == 'o');
    Pushed last = Pushed::absent;
    while (last != Pushed::full) {
        last = push(*wire, 1, 0, "ab");
    }
    first.end(SIGKILL);
    Child second(stays);
    REQUIRE(second.hear() == 'o');
    const Nanos limit = clock_now() + 20 * nanos_per_s;
    while (last != Pushed::yes && clock_now() < limit) {
        last = push(*wire, 1, 0, "ab");
    }
    CHECK(last == Pushed::yes);
}

TEST_CASE("a place that is taken is not given twice, and a name ends with its owner") {
    const Folder folder;
    auto wire = open(folder, 0);
    REQUIRE(wire != nullptr);
    CHECK(wire->process() == 0);
    Child child([&](Child& parent) {
        const auto mine = open(folder, 0);
        parent.say(static_cast<char>('0' + mine->process()));
        parent.hear();
    });
    CHECK(child.hear() == '1');
    wire.reset();
    CHECK_FALSE(folder.has("00000000-00.ring"));
    CHECK(folder.has("00000000-01.ring"));
}

TEST_CASE("a folder that cannot be made is said in one line") {
    const auto wire = ShmWire::open({"/proc/no/such", 0, 0});
    REQUIRE_FALSE(wire.ok());
    CHECK(wire.error().what ==
          "cannot make the folder /proc/no/such: No such file or directory; WEFT_EFA_DEVICE_DIR "
          "names another folder");
}
