// What weft-run says about how ranks ended. Pure text.
// Thread rule: reentrant.
#pragma once

#include <string>
#include <vector>

namespace weft::run {

// How a process ended, as waitid() tells it.
struct End {
    bool by_signal = false;
    int number = 0;  // exit status or signal
    bool core = false;

    bool failed() const { return by_signal || number != 0; }
    int exit_status() const { return by_signal ? 128 + number : number; }
    bool operator==(const End&) const = default;
};

std::string end_text(const End& end);  // "exit status 7", "SIGSEGV (core dumped)"
std::string signal_text(int signal);   // "SIGTERM"

// "exit status 7: rank 3; SIGTERM: ranks 0-2,4": by rank, in the order of first appearance.
std::string ends_text(const std::vector<End>& ends);

}  // namespace weft::run
