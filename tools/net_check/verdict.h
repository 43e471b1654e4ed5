// How a check ended, and what a child process and its supervisor agree on. Values.
#pragma once

#include <string>

#include "tools/net_check/bench.h"

namespace weft::netcheck {

enum class State : char { ok = 'o', failed = 'f', skipped = 's', gone = 'g' };

struct Verdict {
    State state = State::ok;
    std::string why;  // of what went well: its figures, name=number each
    Nanos when = 0;   // of two failures the first is the cause
};
std::string verdict_pack(const Verdict& verdict);
Verdict verdict_unpack(const std::string& text);  // nonsense is a failure that says so

// Of two processes; `why` says which of them failed, or has the figures of rank 0.
Verdict verdict_of_both(const Verdict& rank_0, const Verdict& rank_1);

// The descriptors that a child finds, and what its one argument holds.
inline constexpr int child_channel_fd = 3;
inline constexpr int child_report_fd = 4;
inline constexpr int child_board_fd = 5;

struct Task {
    int rank = 0;
    int version = 0;    // 0: say which versions there are
    std::string check;  // a name of the table
    Limits limits;
    std::string plugin;
};
std::string task_pack(const Task& task);
Result<Task> task_unpack(const std::string& text, const std::string& plugin);

int child_main(int argc, char** argv);  // weft-net-check --child TASK PLUGIN

}  // namespace weft::netcheck
