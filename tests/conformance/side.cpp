#include "tests/conformance/side.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <mutex>
#include <thread>

#include "tests/catch.h"

namespace weft::test {

namespace {

constexpr Nanos patience = 20 * nanos_per_s;

struct Mailboxes {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> to[2];
    bool closed = false;
};

class ThreadTalk final : public Talk {
  public:
    ThreadTalk(Mailboxes& boxes, int index) : boxes_(boxes), index_(index) {}
    void say(const std::string& text) override {
        const std::lock_guard lock(boxes_.mutex);
        boxes_.to[1 - index_].push_back(text);
        boxes_.changed.notify_all();
    }
    std::string hear() override {
        std::unique_lock lock(boxes_.mutex);
        boxes_.changed.wait(lock, [&] { return !boxes_.to[index_].empty() || boxes_.closed; });
        if (boxes_.to[index_].empty()) {
            throw std::runtime_error("the other side gave up");
        }
        std::string text = std::move(boxes_.to[index_].front());
        boxes_.to[index_].pop_front();
        return text;
    }
    bool heard() override {
        const std::lock_guard lock(boxes_.mutex);
        return !boxes_.to[index_].empty() || boxes_.closed;
    }

  private:
    Mailboxes& boxes_;
    int index_;
};

class SocketTalk final : public Talk {
  public:
    explicit SocketTalk(Fd socket) : socket_(std::move(socket)) {}
    void say(const std::string& text) override {
        if (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
            throw std::runtime_error("the other side is gone");
        }
    }
    std::string hear() override {
        char buffer[4096];
        const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
        if (got <= 0) {
            throw std::runtime_error("the other side is gone");
        }
        return {buffer, static_cast<size_t>(got)};
    }
    bool heard() override {
        pollfd readable{socket_.get(), POLLIN, 0};
        return ::poll(&readable, 1, 0) > 0;
    }

  private:
    Fd socket_;
};

// Every side of one case agrees on the group; two runs of a case do not.
uint64_t next_group() {
    static uint64_t group = 7000;
    return group++;
}

End end_make(const WireCase& wire_case, int index, uint64_t group, std::shared_ptr<Reactor> reactor,
             std::shared_ptr<WireHub> hub) {
    End end;
    end.reactor = std::move(reactor);
    end.hub = std::move(hub);
    end.bell = std::make_unique<Doorbell>(Doorbell::create().value());
    WireConfig config;
    config.group = group;
    config.rank = static_cast<uint32_t>(index);
    config.rank_count = 2;
    config.doorbell = end.bell.get();
    end.wire = end.hub->attach(config).value();
    if (!wire_case.fault.empty()) {
        end.wire = fault_wrap(std::move(end.wire), fault_parse(wire_case.fault).value());
    }
    return end;
}

std::string side_run(const WireCase& wire_case, const Clause& clause, int index, End end,
                     Talk& talk) {
    try {
        Side side(wire_case, index, std::move(end), talk);
        clause(side);
        return {};
    } catch (const std::exception& error) {
        return "side " + std::to_string(index) + ": " + error.what() + "\n";
    }
}

std::string run_threads(const WireCase& wire_case, const Clause& clause) {
    std::shared_ptr<Reactor> reactor = reactor_make();
    std::shared_ptr<WireHub> hubs[2] = {wire_case.hub(reactor, 0), nullptr};
    hubs[1] = wire_case.one_hub ? hubs[0] : wire_case.hub(reactor, 1);
    const uint64_t group = next_group();
    Mailboxes boxes;
    std::string wrong[2];
    const auto body = [&](int index) {
        ThreadTalk talk(boxes, index);
        wrong[index] = side_run(wire_case, clause, index,
                                end_make(wire_case, index, group, reactor, hubs[index]), talk);
        const std::lock_guard lock(boxes.mutex);
        boxes.closed = boxes.closed || !wrong[index].empty();
        boxes.changed.notify_all();
    };
    std::thread second(body, 1);
    body(0);
    second.join();
    return wrong[0] + wrong[1];
}

std::string process_side(const WireCase& wire_case, const Clause& clause, int index, uint64_t group,
                         Fd socket) {
    SocketTalk talk(std::move(socket));
    std::shared_ptr<Reactor> reactor = reactor_make();
    std::shared_ptr<WireHub> hub = wire_case.hub(reactor, index);
    End end = end_make(wire_case, index, group, std::move(reactor), std::move(hub));
    return side_run(wire_case, clause, index, std::move(end), talk);
}

// A side in a process of its own, and what it says at its end.
struct SideProcess {
    pid_t pid = -1;
    Fd says;
};

// Forks while this process has one thread.
SideProcess side_start(const WireCase& wire_case, const Clause& clause, int index, uint64_t group,
                       Fd socket, Fd* others) {
    int result[2];
    if (::pipe(result) != 0) {
        return {};
    }
    Fd in(result[0]), out(result[1]);
    std::cout.flush();
    const pid_t child = ::fork();
    if (child == 0) {
        in.reset();
        if (others != nullptr) {
            others->reset();
        }
        std::string wrong;
        try {
            wrong = process_side(wire_case, clause, index, group, std::move(socket));
        } catch (const std::exception& error) {  // else this process would run the other tests, too
            wrong = "side " + std::to_string(index) + " did not begin: " + error.what() + "\n";
        }
        [[maybe_unused]] const ssize_t n = ::write(out.get(), wrong.data(), wrong.size());
        ::_exit(0);
    }
    return {child, std::move(in)};
}

std::string side_end(const SideProcess& side, int index, bool to_be_killed) {
    std::string wrong;
    char buffer[1024];
    for (ssize_t n = 0; (n = ::read(side.says.get(), buffer, sizeof buffer)) > 0;) {
        wrong.append(buffer, static_cast<size_t>(n));
    }
    int status = 0;
    ::waitpid(side.pid, &status, 0);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (to_be_killed ? !killed : status != 0) {
        wrong +=
            "side " + std::to_string(index) + " ended with status " + std::to_string(status) + "\n";
    }
    return wrong;
}

std::string run_processes(const WireCase& wire_case, const Clause& clause, Ending ending) {
    int sockets[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        return "cannot make a socket pair";
    }
    Fd mine(sockets[0]);
    const uint64_t group = next_group();
    const SideProcess second = side_start(wire_case, clause, 1, group, Fd(sockets[1]), &mine);
    std::string wrong;
    if (wire_case.both_fork) {
        const SideProcess first = side_start(wire_case, clause, 0, group, std::move(mine), nullptr);
        wrong = side_end(first, 0, false);
    } else {
        wrong = process_side(wire_case, clause, 0, group, std::move(mine));
    }
    return wrong + side_end(second, 1, ending == Ending::second_is_killed);
}

}  // namespace

std::string clause_run(const WireCase& wire_case, const Clause& clause, Ending ending) {
    return wire_case.two_processes ? run_processes(wire_case, clause, ending)
                                   : run_threads(wire_case, clause);
}

void every_wire(const Clause& clause, const std::function<bool(const WireCase&)>& fits,
                Ending ending) {
    // Once: asking libfabric what it has takes a while.
    static std::vector<std::string> missing;
    static const std::vector<WireCase> cases = wire_cases(&missing);
    const char* only = std::getenv("TEST_WIRES");
    int ran = 0;
    for (const WireCase& wire_case : cases) {
        if ((fits != nullptr && !fits(wire_case)) ||
            (only != nullptr && wire_case.name.find(only) == std::string::npos)) {
            continue;
        }
        INFO(wire_case.name);
        CHECK(clause_run(wire_case, clause, ending) == "");
        ran++;
    }
    if (only == nullptr) {
        CHECK(ran > 0);
    }
}

// ---- Side

void Side::require(bool condition, const std::string& what) {
    if (!condition) {
        throw std::runtime_error(what);
    }
}

std::string Side::swap(const std::string& mine) {
    talk_.say(mine);
    return talk_.hear();
}

void Side::meet_driving() {
    talk_.say(".");
    until([&] { return talk_.heard(); }, "the other side to come");
    talk_.hear();
}

void Side::connect(const std::string& hello) {
    const std::string address = swap(wire().address());
    const auto connected = wire().connect(peer(), address, hello);
    require(connected.ok(), connected.ok() ? "" : connected.error().what);
    until([&] { return wire().state(peer()) == PeerState::up; }, "the wire to come up");
}

int Side::drive(int budget) {
    return wire().progress(*this, clock_now(), budget);
}

void Side::until(const std::function<bool()>& holds, const std::string& what) {
    const Nanos limit = clock_now() + patience;
    for (int idle = 0; !holds();) {
        idle = drive() > 0 ? 0 : idle + 1;
        if (idle > 100) {
            std::this_thread::yield();
        }
        if (idle % 128 == 127) {
            require(clock_now() < limit, "waited 20 s for " + what);
        }
    }
}

void Side::put_must(const Put& put) {
    if (wire().put(put) == Post::accepted) {
        return;
    }
    until([&] { return wire().put(put) == Post::accepted; }, "a put to be accepted");
}

Put Side::by_value(const void* from, size_t bytes, Imm imm) const {
    Put put;
    put.peer = peer();
    put.from = from;
    put.bytes = bytes;
    put.imm = imm;
    put.notify = false;
    return put;
}

Put Side::to_memory(const RemoteRef& to, const void* from, size_t bytes, Region source,
                    Imm imm) const {
    Put put = by_value(from, bytes, imm);
    put.to = to;
    put.from_region = source;
    put.notify = true;
    put.cookie = imm.pack();
    return put;
}

int Side::times(Imm imm) const {
    const auto found = seen_.find(imm.pack());
    return found == seen_.end() ? 0 : found->second;
}

void Side::forget() {
    arrivals.clear();
    delivered.clear();
}

void Side::on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) {
    const int before = seen_[imm.pack()]++;
    // Twice is the injector's right; the link layer drops it, so does this.
    if (before > 0 && faulty()) {
        return;
    }
    if (on_each) {
        on_each(imm, value, value_bytes);
        return;
    }
    arrivals.push_back(
        {imm, value != nullptr, std::string(reinterpret_cast<const char*>(value), value_bytes)});
}

void Side::on_failure(uint32_t peer, Error error) {
    require(peer == this->peer(), "a failure of rank " + std::to_string(peer));
    failures.push_back(std::move(error));
}

namespace {

// A table of a prime length, so that nothing that is a power of two apart looks alike.
constexpr size_t table_bytes = 65'521;

const std::byte* pattern_table() {
    static const std::vector<std::byte> table = [] {
        std::vector<std::byte> bytes(table_bytes);
        uint32_t state = 12345;
        for (std::byte& byte : bytes) {
            state = state * 1664525u + 1013904223u;
            byte = static_cast<std::byte>(state >> 24);
        }
        return bytes;
    }();
    return table.data();
}

// Calls `piece(offset, table, bytes)` for each run of table bytes.
template <class Piece>
bool pattern_pieces(size_t bytes, uint64_t seed, Piece piece) {
    size_t start = seed * 7919 % table_bytes;
    for (size_t at = 0; at < bytes;) {
        const size_t count = std::min(bytes - at, table_bytes - start);
        if (!piece(at, pattern_table() + start, count)) {
            return false;
        }
        at += count;
        start = 0;
    }
    return true;
}

}  // namespace

std::vector<std::byte> pattern(size_t bytes, uint64_t seed) {
    std::vector<std::byte> data(bytes);
    pattern_pieces(bytes, seed, [&](size_t at, const std::byte* table, size_t count) {
        std::memcpy(data.data() + at, table, count);
        return true;
    });
    return data;
}

bool pattern_holds(const std::byte* at, size_t bytes, uint64_t seed) {
    return pattern_pieces(bytes, seed, [&](size_t offset, const std::byte* table, size_t count) {
        return std::memcmp(at + offset, table, count) == 0;
    });
}

}  // namespace weft::test
