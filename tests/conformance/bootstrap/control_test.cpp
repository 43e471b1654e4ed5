// The control plane over real sockets on loopback: several hubs, each with its own reactor, stand
// for processes.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <set>
#include <thread>

#include "src/base/handle.h"
#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/bootstrap/address.h"
#include "src/bootstrap/unique_id.h"
#include "tests/catch.h"
#include "tests/conformance/bootstrap/job.h"

using namespace weft;
using namespace weft::control_test;

namespace {

// A TCP connection of no library of ours.
Fd raw_connect(uint16_t port) {
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    return fd;
}

bool closed_within(const Fd& fd, int seconds) {
    timeval limit{seconds, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char bytes[256];
    while (true) {
        const ssize_t got = recv(fd.get(), bytes, sizeof bytes, 0);
        if (got <= 0) {
            return got == 0 || errno == ECONNRESET;
        }
    }
}

uint16_t free_port() {
    const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &length) == 0);
    return ntohs(at.sin_port);
}

}  // namespace

TEST_CASE("ranks join, gather, derive and leave", "[bootstrap][tcp]") {
    const auto [ranks, processes] = GENERATE(table<int, int>(
        {{1, 1}, {2, 1}, {2, 2}, {3, 2}, {4, 4}, {7, 3}, {16, 1}, {16, 2}, {16, 4}, {12, 12}}));
    CAPTURE(ranks, processes);
    Job job = job_make(ranks, processes);
    for (const auto& group : job.groups) {
        CHECK(group->rank_count() == ranks);
        CHECK(group->id() == job.groups[0]->id());
        REQUIRE(group->infos().size() == static_cast<size_t>(ranks));
        for (int rank = 0; rank < ranks; ++rank) {
            CHECK(group->infos()[static_cast<size_t>(rank)] == info_of(rank));
        }
    }
    check_group(job.groups, "first ");
    check_group(job.groups, std::string(60000, 'x'));

    std::vector<int32_t> members;  // the odd ones backwards, then rank 0
    for (int rank = ranks - 1; rank >= 0; --rank) {
        if (rank % 2 == 1 || rank == 0) {
            members.push_back(rank);
        }
    }
    std::vector<Group> children = derive_all(job, members, 7);
    CHECK(children[0]->id() != job.groups[0]->id());
    for (size_t i = 0; i < members.size(); ++i) {
        CHECK(children[0]->infos()[i] == "child of " + std::to_string(members[i]));
    }
    check_group(children, "child ");
    std::vector<Group> others = derive_all(job, members, 8);
    CHECK(others[0]->id() != children[0]->id());
    job.groups.clear();
    check_group(children, "without parent ");
    check_group(others, "too ");
}

TEST_CASE("several all-gathers are in flight at once", "[bootstrap][tcp]") {
    Job job = job_make(6, 3);
    constexpr int calls = 50;
    Box<std::pair<int, Gathered>> box;
    for (auto& group : job.groups) {
        for (int call = 0; call < calls; ++call) {
            group->all_gather(std::to_string(call) + "/" + std::to_string(group->rank()),
                              [&box, call](Gathered result) {
                                  box.put({call, std::move(result)});
                              });
        }
    }
    for (const auto& [call, result] : box.take(6 * calls)) {
        REQUIRE(result.ok());
        CHECK(result.value()[5] == std::to_string(call) + "/5");
    }
}

TEST_CASE("256 ranks of one process join fast", "[bootstrap][tcp]") {
    const auto begin = std::chrono::steady_clock::now();
    Job job = job_make(256, 1);
    const auto took = std::chrono::steady_clock::now() - begin;
    CHECK(took < std::chrono::seconds(10));  // generous: sanitizers and busy machines
    CHECK(job.processes[0]->hub->counters().connections == 0);
    check_group(job.groups, "r");
}

TEST_CASE("connections per process stay few", "[bootstrap][tcp]") {
    Job job = job_make(24, 24);
    check_group(job.groups, "r");
    const auto most = [&] {
        uint64_t count = 0;
        for (const auto& process : job.processes) {
            count = std::max(count, process->hub->counters().connections);
        }
        return count;
    };
    // The root's connections to everybody are closed once idle.
    for (int i = 0; i < 100 && most() > 5; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    CHECK(most() <= 5);
    check_group(job.groups, "r");
}

TEST_CASE("a process that dies is named to everybody", "[bootstrap][tcp]") {
    const int victim = GENERATE(0, 1, 2, 3);
    Job job = job_make(8, 4);
    Box<Notice> box;
    Box<Gathered> gathers;
    const auto late = static_cast<size_t>((victim + 1) % 4);
    for (int rank = 0; rank < 8; ++rank) {
        if (rank % 4 != victim) {
            const auto& group = job.groups[static_cast<size_t>(rank)];
            if (static_cast<size_t>(rank) != late) {
                group->on_notice([&](const Notice& notice) { box.put(notice); });
            }
            group->all_gather("", [&](Gathered result) { gathers.put(std::move(result)); });
        }
    }
    const auto begin = std::chrono::steady_clock::now();
    job.processes[static_cast<size_t>(victim)]->hub.reset();
    std::multiset<int32_t> named;
    for (const Notice& notice : box.take(10)) {
        CHECK(notice.kind == Notice::Kind::died);
        CHECK(notice.text.find("pid") != std::string::npos);
        named.insert(notice.rank);
    }
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    CHECK(named.count(victim) == 5);
    CHECK(named.count(victim + 4) == 5);
    for (const auto& result : gathers.take(6)) {
        REQUIRE(!result.ok());
        CHECK(result.error().code == Code::remote);
    }

    SECTION("late listeners hear it at once, survivors go on without the dead") {
        job.groups[late]->on_notice([&](const Notice& notice) { box.put(notice); });
        CHECK(box.take(2)[0].rank % 4 == victim);
        std::vector<int32_t> members;
        for (int32_t rank = 0; rank < 8; ++rank) {
            if (rank % 4 != victim) {
                members.push_back(rank);
            }
        }
        std::vector<Group> children = derive_all(job, members, 1);
        check_group(children, "alive ");
        Box<Result<Group>> refused;
        job.groups[late]->derive({static_cast<int32_t>(late), victim}, 2, "",
                                 [&](Result<Group> group) { refused.put(std::move(group)); });
        CHECK(!refused.take(1)[0].ok());
    }
}

TEST_CASE("an orderly leave alarms nobody", "[bootstrap][tcp]") {
    const int leaver = GENERATE(0, 1, 2);
    Job job = job_make(6, 3);
    Box<Notice> box;
    for (auto& group : job.groups) {
        group->on_notice([&](const Notice& notice) { box.put(notice); });
    }
    job.groups[static_cast<size_t>(leaver)].reset();
    job.groups[static_cast<size_t>(leaver) + 3].reset();
    job.processes[static_cast<size_t>(leaver)].reset();
    // Others fail to gather without them, but that is no death.
    Box<Gathered> gathers;
    size_t left = 0;
    for (auto& group : job.groups) {
        if (group) {
            ++left;
            group->all_gather("", [&](Gathered result) { gathers.put(std::move(result)); });
        }
    }
    for (const auto& result : gathers.take(left)) {
        REQUIRE(!result.ok());
        CHECK(result.error().what.find("left") != std::string::npos);
    }
    for (size_t i = 0; i < 6; ++i) {
        if (job.groups[i]) {
            job.groups[i]->announce(Notice::Kind::failed, "on purpose");
            break;
        }
    }
    const auto notices = box.take(left - 1);
    for (const Notice& notice : notices) {
        CHECK(notice.kind == Notice::Kind::failed);
        CHECK(notice.text.find("on purpose") != std::string::npos);
    }
}

TEST_CASE("an abort reaches everybody but its author", "[bootstrap][tcp]") {
    Job job = job_make(9, 3);
    Box<Notice> box;
    for (auto& group : job.groups) {
        group->on_notice([&](const Notice& notice) { box.put(notice); });
    }
    job.groups[4]->announce(Notice::Kind::aborted, "user said so");
    job.groups[4]->announce(Notice::Kind::failed, "never told");
    for (const Notice& notice : box.take(8)) {
        CHECK(notice.kind == Notice::Kind::aborted);
        CHECK(notice.rank == 4);
        CHECK(notice.text.find("user said so") != std::string::npos);
    }
    for (const auto& result : gather_all(job.groups, "late")) {
        REQUIRE(!result.ok());
    }
    CHECK(box.size() == 0);
}

TEST_CASE("mistakes in joining fail everybody with both names", "[bootstrap][tcp]") {
    std::vector<std::unique_ptr<Process>> processes;
    processes.push_back(std::make_unique<Process>());
    processes.push_back(std::make_unique<Process>());
    const auto id = processes[0]->hub->unique_id_make();
    REQUIRE(id.ok());
    Box<Result<Group>> box;
    const auto join = [&](size_t process, int rank, int count) {
        JoinRequest request;
        request.id = id.value();
        request.rank = rank;
        request.rank_count = count;
        return processes[process]->hub->join(
            request, [&](Result<Group> group) { box.put(std::move(group)); });
    };
    REQUIRE(!join(0, 4, 4).ok());
    REQUIRE(!join(0, -1, 4).ok());
    REQUIRE(!join(0, 0, 0).ok());
    const char* expected = "";
    SECTION("a rank twice") {
        expected = "rank 1 joined twice";
        REQUIRE(join(0, 0, 4).ok());
        REQUIRE(join(0, 1, 4).ok());
        REQUIRE(join(1, 1, 4).ok());
    }
    SECTION("different numbers of ranks") {
        expected = "number of ranks differs";
        REQUIRE(join(0, 0, 4).ok());
        REQUIRE(join(0, 1, 4).ok());
        REQUIRE(join(1, 2, 5).ok());
    }
    for (const auto& result : box.take(3)) {
        REQUIRE(!result.ok());
        CHECK(result.error().code == Code::invalid_argument);
        CHECK(result.error().what.find(expected) != std::string::npos);
    }
    REQUIRE(join(1, 3, 4).ok());  // comes too late, hears the same
    CHECK(box.take(1)[0].error().what.find(expected) != std::string::npos);
}

TEST_CASE("a rank that gives up or dies while joining ends the others' wait", "[bootstrap][tcp]") {
    std::vector<std::unique_ptr<Process>> processes;
    processes.push_back(std::make_unique<Process>());
    processes.push_back(std::make_unique<Process>());
    const auto id = processes[0]->hub->unique_id_make();
    Box<Result<Group>> box;
    const auto join = [&](size_t process, int rank, Nanos timeout) {
        JoinRequest request;
        request.id = id.value();
        request.rank = rank;
        request.rank_count = 3;
        request.timeout = timeout;
        auto canceller = processes[process]->hub->join(request, [&, process](Result<Group> group) {
            if (process == 0) {
                box.put(std::move(group));
            }
        });
        REQUIRE(canceller.ok());
        return canceller.value();
    };
    join(0, 0, 600 * nanos_per_s);
    SECTION("cancelled") {
        const auto cancel = join(1, 1, 600 * nanos_per_s);
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        cancel();
        CHECK(box.take(1)[0].error().code == Code::aborted);
    }
    SECTION("timed out") {
        join(1, 1, nanos_per_s);
        const auto result = box.take(1);
        CHECK(result[0].error().code == Code::timeout);
        CHECK(result[0].error().what.find("rank 1") != std::string::npos);
    }
    SECTION("died") {
        join(1, 1, 600 * nanos_per_s);
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        processes[1]->hub.reset();
        const auto result = box.take(1);
        CHECK(result[0].error().code == Code::remote);
        CHECK(result[0].error().what.find("rank 1") != std::string::npos);
    }
}

TEST_CASE("strangers are dropped, counted, and delay nobody", "[bootstrap][tcp]") {
    Process first;
    Process second;
    const auto id = first.hub->unique_id_make();
    REQUIRE(id.ok());
    const UniqueId parsed = unique_id_decode(id.value()).value();
    const uint16_t port = parsed.addresses.at(0).port;

    const Fd http = raw_connect(port);
    const std::string get = "GET /metrics HTTP/1.1\r\n\r\n";
    REQUIRE(send(http.get(), get.data(), get.size(), 0) == static_cast<ssize_t>(get.size()));
    const Fd garbage = raw_connect(port);
    std::array<uint8_t, 4096> noise;
    random_bytes(noise);
    REQUIRE(send(garbage.get(), noise.data(), noise.size(), 0) > 0);
    const Fd silent = raw_connect(port);
    const Fd half = raw_connect(port);
    REQUIRE(send(half.get(), "WEFTC", 5, 0) == 5);
    const Fd other_realm = raw_connect(port);
    const std::string hello = "WEFTCTL1" + std::string(32, 'x');
    REQUIRE(send(other_realm.get(), hello.data(), hello.size(), 0) == 40);
    const Fd wrong_secret = raw_connect(port);
    const Realm realm = realm_of_secret(parsed.secret);
    const std::string right_realm = "WEFTCTL1" + std::string(realm.id.begin(), realm.id.end()) +
                                    std::string(16, 'n') + std::string(32, 'p');
    REQUIRE(send(wrong_secret.get(), right_realm.data(), right_realm.size(), 0) == 72);

    const auto begin = std::chrono::steady_clock::now();
    Box<Result<Group>> box;
    std::vector<Group> groups;
    for (int rank = 0; rank < 2; ++rank) {
        JoinRequest request;
        request.id = id.value();
        request.rank = rank;
        request.rank_count = 2;
        REQUIRE((rank == 0 ? first : second)
                    .hub->join(request, [&](Result<Group> group) { box.put(std::move(group)); })
                    .ok());
    }
    for (auto& group : box.take(2)) {
        REQUIRE(group.ok());
        groups.push_back(std::move(group).value());
    }
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
    for (const Fd* fd : {&http, &garbage, &other_realm, &wrong_secret}) {
        CHECK(closed_within(*fd, 5));
    }
    for (const Fd* fd : {&silent, &half}) {
        CHECK(closed_within(*fd, 10));
    }
    CHECK(first.hub->counters().strangers_dropped == 6);
    CHECK(second.hub->counters().strangers_dropped == 0);
}

TEST_CASE("NCCL_COMM_ID is a meeting point", "[bootstrap][tcp]") {
    Settings settings = loopback_settings();
    settings.comm_id = "127.0.0.1:" + std::to_string(free_port());
    settings.secret = "open sesame";
    Process first(settings);
    Process second(settings);
    Box<Result<Group>> box;
    const auto join = [&](Process& process, int rank, int count) {
        JoinRequest request;  // the id is all zeros: nobody looks at it
        request.rank = rank;
        request.rank_count = count;
        request.timeout = 20 * nanos_per_s;
        const auto joined =
            process.hub->join(request, [&](Result<Group> group) { box.put(std::move(group)); });
        REQUIRE(joined.ok());
    };
    SECTION("twice in a row, rank 0 last") {
        for (int round = 0; round < 2; ++round) {
            join(second, 1, 3);
            join(first, 2, 3);
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
            join(first, 0, 3);
            std::vector<Group> groups(3);
            for (auto& group : box.take(3)) {
                INFO((group.ok() ? "" : group.error().what));
                REQUIRE(group.ok());
                const auto rank = static_cast<size_t>(group.value()->rank());
                groups[rank] = std::move(group).value();
            }
            check_group(groups, "round");
        }
    }
    SECTION("again and again, over the connection that is still there") {
        for (int round = 0; round < 4; ++round) {
            join(first, 0, 2);
            join(second, 1, 2);
            for (auto& group : box.take(2)) {
                INFO("round " << round << ": " << (group.ok() ? "" : group.error().what));
                REQUIRE(group.ok());
            }
        }
    }
    SECTION("a second round while the first group lives") {
        std::vector<Group> groups;
        for (int round = 0; round < 2; ++round) {
            join(first, 0, 2);
            join(second, 1, 2);
            for (auto& group : box.take(2)) {
                REQUIRE(group.ok());
                groups.push_back(std::move(group).value());
            }
        }
        CHECK(groups[0]->id() != groups[2]->id());
    }
    SECTION("the port is taken") {
        const HostPort at = host_port_parse(settings.comm_id).value();
        const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name.sin_port = htons(at.port);
        REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
        REQUIRE(listen(fd.get(), 1) == 0);
        join(first, 0, 2);
        const auto result = box.take(1);
        REQUIRE(!result[0].ok());
        CHECK(result[0].error().what.find("another process has that port") != std::string::npos);
    }
    SECTION("another secret is a stranger") {
        Settings other = settings;
        other.secret = "open barley";
        Process third(other);
        join(first, 0, 2);
        JoinRequest request;
        request.rank = 1;
        request.rank_count = 2;
        request.timeout = nanos_per_s;
        Box<Result<Group>> refused;
        REQUIRE(
            third.hub->join(request, [&](Result<Group> group) { refused.put(std::move(group)); })
                .ok());
        const auto result = refused.take(1);
        CHECK(result[0].error().code == Code::timeout);
        CHECK(result[0].error().what.find("does not know this job's secret") != std::string::npos);
        CHECK(first.hub->counters().strangers_dropped > 0);
        join(second, 1, 2);
        for (const auto& group : box.take(2)) {
            CHECK(group.ok());
        }
    }
}

TEST_CASE("an id of another library is refused by name", "[bootstrap][tcp]") {
    Process process;
    JoinRequest request;
    request.rank_count = 2;
    const auto refused = [&] {
        const auto joined = process.hub->join(request, [](Result<Group>) {});
        REQUIRE(!joined.ok());
        CHECK(joined.error().code == Code::invalid_argument);
        return joined.error().what;
    };
    CHECK(refused().find("all zeros") != std::string::npos);
    random_bytes(std::span(request.id).first(8));
    request.id[8] = 2;  // AF_INET
    request.id[10] = 0x12;
    CHECK(refused().find("NCCL") != std::string::npos);
    random_bytes(request.id);
    CHECK(refused().find("no unique id") != std::string::npos);
}
