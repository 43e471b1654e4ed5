// Descriptors that are handed over: what arrives, who is refused and how, and that nothing is left.
#include "src/comm/handover.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace weft;

namespace {

Nanos soon() {
    return clock_now() + 60 * nanos_per_s;
}

bool comes_true(const std::function<bool()>& it) {
    const Nanos limit = soon();
    while (!it()) {
        if (clock_now() > limit) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

int descriptors() {
    DIR* const folder = opendir("/proc/self/fd");
    int entries = 0;
    while (readdir(folder) != nullptr) {
        entries++;
    }
    closedir(folder);
    return entries;
}

ino_t file_of(int descriptor) {
    struct stat found {};
    REQUIRE(fstat(descriptor, &found) == 0);
    return found.st_ino;
}

Fd memory() {
    Fd made(memfd_create("handed over", MFD_CLOEXEC));
    REQUIRE(made);
    return made;
}

std::string refusal(const HandoverTicket& ticket, Nanos deadline = soon()) {
    const Result<Fd> got = handover_ask(ticket, deadline);
    return got.ok() ? "given" : got.error().what;
}

bool says(const std::string& text, const char* part) {
    UNSCOPED_INFO(text);
    return text.find(part) != std::string::npos && text.find('\n') == std::string::npos;
}

// What an asker says.
std::string question(const HandoverTicket& ticket) {
    return ByteWriter()
        .u32(0x57686e64)
        .u8(1)
        .u64(ticket.number)
        .raw(std::span<const uint8_t>(ticket.secret))
        .take();
}

// What comes back for these words.
local::Channel::Got answered(const std::string& name, const std::string& words) {
    Fd socket;
    if (local::channel_dial(name, &socket) != local::Dial::connected) {
        return local::Channel::Got::nothing;
    }
    local::Channel channel(std::move(socket));
    channel.queue({words, {}});
    channel.flush();
    local::Frame frame;
    local::Channel::Got got = local::Channel::Got::nothing;
    comes_true([&] {
        got = channel.receive(&frame);
        return got != local::Channel::Got::nothing;
    });
    return got;
}

struct Giver {
    std::unique_ptr<Reactor> reactor = reactor_make();
    std::shared_ptr<Handover> handover = Handover::create(*reactor).value();
    bool quiet() const {
        return comes_true([&] { return handover->line_count() == 0; });
    }
    ~Giver() {
        handover.reset();
        reactor.reset();
    }
};

// A process that answers otherwise than ours do: once, with `answer`.
class Liar {
  public:
    explicit Liar(const std::function<void(local::Channel&)>& answer)
        : listener_(local::channel_listen(name_).value()), thread_([this, answer] {
              Fd socket;
              comes_true([&] { return bool{socket = local::channel_accept(listener_.get())}; });
              local::Channel channel(std::move(socket));
              local::Frame frame;
              comes_true([&] { return channel.receive(&frame) == local::Channel::Got::frame; });
              answer(channel);
              channel.flush();
          }) {}
    ~Liar() { thread_.join(); }
    Liar(const Liar&) = delete;
    Liar& operator=(const Liar&) = delete;
    HandoverTicket ticket() const { return {name_, 1, {}}; }

  private:
    const std::string name_ = local::channel_name();
    const Fd listener_;
    std::thread thread_;
};

}  // namespace

TEST_CASE("a ticket arrives as it was, and nothing else is taken for one") {
    HandoverTicket sent{local::channel_name(), 77, {1, 2, 3}};
    const Result<HandoverTicket> got = HandoverTicket::decode(sent.encode());
    REQUIRE(got.ok());
    CHECK(got.value().socket == sent.socket);
    CHECK(got.value().number == 77);
    CHECK(got.value().secret == sent.secret);
    const std::string whole = sent.encode();
    for (size_t bytes = 0; bytes < whole.size(); bytes++) {
        CHECK_FALSE(HandoverTicket::decode(whole.substr(0, bytes)).ok());
    }
    CHECK_FALSE(HandoverTicket::decode(whole + "x").ok());
    for (const char* const name : {"", "weft", "other-1-2", "weft-1\n", "weft-A"}) {
        sent.socket = name;
        CHECK_FALSE(HandoverTicket::decode(sent.encode()).ok());
    }
    sent.socket = "weft-" + std::string(60, '1');
    CHECK_FALSE(HandoverTicket::decode(sent.encode()).ok());
}

TEST_CASE("what was offered is given to whoever has the ticket, as often as asked") {
    const int before = descriptors();
    {
        Giver giver;
        Fd first = memory(), second = memory();
        const ino_t first_file = file_of(first.get()), second_file = file_of(second.get());
        const auto one = giver.handover->offer(std::move(first));
        const auto two = giver.handover->offer(std::move(second));
        CHECK(one->ticket().secret != two->ticket().secret);
        for (int times = 0; times < 3; times++) {
            const Fd got = handover_ask(one->ticket(), soon()).value();
            CHECK(file_of(got.get()) == first_file);
            CHECK((fcntl(got.get(), F_GETFD) & FD_CLOEXEC) != 0);
            CHECK(file_of(handover_ask(two->ticket(), soon()).value().get()) == second_file);
        }
        CHECK(giver.quiet());
    }
    CHECK(descriptors() == before);
}

TEST_CASE("many ask at once") {
    Giver giver;
    const auto offer = giver.handover->offer(memory());
    std::vector<std::thread> askers;
    std::atomic<int> given{0};
    for (int asker = 0; asker < 16; asker++) {
        askers.emplace_back([&] {
            for (int times = 0; times < 8; times++) {
                given += handover_ask(offer->ticket(), soon()).ok() ? 1 : 0;
            }
        });
    }
    for (std::thread& asker : askers) {
        asker.join();
    }
    CHECK(given == 16 * 8);
}

TEST_CASE("a wrong ticket is refused in one line, and nothing is left") {
    const int before = descriptors();
    {
        Giver giver;
        auto offer = giver.handover->offer(memory());
        HandoverTicket ticket = offer->ticket();
        ticket.secret[15] ^= 1;
        CHECK(says(refusal(ticket), "the secret is not the one"));
        ticket = offer->ticket();
        ticket.number++;
        CHECK(says(refusal(ticket), "it was taken back"));
        ticket = offer->ticket();
        offer.reset();
        CHECK(says(refusal(ticket), "it was taken back"));
        ticket.socket = local::channel_name();
        CHECK(says(refusal(ticket), "it ended, or is in another network namespace"));
        CHECK(giver.quiet());
    }
    CHECK(descriptors() == before);
}

TEST_CASE("nobody is reached where the giver has gone") {
    HandoverTicket ticket;
    {
        Giver giver;
        ticket = giver.handover->offer(memory())->ticket();
    }
    CHECK(says(refusal(ticket), "it ended"));
}

TEST_CASE("an offer may outlive the process's own reference") {
    Giver giver;
    const auto offer = giver.handover->offer(memory());
    giver.handover.reset();
    CHECK(handover_ask(offer->ticket(), soon()).ok());
}

TEST_CASE("a giver that does not answer costs no more than the deadline") {
    const std::string name = local::channel_name();
    const Fd listener = local::channel_listen(name).value();
    CHECK(says(refusal({name, 1, {}}, clock_now() + 10 * nanos_per_ms), "it does not answer"));
}

TEST_CASE("a giver that answers nonsense is refused, and what it sent is closed") {
    const int before = descriptors();
    const auto answer = [](uint8_t verdict, int fds) {
        return [=](local::Channel& channel) {
            local::Frame frame;
            frame.body = ByteWriter().u8(verdict).take();
            for (int i = 0; i < fds; i++) {
                frame.fds.push_back(Fd(memfd_create("lie", MFD_CLOEXEC)));
            }
            channel.queue(std::move(frame));
        };
    };
    CHECK(says(refusal(Liar(answer(9, 0)).ticket()), "no rank of this version"));
    CHECK(says(refusal(Liar(answer(1, 0)).ticket()), "no rank of this version"));
    CHECK(says(refusal(Liar(answer(1, 2)).ticket()), "no rank of this version"));
    CHECK(says(refusal(Liar(answer(4, 1)).ticket()), "no room"));
    CHECK(says(refusal(Liar([](local::Channel&) {}).ticket()), "without a word"));
    CHECK(descriptors() == before);
}

TEST_CASE("strangers who say nothing or nonsense are dropped, and hold nobody up") {
    const int before = descriptors();
    {
        Giver giver;
        const auto offer = giver.handover->offer(memory());
        std::vector<Fd> strangers(200);
        for (Fd& stranger : strangers) {
            REQUIRE(local::channel_dial(offer->ticket().socket, &stranger) ==
                    local::Dial::connected);
        }
        CHECK(handover_ask(offer->ticket(), soon()).ok());
        CHECK(giver.handover->line_count() <= 128);  // they came before
        std::string other_version = question(offer->ticket());
        other_version[4] = 2;
        const std::string socket = offer->ticket().socket;
        CHECK(answered(socket, "x") == local::Channel::Got::broken);
        CHECK(answered(socket, std::string(40, '0')) == local::Channel::Got::broken);
        CHECK(answered(socket, other_version) == local::Channel::Got::broken);
        CHECK(answered(socket, question(offer->ticket())) == local::Channel::Got::frame);
        strangers.clear();
        CHECK(giver.quiet());
    }
    CHECK(descriptors() == before);
}

TEST_CASE("another user is refused by both sides") {
    if (geteuid() != 0) {
        WARN("only the superuser can be another user for a moment");
        return;
    }
    Giver giver;
    const auto offer = giver.handover->offer(memory());
    std::string asked;
    local::Channel::Got got = local::Channel::Got::nothing;
    // The system call concerns this thread alone.
    std::thread([&] {
        if (syscall(SYS_setresuid, -1, 65534, -1) != 0) {
            return;
        }
        asked = refusal(offer->ticket());
        got = answered(offer->ticket().socket, question(offer->ticket()));
    }).join();
    CHECK(says(asked, "it belongs to another user"));
    CHECK(got == local::Channel::Got::broken);
}
