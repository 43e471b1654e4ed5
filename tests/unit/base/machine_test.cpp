#include "src/base/machine.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>

#include <set>
#include <sstream>

#include "tests/catch.h"

using namespace weft;

TEST_CASE("cgroup quotas are read", "[base][machine]") {
    CHECK(cpu_quota_parse("200000 100000\n") == 2);
    CHECK(cpu_quota_parse("50000 100000") == 0.5);
    CHECK(cpu_quota_parse("max 100000\n") == 0);
    CHECK(cpu_quota_parse("-1 100000") == 0);
    CHECK(cpu_quota_parse("100000") == 0);
    CHECK(cpu_quota_parse("1 0") == 0);
    CHECK(cpu_quota_parse("") == 0);
    CHECK(cpu_quota_parse("nan 1") == 0);
}

TEST_CASE("usable cores honour affinity", "[base][machine]") {
    const int before = cores_usable();
    CHECK(before >= 1);
    cpu_set_t all;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK(before <= CPU_COUNT(&all));
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(cores_usable() == 1);
    REQUIRE(sched_setaffinity(0, sizeof all, &all) == 0);
}

TEST_CASE("random numbers differ, the nonce does not", "[base][machine]") {
    std::set<uint64_t> seen;
    for (int i = 0; i < 100; ++i) {
        CHECK(seen.insert(random_u64()).second);
    }
    CHECK(process_nonce() == process_nonce());
}

TEST_CASE("a process is told from its child and from those before it", "[base][machine]") {
    const std::string own = process_identity();
    CHECK(own == process_identity());
    CHECK(own.find("unknown") == std::string::npos);
    // When it began, as ps has it: the 22nd field of a line whose second holds no blanks here.
    std::istringstream stat(file_read("/proc/self/stat").value());
    std::string field;
    for (int i = 0; i < 22; i++) {
        stat >> field;
    }
    CHECK(own.find("/" + std::to_string(getpid()) + "/" + field + "/") != std::string::npos);
    int ends[2] = {};
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        const std::string other = process_identity();
        _exit(write(ends[1], other.data(), other.size()) > 0 ? 0 : 1);
    }
    char other[256] = {};
    CHECK(read(ends[0], other, sizeof other - 1) > 0);
    waitpid(child, nullptr, 0);
    close(ends[0]);
    close(ends[1]);
    CHECK(own != other);
}

TEST_CASE("files are read whole or not at all", "[base][machine]") {
    CHECK(file_read("/proc/self/comm").ok());
    CHECK(file_read("/nonexistent").error().sys == ENOENT);
    CHECK(file_read("/proc/self/maps", 10).error().sys == EFBIG);
    CHECK(file_read("/proc").error().what.find("/proc") != std::string::npos);
    CHECK(trimmed(" \t a b\r\n") == "a b");
    CHECK(trimmed(" \n").empty());
    CHECK(file_line("/proc/self/comm") == trimmed(file_read("/proc/self/comm").value()));
    CHECK(file_line("/nonexistent").empty());
    const std::vector<std::string> entries = folder_entries("/proc/self");
    CHECK(std::is_sorted(entries.begin(), entries.end()));
    CHECK(std::count(entries.begin(), entries.end(), "comm") == 1);
    CHECK(folder_entries("/nonexistent").empty());
    CHECK(link_name("/proc/self/exe").starts_with("unit_base"));
    CHECK(link_name("/proc/self/comm").empty());
    CHECK(!host_name().empty());
}
