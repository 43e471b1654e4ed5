// The checker judged by a plugin that is right, and by the same plugin with one fault at a time.
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace {

std::string variable(const char* name) {
    const char* text = std::getenv(name);
    return text != nullptr ? text : "";
}

struct Ran {
    int status;
    std::string text;
};

// Output and exit status of command lines, all of them at once: mostly they wait. Standard error
// goes with the test's.
std::vector<Ran> commands_run(const std::vector<std::string>& lines) {
    std::vector<FILE*> pipes;
    for (const std::string& line : lines) {
        pipes.push_back(::popen(line.c_str(), "r"));
        REQUIRE(pipes.back() != nullptr);
    }
    std::vector<Ran> all;
    for (FILE* pipe : pipes) {
        std::string text;
        char buffer[4096];
        for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
            text.append(buffer, got);
        }
        const int status = ::pclose(pipe);
        all.push_back({WIFEXITED(status) ? WEXITSTATUS(status) : -1, text});
    }
    return all;
}

Ran command_run(const std::string& line) {
    return commands_run({line}).front();
}

std::string checker() {
    return variable("WEFT_TEST_BIN") + "/weft-net-check ";
}

std::string toy() {
    return variable("WEFT_TEST_TOY");
}

struct Mutant {
    const char* fault;
    const char* check;
    const char* says;  // a part of the line
    int abi = 12;
};

// Every check has one at least. Where only some versions can be wrong, the version says so.
const Mutant mutants[] = {
    {"no-iflush", "load", "the table has no iflush", 8},
    {"unload-crashes", "load", "in dlclose"},
    {"devices-change", "devices", "devices says 2, then 3"},
    {"speed-none", "properties-range", "speed is 0", 8},
    {"recvs-none", "properties-range", "maxRecvs is 0", 11},
    {"kind-unknown", "properties-range", "netDeviceType 3", 9},
    {"bytes-unlimited", "properties-range", "maxP2pBytes is", 10},
    {"guid-changes", "properties-stable", "other properties"},
    {"path-wrong", "properties-path", "pciPath is no folder"},
    {"contexts-shared", "init-per-comm", "listen gives ncclInternalError", 11},
    {"init-once", "finalize", "init gives ncclInternalError"},
    {"loads-once", "reload", "loaded before", 9},
    {"virtual-forgets", "virtual-device", "do not name devices 0 and 1", 9},
    {"attributes-refused", "attributes", "setNetAttr gives", 11},
    {"handle-overrun", "listen", "beyond the 128 bytes"},
    {"listen-null", "listen", "without a listener"},
    {"connect-blocks", "connect-first", "rank 0: hangs in connect", 10},
    {"accept-blocks", "accept-first", "rank 1: hangs in accept"},
    {"handle-kept", "handle-copied", "rank 1: accept gives ncclInternalError"},
    {"state-in-global", "interleave", "called in turn, do not all end"},
    {"device-handle-needed", "loopback", "connect gives"},
    {"second-device-dead", "each-device", "rank 1: listen gives"},
    {"few-connections", "many", "rank 0: connect gives"},
    {"register-once", "register", "regMr gives"},
    {"register-alone", "register-sending", "regMr gives"},
    {"regions-private", "register-global", "not registered"},
    {"large-wrong", "sizes", "wrong data from byte 1048568 on"},
    {"unaligned-wrong", "unaligned", "wrong data"},
    {"zero-dropped", "zero", "no message goes on"},
    {"isend-slow", "zero", "isend took"},
    {"room-as-size", "room", "test says 1 bytes"},
    {"writes-behind", "room", "written 0 bytes behind the message"},
    {"receives-swapped", "order", "rank 1: test", 8},
    {"isend-crashes", "order", "in isend"},
    {"tag-ignored", "groups", "rank 1: test"},
    {"few-receives", "in-flight", "rank 1: irecv takes 5 requests at once"},
    {"few-sends", "in-flight", "rank 0: isend gives"},
    {"recv-done-early", "recv-early", "rank 1: a receive is done before"},
    {"backlog-dropped", "send-early", "FAILED"},
    {"null-but-sent", "try-again", "rank 1:"},
    {"sizes-unchecked", "null-sizes", "in test"},
    {"flush-stays", "flush", "no message goes on"},
    {"hint-kept", "optional-completion", "hint 0x1", 9},
    {"one-direction", "duplex", "gives ncclInvalidArgument"},
    {"one-thread", "communicators", "isend gives"},
    {"send-done-early", "close-after-done", "rank 1: test gives"},
    {"close-order", "close-order", "close"},
    {"close-busy", "close-in-flight", "under way"},
    {"eof-ignored", "killed-sender", "gets no error in 2 s"},
    {"pipe-ignored", "killed-receiver", "gets no error in 2 s"},
    {"dead-listener-wait", "killed-listener", "gives no error in 2 s"},
    {"oversize-cut", "oversize", "done as if it fit"},
    {"oversize-overruns", "oversize", "rank 1: test says 2000 bytes"},
    {"device-unchecked", "bad-device", "takes device -1", 8},
    {"handle-zeros-wait", "handle-zeros", "no error in 2 s"},
    {"handle-random-wait", "handle-random", "no error in 2 s"},
    {"any-kind", "bad-kind", "regMr takes CUDA memory"},
    {"any-group", "group-size", "irecv takes 5 receives"},
};

// What hangs takes all of its deadline; the others must not meet theirs on a slow machine.
std::string mutant_line(const Mutant& one) {
    const bool hangs = std::string(one.says).find("hangs") != std::string::npos;
    std::ostringstream line;
    line << "TOY_MUTANT=" << one.fault << " " << checker() << "--max-bytes 2M --wait 2 "
         << "--peer-limit 2 --call-limit 1 --deadline " << (hangs ? 8 : 60) << " --only "
         << one.check << " --abi " << one.abi << " " << toy();
    return line.str();
}

std::set<std::string> checks_listed() {
    std::istringstream lines(command_run(checker() + "--list").text);
    std::set<std::string> names;
    for (std::string line; std::getline(lines, line);) {
        names.insert(line.substr(0, line.find(' ')));
    }
    return names;
}

}  // namespace

TEST_CASE("a plugin that keeps the contract passes every check of every version") {
    std::vector<std::string> lines;
    for (int abi = 8; abi <= 12; abi++) {
        lines.push_back(checker() + "--max-bytes 4M --abi " + std::to_string(abi) + " " + toy());
    }
    for (const Ran& ran : commands_run(lines)) {
        INFO(ran.text);
        CHECK(ran.status == 0);
        CHECK(ran.text.find("FAILED") == std::string::npos);
        CHECK(ran.text.find(" skipped ") == std::string::npos);
        CHECK(ran.text.find(" passed, 0 failed, 0 skipped\n") != std::string::npos);
    }
    const Ran newest_first = command_run(checker() + "--only devices " + toy());
    CHECK(newest_first.text.rfind("v12  devices              ok\nv11  devices", 0) == 0);
    CHECK(newest_first.text.find("5 passed, 0 failed, 0 skipped\n") != std::string::npos);
}

TEST_CASE("every fault of the plugin is found by the check it is made for") {
    constexpr size_t at_once = 8;
    for (size_t first = 0; first < std::size(mutants); first += at_once) {
        const size_t end = std::min(first + at_once, std::size(mutants));
        std::vector<std::string> lines;
        for (size_t i = first; i < end; i++) {
            lines.push_back(mutant_line(mutants[i]));
        }
        const std::vector<Ran> all = commands_run(lines);
        for (size_t i = first; i < end; i++) {
            const Mutant& one = mutants[i];
            const Ran& ran = all[i - first];
            INFO(one.fault << ": " << ran.text);
            CHECK(ran.status == 1);
            CHECK(ran.text.find(std::string(" ") + one.check + " ") != std::string::npos);
            CHECK(ran.text.find(" FAILED ") != std::string::npos);
            CHECK(ran.text.find(one.says) != std::string::npos);
            CHECK(ran.text.find("0 passed, 1 failed, 0 skipped\n") != std::string::npos);
        }
    }
}

TEST_CASE("there is a fault for every check") {
    std::set<std::string> without = checks_listed();
    CHECK(without.size() > 40);
    for (const Mutant& one : mutants) {
        without.erase(one.check);
    }
    for (const std::string& name : without) {
        FAIL_CHECK("no plugin shows that this check can fail: " << name);
    }
}

TEST_CASE("two launched ranks share every check") {
    const std::string run = variable("WEFT_TEST_BIN") + "/weft-run -n 2 -- ";
    const std::string some =
        "--abi 12 --only many --only killed-sender --only reload --max-bytes 1M " + toy();
    const Ran right = command_run(run + checker() + some);
    INFO(right.text);
    CHECK(right.status == 0);
    CHECK(right.text.find("3 passed, 0 failed, 0 skipped\n") != std::string::npos);
    const Ran wrong = command_run("TOY_MUTANT=few-connections " + run + checker() + some);
    INFO(wrong.text);
    CHECK(wrong.status != 0);
    CHECK(wrong.text.find("2 passed, 1 failed, 0 skipped\n") != std::string::npos);
}

TEST_CASE("a process that connects to itself may take longer than the other") {
    const Ran slow = command_run(variable("WEFT_TEST_BIN") +
                                 "/weft-run -n 2 -- sh -c '[ $WEFT_RANK = 1 ] || "
                                 "export TOY_MUTANT=connect-slow; exec " +
                                 checker() + "--abi 12 --only loopback " + toy() + "'");
    INFO(slow.text);
    CHECK(slow.status == 0);
    CHECK(slow.text.find("1 passed, 0 failed, 0 skipped\n") != std::string::npos);
}

TEST_CASE("load goes well with a plugin that is right, and finds what only load shows") {
    struct Load {
        const char* fault;
        const char* says;
    };
    std::vector<Load> loads = {
        {"none", "rank1_descriptors_end"},
        {"descriptor-kept", "descriptors change under load"},
        {"late-stale", "wrong data"},
        {"late-stuck", "no message of any connection goes on"},
    };
    if (variable("WEFT_TEST_SANITIZER").empty()) {  // whose own memory grows, so it is not judged
        loads.push_back({"memory-kept", "memory grows under load"});
    }
    std::vector<std::string> lines;
    for (const Load& load : loads) {
        lines.push_back(std::string("TOY_MUTANT=") + load.fault + " " + checker() +
                        "--wait 10 --connections 3 --soak 3 " + toy());
    }
    const std::vector<Ran> all = commands_run(lines);
    for (size_t i = 0; i < loads.size(); i++) {
        const bool right = i == 0;
        INFO(loads[i].fault << ": " << all[i].text);
        CHECK(all[i].status == (right ? 0 : 1));
        CHECK(all[i].text.rfind(
                  right ? "v12  soak                 ok\n" : "v12  soak                 FAILED ",
                  0) == 0);
        CHECK(all[i].text.find(loads[i].says) != std::string::npos);
    }
}

TEST_CASE("figures are taken, of merged devices too, and go into the JSON") {
    const Ran ran = command_run(checker() + "--bench --json /dev/stderr " + toy() + " 2>&1");
    INFO(ran.text);
    CHECK(ran.status == 0);
    CHECK(ran.text.rfind("v12  bench                ok\n     latency_us ", 0) == 0);
    CHECK(ran.text.find("\n     merged_nics          2\n") != std::string::npos);
    CHECK(ran.text.find("\"why\": \"\", \"figures\": {\"latency_us\": ") != std::string::npos);
    CHECK(ran.text.find("1 passed, 0 failed, 0 skipped\n") != std::string::npos);
}

// This one says something with every error, and names only the handle.
TEST_CASE("where lines are asked for, an error without one that names it is a failure") {
    const Ran ran = command_run(checker() +
                                "--lines --abi 12 --max-bytes 1M --only killed-sender "
                                "--only bad-device --only handle-zeros --only oversize " +
                                toy());
    INFO(ran.text);
    CHECK(ran.status == 1);
    for (const char* why : {"0 lines that say 'connection' and '", "0 lines that say 'device -1'",
                            "0 lines that say '2000' and '1000'", "handle-zeros         ok"}) {
        CHECK(ran.text.find(why) != std::string::npos);
    }
    CHECK(ran.text.find("1 passed, 3 failed, 0 skipped\n") != std::string::npos);
}

TEST_CASE("what cannot be checked is said in one line") {
    const Ran none = command_run(checker() + "/nowhere/libnet.so");
    CHECK(none.status == 1);
    CHECK(none.text.find("load                 FAILED cannot load") != std::string::npos);
    CHECK(none.text.find("0 passed, 1 failed, 0 skipped\n") != std::string::npos);
    const auto refused = [](const std::string& arguments, const char* why) {
        const Ran ran = command_run(checker() + arguments + " 2>&1");
        INFO(ran.text);
        CHECK(ran.status == 2);
        CHECK(ran.text.find(why) != std::string::npos);
    };
    refused("libm.so.6", "exports none of ncclNetPlugin_v8 to _v12");
    refused("", "which plugin?");
    refused("--abi 7 x.so", "--abi");
    refused("--only nonsense x.so", "no such check");
    refused("--meet 0@here x.so", "expected RANK@ADDRESS:PORT");
    refused("--meet 2@127.0.0.1:9 x.so", "--meet");
    refused("--max-bytes 1 x.so", "expected 1K to 1G");
    refused("--wait never x.so", "--wait");
    refused("--only soak x.so", "no such check");
    refused("--soak 0 x.so", "--soak");
    refused("--soak 5 --connections 0 x.so", "--connections");
    refused("--soak 5 --bench x.so", "one of them at a time");
}
