// One process of one check: loads the plugin, runs the check's function, says how it ended.
#include <unistd.h>

#include <cstdio>

#include "tools/net_check/board.h"
#include "tools/net_check/checks.h"
#include "tools/net_check/verdict.h"

namespace weft::netcheck {

namespace {

// The other process may be slow as long as it goes on; it watches that itself, and the supervisor
// has the deadline.
constexpr Nanos channel_limit = 3600 * nanos_per_s;

Verdict verdict_from(const Error& error) {
    const Nanos now = clock_now();
    switch (error.code) {
        case Code::unsupported:
            return {State::skipped, error.what, now};
        case Code::remote:
            return {State::gone, error.what, now};
        default:
            break;
    }
    const std::string warned = last_warning();
    return {State::failed, error.what + (warned.empty() ? "" : " (the plugin: " + warned + ")"),
            now};
}

Result<void> check_run(const Check& check, Bench& bench) {
    if (check.loads) {
        TRY(bench.load());
    }
    return check.run(bench);
}

// NCCL unloads the plugin after its last communicator; so what goes wrong then shows, too.
Verdict task_run(const Task& task, const Check& check) {
    Bench bench;
    bench.rank = task.rank;
    bench.version = task.version;
    bench.path = task.plugin;
    bench.limits = task.limits;
    bench.channel = Channel(Fd(child_channel_fd), channel_limit);
    Result<void> ran = check_run(check, bench);
    if (!ran.ok()) {
        const Verdict verdict = verdict_from(ran.error());
        if (bench.library != nullptr) {  // after a failure its threads may still be in its code
            bench.net.release();
            bench.library.release();
        }
        return verdict;
    }
    if (bench.library != nullptr) {
        ran = bench.unload();
    }
    return ran.ok() ? Verdict{State::ok, bench.figures, clock_now()} : verdict_from(ran.error());
}

Verdict versions_say(const Task& task) {
    auto library = Library::open(task.plugin);
    if (!library.ok()) {
        return verdict_from(library.error());
    }
    std::string versions;
    for (int version = netplugin::abi_newest; version >= netplugin::abi_oldest; version--) {
        if (library.value()->exports(version)) {
            versions += std::to_string(version) + " ";
        }
    }
    return {State::ok, versions, 0};
}

}  // namespace

int child_main(int argc, char** argv) {
    const Result<Task> task = task_unpack(argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
    const Result<Board*> board = board_map(child_board_fd);
    if (!task.ok() || !board.ok()) {
        std::fprintf(stderr, "weft-net-check: --child is for its own use\n");
        return 2;
    }
    const bool timed = task.value().check != bench_name;
    board_use(board.value(), timed ? task.value().limits.call : 0);
    const Check* check = task_find(task.value().check);
    const Verdict verdict = task.value().version == 0 || check == nullptr
                                ? versions_say(task.value())
                                : task_run(task.value(), *check);
    const std::string text = verdict_pack(verdict);
    const bool said =
        ::write(child_report_fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (verdict.state != State::ok) {
        ::_exit(0);  // threads of a plugin that failed must not delay the verdict
    }
    return said ? 0 : 1;
}

}  // namespace weft::netcheck
