#include "tools/gpu_suite/check/outcome.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

namespace weft::suite {

namespace {

std::mutex mutex;
std::atomic<bool> late{false}, went_on{false};
std::vector<std::pair<std::string, std::string>> values;
// After an unlock streams get so long to run out, a stand-in's on a busy machine too, and the
// library then so long to say where everything was.
constexpr int run_out_turns = 100;
constexpr std::chrono::milliseconds run_out_turn(100), say_time(1000);

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out + '"';
}

void add(const std::string& name, const std::string& value) {
    const std::lock_guard lock(mutex);
    values.emplace_back(name, value);
}

const char* word_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::pass:
            return "pass";
        case Verdict::fail:
            return "fail";
        case Verdict::hang:
            return "hang";
        case Verdict::skip:
            return "skip";
    }
    return "fail";
}

int status_of(Verdict verdict) {
    constexpr int statuses[] = {0, 1, 3, 77};
    return statuses[static_cast<int>(verdict)];
}

}  // namespace

void value_set(const std::string& name, double value) {
    char text[64];
    std::snprintf(text, sizeof(text), std::isfinite(value) ? "%.9g" : "null", value);
    add(name, text);
}

void value_set(const std::string& name, const std::string& value) {
    add(name, quoted(value));
}

void finish(Verdict verdict, const std::string& why) {
    // What an abort lets go on is no result.
    while (late && verdict != Verdict::hang) {
        went_on = true;
        std::this_thread::sleep_for(say_time);
    }
    // Never unlocked: one end only. Destructors of what hangs would wait for it.
    mutex.lock();
    std::string line = std::string("RESULT {\"result\": \"") + word_of(verdict) +
                       "\", \"why\": " + quoted(why) + ", \"values\": {";
    const char* between = "";
    for (const auto& [name, value] : values) {
        line += between + quoted(name) + ": " + value;
        between = ", ";
    }
    std::printf("\n%s}}\n", line.c_str());
    std::fflush(nullptr);
    _exit(status_of(verdict));
}

void fail(const char* text, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, text);
    std::vsnprintf(line, sizeof(line), text, arguments);
    va_end(arguments);
    finish(Verdict::fail, line);
}

void deadline_set(int seconds, void (*unlock)()) {
    std::thread([seconds, unlock] {
        std::this_thread::sleep_for(std::chrono::seconds(seconds));
        late = true;
        std::printf("not over after %d s: aborting\n", seconds);
        std::fflush(stdout);
        std::thread(unlock).detach();
        for (int turn = 0; turn < run_out_turns && !went_on; turn++) {
            std::this_thread::sleep_for(run_out_turn);
        }
        std::this_thread::sleep_for(say_time);
        finish(Verdict::hang, "not over after " + std::to_string(seconds) + " s");
    }).detach();
}

}  // namespace weft::suite
