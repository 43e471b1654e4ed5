// The process's log is set up once, so what a level prints is seen from a child process: this
// binary again, with one hidden case and another environment.
#include "src/base/log.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

#include "src/base/log_parse.h"
#include "src/base/machine.h"
#include "tests/catch.h"

using namespace weft;

namespace {

// What the child prints between its marks, under `environment` ("A=1 B=2").
std::string child_log(const std::string& environment) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string command =
        "env -u NCCL_DEBUG HOME=/nonexistent " + environment + " '" + self + "' '[.log-child]'";
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string text;
    std::array<char, 4096> piece;
    while (const size_t got = fread(piece.data(), 1, piece.size(), pipe)) {
        text.append(piece.data(), got);
    }
    REQUIRE(pclose(pipe) == 0);
    const size_t begin = text.find("<<<\n") + 4;
    return text.substr(begin, text.find(">>>") - begin);
}

bool matches(const std::string& text, const std::string& pattern) {
    return std::regex_match(text, std::regex(pattern));
}

const std::string who = R"([^ :.]+:\d+:\d+ )";
const std::string stamp = R"(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] )";
const std::string warn_line =
    "\n" + stamp + who + R"(\[3\] base/log_test\.cpp:\d+ NCCL WARN careful\n)";

}  // namespace

TEST_CASE("child", "[.log-child]") {
    std::printf("<<<\n");
    std::fflush(stdout);
    log_device_set(3);
    log_write(LogLevel::version, Subsys::init, "NCCL version 2.30.7+cuda13.0");
    log_warn("careful");
    LOG(info, init, "set up %d", 1);
    LOG(info, net, "network");
    LOG(trace, net, "fine print");
    LOG(trace, call, "ncclAllReduce(1)");
    std::printf(">>>\n");
}

TEST_CASE("every level prints its lines in NCCL's format", "[base][log]") {
    CHECK(matches(child_log(""), warn_line));
    CHECK(child_log("NCCL_DEBUG=NONE").empty());
    CHECK(child_log("NCCL_DEBUG=VERSION") == "NCCL version 2.30.7+cuda13.0\n");
    CHECK(
        matches(child_log("NCCL_DEBUG=WARN"), R"(NCCL version 2\.30\.7\+cuda13\.0\n)" + warn_line));
    // Settings are reported first, at INFO.
    const std::string info = child_log("NCCL_DEBUG=info");
    CHECK(matches(info, "(.|\n)*" + who + R"(\[3\] NCCL INFO NCCL version 2\.30\.7\+cuda13\.0\n)" +
                            warn_line + who + R"(\[3\] NCCL INFO set up 1\n)"));
    CHECK(info.find("NCCL_DEBUG set to info by environment") != std::string::npos);
    CHECK(info.find("network") == std::string::npos);
}

TEST_CASE("subsystems are chosen, or all but some", "[base][log]") {
    const std::string net = child_log("NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=net");
    CHECK(net.find("NCCL INFO network") != std::string::npos);
    CHECK(net.find("set up") == std::string::npos);
    CHECK(net.find("NCCL WARN careful") != std::string::npos);
    const std::string rest = child_log("NCCL_DEBUG=TRACE NCCL_DEBUG_SUBSYS=^NET");
    CHECK(rest.find("network") == std::string::npos);
    CHECK(matches(rest, "(.|\n)*" + who + R"(NCCL CALL ncclAllReduce\(1\)\n)"));
    const std::string all = child_log("NCCL_DEBUG=TRACE NCCL_DEBUG_SUBSYS=ALL");
    CHECK(matches(
        all,
        "(.|\n)*" + who + R"(\[3\] [\d.]+ base/log_test\.cpp:\d+ NCCL TRACE fine print\n(.|\n)*)"));
}

TEST_CASE("the version line is stamped as what it is printed as", "[base][log]") {
    const std::string version = R"(NCCL version 2\.30\.7\+cuda13\.0\n)";
    CHECK(matches(child_log("NCCL_DEBUG=VERSION NCCL_DEBUG_TIMESTAMP_LEVELS=VERSION"),
                  stamp + version));
    CHECK(matches(child_log("NCCL_DEBUG=VERSION NCCL_DEBUG_TIMESTAMP_LEVELS=INFO"), version));
    CHECK(matches(child_log("NCCL_DEBUG=INFO NCCL_DEBUG_TIMESTAMP_LEVELS=INFO"),
                  "(.|\n)*\n" + stamp + who + R"(\[3\] NCCL INFO )" + version + "(.|\n)*"));
}

TEST_CASE("the log can go to a file, stamped", "[base][log]") {
    const auto folder = std::filesystem::temp_directory_path();
    const std::string base = (folder / ("weft-log-" + std::to_string(getpid()))).string();
    CHECK(child_log("NCCL_DEBUG=INFO NCCL_DEBUG_FILE=" + base +
                    ".%h.log NCCL_DEBUG_TIMESTAMP_LEVELS=ALL NCCL_DEBUG_TIMESTAMP_FORMAT='<%3f>'")
              .empty());
    std::string host = host_name();
    host.resize(std::min(host.find('.'), host.size()));
    const std::string path = base + "." + host + ".log";
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    CHECK(matches(text.str(), R"((.|\n)*<\d{3}>)" + who + R"(\[3\] NCCL INFO set up 1\n)"));
    std::filesystem::remove(path);
    const std::string refused = child_log("NCCL_DEBUG=INFO NCCL_DEBUG_FILE=/nonexistent/x");
    CHECK(refused.find("cannot open /nonexistent/x") != std::string::npos);
    CHECK(refused.find("set up 1") != std::string::npos);
}

TEST_CASE("the last warning is kept, also when nothing is printed", "[base][log]") {
    log_write(LogLevel::warn, Subsys::init, "first");
    CHECK(std::string(log_last_error()) == "first");
    const char* kept = log_last_error();
    log_warn(std::string(5000, 'x'));
    CHECK(std::string(log_last_error()) == std::string(1023, 'x'));
    CHECK(std::string(kept) == "first");
    std::vector<std::thread> threads;
    std::atomic<int> whole{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < 3; ++j) {
                log_warn("together");
                whole += std::string_view(log_last_error()) == "together" ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(whole == 12);
}

TEST_CASE("the texts of NCCL_DEBUG are understood", "[base][log]") {
    CHECK(log_level_parse("Info") == LogLevel::info);
    CHECK(log_level_parse("TRACE") == LogLevel::trace);
    CHECK(!log_level_parse("ALL"));
    CHECK(!log_level_parse(""));
    std::vector<std::string> complaints;
    CHECK(subsys_parse("INIT,coll,", complaints) == 3);
    CHECK(subsys_parse("^INIT", complaints) == ~1U);
    CHECK(subsys_parse("ALL", complaints) == ~0U);
    CHECK(subsys_parse("DESTROY,ALLOC_HOST", complaints) == 0x30000);  // since 2.30
    CHECK(complaints.empty());
    CHECK(subsys_parse("NTE", complaints) == 0);
    REQUIRE(complaints.size() == 1);
    CHECK(complaints[0].find("'NTE' is not one of INIT COLL") != std::string::npos);
    CHECK(log_path_expand("/tmp/%h-%p-%%-%x%", "node1", 42) == "/tmp/node1-42-%-%x%");
    timespec time{};
    time.tv_nsec = 12'345'678;
    CHECK(log_timestamp("%3f|%9f|%%3f", time) == "012|012345678|%3f");
    CHECK(log_timestamp("", time).empty());
    CHECK(log_timestamp("a_b", time) == "a b");  // blanks are hard to pass in some launchers
}

TEST_CASE("format has no length limit", "[base][log]") {
    CHECK(format("%s!", std::string(10000, 'y').c_str()) == std::string(10000, 'y') + "!");
    CHECK(format("plain").size() == 5);
}
