// How a test of the suite ends: one line "RESULT {...}" on stdout, read by the runner, and an exit
// status. Thread rule: thread-safe; the first end counts. Failure rule: none.
#pragma once

#include <cstdint>
#include <string>

namespace weft::suite {

enum class Verdict : uint8_t { pass, fail, hang, skip };

// Facts and figures that go into the line, by name.
void value_set(const std::string& name, double value);
void value_set(const std::string& name, const std::string& value);

// Prints the line and ends the process: status 0, 1, 3 or 77.
[[noreturn]] void finish(Verdict verdict, const std::string& why = {});
[[noreturn]] [[gnu::format(printf, 1, 2)]] void fail(const char* text, ...);

// Ends the test with a hang unless it is over in so many seconds; `unlock` runs first, for whoever
// waits to say where it was.
void deadline_set(int seconds, void (*unlock)());

}  // namespace weft::suite
