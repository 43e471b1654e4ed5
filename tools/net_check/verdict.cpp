#include "tools/net_check/verdict.h"

#include <sstream>

namespace weft::netcheck {

std::string verdict_pack(const Verdict& verdict) {
    return std::string(1, static_cast<char>(verdict.state)) + verdict.why;
}

Verdict verdict_unpack(const std::string& text) {
    const char letter = text.empty() ? '\0' : text.front();
    for (const State state : {State::ok, State::failed, State::skipped, State::gone}) {
        if (static_cast<char>(state) == letter) {
            return {state, text.substr(1)};
        }
    }
    return {State::failed, "the process gave no verdict"};
}

Verdict verdict_of_both(const Verdict& rank_0, const Verdict& rank_1) {
    const Verdict* both[] = {&rank_0, &rank_1};
    // What both say needs to be said once; who has only lost the other knows least.
    for (const State state : {State::failed, State::skipped, State::gone}) {
        for (int rank = 0; rank < 2; rank++) {
            if (both[rank]->state != state) {
                continue;
            }
            const bool alike = rank_0.state == rank_1.state && rank_0.why == rank_1.why;
            const std::string who = alike ? "" : "rank " + std::to_string(rank) + ": ";
            const State known = state == State::gone ? State::failed : state;
            return {known, (state == State::skipped ? "" : who) + both[rank]->why};
        }
    }
    return {};
}

std::string task_pack(const Task& task) {
    std::ostringstream text;
    text << task.rank << ' ' << task.version << ' ' << task.check << ' ' << task.limits.call << ' '
         << task.limits.wait << ' ' << task.limits.peer << ' ' << task.limits.bytes;
    return text.str();
}

Result<Task> task_unpack(const std::string& text, const std::string& plugin) {
    std::istringstream words(text);
    Task task;
    words >> task.rank >> task.version >> task.check >> task.limits.call >> task.limits.wait >>
        task.limits.peer >> task.limits.bytes;
    if (words.fail()) {
        return make_error(Code::invalid_argument, Scope::call, "not a task: " + text);
    }
    task.plugin = plugin;
    return task;
}

}  // namespace weft::netcheck
