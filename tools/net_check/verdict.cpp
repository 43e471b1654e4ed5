#include "tools/net_check/verdict.h"

#include <cstdlib>
#include <sstream>

namespace weft::netcheck {

namespace {

std::string text_of(int rank, const Verdict& one, bool alike) {
    const bool whose = !alike && one.state != State::skipped;
    return (whose ? "rank " + std::to_string(rank) + ": " : "") + one.why;
}

}  // namespace

std::string verdict_pack(const Verdict& verdict) {
    return static_cast<char>(verdict.state) + std::to_string(verdict.when) + " " + verdict.why;
}

Verdict verdict_unpack(const std::string& text) {
    const char letter = text.empty() ? '\0' : text.front();
    const size_t space = text.find(' ');
    for (const State state : {State::ok, State::failed, State::skipped, State::gone}) {
        if (static_cast<char>(state) == letter && space != std::string::npos) {
            return {state, text.substr(space + 1), std::atoll(text.c_str() + 1)};
        }
    }
    return {State::failed, "the process gave no verdict", clock_now()};
}

Verdict verdict_of_both(const Verdict& rank_0, const Verdict& rank_1) {
    const bool alike = rank_0.state == rank_1.state && rank_0.why == rank_1.why;
    const int first = rank_0.when <= rank_1.when ? 0 : 1;
    const Verdict* both[] = {&rank_0, &rank_1};
    // Who has only lost the other knows least.
    for (const State state : {State::failed, State::skipped, State::gone}) {
        for (const int rank : {first, 1 - first}) {
            if (both[rank]->state == state) {
                const State known = state == State::gone ? State::failed : state;
                return {known, text_of(rank, *both[rank], alike), both[rank]->when};
            }
        }
    }
    return {State::ok, rank_0.why, rank_0.when};
}

std::string task_pack(const Task& task) {
    std::ostringstream text;
    text << task.rank << ' ' << task.version << ' ' << task.check << ' ' << task.limits.call << ' '
         << task.limits.wait << ' ' << task.limits.peer << ' ' << task.limits.bytes << ' '
         << task.limits.lines << ' ' << task.limits.soak << ' ' << task.limits.connections;
    return text.str();
}

Result<Task> task_unpack(const std::string& text, const std::string& plugin) {
    std::istringstream words(text);
    Task task;
    words >> task.rank >> task.version >> task.check >> task.limits.call >> task.limits.wait >>
        task.limits.peer >> task.limits.bytes >> task.limits.lines >> task.limits.soak >>
        task.limits.connections;
    if (words.fail()) {
        return make_error(Code::invalid_argument, Scope::call, "not a task: " + text);
    }
    task.plugin = plugin;
    return task;
}

}  // namespace weft::netcheck
